package sqlite

import (
	"context"
	"errors"
	"time"

	"valence/atom/store"
	"valence/internal/sqlitedb"
)

const migrationExpiry = `
CREATE TABLE expiry(seq INTEGER PRIMARY KEY, process TEXT NOT NULL, until INTEGER NOT NULL, received INTEGER NOT NULL);
CREATE INDEX expiry_until ON expiry(until);
`

// Overdue implements store.Expiries.
func (s *Store) Overdue(ctx context.Context, limit int) (found []store.Overdue, next time.Time, err error) {
	now := s.clock.monotonic()
	err = s.read(ctx, func(tx *sqlitedb.Tx) error {
		return tx.Rows("SELECT seq, process, until, received FROM expiry ORDER BY until, seq LIMIT ?", []any{limit}, func(r sqlitedb.Row) (bool, error) {
			if r.Int(2) > now.UnixNano() {
				next = time.Unix(0, r.Int(2)).UTC()
				return false, nil
			}
			found = append(found, store.Overdue{Seq: r.Int(0), Process: r.Text(1), Received: time.Unix(0, r.Int(3)).UTC()})
			return true, nil
		})
	})
	return found, next, err
}

// writeExpiry stores the start deadline of a message.
func writeExpiry(tx *sqlitedb.Tx, a *pendingAccept) error {
	if a.Expires.IsZero() {
		return nil
	}
	_, err := tx.Exec("INSERT OR REPLACE INTO expiry(seq, process, until, received) VALUES(?,?,?,?)", a.receipt.Seq, a.Process, a.Expires.UnixNano(), a.Received.UnixNano())
	return err
}

// startDeadline returns the start deadline of an execution in nanoseconds;
// found is false if it has begun or has none.
func startDeadline(tx *sqlitedb.Tx, seq int64) (until int64, found bool, err error) {
	found, err = tx.One("SELECT until FROM expiry WHERE seq = ?", []any{seq}, func(r sqlitedb.Row) { until = r.Int(0) })
	return until, found, err
}

// clearStart deletes the start deadline of an execution and its coalescing key:
// it cannot expire or be superseded any more.
func clearStart(tx *sqlitedb.Tx, seq int64) error {
	if _, err := tx.Exec("DELETE FROM expiry WHERE seq = ?", seq); err != nil {
		return err
	}
	_, err := tx.Exec(`DELETE FROM "coalesce" WHERE seq = ?`, seq)
	return err
}

// sweepExpiryOp deletes the start deadlines of executions that were canceled
// before they began.
type sweepExpiryOp struct{ b *batch }

func (o *sweepExpiryOp) Do(tx *sqlitedb.Tx) error {
	var seqs []int64
	err := tx.Rows("SELECT seq FROM expiry WHERE until <= ? ORDER BY until LIMIT ?", []any{o.b.now.UnixNano(), keysPerSweep}, func(r sqlitedb.Row) (bool, error) {
		seqs = append(seqs, r.Int(0))
		return true, nil
	})
	if err != nil {
		return err
	}
	for _, seq := range seqs {
		_, err := o.b.mutate(tx, seq)
		if err == nil {
			continue
		}
		if !errors.Is(err, store.ErrEnded) && !errors.Is(err, errNotLive) {
			return err
		}
		if _, err := tx.Exec("DELETE FROM expiry WHERE seq = ?", seq); err != nil {
			return err
		}
	}
	return nil
}
