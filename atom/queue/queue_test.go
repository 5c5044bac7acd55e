package queue

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"valence/atom/store"
	"valence/internal/clock"
)

// fake is a source with a fixed content, and a runner that records what it runs.
type fake struct {
	mu    sync.Mutex
	ready []*store.Record
	due   []*store.Record
	fails int // reads that fail before one succeeds
	ran   []int64
	run   func(q *Queue, r *store.Record) Result // nil: every execution ends
	limit int
}

func (f *fake) Ready(_ context.Context, _ string, after int64, limit int) ([]*store.Record, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.fails > 0 {
		f.fails--
		return nil, errors.New("the disk is away")
	}
	var list []*store.Record
	for _, r := range f.ready {
		if r.Seq > after && len(list) < limit {
			list = append(list, r)
		}
	}
	return list, nil
}

func (f *fake) Due(context.Context, string, time.Time, int) ([]*store.Record, time.Time, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	list := f.due
	f.due = nil
	return list, time.Time{}, nil
}

func (f *fake) Heads(context.Context, string, int, func(int64) bool) ([]*store.Record, error) {
	return nil, nil
}

func (f *fake) Workers(string) int { return max(f.limit, 1) }

func (f *fake) Run(q *Queue, r *store.Record) Result {
	f.mu.Lock()
	f.ran = append(f.ran, r.Seq)
	run := f.run
	f.mu.Unlock()
	if run == nil {
		return Result{Ended: true}
	}
	return run(q, r)
}

func (f *fake) order() []int64 {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.ran)
}

func record(seq int64) *store.Record { return &store.Record{Message: store.Message{Seq: seq}} }

func newTestSet(f *fake) *Set { return NewSet(f, f, clock.New(nil), slog.New(slog.DiscardHandler)) }

// checkRan compares the executions that ran.
func checkRan(t *testing.T, f *fake, want ...int64) {
	t.Helper()
	if got := f.order(); !slices.Equal(got, want) {
		t.Errorf("ran %v, want %v", got, want)
	}
}

func TestWorkersStartOnlyWhileTheSetRuns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fake{}
		s := newTestSet(f)
		q := s.Queue("p")
		q.Push(record(1))
		synctest.Wait()
		checkRan(t, f)
		s.Start()
		q.Push(record(2))
		synctest.Wait()
		checkRan(t, f, 1, 2)
		s.Stop()
		q.Push(record(3))
		s.Wait()
		checkRan(t, f, 1, 2)
		if waiting, running := q.Load(); waiting != 1 || running != 0 {
			t.Errorf("got %d waiting and %d running, want 1 and 0", waiting, running)
		}
	})
}

// An execution that becomes ready while it runs is read again when its worker
// releases it.
func TestClaimedExecutionIsRecheckedOnRelease(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fake{}
		first := true
		f.run = func(q *Queue, r *store.Record) Result {
			if !first {
				return Result{Ended: true}
			}
			first = false
			f.mu.Lock()
			f.due = []*store.Record{record(r.Seq)}
			f.mu.Unlock()
			q.PushReady(store.Wakeup{Seq: r.Seq})
			return Result{}
		}
		s := newTestSet(f)
		s.Start()
		s.Queue("p").Push(record(1))
		synctest.Wait()
		checkRan(t, f, 1, 1)
	})
}

// A failed read is repeated after a delay.
func TestReadIsRepeatedAfterFailure(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fake{ready: []*store.Record{record(1), record(2)}, fails: 2}
		s := newTestSet(f)
		s.Start()
		s.Queue("p").Restore(2)
		synctest.Wait()
		checkRan(t, f)
		time.Sleep(3 * time.Second) // one second and two: the delays in the bubble
		synctest.Wait()
		checkRan(t, f, 1, 2)
	})
}

// A worker that released its slot lets another execution run.
func TestReleasedSlotRunsAnotherExecution(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fake{}
		suspend := make(chan struct{})
		f.run = func(q *Queue, r *store.Record) Result {
			if r.Seq != 1 {
				return Result{Ended: true}
			}
			released := q.ReleaseSlot()
			<-suspend
			return Result{SlotReleased: released}
		}
		s := newTestSet(f)
		s.Start()
		q := s.Queue("p")
		q.Push(record(1))
		q.Push(record(2))
		synctest.Wait()
		checkRan(t, f, 1, 2)
		close(suspend)
		synctest.Wait()
		if waiting, running := q.Load(); waiting != 1 || running != 0 {
			t.Errorf("got %d waiting and %d running, want 1 and 0", waiting, running)
		}
	})
}

func TestRemovedExecutionDoesNotRun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fake{}
		block := make(chan struct{})
		f.run = func(*Queue, *store.Record) Result { <-block; return Result{Ended: true} }
		s := newTestSet(f)
		s.Start()
		q := s.Queue("p")
		q.Push(record(1))
		q.Push(record(2))
		synctest.Wait()
		if !q.Remove(2) || q.Remove(1) {
			t.Error("got another result of Remove, want true for the waiting execution only")
		}
		q.DropEnded(2)
		close(block)
		synctest.Wait()
		checkRan(t, f, 1)
		if waiting, _ := q.Load(); waiting != 0 {
			t.Errorf("got %d waiting, want 0", waiting)
		}
	})
}
