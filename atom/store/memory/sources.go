package memory

import (
	"bytes"
	"cmp"
	"context"
	"fmt"

	"valence/atom/store"
)

// AcceptAll implements store.Sources.
func (s *Store) AcceptAll(ctx context.Context, arrivals []*store.Arrival) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := cmp.Or(s.err, ctx.Err()); err != nil {
		return fmt.Errorf("%w: %w", store.ErrUnavailable, err)
	}
	for _, a := range arrivals {
		if err := a.Check(); err != nil {
			return err
		}
	}
	var accepted []*store.Record
	stopped := map[string]error{}
	for _, a := range arrivals {
		if a.Err = stopped[a.Source()]; a.Err == nil {
			a.Err = s.arrive(a, &accepted)
			if a.Source() != "" || a.Err != store.ErrKeyReused {
				stopped[a.Source()] = a.Err
			}
		}
	}
	s.notifyAccepted(accepted)
	s.notifyWakeups()
	return nil
}

func (s *Store) arrive(a *store.Arrival, accepted *[]*store.Record) (err error) {
	c := a.Cursor
	if c != nil && !bytes.Equal(s.cursors[c.Source], c.From) {
		return store.ErrCursorMoved
	}
	if a.Message != nil {
		n := len(*accepted)
		if a.Receipt, err = s.accept(a.Message, accepted); err != nil {
			return err
		}
		if a.Outcome != nil && !a.Receipt.Duplicate {
			*accepted = (*accepted)[:n]
			s.end(s.live[a.Receipt.Seq], *a.Outcome)
			a.Receipt.Ended = true
		}
		if err := a.Conflict(a.Receipt); err != nil {
			return err
		}
	}
	if c != nil {
		s.cursors[c.Source] = c.To
	}
	return nil
}

// Outcomes implements store.Sources.
func (s *Store) Outcomes() (stored, cautious bool) { return true, false }

// Cursor implements store.Sources.
func (s *Store) Cursor(_ context.Context, source string) ([]byte, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.cursors[source], nil
}
