package memory

import (
	"fmt"

	"valence/atom/store"
)

// check returns the error of a condition that does not hold.
func (s *Store) check(seq int64, r store.Condition) error {
	switch r := r.(type) {
	case store.Begin:
		if until, ok := s.expiry[seq]; ok && !until.After(s.now()) {
			return store.ErrExpired
		}
	case store.NotBegun:
		if _, ok := s.expiry[seq]; !ok {
			return store.ErrBegun
		}
	case store.GiveUp:
		if w := s.waits.at[waitKey{seq, r.WaitID}]; w != nil && w.signaled {
			return store.ErrSignaled
		}
	case *store.Signal:
		if r.Match != nil && r.Keep.IsZero() && !s.waits.origins[r.Origin] && s.waits.oldest(r.Match) == nil {
			return store.ErrNoWaiter
		}
	case *store.StateUpdate:
		return s.states.check(r)
	default:
		return fmt.Errorf("unknown condition %T", r)
	}
	return nil
}

// settle applies the effect of a condition that holds.
func (s *Store) settle(seq int64, r store.Condition) {
	switch r := r.(type) {
	case store.Begin, store.NotBegun:
		delete(s.expiry, seq)
		s.clearStart(seq)
	case store.GiveUp:
		s.waits.put(waitKey{seq, r.WaitID}, &wait{over: true})
	case *store.Signal:
		_, _ = s.signal(r) // checked before
	case *store.StateUpdate:
		s.states.write(r)
	}
}
