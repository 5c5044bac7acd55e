package run

import (
	"context"
	"errors"
	"sync"
	"time"

	"valence/atom/steps"
	"valence/atom/store"
	"valence/internal/fault"
)

// pendingCommit is a commit of an execution that is under way. It commits the
// work of all paths, so a path whose work another path committed waits for
// that commit before its next effect.
type pendingCommit struct {
	before *pendingCommit // under way when this one began; nil: none
	done   chan struct{}  // closed when this one and those before it are over
	err    error          // of this one or of one before it: nothing may follow
	undone bool           // the work of this one, or of one before it, is pending again
}

func (m *pendingCommit) over() bool {
	select {
	case <-m.done:
		return true
	default:
		return false
	}
}

// end records the result of a commit once those before it are over, and
// returns the error of the first that failed.
func (m *pendingCommit) end(err error, undone bool) error {
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

// change returns the change that the next commit applies. The caller holds j.mu.
func (j *journal) change() *store.Change {
	if j.pending == nil {
		j.pending = &store.Change{Seq: j.own.seq, Epoch: j.own.epoch}
	}
	return j.pending
}

// takePending returns the pending change and starts a new one. The caller
// holds j.mu.
func (j *journal) takePending() *store.Change {
	c := j.change()
	j.pending = nil
	return c
}

// beginCommit starts a commit, which must be ended. The caller holds j.mu and
// has taken the pending change.
func (j *journal) beginCommit() *pendingCommit {
	m := &pendingCommit{before: j.newest, done: make(chan struct{})}
	if b := m.before; b != nil && b.over() {
		m.before, m.err = nil, b.err
	}
	j.newest = m
	return m
}

// flush commits the pending change, so that the next effect may happen. It
// returns when the finished work of all paths is on disk.
func (j *journal) flush(extra ...store.Entry) error {
	for {
		j.mu.Lock()
		if len(extra) > 0 {
			c := j.change()
			c.Entries = append(c.Entries, extra...)
			extra = nil
		}
		var c *store.Change
		last, wait := j.newest, false
		if p := j.pending; p != nil && len(p.Entries)+len(p.Handoffs)+len(p.Waits)+len(p.Writes)+len(p.Marks) > 0 {
			c, last = j.takePending(), j.beginCommit()
		} else if last != nil {
			wait = !last.over()
		}
		j.mu.Unlock()
		switch {
		case c != nil:
			err := j.engine.apply(c)
			if errors.Is(err, store.ErrEnded) { // cancelled meanwhile: nothing more happens
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
		if !last.undone || c == nil && !wait {
			return nil
		}
	}
}

// commitIf commits the pending change with an entry, on a condition. If the
// condition fails with refusal, it returns refusal, and the change is pending
// again without the entry.
func (j *journal) commitIf(cond store.Condition, x store.Entry, refusal error) error {
	j.mu.Lock()
	c := j.takePending()
	own := j.beginCommit()
	j.mu.Unlock()
	n := len(c.Entries)
	c.Entries = append(c.Entries, x)
	c.Require = append(c.Require, cond)
	err := j.engine.apply(c)
	switch {
	case errors.Is(err, refusal):
		c.Entries, c.Require = c.Entries[:n:n], nil
		j.restore(c)
		if err := own.end(nil, true); err != nil {
			return err
		}
		return refusal
	case errors.Is(err, store.ErrEnded):
		err = steps.Interrupted
	}
	return own.end(err, false)
}

// lateTime is how long the results of a path that has ended wait for another
// commit. Promise: they are on disk 50 ms after its end.
const lateTime = 20 * time.Millisecond

// lateCommit commits the results of paths that have ended while others run.
type lateCommit struct {
	timer *time.Timer // nil: none is due
	busy  sync.WaitGroup
}

// PathEnded implements steps.Effects. A single path never calls it.
func (j *journal) PathEnded() {
	if !j.own.durable {
		return
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.pending == nil || j.late.timer != nil {
		return
	}
	j.late.busy.Add(1)
	j.late.timer = time.AfterFunc(lateTime, func() {
		defer j.late.busy.Done()
		j.mu.Lock()
		j.late.timer = nil
		j.mu.Unlock()
		_ = j.flush() // settle returns its error
	})
}

// settle ends the late commits, when all paths have ended, and returns the error
// of the newest commit.
func (j *journal) settle() error {
	j.mu.Lock()
	if t := j.late.timer; t != nil && t.Stop() {
		j.late.timer = nil
		j.late.busy.Done()
	}
	j.mu.Unlock()
	j.late.busy.Wait()
	j.mu.Lock()
	newest := j.newest
	j.mu.Unlock()
	if newest == nil {
		return nil
	}
	<-newest.done
	return newest.err
}

// restore makes a refused change pending again, before newer work.
func (j *journal) restore(c *store.Change) {
	j.mu.Lock()
	defer j.mu.Unlock()
	since := j.pending
	j.pending = c
	if since == nil {
		return
	}
	c.Entries = append(c.Entries, since.Entries...)
	c.Handoffs = append(c.Handoffs, since.Handoffs...)
	c.Waits = append(c.Waits, since.Waits...)
	c.Marks = append(c.Marks, since.Marks...)
	c.Writes = append(c.Writes, since.Writes...)
	c.Trim = append(c.Trim, since.Trim...)
	if c.Reply == nil {
		c.Reply = since.Reply
	}
	if c.ClaimResult == nil {
		c.ClaimResult = since.ClaimResult
	}
}

// apply commits a change. It retries while the store is unavailable, because
// nothing may continue that is not on disk. It fails with steps.Interrupted
// when the atom stops or another member runs the execution, with the error of a
// condition that does not hold, with store.ErrCancelled, and with store.ErrEnded
// if the execution has ended.
func (g *Engine) apply(c *store.Change) error {
	for wait := 100 * time.Millisecond; ; wait = min(2*wait, 5*time.Second) {
		err := g.Store.Apply(context.WithoutCancel(g.Work), c)
		switch {
		case err == nil:
			return nil
		case errors.Is(err, store.ErrFenced): // the run of another member goes on
			return steps.Interrupted
		case !errors.Is(err, store.ErrUnavailable) && !errors.Is(err, store.ErrFull):
			if errors.Is(err, store.ErrEnded) {
				return store.ErrEnded
			}
			if errors.Is(err, store.ErrConflict) {
				return store.ErrConflict
			}
			if errors.Is(err, store.ErrCancelled) {
				return store.ErrCancelled
			}
			return &fault.Failure{Code: fault.CodeInternal, Source: fault.FromAtom, Message: "the store rejected a change: " + err.Error(), Cause: err}
		}
		select {
		case <-time.After(wait):
		case <-g.Work.Done():
			return steps.Interrupted
		}
	}
}
