package sqlite

import "context"

// Join implements store.Leases. The folder has one owner, so nothing is lost.
func (s *Store) Join(ctx context.Context, adopted func(map[string]int64), _ func()) error {
	counts, err := s.Counts(ctx)
	if err != nil {
		return err
	}
	s.joined.Store(s.Reserve())
	live := make(map[string]int64, len(counts))
	for process, states := range counts {
		for _, n := range states {
			live[process] += n
		}
	}
	adopted(live)
	return nil
}

// Holds implements store.Leases.
func (s *Store) Holds(int64) bool { return true }

// ClaimName implements store.Leases. The folder has one owner, who has all names.
func (s *Store) ClaimName(context.Context, string) (epoch int64, claimed bool, err error) {
	return 0, true, nil
}

// ReleaseName implements store.Leases.
func (s *Store) ReleaseName(context.Context, string) error { return nil }

// Fresh implements store.Leases.
func (s *Store) Fresh(seq int64) bool { return seq >= s.joined.Load() }
