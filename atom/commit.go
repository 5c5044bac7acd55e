package atom

import (
	"errors"

	"valence/atom/steps"
)

// commitment is a commit of an execution. It takes what all paths have
// finished, so a path whose work another one took along waits for that one's
// commit before its next effect.
type commitment struct {
	before *commitment   // that was under way when it began; nil: none
	done   chan struct{} // closed when it and those before it are over
	err    error         // of it or of one before it: nothing may follow
	undone bool          // what it, or one that it waited for, took is pending again
}

func (m *commitment) over() bool {
	select {
	case <-m.done:
		return true
	default:
		return false
	}
}

// commits starts a commit, which must be ended. The caller holds e.mu and has
// taken what is pending.
func (e *execution) commits() *commitment {
	m := &commitment{before: e.under, done: make(chan struct{})}
	if b := m.before; b != nil && b.over() {
		m.before, m.err = nil, b.err
	}
	e.under = m
	return m
}

// end tells those that wait how a commit went, once those before it are over.
func (m *commitment) end(err error, undone bool) error {
	m.undone = undone
	if b := m.before; b != nil {
		<-b.done
		m.before, m.err, m.undone = nil, b.err, undone || b.undone
	}
	if m.err == nil {
		m.err = err
	}
	close(m.done)
	return m.err
}

// flush commits what is finished, so that the next effect may happen. It
// returns when everything that any path had finished before is on disk.
func (e *execution) flush(extra ...Entry) error {
	for {
		e.mu.Lock()
		c := e.takePending()
		c.Entries = append(c.Entries, extra...)
		extra = nil
		last, wait := e.under, false
		some := len(c.Entries) > 0 || len(c.Handoffs) > 0 || len(c.Waits) > 0 || len(c.Writes) > 0 || len(c.Marks) > 0
		if some {
			last = e.commits()
		} else if last != nil {
			wait = !last.over()
		}
		e.mu.Unlock()
		switch {
		case some:
			err := e.atom.apply(c)
			if errors.Is(err, ErrEnded) { // cancelled meanwhile: nothing more happens
				err = steps.Interrupted
			}
			_ = last.end(err, false)
		case wait:
			<-last.done
		case last == nil:
			return nil
		}
		if last.err != nil {
			return last.err
		}
		if !last.undone || !some && !wait {
			return nil
		}
	}
}

func (e *execution) takePending() *Change {
	c := &Change{Seq: e.seq, Entries: e.pending, Handoffs: e.handoffs, Reply: e.kept, Settled: e.settled, Waits: e.waits, Forget: e.forget, Marks: e.marks, Writes: e.writing}
	e.forget = nil
	e.pending, e.handoffs, e.kept, e.settled, e.waits = nil, nil, nil, nil, nil
	e.marks, e.writing = nil, nil
	return c
}
