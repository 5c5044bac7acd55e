package sqlite

import (
	"context"
	"sync"
	"time"

	"valence/atom/store"
	"valence/internal/sqlitedb"
)

// claim is a dedupe key held by an execution that runs in memory. A crash frees
// it.
type claim struct {
	seq   int64
	until time.Time
	at    time.Time
	// holder is store.Dedupe's.
	holder []byte
}

type claims struct {
	mu    sync.Mutex
	byKey map[[2]string]*claim
}

// heldByOther returns the claim of another execution on a key, or nil.
func (c *claims) heldByOther(process, key string, seq int64) *claim {
	c.mu.Lock()
	defer c.mu.Unlock()
	if h := c.byKey[[2]string{process, key}]; h != nil && h.seq != seq {
		return h
	}
	return nil
}

// get returns the claim of an execution on a key, or nil.
func (c *claims) get(process, key string, seq int64) *claim {
	c.mu.Lock()
	defer c.mu.Unlock()
	if h := c.byKey[[2]string{process, key}]; h != nil && h.seq == seq {
		return h
	}
	return nil
}

// remove removes and returns a claim, or returns nil if another execution holds
// it.
func (c *claims) remove(process, key string, seq int64) *claim {
	c.mu.Lock()
	defer c.mu.Unlock()
	name := [2]string{process, key}
	h := c.byKey[name]
	if h == nil || h.seq != seq {
		return nil
	}
	delete(c.byKey, name)
	return h
}

// Claim implements store.Reservations. It writes nothing.
func (s *Store) Claim(ctx context.Context, process string, d *store.Dedupe, seq int64) (*store.Claimed, error) {
	if err := s.Err(); err != nil {
		return nil, err
	}
	name := [2]string{process, d.Key}
	now := s.clock.monotonic()
	s.claims.mu.Lock()
	if c := s.claims.byKey[name]; c != nil {
		s.claims.mu.Unlock()
		return &store.Claimed{Holder: c.holder}, nil
	}
	s.claims.byKey[name] = &claim{seq, d.Until, now, d.Holder}
	s.claims.mu.Unlock()
	// Settle writes the row before it removes the claim, so either the row is
	// visible here or the claim was above.
	var taken *store.Claimed
	err := s.read(ctx, func(tx *sqlitedb.Tx) error {
		_, err := tx.One("SELECT until, reply, holder FROM dedupe WHERE process = ? AND key = ?", []any{process, store.KeyBytes(d.Key)}, func(r sqlitedb.Row) {
			if r.Int(0) > now.UnixNano() {
				taken = &store.Claimed{Reply: r.Bytes(1), Holder: r.Bytes(2)}
			}
		})
		return err
	})
	if err != nil || taken != nil {
		s.claims.remove(process, d.Key, seq)
	}
	if err != nil || taken == nil {
		return nil, err
	}
	if taken.Reply != nil {
		if taken.Reply[0] != 1 {
			return nil, errDamaged
		}
		taken.Reply = taken.Reply[1:]
	}
	return taken, nil
}

// Settle implements store.Reservations.
func (s *Store) Settle(ctx context.Context, process, key string, seq int64, reply []byte) error {
	if reply == nil && s.claims.remove(process, key, seq) != nil {
		return nil
	}
	own := s.claims.get(process, key, seq)
	err := s.db.Do(ctx, sqlitedb.OpFunc(func(tx *sqlitedb.Tx) error {
		if own == nil {
			return settleClaim(tx, process, seq, &store.ClaimResult{Key: key, Reply: reply})
		}
		_, err := tx.Exec("INSERT OR REPLACE INTO dedupe(process, key, until, seq, received, reply, holder) VALUES(?,?,?,?,?,?,?)",
			process, store.KeyBytes(key), own.until.UnixNano(), seq, own.at.UnixNano(), present(reply), nullBytes(own.holder))
		return err
	}))
	if err != nil {
		return s.storeError(err)
	}
	s.claims.remove(process, key, seq)
	return nil
}

// settleClaim ends the claim of an execution on its dedupe key, in its row.
func settleClaim(tx *sqlitedb.Tx, process string, seq int64, r *store.ClaimResult) error {
	if r.Reply == nil {
		_, err := tx.Exec("DELETE FROM dedupe WHERE process = ? AND key = ? AND seq = ?", process, store.KeyBytes(r.Key), seq)
		return err
	}
	_, err := tx.Exec("UPDATE dedupe SET reply = ? WHERE process = ? AND key = ? AND seq = ?", present(r.Reply), process, store.KeyBytes(r.Key), seq)
	return err
}

// present marks a reply as present: it may be empty.
func present(reply []byte) []byte { return append([]byte{1}, reply...) }
