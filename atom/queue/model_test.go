package queue

import (
	"cmp"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"valence/atom/store"
	"valence/internal/clock"
)

// TestModel drives a queue over a store in memory, in any order of these steps:
// a message is accepted; a commit becomes visible, and later it is announced; a
// read opens its snapshot, and later it returns; a worker commits how its
// execution ends, and later it releases it; an execution wakes or is
// cancelled. No execution may run twice at once, while it is suspended, after
// its end, or not at all.
func TestModel(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tb := struct{ testing.TB }{t} // without Deadline, which a bubble does not have
		for range 10 {                // the default number of checks is small
			rapid.Check(tb, checkModel)
		}
	})
}

func checkModel(t *rapid.T) {
	m := newModel(t)
	defer m.close()
	steps := map[string]func(*rapid.T){
		"accept":  m.accept,
		"reserve": func(*rapid.T) { m.reserved = append(m.reserved, m.take()) },
		"announce": func(*rapid.T) {
			if len(m.commits) > 0 {
				m.announce()
			}
		},
		"return":   func(t *rapid.T) { m.returnRead(rapid.Uint().Draw(t, "read"), rapid.Uint8().Draw(t, "fails") < 16) },
		"commit":   func(t *rapid.T) { m.commitRun(rapid.Uint().Draw(t, "run"), rapid.IntRange(0, 2).Draw(t, "how")) },
		"release":  func(t *rapid.T) { m.release(rapid.Uint().Draw(t, "run")) },
		"wake":     func(t *rapid.T) { m.wake(rapid.Uint().Draw(t, "execution")) },
		"cancel":   func(t *rapid.T) { m.cancel(rapid.Uint().Draw(t, "execution")) },
		"takeover": func(*rapid.T) { m.takeover() },
		"later":    func(t *rapid.T) { time.Sleep(time.Duration(rapid.IntRange(1, 1500).Draw(t, "ms")) * time.Millisecond) },
		"":         func(t *rapid.T) { m.check(t) },
	}
	t.Repeat(steps)
	m.settle(t)
}

// item is an execution in the store of the model.
type item struct {
	seq       int64
	due       time.Time // zero: ready, or it waits for a signal
	lane      string
	suspended bool
	signaled  bool // while it ran
	ended     bool
	dropped   bool // the queue knows that it ended
}

// run is a run of an execution by a worker.
type run struct {
	item   *item
	finish chan Result
	result Result
	commit int // number of the commit that ended the run; 0: none
}

// takeover ends the lease of the queue, which then adopts all executions again.
// Runs of the first lease cannot commit.
func (m *model) takeover() {
	for len(m.commits) > 0 {
		m.announce()
	}
	m.mu.Lock()
	for _, r := range m.runs {
		if r.commit == 0 {
			r.commit = m.announced
		}
	}
	live := int64(0)
	for _, x := range m.items {
		if !x.ended {
			live++
		}
		x.signaled = false
	}
	m.mu.Unlock()
	m.queue.Drop()
	m.queue.Restore(live)
}

// over reports whether a run may be released.
func (r *run) over(announced int) bool {
	return r.commit != 0 && r.commit <= announced || r.commit == 0 && r.item.dropped
}

// read is a read that has its snapshot.
type read struct {
	sees   int // number of the newest visible commit
	finish chan error
}

// model is a Source and a Runner that stop until the test lets them go on.
type model struct {
	queue *Queue
	limit int

	mu        sync.Mutex // never held while calling the queue, except by Heads
	reserved  []int64
	next      int64
	items     map[int64]*item
	lanes     map[string][]int64 // the head first
	commits   []func()           // announcements of visible commits
	announced int                // number of announced commits
	runs      []*run
	reads     []*read
	wrong     string
	closing   bool
}

func newModel(t *rapid.T) *model {
	m := &model{items: map[int64]*item{}, lanes: map[string][]int64{}, limit: rapid.IntRange(1, 4).Draw(t, "workers")}
	s := NewSet(m, m, clock.New(nil), slog.New(slog.DiscardHandler))
	s.bounds = bounds{items: rapid.IntRange(1, 5).Draw(t, "window"), bytes: 1 << 20, refill: rapid.IntRange(1, 4).Draw(t, "refill")}
	s.Start()
	m.queue = s.Queue("p")
	return m
}

// close lets all goroutines end.
func (m *model) close() {
	m.queue.set.Stop()
	m.queue.set.Close()
	m.mu.Lock()
	m.closing = true
	for _, r := range m.runs {
		close(r.finish)
	}
	for _, r := range m.reads {
		close(r.finish)
	}
	m.mu.Unlock()
	m.queue.set.Wait()
}

func (m *model) check(t *rapid.T) {
	synctest.Wait()
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.wrong != "" {
		t.Fatal(m.wrong)
	}
}

func (m *model) take() int64 {
	m.next++
	return m.next
}

// commit makes a change visible, and appends its announcement. It returns the
// number of the commit.
func (m *model) commit(announcement func()) int {
	m.commits = append(m.commits, announcement)
	return m.announced + len(m.commits)
}

func (m *model) announce() {
	first := m.commits[0]
	first()
	synctest.Wait() // a worker that took an execution runs it before the next announcement may end it
	m.mu.Lock()
	defer m.mu.Unlock()
	m.commits = m.commits[1:]
	m.announced++
}

func (m *model) accept(t *rapid.T) {
	m.mu.Lock()
	defer m.mu.Unlock()
	x := &item{}
	if n := len(m.reserved); n > 0 && rapid.Bool().Draw(t, "reserved") {
		x.seq, m.reserved = m.reserved[n-1], m.reserved[:n-1]
	} else {
		x.seq = m.take()
	}
	waits := false
	switch rapid.IntRange(0, 3).Draw(t, "kind") {
	case 1:
		x.due = time.Now()
	case 2:
		x.due = time.Now().Add(time.Duration(rapid.IntRange(1, 2000).Draw(t, "ms")) * time.Millisecond)
	case 3:
		x.lane = rapid.SampledFrom([]string{"a", "b"}).Draw(t, "lane")
		m.lanes[x.lane] = append(m.lanes[x.lane], x.seq)
		waits = len(m.lanes[x.lane]) > 1
	}
	m.items[x.seq] = x
	r := x.record()
	r.WaitsInLane = waits
	m.commit(func() { m.queue.Push(r) })
}

func (x *item) record() *store.Record {
	r := record(x.seq)
	r.Due = x.due
	if x.lane != "" {
		r.Lane = &store.Lane{Key: x.lane}
	}
	return r
}

// isHead reports whether an item is the head of its lane, or in no lane.
func (m *model) isHead(x *item) bool { return x.lane == "" || m.lanes[x.lane][0] == x.seq }

// isReady reports whether an item may run.
func (m *model) isReady(x *item) bool {
	if x.due.IsZero() {
		return !x.suspended && m.isHead(x)
	}
	return !x.due.After(time.Now())
}

// end ends an item, and announces the next head of its lane.
func (m *model) end(x *item, announcement func()) int {
	x.ended = true
	head := int64(0)
	if x.lane != "" {
		wasHead := m.isHead(x)
		m.lanes[x.lane] = slices.DeleteFunc(m.lanes[x.lane], func(seq int64) bool { return seq == x.seq })
		if l := m.lanes[x.lane]; wasHead && len(l) > 0 {
			head = l[0]
		}
	}
	return m.commit(func() {
		if head != 0 {
			m.queue.PushReady(store.Wakeup{Seq: head, HeadOfLane: true, Record: m.items[head].record()})
		}
		announcement()
	})
}

// Workers implements Runner.
func (m *model) Workers(string) int { return m.limit }

// Run implements Runner. It blocks until the test releases the execution.
func (m *model) Run(_ *Queue, rec *store.Record) Result {
	m.mu.Lock()
	x := m.items[rec.Seq]
	again := slices.ContainsFunc(m.runs, func(r *run) bool { return r.item == x })
	switch {
	case again:
		m.wrong = cmp.Or(m.wrong, fmt.Sprintf("execution %d runs twice at once", x.seq))
	case x.dropped:
		m.wrong = cmp.Or(m.wrong, fmt.Sprintf("execution %d runs after its end", x.seq))
	case !x.ended && !m.isReady(x):
		m.wrong = cmp.Or(m.wrong, fmt.Sprintf("execution %d runs and is not ready", x.seq))
	}
	r := &run{item: x, finish: make(chan Result)}
	m.runs = append(m.runs, r)
	closing := m.closing
	m.mu.Unlock()
	if closing {
		return Result{}
	}
	return <-r.finish
}

// The ways in which a run ends.
const (
	ends = iota
	sleeps
	waitsForSignal
)

// commitRun commits how a run ends.
func (m *model) commitRun(n uint, how int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	open := slices.DeleteFunc(slices.Clone(m.runs), func(r *run) bool { return r.commit != 0 })
	if len(open) == 0 {
		return
	}
	r := open[n%uint(len(open))]
	x := r.item
	if x.ended { // it was cancelled: its commit fails
		r.commit = m.announced
		return
	}
	if how == ends {
		r.result.Ended = true
		r.commit = m.end(x, func() { m.drop(x) })
		return
	}
	x.suspended, x.due = true, time.Time{}
	if how == sleeps {
		x.due = time.Now().Add(time.Second)
		r.result.Due = x.due
	}
	announcement := func() {}
	if x.signaled {
		x.signaled, x.due = false, time.Unix(0, 1)
		announcement = func() { m.queue.PushReady(store.Wakeup{Seq: x.seq}) }
	}
	r.commit = m.commit(announcement)
}

// release ends a run whose commit is announced.
func (m *model) release(n uint) {
	m.mu.Lock()
	var over []*run
	for _, r := range m.runs {
		if r.over(m.announced) {
			over = append(over, r)
		}
	}
	if len(over) == 0 {
		m.mu.Unlock()
		return
	}
	r := over[n%uint(len(over))]
	m.runs = slices.DeleteFunc(m.runs, func(x *run) bool { return x == r })
	m.mu.Unlock()
	r.finish <- r.result
	synctest.Wait()
}

// live returns an item that has not ended; nil if there is none.
func (m *model) live(n uint) *item {
	var seqs []int64
	for _, seq := range slices.Sorted(maps.Keys(m.items)) {
		if !m.items[seq].ended {
			seqs = append(seqs, seq)
		}
	}
	if len(seqs) == 0 {
		return nil
	}
	return m.items[seqs[n%uint(len(seqs))]]
}

func (m *model) isRunning(x *item) bool {
	return slices.ContainsFunc(m.runs, func(r *run) bool { return r.item == x && r.commit == 0 })
}

// wake commits a signal for an execution that runs or is suspended.
func (m *model) wake(n uint) {
	m.mu.Lock()
	defer m.mu.Unlock()
	switch x := m.live(n); {
	case x == nil:
	case m.isRunning(x):
		x.signaled = true
	case x.suspended:
		x.due = time.Unix(0, 1)
		m.commit(func() { m.queue.PushReady(store.Wakeup{Seq: x.seq}) })
	}
}

// cancel ends an execution that does not run.
func (m *model) cancel(n uint) {
	m.mu.Lock()
	x := m.live(n)
	if x == nil || m.isRunning(x) {
		m.mu.Unlock()
		return
	}
	m.mu.Unlock()
	m.queue.Remove(x.seq)
	m.mu.Lock()
	defer m.mu.Unlock()
	m.end(x, func() {
		m.queue.DropEnded(x.seq)
		m.drop(x)
	})
}

// drop notes that the queue knows the end of an execution.
func (m *model) drop(x *item) {
	m.mu.Lock()
	defer m.mu.Unlock()
	x.dropped = true
}

// settle lets everything go on until every execution has ended.
func (m *model) settle(t *rapid.T) {
	for range 20 * (len(m.items) + 5) {
		m.check(t)
		for len(m.commits) > 0 {
			m.announce()
		}
		synctest.Wait()
		m.returnRead(0, false)
		m.commitRun(0, ends)
		for len(m.commits) > 0 {
			m.announce()
		}
		m.release(0)
		time.Sleep(100 * time.Millisecond)
		m.signalAll()
	}
	m.mu.Lock()
	for _, x := range m.items {
		if !x.ended {
			t.Errorf("execution %d did not run until its end: %+v", x.seq, *x)
		}
	}
	m.mu.Unlock()
	if waiting, running := m.queue.Load(); waiting != 0 || running != 0 {
		t.Errorf("got %d waiting and %d running at the end, want none", waiting, running)
	}
}

// signalAll commits a signal for each execution that waits for one.
func (m *model) signalAll() {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, x := range m.items {
		if x.suspended && x.due.IsZero() && !x.ended && !m.isRunning(x) {
			x.due = time.Unix(0, 1)
			m.commit(func() { m.queue.PushReady(store.Wakeup{Seq: x.seq}) })
		}
	}
}
