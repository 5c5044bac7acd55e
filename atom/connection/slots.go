package connection

import (
	"context"
	"slices"
	"sync"
)

// slots bounds how many calls run at once, in the order in which they ask. The
// limit may change.
type slots struct {
	limit func() int

	mu      sync.Mutex
	used    int
	waiting []chan struct{} // closed when its slot is free
}

// enter waits for a slot. It fails only if ctx ends first.
func (s *slots) enter(ctx context.Context) error {
	s.mu.Lock()
	if s.used < s.limit() && len(s.waiting) == 0 {
		s.used++
		s.mu.Unlock()
		return nil
	}
	turn := make(chan struct{})
	s.waiting = append(s.waiting, turn)
	s.mu.Unlock()
	select {
	case <-turn:
		return nil
	case <-ctx.Done():
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if i := slices.Index(s.waiting, turn); i >= 0 {
		s.waiting = slices.Delete(s.waiting, i, i+1)
	} else { // its turn came at the same time
		s.used--
		s.grant()
	}
	return ctx.Err()
}

// leave frees a slot.
func (s *slots) leave() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.used--
	s.grant()
}

// resized grants slots after the limit has changed.
func (s *slots) resized() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.grant()
}

// grant grants free slots to waiting calls. The caller holds s.mu.
func (s *slots) grant() {
	for len(s.waiting) > 0 && s.used < s.limit() {
		s.used++
		close(s.waiting[0])
		s.waiting = s.waiting[1:]
	}
}
