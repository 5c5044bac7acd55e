package sqlite

import (
	"context"
	"errors"
	"time"

	"valence/atom"
	"valence/internal/sqlitedb"
)

const migrationExpiry = `
CREATE TABLE expiry(seq INTEGER PRIMARY KEY, process TEXT NOT NULL, until INTEGER NOT NULL, received INTEGER NOT NULL);
CREATE INDEX expiry_until ON expiry(until);
`

// unsteadyTime is how long nothing expires after a look at a clock that jumped.
const unsteadyTime = 5 * time.Second

// Overdue gives what has not begun in time; see atom.Expiries.
func (s *Store) Overdue(ctx context.Context, limit int) (found []atom.Overdue, next time.Time, err error) {
	now := s.clock.now()
	if !s.clock.steady() {
		return nil, time.Now().Add(unsteadyTime), nil
	}
	err = s.db.Read(ctx, func(tx *sqlitedb.Tx) error {
		return tx.Rows("SELECT seq, process, until, received FROM expiry ORDER BY until, seq LIMIT ?", []any{limit}, func(r sqlitedb.Row) (bool, error) {
			if r.Int(2) > now.UnixNano() {
				next = time.Unix(0, r.Int(2)).UTC()
				return false, nil
			}
			found = append(found, atom.Overdue{Seq: r.Int(0), Process: r.Text(1), Received: time.Unix(0, r.Int(3)).UTC()})
			return true, nil
		})
	})
	return found, next, err
}

// writeExpiry notes by when an acceptance is to begin.
func writeExpiry(tx *sqlitedb.Tx, a *accepting) error {
	if a.Expires.IsZero() {
		return nil
	}
	_, err := tx.Exec("INSERT OR REPLACE INTO expiry(seq, process, until, received) VALUES(?,?,?,?)", a.receipt.Seq, a.Process, a.Expires.UnixNano(), a.Received.UnixNano())
	return err
}

// begins does what a change says of the beginning; a refusal has changed nothing.
func (b *batch) begins(tx *sqlitedb.Tx, c *atom.Change) (refusal, err error) {
	if !c.Begins && !c.Unbegun {
		return nil, nil
	}
	until := int64(0)
	found, err := tx.One("SELECT until FROM expiry WHERE seq = ?", []any{c.Seq}, func(r sqlitedb.Row) { until = r.Int(0) })
	switch {
	case err != nil:
		return nil, err
	case c.Begins && found && until <= b.now.UnixNano() && b.s.clock.steady():
		return atom.ErrExpired, nil
	case c.Unbegun && !found:
		return atom.ErrBegun, nil
	}
	if _, err = tx.Exec("DELETE FROM expiry WHERE seq = ?", c.Seq); err != nil {
		return nil, err
	}
	_, err = tx.Exec(`DELETE FROM "coalesce" WHERE seq = ?`, c.Seq) // nothing takes its place any more
	return nil, err
}

// sweepExpiryOp deletes what is left of executions that ended without
// beginning otherwise: they were cancelled.
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
		_, err := o.b.find(tx, seq)
		if err == nil {
			continue
		}
		if !errors.Is(err, atom.ErrEnded) && !errors.Is(err, errNowhere) {
			return err
		}
		if _, err := tx.Exec("DELETE FROM expiry WHERE seq = ?", seq); err != nil {
			return err
		}
	}
	return nil
}
