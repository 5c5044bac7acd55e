package memory

import (
	"context"
	"fmt"
	"slices"
	"time"

	"valence/atom/store"
)

// Release implements store.Holds.
func (s *Store) Release(_ context.Context, cause string, after int64, limit int) (last int64, n int, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.err != nil {
		return 0, 0, fmt.Errorf("%w: %w", store.ErrUnavailable, s.err)
	}
	var list []store.Wakeup
	for _, r := range s.heldFor(cause) {
		if r.Seq <= after || n == limit {
			continue
		}
		x := s.live[r.Seq]
		x.State, x.Reason, x.Due = store.Accepted, "", time.Unix(0, 1).UTC()
		delete(s.holds, r.Seq)
		last = r.Seq
		n++
		list = append(list, store.Wakeup{Process: x.Process, Seq: x.Seq})
	}
	if len(list) > 0 && s.ready != nil {
		s.ready(list)
	}
	return last, n, nil
}

func (s *Store) heldFor(cause string) []*store.Record {
	return s.records(len(s.live), func(x *store.Execution) bool {
		return x.State == store.Held && slices.Contains(s.holds[x.Seq], cause)
	}, bySeq)
}

// HeldFor implements store.Holds.
func (s *Store) HeldFor(context.Context) (map[string]int64, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := map[string]int64{}
	for seq, list := range s.holds {
		if x := s.live[seq]; x != nil && x.Outcome == nil && x.State == store.Held {
			for _, cause := range list {
				out[cause]++
			}
		}
	}
	return out, nil
}
