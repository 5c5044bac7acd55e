package atomtest

import (
	"context"
	"slices"
	"time"

	"valence/atom"
)

// Overdue is atom.Expiries'.
func (s *Store) Overdue(_ context.Context, limit int) (found []atom.Overdue, next time.Time, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := time.Now()
	for seq, until := range s.expiry {
		switch x := s.live[seq]; {
		case x == nil || x.Outcome != nil:
			delete(s.expiry, seq)
		case !until.After(now):
			found = append(found, atom.Overdue{Seq: seq, Process: x.Process, Received: x.Received})
		case next.IsZero() || until.Before(next):
			next = until
		}
	}
	slices.SortFunc(found, func(a, b atom.Overdue) int { return s.expiry[a.Seq].Compare(s.expiry[b.Seq]) })
	return found[:min(limit, len(found))], next, nil
}

// begins does what a change says of the beginning, or refuses it.
func (s *Store) begins(c *atom.Change) error {
	until, ok := s.expiry[c.Seq]
	switch {
	case c.Begins && ok && !until.After(time.Now()):
		return atom.ErrExpired
	case c.Unbegun && !ok:
		return atom.ErrBegun
	case c.Begins, c.Unbegun:
		delete(s.expiry, c.Seq)
		s.begun(c.Seq)
	}
	return nil
}
