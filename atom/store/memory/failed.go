package memory

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"

	"valence/atom/store"
)

// Groups implements store.Failures.
func (s *Store) Groups(_ context.Context, process string, limit int) ([]store.FailureGroup, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	groups := map[[2]string]*store.FailureGroup{}
	for _, x := range s.live {
		if !x.Unresolved() || process != "" && x.Process != process {
			continue
		}
		k := [2]string{x.Process, x.Outcome.Fingerprint}
		g := groups[k]
		if g == nil {
			g = &store.FailureGroup{Process: x.Process, Fingerprint: x.Outcome.Fingerprint, First: x.Outcome.Ended, Last: x.Outcome.Ended}
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
			g.Newest, g.Received, g.Status, g.Error = x.Seq, x.Received, x.Outcome.Status, x.Outcome.Error
		}
	}
	var out []store.FailureGroup
	for _, g := range groups {
		out = append(out, *g)
	}
	slices.SortFunc(out, func(a, b store.FailureGroup) int { return cmp.Compare(b.Newest, a.Newest) })
	return out[:min(limit, len(out))], nil
}

// Problems implements store.Failures.
func (s *Store) Problems(context.Context) (map[string]store.Problems, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	all := map[string]store.Problems{}
	count := func(process string, add func(p *store.Problems)) {
		p := all[process]
		add(&p)
		all[process] = p
	}
	for _, x := range s.live {
		if x.Unresolved() {
			count(x.Process, func(p *store.Problems) { p.Failed++; p.KeptBytes += s.kept[x.Seq] })
		}
	}
	for _, q := range s.byKey {
		if q.since.IsZero() {
			continue
		}
		count(s.live[q.items[0].seq].Process, func(p *store.Problems) { p.Blocked++ })
		for _, i := range q.items[1:] {
			count(s.live[i.seq].Process, func(p *store.Problems) { p.Behind++ })
		}
	}
	return all, nil
}

// Resolve implements store.Failures.
func (s *Store) Resolve(ctx context.Context, r *store.Resolution) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := cmp.Or(s.err, ctx.Err()); err != nil {
		return fmt.Errorf("%w: %w", store.ErrUnavailable, err)
	}
	x := s.find(r.Seq)
	switch {
	case len(r.Note) == 0 || r.Next != nil && (r.Next.Seq == 0 || r.Next.Due.IsZero()):
		return errors.New("the resolution has no note, or its replacement no Seq or Due")
	case x == nil || x.Outcome == nil:
		return store.ErrUnknown
	case !x.Unresolved():
		return store.ErrResolved
	}
	var accepted []*store.Record
	s.takenPlace = s.replaceInLane(x, r.Next)
	defer func() { s.takenPlace = nil }()
	if r.Next != nil {
		if _, err := s.accept(r.Next, &accepted); err != nil {
			return err
		}
	}
	x.Outcome.Resolved, x.Outcome.DropDocuments = r.Note, x.Outcome.DropDocuments || r.DropDocuments
	s.archive(x)
	s.notifyAccepted(accepted)
	s.notifyWakeups()
	return nil
}
