package steps

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"strings"
	"time"

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
		switch err := f.one(s); err {
		case nil:
		case replied:
			answered = true
		default:
			return err
		}
	}
	f.results = named // names are known below the step, in its list and inside
	if answered {
		return ended
	}
	return nil
}

func (f *Frame) one(s *processes.Step) error {
	if err := f.ctx.Err(); err != nil {
		return interruption(f.ctx)
	}
	f.step, f.uuids = s, 0
	start := time.Now()
	if s.When != nil {
		yes, err := s.When.Bool(&f.env)
		if err != nil {
			return f.fail(s, start, err)
		}
		if !yes {
			f.name(s, nil)
			f.rt.Trace(Traced{Key: f.Key(), Step: s, Start: start, Outcome: "skipped"})
			return nil
		}
	}
	f.given = nil
	err := f.settings(s)
	f.step = s // nested steps have changed it
	given := f.given
	f.given = nil
	switch {
	case err == nil, err == replied:
	case err == stopped, err == ended, leaves(err):
		f.rt.Trace(Traced{Key: f.Key(), Step: s, Start: start, Took: time.Since(start), Outcome: outcomeOf(err), Doc: given})
		return err
	default:
		return f.fail(s, start, err)
	}
	if given != nil {
		if s.Into != "" {
			f.setVar(s.Into, given.Value())
		} else {
			f.setDoc(given)
		}
	}
	if s.Name != "" {
		v := f.value
		if given != nil {
			v = given.Value()
		}
		f.name(s, v)
	}
	f.rt.Trace(Traced{Key: f.Key(), Step: s, Start: start, Took: time.Since(start), Outcome: "ok", Doc: given})
	return err
}

// settings runs the step's behaviour. A panic is a defect of ours, and fails
// this execution instead of every one.
func (f *Frame) settings(s *processes.Step) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = &fault.Failure{Code: fault.CodeInternal, Origin: fault.FromAtom, Message: fmt.Sprintf("a defect of the runtime: %v\n%s", p, debug.Stack())}
		}
	}()
	return s.Settings.(Step).Run(f)
}

func outcomeOf(err error) string {
	switch {
	case err == stopped:
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

// fail gives err as a failure that knows its step.
func (f *Frame) fail(s *processes.Step, start time.Time, err error) error {
	e := fault.AsFailure(err)
	if e.Step == "" {
		e.Step = s.Name
		if e.Step == "" {
			e.Step = s.Kind + " at " + s.Path
		}
	}
	if e.Pos == (fault.Pos{}) {
		e.Pos = s.Pos
	}
	if len(e.Keys) == 0 {
		e.Keys = []string{f.Key()}
	}
	if f.ctx.Err() != nil {
		cause, ended := interruption(f.ctx).(*fault.Failure)
		if !ended {
			return Interrupted
		}
		if e.Code != cause.Code {
			e = &fault.Failure{Code: cause.Code, Origin: cause.Origin, Step: e.Step, Pos: e.Pos, Cause: e,
				Message: cause.Message + " during this step, whose outcome is not known"}
		}
	}
	f.rt.Trace(Traced{Key: f.Key(), Step: s, Start: start, Took: time.Since(start), Outcome: "failed", Err: e})
	return e
}

// interruption tells why a context ended: the atom's stop, a cancellation, or
// the execution's deadline.
func interruption(ctx context.Context) error {
	cause := context.Cause(ctx)
	var f *fault.Failure
	switch {
	case cause == Interrupted:
		return Interrupted
	case errors.As(cause, &f):
		return f
	case errors.Is(cause, context.DeadlineExceeded):
		return &fault.Failure{Code: fault.CodeDeadline, Origin: fault.FromAtom, Message: "the time for this execution is over"}
	}
	return &fault.Failure{Code: fault.CodeCancelled, Origin: fault.FromAtom, Message: "the caller went away or the execution was cancelled"}
}

// elements runs one frame per element, at most parallel at once, in order of
// starting. With stop, nothing new starts after a failure. It waits for all
// that it started and gives what each ended with; not started ones have nil
// in done.
func (f *Frame) elements(n, parallel int, stop bool, run func(i int) (*Frame, error)) (errs []error, done []*Frame) {
	errs, done = make([]error, n), make([]*Frame, n)
	beside, caught := f.beside, f.caught
	f.beside, f.caught = beside || parallel > 1 && n > 1, caught || !stop
	defer func() { f.beside, f.caught = beside, caught }()
	// finish reports whether nothing new may start. A parked element does
	// not keep others from starting beside it.
	finish := func(i int) bool {
		done[i], errs[i] = run(i)
		if _, failed := errs[i].(*fault.Failure); failed {
			return stop
		}
		return errs[i] == Interrupted || errs[i] == Detached
	}
	if parallel <= 1 {
		for i := 0; i < n; i++ {
			halt := finish(i)
			if _, parked := errs[i].(*Parked); parked || halt {
				break
			}
		}
		return errs, done
	}
	slots := make(chan struct{}, parallel)
	halt := make(chan struct{}, n+1)
	started := 0
loop:
	for ; started < n; started++ {
		select {
		case <-halt:
			halt <- struct{}{}
			break loop
		case slots <- struct{}{}:
		}
		if len(halt) > 0 {
			<-slots
			break
		}
		i := started
		go func() {
			if finish(i) {
				halt <- struct{}{}
			}
			<-slots
		}()
	}
	for i := 0; i < parallel; i++ {
		slots <- struct{}{}
	}
	return errs, done
}

// left gives the error that ends the run as a whole: an interruption, or what
// is parked, until the earliest of its times. Failures wait for what is
// parked, unless a failure stops the others and ends the execution: then what
// is parked is given up, and nobody waits for it to be told.
func (f *Frame) left(errs []error, stop bool) error {
	var park *Parked
	failed := false
	for _, err := range errs {
		if _, ok := err.(*fault.Failure); ok {
			failed = true
		}
		if err == Interrupted || err == Detached {
			return err
		}
		p, ok := err.(*Parked)
		switch {
		case !ok:
		case park == nil:
			one := *p
			park = &one
		default:
			park.add(p)
		}
	}
	if park == nil || failed && stop && !f.caught {
		return nil
	}
	return park
}

// isParked reports whether what err ended was parked.
func isParked(err error) bool {
	_, ok := err.(*Parked)
	return ok
}

// maxWhy bounds how many reasons a parked execution tells.
const maxWhy = 200

// add makes p stand for another parked path as well.
func (p *Parked) add(q *Parked) {
	if p.Due.IsZero() || !q.Due.IsZero() && q.Due.Before(p.Due) {
		p.Due = q.Due
	}
	p.Signal = p.Signal || q.Signal
	if p.Held == "" {
		p.Held = q.Held
	}
	p.For = append(p.For[:len(p.For):len(p.For)], q.For...)
	if q.Why != "" && len(p.Why) < maxWhy && !strings.Contains(p.Why, q.Why) {
		if p.Why != "" {
			p.Why += ", "
		}
		p.Why += q.Why
	}
}

// asDocument gives a value as a JSON document, sharing the text of a Raw.
func asDocument(v any) *document.Document {
	if r, ok := v.(document.Raw); ok {
		return document.FromJSON([]byte(r))
	}
	return document.FromValue(v)
}
