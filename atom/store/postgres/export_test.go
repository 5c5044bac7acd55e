package postgres

import "context"

// Pause makes a member neither renew its lease nor adopt, until it is resumed.
func (s *Store) Pause(paused bool) {
	s.lease.paused.Store(paused)
	if !paused {
		wake(s.changed.left)
	}
}

// Expire ends the lease of a member in the database.
func (s *Store) Expire() error {
	_, err := s.writes.Exec(context.Background(), "UPDATE atom_member SET until = '-infinity' WHERE epoch = $1", s.lease.current())
	return err
}

// TakeOver adopts the executions of ended leases now.
func (s *Store) TakeOver() error { return s.takeOver(context.Background()) }

// LockClass is the class of the locks of epochs.
const LockClass = lockClass

// Epoch returns the epoch of the member.
func (s *Store) Epoch() int64 { return s.lease.current() }
