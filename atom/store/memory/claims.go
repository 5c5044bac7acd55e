package memory

import (
	"context"
	"fmt"

	"valence/atom/store"
)

// Reserve implements store.Reservations.
func (s *Store) Reserve() int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.next++
	return s.next - 1
}

// Claim implements store.Reservations.
func (s *Store) Claim(_ context.Context, process string, d *store.Dedupe, seq int64) (*store.Claimed, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.err != nil {
		return nil, fmt.Errorf("%w: %w", store.ErrUnavailable, s.err)
	}
	now := s.now()
	if k := s.keys[[2]string{process, d.Key}]; k != nil && k.until.After(now) {
		return &store.Claimed{Holder: k.holder, Reply: k.reply}, nil
	}
	s.keys[[2]string{process, d.Key}] = &key{seq: seq, received: now, until: d.Until, holder: d.Holder}
	return nil, nil
}

// Settle implements store.Reservations.
func (s *Store) Settle(_ context.Context, process, name string, seq int64, reply []byte) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.err != nil {
		return fmt.Errorf("%w: %w", store.ErrUnavailable, s.err)
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
