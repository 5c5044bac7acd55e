package queue

import (
	"math"
	"sync"
	"time"

	"valence/atom/store"
)

// Queue holds the ready executions of one process: accepted ones in the order
// of commit, and suspended ones whose time has come. Its methods may be called
// from many goroutines and do not block.
//
// An execution enters the window when the store announces it (Push, PushReady)
// or, if the window was full, by a later read. A read is stale when it returns:
// an execution may have entered the window, run and left it meanwhile. Every
// execution that a read returns has been announced before the read returns, so
// the queue adds it unless it is in the window, runs, or left during the read.
type Queue struct {
	set     *Set
	process string

	mu         sync.Mutex // guards everything below
	window     window
	unread     unread
	fill       fillState
	alarm      alarm
	running    int   // workers
	suspending int   // former workers whose execution is being suspended
	waiting    int64 // live executions, running ones included
	closed     bool
}

// Restore adds n executions of an earlier start or of another member, which the
// queue reads from the store. Their Seq may be any.
func (q *Queue) Restore(n int64) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.waiting += n
	q.reload()
}

// Drop removes and uncounts all executions, because other members run them now.
// Those that run end without being counted again.
func (q *Queue) Drop() {
	q.mu.Lock()
	defer q.mu.Unlock()
	w := &q.window
	for _, r := range w.records {
		q.fill.leaves(r.Seq)
		delete(w.claimed, r.Seq)
	}
	w.records, w.bytes = nil, 0
	for seq := range w.claimed {
		w.dropped[seq] = true
	}
	q.waiting, q.fill.dropped = 0, true
	q.unread = unread{}
}

// Push adds an execution that the store announces as accepted. It must be
// called in the order of commit. One that waits in its lane is only counted;
// PushReady announces its turn.
func (q *Queue) Push(r *store.Record) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.waiting++
	switch {
	case r.WaitsInLane:
		return
	case !r.Due.IsZero():
		q.pushDue(r)
	case r.Lane != nil:
		if q.unread.heads || q.window.full() {
			q.unread.heads = true
		} else {
			q.window.add(r)
		}
	default:
		q.pushNext(r)
	}
	q.wake()
}

// pushDue adds an execution with a Due.
func (q *Queue) pushDue(r *store.Record) {
	switch {
	case r.Due.After(q.set.clock.Now()):
		q.schedule(r.Due)
	case q.window.full():
		q.unread.due = true
	default:
		q.window.add(r)
	}
}

// pushNext adds an execution that Ready returns. It stays in the store only
// while older ones do.
func (q *Queue) pushNext(r *store.Record) {
	u := &q.unread
	switch {
	case u.accepted || q.window.full():
		u.accepted = true
		if r.Seq <= u.cursor { // its Seq was reserved before the cursor moved past it
			q.rewind(r.Seq - 1)
		}
		q.fill.pushed(r.Seq)
	default:
		u.cursor = max(u.cursor, r.Seq)
		q.window.add(r)
	}
	u.newest = max(u.newest, r.Seq)
}

// rewind makes the next read begin at an earlier Seq. The caller holds q.mu.
func (q *Queue) rewind(cursor int64) {
	q.unread.cursor, q.unread.accepted, q.fill.rewound = cursor, true, true
}

// PushReady adds an execution that may run again. A claimed execution is
// rechecked on release. It must be called in the order of commit.
func (q *Queue) PushReady(w store.Wakeup) {
	q.mu.Lock()
	defer q.mu.Unlock()
	switch {
	case q.window.has(w.Seq):
		q.window.claimed[w.Seq] = true
		return
	case w.Record != nil && !q.window.full():
		q.window.add(w.Record)
	case w.HeadOfLane:
		q.unread.heads = true
	default:
		q.unread.due = true
	}
	q.wake()
}

// Remove removes an execution from the window, so that it does not start. It
// reports whether the window held it.
func (q *Queue) Remove(seq int64) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.remove(seq)
}

// remove is Remove. The read under way does not return the execution to the
// window. The caller holds q.mu.
func (q *Queue) remove(seq int64) bool {
	q.fill.leaves(seq)
	return q.window.remove(seq)
}

// Wake starts workers after the number of workers has changed.
func (q *Queue) Wake() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.wake()
}

// Reload makes the queue read removed executions again.
func (q *Queue) Reload() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.reload()
}

// reload is Reload. The caller holds q.mu.
func (q *Queue) reload() {
	q.rewind(0)
	q.unread.due, q.unread.heads = true, true
	q.wake()
}

// DropEnded removes and uncounts an execution that ended without a worker: it
// was superseded, cancelled or expired.
func (q *Queue) DropEnded(seq int64) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.remove(seq)
	q.waiting--
}

// Load returns the number of live executions, running ones included, and the
// number of workers.
func (q *Queue) Load() (waiting int64, running int) {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.waiting, q.running
}

// Full reports whether the backlog has reached its limit; 0 is no limit.
func (q *Queue) Full(limit int) bool {
	if limit <= 0 {
		limit = math.MaxInt
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.waiting >= int64(limit)
}

func (q *Queue) close() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.closed = true
	if q.alarm.timer != nil {
		q.alarm.timer.Stop()
	}
}

// alarm wakes a queue when its next suspended execution is due.
type alarm struct {
	at    time.Time // zero: not set
	timer *time.Timer
}

// schedule makes the queue read due executions at a time, unless it does so
// earlier. The caller holds q.mu.
func (q *Queue) schedule(at time.Time) {
	if at.IsZero() || q.closed || !q.alarm.at.IsZero() && !at.Before(q.alarm.at) {
		return
	}
	q.alarm.at = at
	if q.alarm.timer != nil {
		q.alarm.timer.Stop()
	}
	q.alarm.timer = time.AfterFunc(max(at.Sub(q.set.clock.Now()), 0), func() {
		q.mu.Lock()
		defer q.mu.Unlock()
		q.alarm.at, q.unread.due = time.Time{}, true
		q.wake()
	})
}

// bounds limit the window of a queue. Executions beyond it are only in the store.
type bounds struct {
	items, bytes int // in the window
	refill       int // executions that one read returns
}

var defaultBounds = bounds{items: 4096, bytes: 8 << 20, refill: 256}

// window is the part of a queue that is in memory.
type window struct {
	records []*store.Record // in the order in which they run
	bytes   int             // of their documents
	bounds  *bounds
	claimed map[int64]bool // by Seq: in records or with a worker; true: it became ready again meanwhile
	dropped map[int64]bool // by Seq: with a worker since before Drop
}

func (w *window) full() bool { return len(w.records) >= w.bounds.items || w.bytes >= w.bounds.bytes }

func (w *window) has(seq int64) bool {
	_, ok := w.claimed[seq]
	return ok
}

// add appends an execution, unless it is claimed.
func (w *window) add(r *store.Record) {
	if w.has(r.Seq) {
		return
	}
	w.records = append(w.records, r)
	w.bytes += len(r.Doc)
	w.claimed[r.Seq] = false
}

// pop returns the first execution, which stays claimed; nil if there is none.
func (w *window) pop() *store.Record {
	if len(w.records) == 0 {
		return nil
	}
	r := w.records[0]
	w.records[0] = nil
	w.records = w.records[1:]
	w.bytes -= len(r.Doc)
	return r
}

func (w *window) remove(seq int64) bool {
	if !w.has(seq) {
		return false
	}
	for i, r := range w.records {
		if r.Seq == seq {
			w.records = append(w.records[:i:i], w.records[i+1:]...)
			w.bytes -= len(r.Doc)
			delete(w.claimed, seq)
			return true
		}
	}
	return false
}
