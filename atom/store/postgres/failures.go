package postgres

import (
	"context"
	"errors"
	"slices"
	"time"

	"valence/atom/store"
	"valence/internal/pgdb"
)

// releaseOp commits one Release.
type releaseOp struct {
	cause string
	after int64
	limit int
	last  int64
	n     int
}

// Release implements store.Holds, for the executions of all members.
func (s *Store) Release(ctx context.Context, cause string, after int64, limit int) (last int64, n int, err error) {
	op := &releaseOp{cause: pgdb.Sanitize(cause), after: after, limit: limit}
	err = s.do(ctx, op)
	return op.last, op.n, err
}

func (o *releaseOp) do(t *transaction) error {
	o.last, o.n = 0, 0
	var seqs []int64
	var seq int64
	err := t.each([]any{&seq}, func() error { seqs = append(seqs, seq); return nil },
		"SELECT seq FROM atom_hold WHERE cause = $1 AND seq > $2 ORDER BY seq LIMIT $3", o.cause, o.after, o.limit)
	if err == nil {
		err = t.lock(seqs...)
	}
	if err != nil {
		return err
	}
	for _, seq := range seqs {
		if x := t.rows[seq]; x != nil && x.state == codeHeld {
			t.makeReady(x)
			o.last = seq
			o.n++
		}
	}
	return nil
}

// HeldFor implements store.Holds.
func (s *Store) HeldFor(ctx context.Context) (map[string]int64, error) {
	all, cause, n := map[string]int64{}, "", int64(0)
	err := s.each(ctx, []any{&cause, &n}, func() error { all[cause] = n; return nil }, "SELECT cause, count(*) FROM atom_hold GROUP BY cause")
	return all, err
}

// Groups implements store.Failures.
func (s *Store) Groups(ctx context.Context, process string, limit int) (all []store.FailureGroup, err error) {
	var g store.FailureGroup
	var received, first, last int64
	var state int16
	err = s.each(ctx, []any{&g.Process, &g.Fingerprint, &g.Count, &g.Newest, &first, &last, &received, &state, &g.Error}, func() error {
		own := g
		own.First, own.Last, own.Received = time.Unix(0, first).UTC(), time.Unix(0, last).UTC(), time.Unix(0, received).UTC()
		own.Status, own.Error = store.Status(names[state]), slices.Clone(g.Error)
		all = append(all, own)
		return nil
	}, `SELECT g.*, x.received, x.state, x.error FROM (SELECT process, fingerprint, count(*), max(seq) AS newest, min(ended), max(ended) FROM atom_execution
			WHERE state IN (4, 5) AND resolved IS NULL AND ($1 = '' OR process = $1) GROUP BY process, fingerprint) AS g
		JOIN atom_execution AS x ON x.seq = g.newest ORDER BY g.newest DESC LIMIT $2`, process, limit)
	return all, err
}

// Problems implements store.Failures.
func (s *Store) Problems(ctx context.Context) (map[string]store.Problems, error) {
	all := map[string]store.Problems{}
	kind, process, n, bytes := "", "", int64(0), int64(0)
	err := s.each(ctx, []any{&kind, &process, &n, &bytes}, func() error {
		p := all[process]
		switch kind {
		case "failed":
			p.Failed, p.KeptBytes = n, bytes
		case "blocked":
			p.Blocked = n
		case "behind":
			p.Behind = n
		}
		all[process] = p
		return nil
	}, `WITH item AS (SELECT i.process, i.pos = min(i.pos) OVER (PARTITION BY l.scope, l.key) AS head FROM atom_lane AS l JOIN atom_lane_item AS i ON i.scope = l.scope AND i.key = l.key WHERE l.since IS NOT NULL)
		SELECT 'failed', process, count(*), coalesce(sum(kept), 0)::bigint FROM atom_execution WHERE state IN (4, 5) AND resolved IS NULL GROUP BY process
		UNION ALL SELECT CASE WHEN head THEN 'blocked' ELSE 'behind' END, process, count(*), 0 FROM item GROUP BY head, process`)
	return all, err
}

// resolveOp commits one Resolve.
type resolveOp struct {
	r   *store.Resolution
	err error
}

func (o *resolveOp) seq() int64 { return o.r.Seq }

// Resolve implements store.Failures.
func (s *Store) Resolve(ctx context.Context, r *store.Resolution) error {
	if len(r.Note) == 0 || r.Next != nil && (r.Next.Seq == 0 || r.Next.Due.IsZero()) {
		return errors.New("the resolution has no note, or its replacement no Seq or Due")
	}
	if r.Next != nil {
		if err := checkMessage(r.Next); err != nil {
			return err
		}
	}
	op := &resolveOp{r: r}
	if err := s.do(ctx, op); err != nil {
		return err
	}
	return op.err
}

func (o *resolveOp) do(t *transaction) error {
	o.err = nil
	x, err := t.row(o.r.Seq)
	switch {
	case err != nil:
		return err
	case x == nil || x.live():
		o.err = store.ErrUnknown
	case x.resolved || x.state != codeFailed && x.state != codeExpired:
		o.err = store.ErrResolved
	}
	if o.err == nil && o.r.Next != nil {
		o.err, err = t.checkHandoff(o.r.Next)
	}
	if o.err != nil || err != nil {
		return err
	}
	place, err := t.replaceInLane(x, o.r.Next)
	if err != nil {
		return err
	}
	if o.r.Next != nil {
		if _, refused, err := t.accept(o.r.Next, place); err != nil || refused != nil {
			return firstOf(err, refused)
		}
	}
	x.resolved, x.drop = true, x.drop || o.r.DropDocuments
	outcome := &store.Outcome{Keep: time.Duration(x.keep), Documents: time.Duration(x.documents), DropDocuments: x.drop}
	keep, documents := t.s.retention(outcome, false, t.now)
	t.exec("UPDATE atom_execution SET resolved = $2, drop_documents = $3, keep_until = $4, documents_until = $5, kept = NULL WHERE seq = $1", x.seq, o.r.Note, x.drop, keep, documents)
	if x.drop {
		t.dropDocuments(x.seq)
	}
	return nil
}
