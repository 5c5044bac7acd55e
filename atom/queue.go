package atom

import (
	"context"
	"math"
	"sync"
	"time"
)

// What a queue holds in memory: beyond it, what waits is on disk alone.
const (
	windowItems = 4096
	windowBytes = 8 << 20
	refill      = 256
)

// mostParking is how many executions of a process are put on hold at once.
const mostParking = 256

// queue gives a process' durable executions to its workers: the accepted ones
// in the order of commit, and those whose time to run again has come. It
// keeps a window of them in memory and reads the rest from the store when the
// window is empty. A worker is a goroutine that exists while there is work.
type queue struct {
	atom    *Atom
	process string

	mu       sync.Mutex
	window   []*Record
	bytes    int
	held     map[int64]bool // in the window or running; true: it became ready again meanwhile
	high     int64          // newest Seq taken from the order of commit
	newest   int64          // newest Seq committed
	spilled  bool           // the store has accepted ones after high
	due      bool           // the store may have some whose time has come
	turns    bool           // it may have some that are first in their lane
	left     map[int64]bool // let go of while the store is read; nil: it is not
	more     bool           // it has more of them than were read
	filling  bool           // a worker is reading, or reading failed and waits
	running  int
	parking  int   // that were workers: what they ran is being held
	waiting  int64 // live executions, running ones included
	nextDue  time.Time
	alarm    *time.Timer
	failures int // reads of the store that failed in a row
	closed   bool
}

func newQueue(a *Atom, process string) *queue {
	return &queue{atom: a, process: process, held: map[int64]bool{}}
}

// recover makes the queue read what an earlier run left: n executions.
func (q *queue) recover(n int64) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.waiting += n
	q.spilled, q.due, q.turns = true, true, true
	q.wake()
}

// push takes an execution that was just accepted. It is called in the order
// of commit and does not block.
func (q *queue) push(r *Record) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.waiting++
	if r.Lane != nil {
		q.pushLaned(r)
		return
	}
	q.newest = r.Seq
	if q.spilled || len(q.window) >= windowItems || q.bytes >= windowBytes {
		q.spilled = true
		return
	}
	q.high = r.Seq
	q.add(r)
	q.wake()
}

// pushLaned takes one that is in a lane: those behind others are counted, and
// come when their turn does.
func (q *queue) pushLaned(r *Record) {
	switch {
	case r.Behind:
		return
	case q.turns || len(q.window) >= windowItems || q.bytes >= windowBytes:
		q.turns = true
	default:
		q.add(r)
	}
	q.wake()
}

// offer takes an execution that was accepted with a Due of now: the rest of
// one that replied early. One that is behind others in its lane is counted.
func (q *queue) offer(r *Record) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.waiting++
	if r.Behind {
		return
	}
	if len(q.window) < windowItems && q.bytes < windowBytes {
		q.add(r)
	} else {
		q.due = true
	}
	q.wake()
}

// again takes an execution that may run again. One that is in hand, because it
// was made ready while it ran or before its worker let go of it, is looked at
// once more afterwards. It is called in the order of commit and does not block.
func (q *queue) again(r Ready) {
	q.mu.Lock()
	defer q.mu.Unlock()
	switch {
	case !r.Later.IsZero(): // it was accepted
		q.waiting++
		q.schedule(r.Later)
		return
	case q.has(r.Seq):
		q.held[r.Seq] = true
		return
	case r.Record != nil && len(q.window) < windowItems && q.bytes < windowBytes:
		q.add(r.Record)
	case r.Turn:
		q.turns = true
	default:
		q.due = true
	}
	q.wake()
}

func (q *queue) add(r *Record) {
	q.window = append(q.window, r)
	q.bytes += len(r.Doc)
	q.held[r.Seq] = false
}

// inHand is has for who does not hold the lock.
func (q *queue) inHand(seq int64) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.has(seq)
}

func (q *queue) has(seq int64) bool {
	_, ok := q.held[seq]
	return ok
}

// schedule makes sure that the queue looks for due executions at a time.
func (q *queue) schedule(at time.Time) {
	if at.IsZero() || q.closed || !q.nextDue.IsZero() && !at.Before(q.nextDue) {
		return
	}
	q.nextDue = at
	if q.alarm != nil {
		q.alarm.Stop()
	}
	q.alarm = time.AfterFunc(max(time.Until(at), 0), func() {
		q.mu.Lock()
		defer q.mu.Unlock()
		q.nextDue, q.due = time.Time{}, true
		q.wake()
	})
}

// wake starts workers for what there is to do, as many as the process may have.
func (q *queue) wake() {
	if q.closed || !q.atom.started.Load() || q.atom.stopping.Load() {
		return
	}
	want := len(q.window)
	if (q.spilled || q.due || q.turns || q.more) && !q.filling {
		want++
	}
	for limit := q.atom.workersOf(q.process); want > 0 && q.running < limit; want-- {
		q.running++
		q.atom.workers.Add(1)
		go q.worker()
	}
}

func (q *queue) worker() {
	defer q.atom.workers.Done()
	for {
		r := q.next()
		if r == nil {
			return
		}
		start := time.Now()
		after := q.atom.runRecord(q, r)
		q.done(r, after)
		if after.left {
			return
		}
		q.atom.giveWay(time.Since(start))
	}
}

// leave gives this worker's place to another while what it ran is put on hold:
// a system that is down has nobody wait for a commit after the other. It
// reports whether it did; then the worker has nothing more to run.
func (q *queue) leave() bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.parking >= mostParking {
		return false
	}
	q.parking++
	q.running--
	q.wake()
	return true
}

// next gives the execution to run, or nil after taking this worker off the
// count: there is nothing to do for it.
func (q *queue) next() *Record {
	q.mu.Lock()
	defer q.mu.Unlock()
	for !q.atom.stopping.Load() && !q.closed {
		if !q.filling && (q.due || (q.spilled || q.turns || q.more) && len(q.window) == 0) {
			q.fill()
			continue
		}
		if len(q.window) == 0 {
			break
		}
		r := q.window[0]
		q.window[0] = nil
		q.window = q.window[1:]
		q.bytes -= len(r.Doc)
		return r
	}
	q.running--
	return nil
}

// fill reads from the store, without the lock. One worker does so at a time.
func (q *queue) fill() {
	q.filling = true
	due, high, room := q.due || q.more, q.high, q.spilled && len(q.window) == 0
	turns := q.turns && len(q.window) == 0
	newest := q.newest
	q.left = map[int64]bool{}
	limit := refill + len(q.held)
	q.due, q.more = false, false
	if turns {
		q.turns = false
	}
	q.mu.Unlock()

	ctx := context.Background()
	var late, accepted, first []*Record
	var next time.Time
	var err error
	now := time.Now()
	if due {
		late, next, err = q.atom.store.Due(ctx, q.process, now, limit)
	}
	if err == nil && room {
		accepted, err = q.atom.store.Ready(ctx, q.process, high, refill)
	}
	if err == nil && turns {
		first, err = q.atom.store.Heads(ctx, q.process, refill, q.inHand)
	}

	q.mu.Lock()
	left := q.left
	q.left = nil
	if err != nil {
		q.turns = q.turns || turns
		q.failures++
		q.atom.log.Error("cannot read what waits", "process", q.process, "error", err)
		q.backOff()
		return
	}
	q.filling, q.failures = false, 0
	// What was let go of meanwhile may have ended: what was read of it is old.
	for _, r := range late {
		if !q.has(r.Seq) && !left[r.Seq] {
			q.add(r)
		}
	}
	for _, r := range first {
		if !q.has(r.Seq) && !left[r.Seq] {
			q.add(r)
		}
	}
	q.turns = q.turns || len(first) == refill
	q.more = due && len(late) == limit
	q.schedule(next)
	for _, r := range accepted {
		if r.Seq > q.high {
			q.high = r.Seq
			if !q.has(r.Seq) {
				q.add(r)
			}
		}
	}
	if room && len(accepted) < refill {
		q.high = max(q.high, newest) // what is not there any more has ended
		q.spilled = q.newest > q.high
	}
	q.wake()
}

// backOff keeps the store from being asked again for a while, longer each time.
func (q *queue) backOff() {
	wait := min(time.Second<<min(q.failures-1, 5), 30*time.Second)
	time.AfterFunc(wait, func() {
		q.mu.Lock()
		defer q.mu.Unlock()
		q.filling, q.due = false, true
		q.wake()
	})
}

// done takes an execution off the hands: it ended, was parked until due, or
// was interrupted and stays for the next start.
func (q *queue) done(r *Record, what afterRun) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if what.left {
		q.parking--
	}
	again := q.held[r.Seq]
	delete(q.held, r.Seq)
	if q.left != nil {
		q.left[r.Seq] = true
	}
	if what.ended {
		q.waiting--
	}
	q.schedule(what.due)
	if again && !what.ended {
		q.due = true
		q.wake()
	}
}

// take removes an execution from the window if it is there, so that it never
// starts.
func (q *queue) take(seq int64) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	for i, r := range q.window {
		if r.Seq == seq {
			q.window = append(q.window[:i:i], q.window[i+1:]...)
			q.bytes -= len(r.Doc)
			delete(q.held, seq)
			return true
		}
	}
	return false
}

// lookAgain makes the queue read what it let go of.
func (q *queue) lookAgain() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.high, q.spilled, q.due, q.turns = 0, true, true, true
	q.wake()
}

// gone counts an execution that ended without a worker.
func (q *queue) gone() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.waiting--
}

func (q *queue) load() (waiting int64, running int) {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.waiting, q.running
}

func (q *queue) close() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.closed = true
	if q.alarm != nil {
		q.alarm.Stop()
	}
}

// full reports whether the backlog is over its limit.
func (q *queue) full(limit int) bool {
	if limit <= 0 {
		limit = math.MaxInt
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.waiting >= int64(limit)
}
