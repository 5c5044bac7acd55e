package atomtest

import (
	"context"
	"fmt"
	"slices"
	"time"

	"valence/atom"
)

// Release is atom.Holds'.
func (s *Store) Release(_ context.Context, what string, after int64, limit int) (last int64, n int, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.err != nil {
		return 0, 0, fmt.Errorf("%w: %w", atom.ErrUnavailable, s.err)
	}
	var list []atom.Ready
	for _, r := range s.heldFor(what) {
		if r.Seq <= after || n == limit {
			continue
		}
		x := s.live[r.Seq]
		x.State, x.Why, x.Due = atom.Accepted, "", time.Unix(0, 1).UTC()
		delete(s.holds, r.Seq)
		last = r.Seq
		n++
		list = append(list, atom.Ready{Process: x.Process, Seq: x.Seq})
	}
	if len(list) > 0 && s.ready != nil {
		s.ready(list)
	}
	return last, n, nil
}

func (s *Store) heldFor(what string) []*atom.Record {
	return s.records(len(s.live), func(x *atom.Execution) bool {
		return x.State == atom.Held && slices.Contains(s.holds[x.Seq], what)
	}, bySeq)
}

// HeldFor is atom.Holds'.
func (s *Store) HeldFor(context.Context) (map[string]int64, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := map[string]int64{}
	for seq, list := range s.holds {
		if x := s.live[seq]; x != nil && x.Outcome == nil && x.State == atom.Held {
			for _, what := range list {
				out[what]++
			}
		}
	}
	return out, nil
}
