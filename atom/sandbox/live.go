package sandbox

import (
	"context"
	"crypto/rand"
	"time"

	"valence/atom/run"
	"valence/connectors"
	"valence/internal/document"
	"valence/internal/fault"
	"valence/processes/testrun"
)

// maxPause bounds the pause before a live call is attempted again.
const maxPause = 10 * time.Second

// Live makes one attempt of a call in the other system.
type Live func(ctx context.Context, a *run.Attempt) (*connectors.Result, error)

// Answered is one attempt of a live run with its answer.
type Answered struct {
	testrun.Call
	Result *connectors.Result // nil: it failed
	Failed *fault.Failure
}

// live makes the calls of a run in the other systems, and records the answers.
type live struct {
	work    context.Context // of the run; its deadline is not virtual
	make    Live
	answers []*Answered
	ended   map[callKey]time.Time // virtual end of the last attempt
}

// Record is Run with calls that reach the other systems. It returns the attempts
// in the order in which they were made, without the values that the process
// redacts. Time is virtual: it passes during calls, and other pauses are skipped.
func (s *Sandbox) Record(ctx context.Context, sc *testrun.Scenario, call Live) (*testrun.Outcome, []*Answered, error) {
	w := &world{scenario: sc, live: &live{work: ctx, make: call, ended: map[callKey]time.Time{}}}
	out, err := s.run(ctx, w)
	return out, w.live.answers, err
}

// idKey returns the key of the ids of a run. Live runs have different ids, and so
// different idempotency keys.
func (w *world) idKey() []byte {
	key := make([]byte, 32)
	if w.live != nil {
		_, _ = rand.Read(key) // never returns an error
	}
	return key
}

// call makes one attempt. Another attempt waits for its pause, up to maxPause.
func (l *live) call(ctx context.Context, w *world, a *run.Attempt, call *testrun.Call) (*connectors.Result, error) {
	key := callKey{a.Execution, a.Key, a.Call.Page}
	if before, again := l.ended[key]; again {
		pause(l.work, min(w.clock.Now().Sub(before), maxPause))
	}
	began := time.Now()
	r, err := l.make(l.work, a)
	_ = w.clock.Sleep(ctx, time.Since(began)) // a deadline that passes ends the attempt later
	l.ended[key] = w.clock.Now()
	if l.work.Err() != nil {
		return nil, connectors.Interrupted(l.work, call.Operation)
	}
	made := &Answered{Call: *call}
	l.answers = append(l.answers, made)
	if err != nil {
		made.Failed = fault.AsFailure(err)
		return nil, err
	}
	kept := *r
	kept.Doc = w.Redacted(a.Frame.Process().Name, r.Doc)
	made.Result = &kept
	return r, nil
}

// Redacted returns a document without the values that a process does not store.
func (s *Sandbox) Redacted(process string, d *document.Document) *document.Document {
	if p, ok := s.plans[process]; ok {
		return p.Redacted(d)
	}
	return d
}

func pause(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	}
}
