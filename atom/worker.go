package atom

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"valence/atom/steps"
	"valence/internal/document"
	"valence/internal/fault"
	"valence/processes"
)

// What two unclean stops in a row mean for the executions they found running.
const (
	uncleanAlone = 2 // it runs alone
	uncleanLimit = 3 // it is not run again
)

// afterRun tells a queue what became of an execution.
type afterRun struct {
	ended bool
	due   time.Time // parked until then; zero: not parked
	left  bool      // its worker has given its place to another
}

// runRecord runs a durable execution once: to its end, to where it waits, or
// until the atom stops.
func (a *Atom) runRecord(q *queue, r *Record) afterRun {
	if r.Unclean >= uncleanAlone {
		a.alone.Lock()
		defer a.alone.Unlock()
	} else {
		a.alone.RLock()
		defer a.alone.RUnlock()
	}
	ctx, cancel := context.WithCancelCause(a.work)
	defer cancel(nil)
	e, f, err := a.revive(ctx, r)
	if e == nil {
		return a.hold(q, r, err)
	}
	if after, begins := e.begin(ctx, r); !begins {
		return after
	}
	e.cancel = cancel
	a.running.Store(r.Seq, e)
	a.store.Started(r.Seq)
	a.followers.tell(r.Seq)
	if a.audiences.heard() {
		a.audiences.tell(Happening{Event: HappenedStarted, Process: r.Process, Execution: e.id()})
	}
	defer a.running.Delete(r.Seq)
	if err == nil {
		if e.meta.Call != nil {
			err = e.runCall(f)
		} else {
			err = steps.RunProcess(f)
		}
	}
	left := false
	if parked := (*steps.Parked)(nil); errors.As(err, &parked) && parked.Held != "" {
		left = q.leave()
	}
	after := e.finish(r, f, err)
	after.left = left
	return after
}

// revive makes an execution of a record, with the journal of earlier runs. It
// gives no execution if the version or the values it needs cannot be read; an
// execution with an error is to end with it.
func (a *Atom) revive(ctx context.Context, r *Record) (*execution, *steps.Frame, error) {
	p, err := a.planOf(ctx, r.Process, r.Plan)
	if err != nil {
		return nil, nil, err
	}
	env, err := a.envOf(ctx, r.Env)
	if err != nil {
		return nil, nil, err
	}
	m, err := parseMeta(r.Meta)
	if err != nil {
		return nil, nil, fmt.Errorf("its own data cannot be read: %w", err)
	}
	e := &execution{
		atom: a, plan: p, seq: r.Seq, received: r.Received, started: time.Now(),
		durable: true, lane: r.Lane, meta: m, env: env, envHash: r.Env, redact: redactOf(p), tracked: r.Track,
	}
	if len(m.Request) > 0 {
		request := document.Raw(m.Request)
		e.request = func() any { return request }
	}
	if err := e.readJournal(ctx, r); err != nil {
		return nil, nil, err
	}
	var props *document.Object
	if len(m.Props) > 0 {
		props, _ = document.Decode(document.Parse(string(m.Props))).(*document.Object)
	}
	began := r.Received
	if !m.Began.IsZero() { // its journal is another's, whose times count
		began = m.Began
	}
	f := steps.NewFrame(ctx, e, p.process, recordDocument(r), props, began)
	if r.Unclean >= uncleanLimit {
		return e, f, &fault.Failure{Code: fault.CodeCrashed, Origin: fault.FromAtom,
			Message: "the atom stopped uncleanly each time it ran this; it is not run again by itself"}
	}
	return e, f, nil
}

// readJournal reads what earlier runs did. An execution that this run of the
// atom accepted and that was never parked has none.
func (e *execution) readJournal(ctx context.Context, r *Record) error {
	entries := r.Entries
	if r.Seq < e.atom.firstSeq || r.Attempt > 0 || e.meta.Replied || e.meta.Original != "" {
		var err error
		if entries, err = e.atom.store.Entries(ctx, r.Seq); err != nil {
			return fmt.Errorf("read its journal: %w", err)
		}
	}
	if len(entries) == 0 {
		return nil
	}
	e.done = make(map[string]Entry, len(entries))
	for _, x := range entries {
		e.done[x.Kind+" "+x.Path] = x
		if x.Kind == kindWake && len(x.Body) > 0 {
			e.signals++
		}
	}
	e.count = len(entries)
	return nil
}

// hold parks an execution that cannot be run now for a reason outside of it.
func (a *Atom) hold(q *queue, r *Record, err error) afterRun {
	if a.work.Err() != nil {
		return afterRun{}
	}
	a.log.Error("an execution is held", "process", r.Process, "execution", a.ExecutionID(r.Seq, r.Received), "error", err)
	due := time.Now().Add(heldFor)
	if err := a.apply(&Change{Seq: r.Seq, Park: &Park{State: Held, Due: due, Why: err.Error()}}); err != nil {
		return afterRun{}
	}
	return afterRun{due: due}
}

// runCall runs the hand-off of one call: its step is in the plan, its settings
// were computed by the execution that handed it off.
func (e *execution) runCall(f *steps.Frame) error {
	s := findStep(e.plan.process.Steps, e.meta.Call.Path)
	if s == nil {
		return mismatch(e.meta.Call.Path, errors.New("there is no such step"))
	}
	settings, _ := document.Decode(document.Parse(string(e.meta.Call.With))).(*document.Object)
	return steps.RunCall(f, s, settings)
}

// findStep finds a step by its structural path; nil if there is none.
func findStep(block processes.Block, path string) *processes.Step {
	for _, s := range block {
		if s.Path == path {
			return s
		}
		for _, l := range s.Lists {
			if found := findStep(l.Steps, path); found != nil {
				return found
			}
		}
	}
	return nil
}

// finish commits how a run ended.
func (e *execution) finish(r *Record, f *steps.Frame, err error) afterRun {
	e.mu.Lock()
	c := e.takePending()
	e.mu.Unlock()
	pending, handoffs := c.Entries, c.Handoffs
	var parked *steps.Parked
	var ended *Outcome
	var fail *fault.Failure
	switch {
	case errors.As(err, &parked):
		c.Park = &Park{State: Waiting, Due: parked.Due, Why: parked.Why, Signal: parked.Signal, Signals: e.signals}
		if parked.Held != "" {
			c.Park.State, c.Park.For = Held, parked.For
			if c.Park.Why == "" {
				c.Park.Why = parked.Held
			}
		}
	case err == steps.Interrupted:
		if len(c.Entries) == 0 && len(c.Handoffs) == 0 {
			return afterRun{}
		}
	default:
		if err != nil {
			fail = fault.AsFailure(err)
		}
		if fail == nil && e.meta.Later != nil && !e.given {
			e.warnings = append(e.warnings, noReply)
		}
		o := e.outcome(fail, e.plan.process.Delivery.Retention.Documents > 0 || fail != nil)
		ended = &o
		c.Outcome = ended
		if fail == nil {
			c.Memory = e.learned()
		}
		if e.meta.Later != nil {
			e.conclude(c, fail)
		}
		if alarm := e.atom.alarm(e, ended); alarm != nil {
			c.Handoffs = append(c.Handoffs, alarm)
		}
	}
	if err := e.atom.apply(c); err != nil {
		if errors.Is(err, ErrConflict) && c.Memory != nil { // nothing was changed: it fails instead
			e.pending, e.handoffs = pending, handoffs
			return e.finish(r, f, e.tooLate())
		}
		if !errors.Is(err, ErrEnded) && err != steps.Interrupted {
			e.atom.log.Error("an execution could not be ended; it runs again at the next start", "process", r.Process, "execution", e.id(), "error", err)
		}
		return afterRun{}
	}
	e.atom.followers.tell(e.seq)
	if parked != nil {
		e.atom.audiences.tell(Happening{Event: HappenedParked, Process: r.Process, Execution: e.id(), Status: string(c.Park.State), Reason: c.Park.Why})
		e.atom.heldMeanwhile(parked.For)
		return afterRun{due: parked.Due}
	}
	if ended == nil {
		return afterRun{}
	}
	e.plan.stats.Ended(string(ended.Status), ended.Ended.Sub(r.Received))
	if e.plan.process.Schedule != nil {
		e.atom.clockwork.poke() // the next run may wait for this end
	}
	e.atom.tellEnded(e, f.Input(), ended, fail)
	if ended.Status == Failed {
		e.atom.log.Error("an execution failed", "process", r.Process, "execution", e.id(), "error", json.RawMessage(ended.Error))
	}
	return afterRun{ended: true}
}

// apply commits a change. While the store cannot write it waits: nothing goes
// on that is not on disk. It gives up only with the atom, or where the
// execution has ended already.
func (a *Atom) apply(c *Change) error {
	for wait := 100 * time.Millisecond; ; wait = min(2*wait, 5*time.Second) {
		err := a.store.Apply(context.WithoutCancel(a.work), c)
		switch {
		case err == nil:
			return nil
		case !errors.Is(err, ErrUnavailable) && !errors.Is(err, ErrFull):
			if errors.Is(err, ErrEnded) {
				return ErrEnded
			}
			if errors.Is(err, ErrConflict) {
				return ErrConflict
			}
			return &fault.Failure{Code: fault.CodeInternal, Origin: fault.FromAtom, Message: "the store refused what was done: " + err.Error(), Cause: err}
		}
		select {
		case <-time.After(wait):
		case <-a.work.Done():
			return steps.Interrupted
		}
	}
}
