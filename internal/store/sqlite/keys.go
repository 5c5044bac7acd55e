package sqlite

import (
	"context"
	"sync"
	"time"

	"valence/internal/sqlitedb"
)

// claim is a dedupe key held by an execution that runs in memory. It is in
// memory, too: a crash frees it.
type claim struct {
	seq   int64
	until time.Time
	at    time.Time
}

type claims struct {
	mu   sync.Mutex
	held map[[2]string]*claim
}

// other gives who else holds a key.
func (c *claims) other(process, key string, seq int64) *claim {
	c.mu.Lock()
	defer c.mu.Unlock()
	if h := c.held[[2]string{process, key}]; h != nil && h.seq != seq {
		return h
	}
	return nil
}

// drop ends a claim if it is still this execution's, and gives it.
func (c *claims) drop(process, key string, seq int64) *claim {
	c.mu.Lock()
	defer c.mu.Unlock()
	h := c.held[[2]string{process, key}]
	if h == nil || h.seq != seq {
		return nil
	}
	delete(c.held, [2]string{process, key})
	return h
}

// Claim takes a key; see atom.Reservations. It writes nothing.
func (s *Store) Claim(ctx context.Context, process, key string, seq int64, until time.Time) (bool, []byte, error) {
	if err := s.Err(); err != nil {
		return false, nil, err
	}
	name := [2]string{process, key}
	now := s.clock.now()
	s.claims.mu.Lock()
	if s.claims.held[name] != nil {
		s.claims.mu.Unlock()
		return false, nil, nil
	}
	s.claims.held[name] = &claim{seq, until, now}
	s.claims.mu.Unlock()
	// Who settles writes the row before the claim is dropped, so it is seen
	// here or it was held above.
	taken := false
	var reply []byte
	err := s.db.Read(ctx, func(tx *sqlitedb.Tx) error {
		_, err := tx.One("SELECT until, reply FROM dedupe WHERE process = ? AND key = ?", []any{process, keyBytes(key)}, func(r sqlitedb.Row) {
			if r.Int(0) > now.UnixNano() {
				taken, reply = true, r.Bytes(1)
			}
		})
		return err
	})
	if err != nil || taken {
		s.claims.drop(process, key, seq)
	}
	if err == nil && reply != nil {
		if reply[0] != 1 {
			return false, nil, errDamaged
		}
		reply = reply[1:]
	}
	return err == nil && !taken, reply, err
}

// Settle ends a claim; see atom.Reservations.
func (s *Store) Settle(ctx context.Context, process, key string, seq int64, reply []byte) error {
	k := keyBytes(key)
	if reply == nil {
		claimed := s.claims.drop(process, key, seq)
		if claimed != nil {
			return nil
		}
		return s.refuse(s.db.Do(ctx, sqlitedb.OpFunc(func(tx *sqlitedb.Tx) error {
			_, err := tx.Exec("DELETE FROM dedupe WHERE process = ? AND key = ? AND seq = ?", process, k, seq)
			return err
		})))
	}
	packed := append([]byte{1}, reply...) // an empty reply is one, too
	s.claims.mu.Lock()
	held := s.claims.held[[2]string{process, key}]
	s.claims.mu.Unlock()
	err := s.db.Do(ctx, sqlitedb.OpFunc(func(tx *sqlitedb.Tx) error {
		if held != nil && held.seq == seq {
			_, err := tx.Exec("INSERT OR REPLACE INTO dedupe(process, key, until, seq, received, reply) VALUES(?,?,?,?,?,?)",
				process, k, held.until.UnixNano(), seq, held.at.UnixNano(), packed)
			return err
		}
		_, err := tx.Exec("UPDATE dedupe SET reply = ? WHERE process = ? AND key = ? AND seq = ?", packed, process, k, seq)
		return err
	}))
	if err != nil {
		return s.refuse(err)
	}
	s.claims.drop(process, key, seq)
	return nil
}

// keysPerSweep bounds what one transaction of the sweep looks at.
const keysPerSweep = 2000

// sweepOp looks at a part of the keys and deletes those that are over. It goes
// on where the one before ended.
type sweepOp struct {
	from, next place
	now        time.Time
}

type place struct {
	process string
	key     []byte
	origin  []byte
}

// originTime is how long an origin is known at least. It is needed for as long
// as a change may be applied again because its outcome was not known.
const originTime = 7 * 24 * time.Hour

func (o *sweepOp) Do(tx *sqlitedb.Tx) error {
	w, now := o.from, o.now
	o.next = place{}
	n := 0
	var last [2]any
	err := tx.Rows("SELECT process, key FROM dedupe WHERE (process, key) > (?, ?) ORDER BY process, key LIMIT ?", []any{w.process, orEmpty(w.key), keysPerSweep},
		func(r sqlitedb.Row) (bool, error) {
			n++
			last = [2]any{r.Text(0), r.Bytes(1)}
			return true, nil
		})
	if err != nil {
		return err
	}
	if n > 0 {
		_, err = tx.Exec("DELETE FROM dedupe WHERE (process, key) > (?, ?) AND (process, key) <= (?, ?) AND until <= ?",
			w.process, orEmpty(w.key), last[0], last[1], now.UnixNano())
		if err != nil {
			return err
		}
	}
	if n == keysPerSweep {
		o.next.process, o.next.key = last[0].(string), last[1].([]byte)
	}
	n = 0
	err = tx.Rows("SELECT key FROM origin WHERE key > ? ORDER BY key LIMIT ?", []any{orEmpty(w.origin), keysPerSweep}, func(r sqlitedb.Row) (bool, error) {
		n++
		last[0] = r.Bytes(0)
		return true, nil
	})
	if err != nil {
		return err
	}
	if n > 0 {
		_, err = tx.Exec("DELETE FROM origin WHERE key > ? AND key <= ? AND received <= ? AND seq NOT IN (SELECT seq FROM execution)"+
			" AND coalesce((SELECT last FROM intake WHERE first <= origin.seq ORDER BY first DESC LIMIT 1), 0) < origin.seq",
			orEmpty(w.origin), last[0], now.Add(-originTime).UnixNano())
		if err != nil {
			return err
		}
	}
	if n == keysPerSweep {
		o.next.origin = last[0].([]byte)
	}
	return nil
}

func orEmpty(b []byte) []byte {
	if b == nil {
		return []byte{}
	}
	return b
}
