// Package queue runs the ready executions of each process. A queue holds a
// window of them in memory, reads the rest from the store, and starts workers
// while there is work.
//
// The store announces every execution in the order of commit (Push, PushReady),
// and its reads return only after the announcements of all that they may have
// seen. So announcements and reads have one order, and no execution enters a
// window twice.
package queue

import (
	"context"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"valence/atom/store"
)

// Source reads the executions that a window does not hold. Its methods return
// after the announcements of every commit that they may have seen.
type Source interface {
	// Ready is store.Queue's.
	Ready(ctx context.Context, process string, after int64, limit int) ([]*store.Record, error)
	// Due is store.Queue's.
	Due(ctx context.Context, process string, until time.Time, limit int) ([]*store.Record, time.Time, error)
	// Heads is store.Lanes'.
	Heads(ctx context.Context, process string, limit int, claimed func(seq int64) bool) ([]*store.Record, error)
}

// Runner runs the executions of a queue. It is called by many workers at once.
type Runner interface {
	// Workers returns how many executions of a process may run at once. It is
	// called with the queue locked.
	Workers(process string) int
	// Run runs an execution until it ends, is suspended or is interrupted.
	Run(q *Queue, r *store.Record) Result
}

// Clock is the clock of the timers.
type Clock interface {
	// Now returns the time that timers are set and compared by.
	Now() time.Time
}

// Result reports how a run ended. The zero Result is an interrupted run, which
// continues at the next start.
type Result struct {
	Ended        bool
	Due          time.Time // suspended until then; zero: no time is set
	SlotReleased bool      // ReleaseSlot returned true during the run
}

// The phases of a Set. Workers start only while it runs.
const (
	phaseNew = iota
	phaseRunning
	phaseStopped
)

// Set holds one queue for each process.
type Set struct {
	source Source
	runner Runner
	clock  Clock
	log    *slog.Logger
	bounds bounds

	mu     sync.RWMutex
	queues map[string]*Queue // by process

	phase   atomic.Int32
	senders atomic.Int64 // that wait for their acknowledgement
	workers sync.WaitGroup
}

// NewSet returns a set without queues. Its workers start after Start. All times
// are those of the clock.
func NewSet(source Source, runner Runner, clock Clock, log *slog.Logger) *Set {
	return &Set{source: source, runner: runner, clock: clock, log: log, bounds: defaultBounds, queues: map[string]*Queue{}}
}

// Queue returns the queue of a process.
func (s *Set) Queue(process string) *Queue {
	s.mu.RLock()
	q := s.queues[process]
	s.mu.RUnlock()
	if q != nil {
		return q
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if q = s.queues[process]; q == nil {
		q = &Queue{set: s, process: process, window: window{bounds: &s.bounds, claimed: map[int64]bool{}, dropped: map[int64]bool{}}}
		s.queues[process] = q
	}
	return q
}

// Drop drops the executions of all queues.
func (s *Set) Drop() {
	s.mu.RLock()
	defer s.mu.RUnlock()
	for _, q := range s.queues {
		q.Drop()
	}
}

// Wake starts workers after the number of workers has changed.
func (s *Set) Wake() {
	s.mu.RLock()
	defer s.mu.RUnlock()
	for _, q := range s.queues {
		q.Wake()
	}
}

// Start lets workers start.
func (s *Set) Start() { s.phase.Store(phaseRunning) }

// Stop prevents workers from starting another execution. It does not wait.
func (s *Set) Stop() {
	s.phase.Store(phaseStopped)
	s.mu.RLock()
	defer s.mu.RUnlock()
	for _, q := range s.queues {
		q.Load() // its lock: a worker that is being started is counted before Wait
	}
}

// Wait blocks until every worker has returned. It must follow Stop.
func (s *Set) Wait() { s.workers.Wait() }

// Close stops the timers of all queues.
func (s *Set) Close() {
	s.mu.RLock()
	defer s.mu.RUnlock()
	for _, q := range s.queues {
		q.close()
	}
}

// AddSenders changes the number of senders that wait for their
// acknowledgement. Workers yield to them when there are many.
func (s *Set) AddSenders(n int64) { s.senders.Add(n) }
