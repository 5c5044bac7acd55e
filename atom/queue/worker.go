package queue

import (
	"runtime"
	"time"

	"valence/atom/store"
)

// maxSuspending is how many executions of a process may release their slot
// while they are being suspended.
const maxSuspending = 256

// wake starts workers for the work there is, within the limit of the process.
// The caller holds q.mu.
func (q *Queue) wake() {
	if q.closed || q.set.phase.Load() != phaseRunning {
		return
	}
	want := len(q.window.records)
	if q.unread.any() && !q.fill.active {
		want++
	}
	for limit := q.set.runner.Workers(q.process); want > 0 && q.running < limit; want-- {
		q.running++
		q.set.workers.Add(1)
		go q.work()
	}
}

// work runs executions until there are none.
func (q *Queue) work() {
	defer q.set.workers.Done()
	for {
		r := q.next()
		if r == nil {
			return
		}
		start := time.Now()
		result := q.set.runner.Run(q, r)
		q.release(r, result)
		if result.SlotReleased {
			return
		}
		q.set.yield(time.Since(start))
	}
}

// next returns the execution to run. If there is none it uncounts the worker
// and returns nil.
func (q *Queue) next() *store.Record {
	q.mu.Lock()
	defer q.mu.Unlock()
	for q.set.phase.Load() != phaseStopped && !q.closed {
		u := &q.unread
		if !q.fill.active && (u.due || (u.accepted || u.heads || u.moreDue) && len(q.window.records) == 0) {
			q.refillWindow()
			continue
		}
		if q.running > q.set.runner.Workers(q.process) { // paused, or fewer workers since a deployment
			break
		}
		if r := q.window.pop(); r != nil {
			return r
		}
		break
	}
	q.running--
	return nil
}

// ReleaseSlot frees the caller's worker slot while its execution is being suspended, so that commits do not queue up when a system is
// down. It reports whether the slot was released; the worker then runs nothing else.
func (q *Queue) ReleaseSlot() bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.suspending >= maxSuspending {
		return false
	}
	q.suspending++
	q.running--
	q.wake()
	return true
}

// release ends the claim of a worker on an execution.
func (q *Queue) release(r *store.Record, result Result) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if result.SlotReleased {
		q.suspending--
	}
	recheck := q.window.claimed[r.Seq]
	delete(q.window.claimed, r.Seq)
	q.fill.leaves(r.Seq)
	if q.window.dropped[r.Seq] { // if it was restored since, a read has missed it
		delete(q.window.dropped, r.Seq)
		q.reload()
		return
	}
	if result.Ended {
		q.waiting--
	}
	q.schedule(result.Due)
	if recheck && !result.Ended {
		q.unread.due = true
		q.wake()
	}
}

// When many senders wait for their acknowledgement they compete for processor
// time, and an execution that runs now delays them. A worker therefore pauses
// before its next execution: for up to seven times as long as the last one
// took, so executions keep at least an eighth of their speed, and never longer
// than maxYield, so that those waiting for other systems lose little. Delayed
// executions are already on disk, and `backlog` bounds them.
const (
	yieldShare = 7
	maxYield   = 60 * time.Millisecond
)

// manySenders is the number of waiting senders from which workers yield.
var manySenders = int64(8 * runtime.GOMAXPROCS(0))

// yield pauses a worker in favor of senders, after an execution that took so long.
func (s *Set) yield(took time.Duration) {
	if s.senders.Load() < manySenders || s.phase.Load() == phaseStopped {
		return
	}
	time.Sleep(min(yieldShare*took, maxYield))
}
