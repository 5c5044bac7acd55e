package memory

import (
	"context"
	"sync/atomic"

	"valence/atom/store"
)

// leases are the lease of this atom and the functions of Join.
type leases struct {
	epoch   int64 // of the lease; negative: it has ended
	first   int64 // lower numbers were assigned before Join
	adopted func(map[string]int64)
	lost    func()

	elsewhere bool // Lease says that another member runs the executions
	news      store.News
	size      atomic.Int64   // number of members; 0: 1
	cancelled map[int64]bool // by Seq: by a Change with Cancel
}

// runs reports whether the atom runs executions.
func (s *Store) runs() bool { return s.epoch > 0 }

// Join implements store.Leases.
func (s *Store) Join(_ context.Context, adopted func(map[string]int64), lost func()) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.first, s.adopted, s.lost = s.next, adopted, lost
	adopted(s.liveByProcess())
	return nil
}

// Holds implements store.Leases.
func (s *Store) Holds(epoch int64) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.runs() && epoch == s.epoch
}

// ClaimName implements store.Leases. There is no other member.
func (s *Store) ClaimName(context.Context, string) (epoch int64, claimed bool, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.epoch, s.runs(), nil
}

// ReleaseName implements store.Leases.
func (s *Store) ReleaseName(context.Context, string) error { return nil }

// Fresh implements store.Leases.
func (s *Store) Fresh(seq int64) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return seq >= s.first
}

// Expire ends the lease, as if another member had taken all executions over.
func (s *Store) Expire() {
	s.Lapse()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.lost()
}

// Lapse ends the lease before anything has noticed it.
func (s *Store) Lapse() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.epoch = -max(s.epoch, -s.epoch)
}

// Rejoin starts a new lease, and the atom adopts all executions.
func (s *Store) Rejoin() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.epoch, s.first = 1-s.epoch, s.next
	s.adopted(s.liveByProcess())
}

// liveByProcess counts live executions.
func (s *Store) liveByProcess() map[string]int64 {
	n := map[string]int64{}
	for _, x := range s.live {
		if x.Outcome == nil {
			n[x.Process]++
		}
	}
	return n
}
