package sqlite

import (
	"time"

	"valence/internal/sqlitedb"
)

// keysPerSweep is the number of rows that one sweep transaction reads.
const keysPerSweep = 2000

// sweepKeysOp deletes expired keys and origins from a part of the tables,
// starting at from. It sets next to the start of the following sweep.
type sweepKeysOp struct {
	from, next sweepCursor
	now        time.Time
}

type sweepCursor struct {
	process string
	key     []byte
	origin  []byte
}

// originTime is how long an origin is remembered at least. It must cover the
// time in which a change may be retried because its result was unknown.
const originTime = 7 * 24 * time.Hour

func (o *sweepKeysOp) Do(tx *sqlitedb.Tx) error {
	w, now := o.from, o.now
	o.next = sweepCursor{}
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
		_, err = tx.Exec("DELETE FROM origin WHERE key > ? AND key <= ? AND until IS NULL AND received <= ? AND seq NOT IN (SELECT seq FROM execution)"+
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

// forgetOriginsOp deletes origins that are remembered for a time of their own.
// more reports whether some are left.
type forgetOriginsOp struct {
	now  time.Time
	more bool
}

func (o *forgetOriginsOp) Do(tx *sqlitedb.Tx) error {
	deleted, err := tx.Exec("DELETE FROM origin WHERE key IN (SELECT key FROM origin WHERE until <= ? ORDER BY until LIMIT ?)", o.now.UnixNano(), keysPerSweep)
	o.more = deleted == keysPerSweep
	return err
}
