package atomtest

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"

	"valence/atom"
)

// Groups is atom.Failures'.
func (s *Store) Groups(_ context.Context, process string, limit int) ([]atom.FailureGroup, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	groups := map[[2]string]*atom.FailureGroup{}
	for _, x := range s.live {
		if !unresolved(x) || process != "" && x.Process != process {
			continue
		}
		k := [2]string{x.Process, x.Outcome.Fingerprint}
		g := groups[k]
		if g == nil {
			g = &atom.FailureGroup{Process: x.Process, Fingerprint: x.Outcome.Fingerprint, First: x.Outcome.Ended, Last: x.Outcome.Ended}
			groups[k] = g
		}
		g.Count++
		if x.Outcome.Ended.Before(g.First) {
			g.First = x.Outcome.Ended
		}
		if x.Outcome.Ended.After(g.Last) {
			g.Last = x.Outcome.Ended
		}
		if x.Seq > g.Newest {
			g.Newest, g.Status, g.Error = x.Seq, x.Outcome.Status, x.Outcome.Error
		}
	}
	var out []atom.FailureGroup
	for _, g := range groups {
		out = append(out, *g)
	}
	slices.SortFunc(out, func(a, b atom.FailureGroup) int { return cmp.Compare(b.Newest, a.Newest) })
	return out[:min(limit, len(out))], nil
}

func unresolved(x *atom.Execution) bool {
	return x.Outcome != nil && x.Outcome.Resolved == nil && (x.Outcome.Status == atom.Failed || x.Outcome.Status == atom.Expired)
}

// Resolve is atom.Failures'.
func (s *Store) Resolve(ctx context.Context, r *atom.Resolution) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := cmp.Or(s.err, ctx.Err()); err != nil {
		return fmt.Errorf("%w: %w", atom.ErrUnavailable, err)
	}
	x := s.find(r.Seq)
	switch {
	case len(r.Note) == 0 || r.Next != nil && (r.Next.Seq == 0 || r.Next.Due.IsZero()):
		return errors.New("the resolution is not complete")
	case x == nil || x.Outcome == nil:
		return atom.ErrUnknown
	case !unresolved(x):
		return atom.ErrResolved
	}
	var told []*atom.Record
	s.placed = s.replace(x, r.Next)
	defer func() { s.placed = nil }()
	if r.Next != nil {
		receipt, err := s.accept(r.Next, &told)
		if err != nil {
			return err
		}
		r.Behind = receipt.Behind
	}
	x.Outcome.Resolved, x.Outcome.DropDocuments = r.Note, x.Outcome.DropDocuments || r.DropDocuments
	s.finish(x)
	s.tell(told)
	s.tellTurns()
	return nil
}
