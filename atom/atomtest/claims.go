package atomtest

import (
	"context"
	"fmt"
	"time"
	"valence/atom"
)

// Reserve is atom.Reservations'.
func (s *Store) Reserve() int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.next++
	return s.next - 1
}

// Claim is atom.Reservations'.
func (s *Store) Claim(_ context.Context, process, name string, seq int64, until time.Time) (bool, []byte, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.err != nil {
		return false, nil, fmt.Errorf("%w: %w", atom.ErrUnavailable, s.err)
	}
	now := time.Now()
	if k := s.keys[[2]string{process, name}]; k != nil && k.until.After(now) {
		return false, k.reply, nil
	}
	s.keys[[2]string{process, name}] = &key{seq: seq, received: now, until: until}
	return true, nil, nil
}

// Settle is atom.Reservations'.
func (s *Store) Settle(_ context.Context, process, name string, seq int64, reply []byte) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.err != nil {
		return fmt.Errorf("%w: %w", atom.ErrUnavailable, s.err)
	}
	k := s.keys[[2]string{process, name}]
	switch {
	case k == nil || k.seq != seq:
	case reply == nil:
		delete(s.keys, [2]string{process, name})
	default:
		k.reply = reply
	}
	return nil
}
