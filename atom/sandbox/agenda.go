package sandbox

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"valence/atom/run"
	"valence/atom/store"
	"valence/processes"
)

// maxRuns bounds how often the executions of one scenario run.
const maxRuns = 20_000

// agenda runs the executions of a scenario one after the other, in the order of
// virtual time. Each begins at the time at which it is ready, as if the others
// ran at the same time.
type agenda struct {
	w     *world
	due   map[int64]time.Time // by Seq of the live executions; zero: until a signal
	order []int64             // of acceptance
	names map[int64]string    // processes
	sent  []bool              // signals that have ended a wait
}

func newAgenda(w *world) agenda {
	return agenda{w: w, due: map[int64]time.Time{}, names: map[int64]string{}, sent: make([]bool, len(w.scenario.Signals))}
}

// accepted is called by the store with accepted executions.
func (a *agenda) accepted(records []*store.Record) {
	for _, r := range records {
		if a.w.scenario.Alone && len(a.w.record.ordinals) > 0 {
			continue // handed off
		}
		a.order, a.names[r.Seq] = append(a.order, r.Seq), r.Process
		if r.WaitsInLane {
			a.due[r.Seq] = time.Time{}
			continue
		}
		a.due[r.Seq] = later(a.w.clock.Now(), r.Due)
	}
}

// ready is called by the store with executions that may run again.
func (a *agenda) ready(list []store.Wakeup) {
	for _, w := range list {
		if w.Superseded {
			delete(a.due, w.Seq)
			continue
		}
		if _, live := a.due[w.Seq]; live {
			a.due[w.Seq] = a.w.clock.Now()
		}
	}
}

func later(a, b time.Time) time.Time {
	if b.After(a) {
		return b
	}
	return a
}

// event is the next thing that happens: a run of an execution, or a signal.
type event struct {
	at     time.Time
	seq    int64
	signal int // index; -1: it is a run
	wait   run.OpenWait
}

// work runs everything until nothing happens any more.
func (a *agenda) work(ctx context.Context) error {
	for range maxRuns {
		if err := ctx.Err(); err != nil {
			return err
		}
		next, err := a.next(ctx)
		if err != nil || next == nil {
			return err
		}
		a.w.clock.Set(next.at)
		if next.signal >= 0 {
			err = a.send(ctx, next)
		} else {
			err = a.run(ctx, next.seq)
		}
		if err != nil {
			return err
		}
	}
	return fmt.Errorf("the executions do not end: they ran %d times", maxRuns)
}

// next returns the earliest event; nil if there is none.
func (a *agenda) next(ctx context.Context) (*event, error) {
	var first *event
	for _, seq := range a.order {
		if at := a.due[seq]; !at.IsZero() && (first == nil || at.Before(first.at)) {
			first = &event{at: at, seq: seq, signal: -1}
		}
	}
	for i, s := range a.w.scenario.Signals {
		if a.sent[i] {
			continue
		}
		w, err := a.waiting(ctx, s.Wait)
		if err != nil {
			return nil, err
		}
		if w == nil {
			continue
		}
		if at := w.Began.Add(s.After); first == nil || at.Before(first.at) {
			first = &event{at: at, seq: w.Seq, signal: i, wait: *w}
		}
	}
	return first, nil
}

// waiting returns the oldest open wait with a name; nil if there is none.
func (a *agenda) waiting(ctx context.Context, name string) (*run.OpenWait, error) {
	for _, seq := range a.order {
		if _, live := a.due[seq]; !live {
			continue
		}
		open, err := a.w.engine.OpenWaits(ctx, seq)
		if err != nil {
			return nil, err
		}
		if i := slices.IndexFunc(open, func(w run.OpenWait) bool { return w.Name == name }); i >= 0 {
			return &open[i], nil
		}
	}
	return nil, nil
}

// send sends a signal.
func (a *agenda) send(ctx context.Context, e *event) error {
	s := a.w.scenario.Signals[e.signal]
	a.sent[e.signal] = true
	if s.By == processes.ByResume {
		err := a.w.engine.ResumeWait(ctx, "", e.wait, s.Body)
		if errors.Is(err, store.ErrNoWaiter) {
			a.sent[e.signal] = false
			return fmt.Errorf("the signal %s cannot arrive by resume: its wait has no key", s.Wait)
		}
		return err
	}
	return a.w.engine.EndWait(ctx, e.wait, s.Body)
}

// run runs an execution until it ends or is suspended.
func (a *agenda) run(ctx context.Context, seq int64) error {
	x, err := a.w.store.Get(ctx, seq, time.Time{})
	if err != nil {
		return err
	}
	if x.Outcome != nil {
		delete(a.due, seq)
		return nil
	}
	a.due[seq] = time.Time{}
	a.w.record.begin(seq)
	result := a.w.engine.Run(a.w.engine.Queues.Queue(x.Process), &x.Record)
	switch {
	case result.Ended:
		delete(a.due, seq)
	case !result.Due.IsZero():
		if at := later(a.w.clock.Now(), result.Due); a.due[seq].IsZero() || at.Before(a.due[seq]) {
			a.due[seq] = at
		}
	}
	return nil
}

// restart schedules the live executions of an atom that starts again.
func (a *agenda) restart(ctx context.Context) error {
	live, now := map[int64]time.Time{}, a.w.clock.Now()
	for name := range a.w.plans {
		ready, err := a.w.store.Ready(ctx, name, 0, maxRuns)
		if err != nil {
			return err
		}
		heads, err := a.w.store.Heads(ctx, name, maxRuns, func(int64) bool { return false })
		if err != nil {
			return err
		}
		due, _, err := a.w.store.Due(ctx, name, now.AddDate(200, 0, 0), maxRuns)
		if err != nil {
			return err
		}
		for _, r := range slices.Concat(ready, heads, due) {
			live[r.Seq] = later(now, r.Due)
		}
	}
	for _, seq := range a.order {
		at, ready := live[seq]
		if _, known := a.due[seq]; known || ready {
			a.due[seq] = at
		}
	}
	return nil
}
