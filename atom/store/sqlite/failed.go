package sqlite

import (
	"context"
	"errors"
	"fmt"
	"time"

	"valence/atom/store"
	"valence/internal/sqlitedb"
)

// A failed or expired execution stays in its row until it is resolved. Then its
// outcome is written to change, as for one that completed, and it moves to the
// history.

// migrationKept counts the failures of executions that ran in memory. Those of
// an older version count as nothing.
const migrationKept = `ALTER TABLE failure ADD COLUMN bytes INTEGER NOT NULL DEFAULT 0;`

// writeFailure stores a failure under its fingerprint. bytes is its size if it
// ran in memory.
func writeFailure(tx *sqlitedb.Tx, seq int64, process string, e *storedOutcome, bytes int) error {
	_, err := tx.Exec("INSERT OR REPLACE INTO failure(seq, process, fingerprint, ended, bytes) VALUES(?,?,?,?,?)",
		seq, process, e.Fingerprint, e.Ended.UnixNano(), int64(bytes))
	return err
}

// Groups implements store.Failures.
func (s *Store) Groups(ctx context.Context, process string, limit int) ([]store.FailureGroup, error) {
	var groups []store.FailureGroup
	err := s.read(ctx, func(tx *sqlitedb.Tx) error {
		query, args := "SELECT process, fingerprint, count(*), max(seq), min(ended), max(ended) FROM failure", []any{}
		if process != "" {
			query, args = query+" WHERE process = ?", append(args, process)
		}
		err := tx.Rows(query+" GROUP BY fingerprint, process ORDER BY max(seq) DESC LIMIT ?", append(args, limit), func(r sqlitedb.Row) (bool, error) {
			groups = append(groups, store.FailureGroup{Process: r.Text(0), Fingerprint: r.Text(1), Count: r.Int(2), Newest: r.Int(3),
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
			if x != nil && x.outcome != nil {
				g.Received, g.Status, g.Error = x.Received, x.outcome.Status, x.outcome.Error
			}
		}
		return nil
	})
	return groups, err
}

// Problems implements store.Failures.
func (s *Store) Problems(ctx context.Context) (map[string]store.Problems, error) {
	all := map[string]store.Problems{}
	err := s.read(ctx, func(tx *sqlitedb.Tx) error {
		for _, q := range []struct {
			sql string
			set func(p *store.Problems, r sqlitedb.Row)
		}{
			{"SELECT process, count(*), sum(bytes) FROM failure GROUP BY process",
				func(p *store.Problems, r sqlitedb.Row) { p.Failed, p.KeptBytes = r.Int(1), r.Int(2) }},
			{"SELECT process, count(*) FROM lane WHERE state = 3 GROUP BY process", func(p *store.Problems, r sqlitedb.Row) { p.Blocked = r.Int(1) }},
			{"SELECT i.process, count(*) FROM lane l JOIN lane_item i ON i.scope = l.scope AND i.key = l.key WHERE l.state = 3 GROUP BY i.process",
				func(p *store.Problems, r sqlitedb.Row) { p.Behind = r.Int(1) }},
		} {
			err := tx.Rows(q.sql, nil, func(r sqlitedb.Row) (bool, error) {
				p := all[r.Text(0)]
				q.set(&p, r)
				all[r.Text(0)] = p
				return true, nil
			})
			if err != nil {
				return err
			}
		}
		return nil
	})
	return all, err
}

// resolveOp commits one Resolve.
type resolveOp struct {
	s        *Store
	r        *store.Resolution
	prepared pendingAccept // as spilled; Do works on a copy
	next     pendingAccept
	err      error // refusal, without rolling back
}

// Resolve implements store.Failures.
func (s *Store) Resolve(ctx context.Context, r *store.Resolution) error {
	op := &resolveOp{s: s, r: r}
	if len(r.Note) == 0 {
		return errors.New("the resolution has no note")
	}
	if r.Next != nil {
		if r.Next.Seq == 0 || r.Next.Due.IsZero() {
			return errors.New("the replacement of a failed execution needs a reserved Seq and a Due")
		}
		if err := checkMessage(r.Next); err != nil {
			return err
		}
		pins, err := s.blobs.spillMessage(r.Next, &op.prepared)
		defer func() { pins.release() }()
		if err != nil {
			return s.storeError(err)
		}
	}
	if err := s.archiver.waitForRoom(ctx); err != nil {
		return fmt.Errorf("%w: %w", store.ErrUnavailable, err)
	}
	if err := s.db.Do(ctx, op); err != nil {
		return s.storeError(err)
	}
	if errors.Is(op.err, errNotLive) {
		if err := s.notLiveError(r.Seq); !errors.Is(err, store.ErrEnded) {
			return err
		}
		return store.ErrResolved
	}
	return op.err
}

func (o *resolveOp) Do(tx *sqlitedb.Tx) error {
	b := o.s.batch
	o.err = nil
	b.s.mu.Lock()
	member := b.s.index.active[o.r.Seq]
	b.s.mu.Unlock()
	if m := b.mutations[o.r.Seq]; m != nil || member != nil && member.outcome != nil {
		o.err = store.ErrResolved // earlier in this transaction, or before
		return nil
	}
	x, err := readRow(tx, o.r.Seq)
	switch {
	case err != nil:
		return err
	case x == nil:
		o.err = errNotLive
		return nil
	case x.state != codeFailed && x.state != codeExpired || x.outcome == nil:
		o.err = store.ErrUnknown
		return nil
	}
	o.next = o.prepared
	var next *pendingAccept
	if o.r.Next != nil {
		next = &o.next
	}
	if err := b.lanes().replace(tx, x, next); err != nil {
		return err
	}
	if next != nil {
		if err := b.accept(tx, &o.next); err != nil {
			return err
		}
	}
	e := *x.outcome
	e.Resolved, e.DropDocuments = o.r.Note, e.DropDocuments || o.r.DropDocuments
	if e.Keep == 0 {
		e.Keep = o.s.o.Records
	}
	e.Keep += max(b.now.Sub(x.Received), 0) // retention starts now
	if _, err := tx.Exec("DELETE FROM failure WHERE seq = ?", o.r.Seq); err != nil {
		return err
	}
	m := &mutation{seq: o.r.Seq, process: x.Process, before: x.state, after: x.state, outcome: &e}
	b.mutations[m.seq] = m
	b.mutationOrder = append(b.mutationOrder, m)
	return nil
}
