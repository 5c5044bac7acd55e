package atomtest

import (
	"context"
	"fmt"
	"time"

	"valence/atom"
)

// events is what the store knows of messages that are of one record.
type events struct {
	newest map[[2]string]int64
	marks  map[[3]string]time.Time
	writes map[int64]map[string]atom.Write
}

func newEvents() events {
	return events{newest: map[[2]string]int64{}, marks: map[[3]string]time.Time{}, writes: map[int64]map[string]atom.Write{}}
}

// coalesce makes an acceptance the newest of its key.
func (s *Store) coalesce(a *atom.Acceptance) {
	if a.Coalesce == nil {
		return
	}
	key := [2]string{a.Process, a.Coalesce.Key}
	if x := s.live[s.events.newest[key]]; x != nil && x.Outcome == nil && x.Due.After(time.Now()) {
		outcome := a.Coalesce.Superseded
		a.Due = x.Due
		x.Outcome, x.State, x.Due = &outcome, "", time.Time{}
		s.finish(x)
		s.leave(x, false)
		delete(s.expiry, x.Seq)
		s.turns = append(s.turns, atom.Ready{Process: x.Process, Seq: x.Seq, Superseded: true})
	}
	s.events.newest[key] = a.Seq
	s.turns = append(s.turns, atom.Ready{Process: a.Process, Seq: a.Seq, Later: a.Due})
	a.Coalesce = nil
}

// begun is told that an execution begins.
func (s *Store) begun(seq int64) {
	for key, n := range s.events.newest {
		if n == seq {
			delete(s.events.newest, key)
		}
	}
}

func (s *Store) mark(c *atom.Change) {
	for _, w := range c.Writes {
		if s.events.writes[c.Seq] == nil {
			s.events.writes[c.Seq] = map[string]atom.Write{}
		}
		w.Seq = c.Seq
		s.events.writes[c.Seq][w.Path] = w
	}
	for _, m := range c.Marks {
		delete(s.events.writes[c.Seq], m.Path)
		s.keepMark(m)
	}
}

func (s *Store) keepMark(m atom.Mark) {
	if m.Version != "" {
		s.events.marks[[3]string{m.System, m.Record, m.Version}] = m.Until
	}
}

// Mark is atom.Echoes'.
func (s *Store) Mark(_ context.Context, marks ...atom.Mark) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.err != nil {
		return fmt.Errorf("%w: %w", atom.ErrUnavailable, s.err)
	}
	for _, m := range marks {
		s.keepMark(m)
	}
	return nil
}

// Marked is atom.Echoes'.
func (s *Store) Marked(_ context.Context, system, record, version string) (bool, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.events.marks[[3]string{system, record, version}].After(time.Now()), nil
}

// Writes is atom.Echoes'.
func (s *Store) Writes(context.Context) ([]atom.Write, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	var list []atom.Write
	for _, paths := range s.events.writes {
		for _, w := range paths {
			if w.Until.After(time.Now()) {
				list = append(list, w)
			}
		}
	}
	return list, nil
}
