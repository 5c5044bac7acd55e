package sqlite

import (
	"context"
	"errors"
	"fmt"
	"time"

	"valence/atom"
	"valence/internal/sqlitedb"
)

// A failed or expired execution stays on its row until it is dealt with. Then
// it is written to change like one that ended well, and moves to the history.

// writeFailure notes a failure under its cause.
func writeFailure(tx *sqlitedb.Tx, seq int64, process string, e *ending) error {
	_, err := tx.Exec("INSERT OR REPLACE INTO failure(seq, process, fingerprint, ended) VALUES(?,?,?,?)", seq, process, e.Fingerprint, e.Ended.UnixNano())
	return err
}

// Groups counts failures by cause; see atom.Failures.
func (s *Store) Groups(ctx context.Context, process string, limit int) ([]atom.FailureGroup, error) {
	var groups []atom.FailureGroup
	err := s.db.Read(ctx, func(tx *sqlitedb.Tx) error {
		query, args := "SELECT process, fingerprint, count(*), max(seq), min(ended), max(ended) FROM failure", []any{}
		if process != "" {
			query, args = query+" WHERE process = ?", append(args, process)
		}
		err := tx.Rows(query+" GROUP BY fingerprint, process ORDER BY max(seq) DESC LIMIT ?", append(args, limit), func(r sqlitedb.Row) (bool, error) {
			groups = append(groups, atom.FailureGroup{Process: r.Text(0), Fingerprint: r.Text(1), Count: r.Int(2), Newest: r.Int(3),
				First: time.Unix(0, r.Int(4)).UTC(), Last: time.Unix(0, r.Int(5)).UTC()})
			return true, nil
		})
		if err != nil {
			return err
		}
		for i := range groups {
			g := &groups[i]
			x, err := readRow(tx, g.Newest)
			if err != nil {
				return err
			}
			if x != nil && x.ending != nil {
				g.Status, g.Error = x.ending.Status, x.ending.Error
			}
		}
		return nil
	})
	return groups, err
}

// resolveOp is one Resolve.
type resolveOp struct {
	s    *Store
	r    *atom.Resolution
	next accepting // as given
	made accepting
	err  error // that refuses it without undoing the transaction
}

// Resolve notes that a failure was dealt with; see atom.Failures.
func (s *Store) Resolve(ctx context.Context, r *atom.Resolution) error {
	op := &resolveOp{s: s, r: r}
	if len(r.Note) == 0 {
		return errors.New("a resolution says how")
	}
	if r.Next != nil {
		if r.Next.Seq == 0 || r.Next.Due.IsZero() {
			return errors.New("what takes a failed execution's place has a number and a time")
		}
		if err := check(r.Next); err != nil {
			return err
		}
		pins, err := s.blobs.spillAcceptance(r.Next, &op.next)
		defer func() { pins.release() }()
		if err != nil {
			return s.refuse(err)
		}
	}
	if err := s.keeper.room(ctx); err != nil {
		return fmt.Errorf("%w: %w", atom.ErrUnavailable, err)
	}
	if err := s.db.Do(ctx, op); err != nil {
		return s.refuse(err)
	}
	if errors.Is(op.err, errNowhere) {
		if err := s.whyNowhere(r.Seq); !errors.Is(err, atom.ErrEnded) {
			return err
		}
		return atom.ErrResolved
	}
	r.Behind = op.made.receipt.Behind
	return op.err
}

func (o *resolveOp) Do(tx *sqlitedb.Tx) error {
	b := o.s.batch
	o.err = nil
	b.s.mu.Lock()
	y := b.s.mem.young[o.r.Seq]
	b.s.mu.Unlock()
	if t := b.touches[o.r.Seq]; t != nil || y != nil && y.ending != nil {
		o.err = atom.ErrResolved // in this very transaction, or before
		return nil
	}
	x, err := readRow(tx, o.r.Seq)
	switch {
	case err != nil:
		return err
	case x == nil:
		o.err = errNowhere
		return nil
	case x.state != stFailed && x.state != stExpired || x.ending == nil:
		o.err = atom.ErrUnknown
		return nil
	}
	o.made = o.next
	var next *accepting
	if o.r.Next != nil {
		next = &o.made
	}
	if err := b.replace(tx, x, next); err != nil {
		return err
	}
	if next != nil {
		if err := b.accept(tx, &o.made); err != nil {
			return err
		}
	}
	e := *x.ending
	e.Resolved, e.DropDocuments = o.r.Note, e.DropDocuments || o.r.DropDocuments
	if e.Keep == 0 {
		e.Keep = o.s.o.Records
	}
	e.Keep += max(b.now.Sub(x.Received), 0) // its days begin now
	if _, err := tx.Exec("DELETE FROM failure WHERE seq = ?", o.r.Seq); err != nil {
		return err
	}
	t := &touch{seq: o.r.Seq, process: x.Process, state: x.state, becomes: x.state, ending: &e}
	b.touches[t.seq] = t
	b.order = append(b.order, t)
	return nil
}
