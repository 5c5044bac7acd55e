package memory

import (
	"context"
	"slices"
	"time"

	"valence/atom/store"
)

// Overdue implements store.Expiries.
func (s *Store) Overdue(_ context.Context, limit int) (found []store.Overdue, next time.Time, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.now()
	for seq, until := range s.expiry {
		switch x := s.live[seq]; {
		case x == nil || x.Outcome != nil:
			delete(s.expiry, seq)
		case !until.After(now):
			found = append(found, store.Overdue{Seq: seq, Process: x.Process, Received: x.Received})
		case next.IsZero() || until.Before(next):
			next = until
		}
	}
	slices.SortFunc(found, func(a, b store.Overdue) int { return s.expiry[a.Seq].Compare(s.expiry[b.Seq]) })
	return found[:min(limit, len(found))], next, nil
}
