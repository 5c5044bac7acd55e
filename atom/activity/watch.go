package activity

import (
	"sync"
	"sync/atomic"
)

// Watchers wakes goroutines that wait for a change of an execution. The zero
// value is ready to use.
type Watchers struct {
	count atomic.Int64
	mu    sync.Mutex
	bySeq map[int64]map[*Watch]struct{}
}

// Watch receives on C after changes of one execution.
type Watch struct {
	C   <-chan struct{} // receives after a commit
	c   chan struct{}
	seq int64
	of  *Watchers

	closing func() // called by Close; nil: nothing
}

// OnClose sets a function that Close calls. It may be called more than once.
func (x *Watch) OnClose(f func()) { x.closing = f }

// Watch returns a watch on an execution. It must be closed. Commits after Watch
// returns are signaled; the caller looks at the execution once before it waits.
func (w *Watchers) Watch(seq int64) *Watch {
	c := make(chan struct{}, 1)
	x := &Watch{C: c, c: c, seq: seq, of: w}
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.bySeq == nil {
		w.bySeq = map[int64]map[*Watch]struct{}{}
	}
	if w.bySeq[seq] == nil {
		w.bySeq[seq] = map[*Watch]struct{}{}
	}
	w.bySeq[seq][x] = struct{}{}
	w.count.Add(1)
	return x
}

// Close ends the watch.
func (x *Watch) Close() {
	if x.of == nil {
		return
	}
	if x.closing != nil {
		x.closing()
	}
	x.of.mu.Lock()
	defer x.of.mu.Unlock()
	if _, ok := x.of.bySeq[x.seq][x]; !ok {
		return
	}
	x.of.count.Add(-1)
	if delete(x.of.bySeq[x.seq], x); len(x.of.bySeq[x.seq]) == 0 {
		delete(x.of.bySeq, x.seq)
	}
}

// Wake signals the watches on an execution.
func (w *Watchers) Wake(seq int64) {
	if w.count.Load() == 0 {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	for x := range w.bySeq[seq] {
		select {
		case x.c <- struct{}{}:
		default:
		}
	}
}
