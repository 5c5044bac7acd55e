package sandbox

import (
	"context"
	"errors"
	"fmt"
	"os"
	"runtime"
	"time"

	"valence/atom/run"
	"valence/atom/store/sqlite"
	"valence/connectors"
	"valence/processes/testrun"
)

// crash counts the events of a run, and stops the atom at one of them.
type crash struct {
	at       int // event, counted from 1; 0: none
	events   []testrun.Event
	answered map[attemptKey]*answered
	over     bool // the atom has crashed
}

// attemptKey identifies one attempt of a call.
type attemptKey struct {
	execution int64
	key, page string
	number    int
}

// answered is the answer to an attempt, with the time that it took.
type answered struct {
	testrun.Answer
	began, ended time.Time
}

// reached records an event. At the event of the crash it ends the goroutine: no
// step and no commit follows.
func (c *crash) reached(e testrun.Event) {
	if c.over {
		return
	}
	c.events = append(c.events, e)
	if len(c.events) == c.at {
		c.over = true
		runtime.Goexit()
	}
}

// callOnDisk answers one attempt of a call. One that was made before a crash is
// answered as then, at the same time, unless the scenario has another answer.
func (w *world) callOnDisk(ctx context.Context, a *run.Attempt, call *testrun.Call) (*connectors.Result, error) {
	w.crash.reached(testrun.Event{Kind: testrun.BeforeCall, Step: call.Step})
	key := attemptKey{a.Execution, a.Key, a.Call.Page, a.Number}
	if before := w.crash.answered[key]; before != nil {
		w.clock.Set(before.began)
		w.record.called(a, call)
		answer := w.scenario.Crash.Again(call, before.Answer)
		result, err := w.respond(ctx, a, call, &answer)
		w.clock.Set(before.ended) // the deadline of this attempt is another one
		return result, err
	}
	w.record.called(a, call)
	made := &answered{Answer: w.scenario.Answer(call), began: w.clock.Now()}
	w.crash.answered[key] = made
	answer := made.Answer
	result, err := w.respond(ctx, a, call, &answer)
	made.ended = w.clock.Now()
	w.crash.reached(testrun.Event{Kind: testrun.AfterCall, Step: call.Step})
	return result, err
}

// runOnDisk is Run with a store on disk, and a crash.
func (w *world) runOnDisk(ctx context.Context) (out *testrun.Outcome, err error) {
	w.crash = crash{at: w.scenario.Crash.At, answered: map[attemptKey]*answered{}}
	dir, err := os.MkdirTemp("", "valence-crash")
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	first := started{how: testrun.Lost}
	err = w.life(ctx, dir, func(ctx context.Context) (err error) {
		if err := w.begin(ctx, &first); err != nil {
			return err
		}
		out, err = w.outcome(ctx, first)
		return err
	})
	if !errors.Is(err, errCrashed) {
		return out, err
	}
	err = w.life(ctx, dir, func(ctx context.Context) (err error) {
		if err := errors.Join(w.engine.Recover(ctx), w.store.Join(ctx, func(map[string]int64) {}, func() {})); err != nil {
			return err
		}
		if list := w.agenda.order; first.seq == 0 && len(list) > 0 && w.record.isFirst(list[0]) {
			first = started{seq: list[0], callerGone: true} // committed before the crash
		}
		if err := w.agenda.restart(ctx); err != nil {
			return err
		}
		if err := w.agenda.work(ctx); err != nil {
			return err
		}
		out, err = w.outcome(ctx, first)
		return err
	})
	return out, err
}

var errCrashed = errors.New("the atom crashed")

// diskBytes is the size of the disk as the store sees it, which reserves a part.
const diskBytes = 16 << 20

// life runs an atom on a folder: until work returns, or until it crashes, with
// errCrashed. Nothing of its engine reaches the folder after that.
func (w *world) life(ctx context.Context, dir string, work func(context.Context) error) error {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	s, err := sqlite.Open(dir, sqlite.Options{Now: w.clock.Now, Free: func(string) (int64, int64, error) { return diskBytes, diskBytes, nil }})
	if err != nil {
		return err
	}
	w.open(ctx, s)
	writing, stopWriting := context.WithCancel(context.WithoutCancel(ctx))
	defer stopWriting()
	written := make(chan error, 1)
	go func() { written <- s.Run(writing) }()
	err = inGoroutine(func() error { return work(ctx) })
	stop()
	w.engine.Queues.Close()
	stopWriting()
	return errors.Join(err, <-written, s.Abandon())
}

// inGoroutine runs a function in a goroutine, and returns errCrashed if that ended
// before the function returned.
func inGoroutine(f func() error) (err error) {
	over := make(chan struct{})
	err = errCrashed
	go func() {
		defer close(over)
		defer func() {
			if p := recover(); p != nil {
				err = fmt.Errorf("the runtime panicked: %v", p)
			}
		}()
		err = f()
	}()
	<-over
	return err
}
