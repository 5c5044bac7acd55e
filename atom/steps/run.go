package steps

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"strings"
	"time"

	"valence/internal/clock"
	"valence/internal/document"
	"valence/internal/fault"
	"valence/processes"
)

// RunProcess runs the steps of the frame's process to their end. A nil error
// means that it ended, with or without a reply.
func RunProcess(f *Frame) error {
	if f.proc.State {
		state, err := f.rt.State(f)
		if err != nil {
			return err
		}
		f.state = state
	}
	err := f.Run(f.proc.Steps)
	if err == ended || err == stopped {
		return nil
	}
	return err
}

// Run runs a list of steps on this path. After a reply the rest of the list
// still runs; then the process ends, whatever encloses the list.
func (f *Frame) Run(block processes.Block) error {
	named, answered := f.results, false
	for i, s := range block {
		f.rest = i < len(block)-1
		switch err := f.runOne(s); err {
		case nil:
		case replied:
			answered = true
		default:
			return err
		}
	}
	f.results = named // a name is visible after its step in the list, and inside
	if answered {
		return ended
	}
	return nil
}

// runOne runs one step, traces it, and names and stores its result.
func (f *Frame) runOne(s *processes.Step) error {
	if err := f.ctx.Err(); err != nil {
		return interruption(f.ctx)
	}
	f.step, f.uuids = s, 0
	start := f.rt.Clock().Wall()
	if s.When != nil {
		yes, err := s.When.Bool(&f.env)
		if err != nil {
			return f.fail(s, start, err)
		}
		if !yes {
			f.name(s, nil)
			f.rt.Trace(StepTrace{Key: f.Key(), Step: s, Start: start, Outcome: "skipped"})
			return nil
		}
	}
	f.result, f.assigned = nil, nil
	err := f.runStep(s)
	f.step = s // nested steps changed it
	result, assigned := f.result, f.assigned
	f.result, f.assigned = nil, nil
	switch {
	case err == nil, err == replied:
	case err == stopped, err == ended, err == abandoned, EndsRun(err):
		f.rt.Trace(StepTrace{Key: f.Key(), Step: s, Start: start, Took: f.rt.Clock().Wall().Sub(start), Outcome: outcomeOf(err), Doc: result})
		return err
	default:
		return f.fail(s, start, err)
	}
	if result != nil {
		if s.Into != "" {
			f.setVar(s.Into, result.Value())
		} else {
			f.setDoc(result)
		}
	}
	if s.Name != "" {
		v := f.value
		if result != nil {
			v = result.Value()
		}
		f.name(s, v)
	}
	f.rt.Trace(StepTrace{Key: f.Key(), Step: s, Start: start, Took: f.rt.Clock().Wall().Sub(start), Outcome: "ok", Doc: result, Set: assigned})
	return err
}

// runStep runs the step. A panic is a bug of the runtime; it fails this execution
// only.
func (f *Frame) runStep(s *processes.Step) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = &fault.Failure{Code: fault.CodeInternal, Source: fault.FromAtom, Message: fmt.Sprintf("the runtime panicked: %v\n%s", p, debug.Stack())}
		}
	}()
	return s.Settings.(Step).Run(f)
}

func outcomeOf(err error) string {
	switch {
	case err == stopped, err == abandoned:
		return "stopped"
	case err == ended:
		return "ok"
	}
	return "waiting"
}

func (f *Frame) name(s *processes.Step, v any) {
	if s.Name != "" {
		f.results = &binding{name: s.Name, value: v, next: f.results}
	}
}

// fail returns err as a failure with the position of the step, and traces it.
func (f *Frame) fail(s *processes.Step, start time.Time, err error) error {
	e := fault.AsFailure(err)
	if e.Step == "" {
		e.Step = s.Label()
	}
	if e.Pos == (fault.Pos{}) {
		e.Pos = s.Pos
	}
	if len(e.Keys) == 0 {
		e.Keys = []string{f.Key()}
	}
	if f.ctx.Err() != nil {
		why := interruption(f.ctx)
		cause, ended := why.(*fault.Failure)
		if why == abandoned {
			f.rt.Trace(StepTrace{Key: f.Key(), Step: s, Start: start, Took: f.rt.Clock().Wall().Sub(start), Outcome: outcomeOf(why), Log: abandonedText})
		}
		if !ended {
			return why
		}
		if e.Code != cause.Code {
			e = &fault.Failure{Code: cause.Code, Source: cause.Source, Step: e.Step, Pos: e.Pos, Cause: e,
				Message: cause.Message + " during this step, whose outcome is not known"}
		}
	}
	f.rt.Trace(StepTrace{Key: f.Key(), Step: s, Start: start, Took: f.rt.Clock().Wall().Sub(start), Outcome: "failed", Err: e})
	return e
}

// abandonedText is logged for a step that ran when its path was abandoned.
const abandonedText = "another path failed during this step, whose outcome is not known"

// interruption returns why a context ended: the stop of the atom, the failure of
// another path, a cancellation, or the deadline of the execution.
func interruption(ctx context.Context) error {
	cause := clock.Cause(ctx)
	var f *fault.Failure
	switch {
	case cause == Interrupted, cause == abandoned:
		return cause
	case errors.As(cause, &f):
		return f
	case errors.Is(cause, context.DeadlineExceeded):
		return &fault.Failure{Code: fault.CodeDeadline, Source: fault.FromAtom, Message: "the deadline of this execution has passed"}
	}
	return &fault.Failure{Code: fault.CodeCancelled, Source: fault.FromAtom, Message: "the caller disconnected or the execution was cancelled"}
}

// runAll runs n frames in order, at most parallel at once. With stop, nothing
// starts after a failure, and nothing ever starts after a failure that ends the
// execution, except the frames of a cancelled execution that had begun in an
// earlier run: their `finally` is due. It returns when all started frames have
// ended, with their errors; done is nil for frames that were not started.
func (f *Frame) runAll(n, parallel int, stop bool, run func(i int) (*Frame, error)) (errs []error, done []*Frame) {
	errs, done = make([]error, n), make([]*Frame, n)
	concurrent, caught := f.concurrent, f.caught
	f.concurrent, f.caught = concurrent || parallel > 1 && n > 1, caught || !stop
	defer func() { f.concurrent, f.caught = concurrent, caught }()
	// finish runs frame i and reports whether nothing else may start. A suspended
	// frame does not prevent others from starting.
	finish := func(i int) bool {
		done[i], errs[i] = run(i)
		if e, failed := errs[i].(*fault.Failure); failed {
			return stop || endsExecution(e)
		}
		return errs[i] == Interrupted || errs[i] == Detached
	}
	if parallel <= 1 {
		for i := 0; i < n; i++ {
			halt := finish(i)
			if isSuspended(errs[i]) || halt {
				break
			}
		}
		return errs, done
	}
	if lanes := f.rt.Clock().Lanes(parallel); lanes != nil {
		runLanes(lanes, n, finish)
		return errs, done
	}
	slots := make(chan struct{}, parallel)
	halt := make(chan struct{}, n+1)
	var begun map[int]bool
	if f.rt.Cancelled() != nil {
		begun = f.rt.Begun(f)
	}
	halted := false
	for i := 0; i < n && (!halted || begun != nil); i++ {
		if halted && !begun[i] {
			continue
		}
		select {
		case <-halt:
			halt <- struct{}{}
			halted = true
		case slots <- struct{}{}:
			if halted = len(halt) > 0; halted {
				<-slots
			}
		}
		if halted {
			if !begun[i] {
				continue
			}
			slots <- struct{}{}
		}
		go func() {
			if finish(i) {
				halt <- struct{}{}
			}
			f.rt.PathEnded()
			<-slots
		}()
	}
	for i := 0; i < parallel; i++ {
		slots <- struct{}{}
	}
	return errs, done
}

// runLanes runs n frames as if at the same time. After one has ended with halt,
// those that would begin later do not start.
func runLanes(lanes *clock.Lanes, n int, finish func(i int) (halt bool)) {
	var halted time.Time
	for i := range n {
		if at := lanes.Next(); !halted.IsZero() && !at.Before(halted) {
			continue
		}
		lanes.Run(func() {
			if finish(i) {
				if at := lanes.Now(); halted.IsZero() || at.Before(halted) {
					halted = at
				}
			}
		})
	}
	lanes.Join()
}

// runEnd returns the error that ends the run as a whole: an interruption, or the
// suspension of all suspended paths until the earliest of their times. Failures
// wait for suspended paths, unless a failure stops the others and ends the
// execution: then suspended paths are abandoned. Those of a cancelled execution
// run again, for their `finally`.
func (f *Frame) runEnd(errs []error, stop bool) error {
	var suspended *Suspended
	failed := false
	for _, err := range errs {
		if _, ok := err.(*fault.Failure); ok {
			failed = true
		}
		if err == Interrupted || err == Detached {
			return err
		}
		if err == abandoned && f.ctx.Err() != nil { // f is on an abandoned path itself, or its execution ends
			return interruption(f.ctx)
		}
		p, ok := err.(*Suspended)
		switch {
		case !ok:
		case suspended == nil:
			first := *p
			suspended = &first
		default:
			suspended.add(p)
		}
	}
	if suspended == nil || failed && stop && !f.caught && f.rt.Cancelled() == nil {
		return nil
	}
	return suspended
}

// isSuspended reports whether err suspends a path.
func isSuspended(err error) bool {
	_, ok := err.(*Suspended)
	return ok
}

// maxReason bounds the reasons of a suspended execution, in bytes.
const maxReason = 200

// add merges the suspension of another path into p.
func (p *Suspended) add(q *Suspended) {
	if p.Due.IsZero() || !q.Due.IsZero() && q.Due.Before(p.Due) {
		p.Due = q.Due
	}
	p.Waits = append(p.Waits[:len(p.Waits):len(p.Waits)], q.Waits...)
	if p.Held == "" {
		p.Held = q.Held
	}
	p.For = append(p.For[:len(p.For):len(p.For)], q.For...)
	if q.Reason != "" && len(p.Reason) < maxReason && !strings.Contains(p.Reason, q.Reason) {
		if p.Reason != "" {
			p.Reason += ", "
		}
		p.Reason += q.Reason
	}
}

// asDocument returns a value as a JSON document that shares the text of a Raw.
func asDocument(v any) *document.Document {
	if r, ok := v.(document.Raw); ok {
		return document.FromJSON([]byte(r))
	}
	return document.FromValue(v)
}
