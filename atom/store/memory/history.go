package memory

import (
	"cmp"
	"context"
	"maps"
	"slices"
	"time"

	"valence/atom/store"
)

func (s *Store) find(seq int64) *store.Execution { return cmp.Or(s.live[seq], s.done[seq]) }

// Get implements store.History.
func (s *Store) Get(_ context.Context, seq int64, _ time.Time) (*store.Execution, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	x := s.find(seq)
	if x == nil {
		return nil, store.ErrUnknown
	}
	out := *x
	out.Epoch = s.epoch
	out.Journal = slices.Clone(x.Journal)
	return &out, nil
}

// Tail implements store.History.
func (s *Store) Tail(_ context.Context, seq int64, _ time.Time, after store.JournalPosition) (*store.Tail, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	x := s.find(seq)
	if x == nil {
		return nil, store.ErrUnknown
	}
	out := *x
	t := &store.Tail{Execution: &out, Next: store.JournalPosition{Entries: len(x.Journal), Trims: s.trims[seq]}}
	switch {
	case after == store.NoEntries:
		out.Journal = nil
	case after.Entries == 0 || after.Trims != t.Next.Trims || after.Entries > len(x.Journal):
		out.Journal, t.Whole = slices.Clone(x.Journal), true
	default:
		out.Journal = slices.Clone(x.Journal[after.Entries:])
	}
	s.TailEntries += len(out.Journal)
	return t, nil
}

// List implements store.History.
func (s *Store) List(_ context.Context, f store.Filter, cursor string, limit int) ([]*store.Execution, string, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	before := s.next
	if cursor != "" {
		position, err := store.ParseCursor(cursor)
		if err != nil {
			return nil, "", err
		}
		before = position.Seq
	}
	seqs := append(slices.Collect(maps.Keys(s.live)), slices.Collect(maps.Keys(s.done))...)
	slices.Sort(seqs)
	var out []*store.Execution
	for _, seq := range slices.Backward(seqs) {
		x := s.find(seq)
		if seq < before && s.blocked(x) {
			held := *x
			held.State = store.Held
			x = &held
		}
		if seq >= before || !f.Matches(x) {
			continue
		}
		if len(out) == limit {
			return out, store.Position{Seq: out[limit-1].Seq, Received: out[limit-1].Received}.Cursor(), nil
		}
		listed := *x
		listed.Doc, listed.Data, listed.Journal = nil, nil, nil
		if x.Outcome != nil {
			outcome := *x.Outcome
			outcome.Trace = nil
			listed.Outcome = &outcome
		}
		out = append(out, &listed)
	}
	return out, "", nil
}
