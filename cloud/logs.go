package cloud

import (
	"context"
	"sync"
	"time"

	"valence/internal/wire"
)

// Bounds of asking for an atom's log.
const (
	maxLogLines = 1_000
	logPatience = 20 * time.Second
)

// asked are questions for logs that wait for their answer. The answers pass
// through; they are not stored.
type asked struct {
	mu sync.Mutex
	by map[int64]chan []wire.LogLine
}

func (a *asked) put(id int64) chan []wire.LogLine {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.by == nil {
		a.by = map[int64]chan []wire.LogLine{}
	}
	ch := make(chan []wire.LogLine, 1)
	a.by[id] = ch
	return ch
}

func (a *asked) drop(id int64) {
	a.mu.Lock()
	defer a.mu.Unlock()
	delete(a.by, id)
}

func (a *asked) answer(id int64, lines []wire.LogLine) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if ch := a.by[id]; ch != nil {
		ch <- lines
		delete(a.by, id)
	}
}

// AtomLog asks an atom for the last lines of its log, at most 1,000, and waits
// for them. It fails with ErrConflict if the atom does not answer.
func (s *Service) AtomLog(ctx context.Context, p Principal, id string, lines int) ([]wire.LogLine, error) {
	if lines < 1 || lines > maxLogLines {
		return nil, &InvalidError{Field: "lines", Message: "the number of lines is from 1 to 1000"}
	}
	s.changing.Lock()
	a, err := s.atomFor(p, "atom.log", id)
	if err == nil && (a.Revoked || s.filled(a).Status != Online) {
		err = conflict("the atom %s is not in touch with the control plane", a.Name)
	}
	if err != nil {
		s.changing.Unlock()
		return nil, err
	}
	m := wire.Message{ID: s.lines.next(), Kind: wire.KindLogs, Lines: lines}
	answer := s.asked.put(m.ID)
	defer s.asked.drop(m.ID)
	c := &change{woken: []string{a.ID}}
	c.Messages = []*Message{{Account: a.Account, AtomID: a.ID, Created: time.Now().UTC(), Message: m}}
	c.audit(p, "atom.log", a.ID, a.Name)
	err = s.commit(ctx, c)
	s.changing.Unlock()
	if err != nil {
		return nil, err
	}
	patience := time.NewTimer(logPatience)
	defer patience.Stop()
	select {
	case found := <-answer:
		return found, nil
	case <-patience.C:
		return nil, conflict("the atom %s did not answer within %s; it may be of an older version", a.Name, logPatience)
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}
