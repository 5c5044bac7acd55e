package memory

import (
	"context"
	"fmt"
	"time"

	"valence/atom/store"
)

// events holds coalescing keys, marks and writes.
type events struct {
	newest map[[2]string]int64
	marks  map[[3]string]time.Time
	writes map[int64]map[string]store.Write
}

func newEvents() events {
	return events{newest: map[[2]string]int64{}, marks: map[[3]string]time.Time{}, writes: map[int64]map[string]store.Write{}}
}

// coalesce makes a message the newest of its key.
func (s *Store) coalesce(a *store.Message) {
	if a.Coalesce == nil {
		return
	}
	key := [2]string{a.Process, a.Coalesce.Key}
	if x := s.live[s.events.newest[key]]; x != nil && x.Outcome == nil && x.Due.After(s.now()) {
		outcome := a.Coalesce.Superseded
		a.Due = x.Due
		x.Outcome, x.State, x.Due = &outcome, "", time.Time{}
		s.archive(x)
		s.leaveLane(x, false)
		delete(s.expiry, x.Seq)
		s.wakeups = append(s.wakeups, store.Wakeup{Process: x.Process, Seq: x.Seq, Superseded: true})
	}
	s.events.newest[key] = a.Seq
	a.Coalesce = nil
}

// clearStart deletes the coalescing key of an execution that begins.
func (s *Store) clearStart(seq int64) {
	for key, n := range s.events.newest {
		if n == seq {
			delete(s.events.newest, key)
		}
	}
}

func (s *Store) mark(c *store.Change) {
	for _, w := range c.Writes {
		if s.events.writes[c.Seq] == nil {
			s.events.writes[c.Seq] = map[string]store.Write{}
		}
		w.Seq = c.Seq
		s.events.writes[c.Seq][w.Path] = w
	}
	for _, m := range c.Marks {
		delete(s.events.writes[c.Seq], m.Path)
		s.keepMark(m)
	}
}

func (s *Store) keepMark(m store.Mark) {
	if m.Version != "" {
		s.events.marks[[3]string{m.System, m.Record, m.Version}] = m.Until
	}
}

// Mark implements store.Echoes.
func (s *Store) Mark(_ context.Context, marks ...store.Mark) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.err != nil {
		return fmt.Errorf("%w: %w", store.ErrUnavailable, s.err)
	}
	for _, m := range marks {
		s.keepMark(m)
	}
	return nil
}

// Marked implements store.Echoes.
func (s *Store) Marked(_ context.Context, system, record, version string) (bool, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.events.marks[[3]string{system, record, version}].After(s.now()), nil
}

// Writes implements store.Echoes.
func (s *Store) Writes(context.Context) ([]store.Write, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	var list []store.Write
	for _, paths := range s.events.writes {
		for _, w := range paths {
			if w.Until.After(s.now()) {
				list = append(list, w)
			}
		}
	}
	return list, nil
}
