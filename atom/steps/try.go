package steps

import (
	"context"
	"strconv"
	"time"

	"valence/internal/fault"
	"valence/internal/spec"
	"valence/processes"
)

type try struct {
	Steps   processes.Block
	Catch   *catch
	Finally processes.Block
}

type catch struct {
	Codes   []string
	Handled bool
	Steps   processes.Block
}

// finallyGrace is how long `finally` may take after a cancellation.
const finallyGrace = 30 * time.Second

var _ = define[try]("try", kind{
	doc: "Runs steps, and others if they fail. `catch` is a list of steps, or `{ codes: [409, timeout], handled: true, steps: […] }`: it starts with the document that " +
		"`try` began with and sees `error` (`code message status body step retryable cause`). Unless `handled`, the execution ends `completed_with_warnings`. " +
		"A failure inside catch replaces the first, kept as its `cause`; a bare `throw:` rethrows. `finally` runs in every case. Cancellation and the execution's deadline are never caught.",
	sample: "- try:\n    - call: erp.post\n  catch:\n    codes: [409]\n    handled: true\n    steps:\n      - log: it was there already\n",
	flow:   processes.Attempt,
}, []spec.Field{
	spec.Steps("try", func(s *try) *processes.Block { return &s.Steps }, "The steps that may fail.").Required(),
	spec.Optional("catch", func(s *try) **catch { return &s.Catch }, "The steps for a failure.",
		spec.Strings("codes", func(s *catch) *[]string { return &s.Codes }, "Codes or statuses that are caught; others pass. Without it, all."),
		spec.Bool("handled", func(s *catch) *bool { return &s.Handled }, "The failure is expected: no warning."),
		spec.Steps("steps", func(s *catch) *processes.Block { return &s.Steps }, "The steps.").Required(),
	).Short("steps"),
	spec.Steps("finally", func(s *try) *processes.Block { return &s.Finally }, "The steps that run in every case."),
}, func(s *try, c *processes.CheckContext) {
	if s.Catch == nil && s.Finally == nil {
		c.Report(&fault.Problem{Pos: c.Step.Pos, Code: "no-effect", Msg: "`try:` has neither `catch:` nor `finally:`", Hint: "add one, or put the steps in its place"})
	}
})

func (s *try) Run(f *Frame) error {
	doc, iter, caught := f.doc, f.iter, f.caught
	f.caught = true
	defer func() { f.caught = caught }()
	err := f.Run(s.Steps)
	if e, ok := catchable(err); ok && s.Catch != nil && s.Catch.takes(e) {
		f.iter = iter
		f.setDoc(doc)
		err = s.Catch.run(f, e)
	}
	if leaves(err) || s.Finally == nil {
		return err
	}
	f.iter = iter
	return s.finish(f, err)
}

func (c *catch) run(f *Frame, e *fault.Failure) error {
	outer := f.failure
	f.failure = e
	defer func() { f.failure = outer }()
	if !c.Handled {
		f.rt.Warn(f, "caught: "+e.Error())
	}
	err := f.Run(c.Steps)
	if second, ok := err.(*fault.Failure); ok && second != e && second.Cause == nil {
		second.Cause = e
	}
	return err
}

func (c *catch) takes(e *fault.Failure) bool {
	if len(c.Codes) == 0 {
		return true
	}
	status := strconv.Itoa(e.Status)
	for _, code := range c.Codes {
		if code == e.Code || e.Status != 0 && (code == status || isClass(code, status)) {
			return true
		}
	}
	return false
}

// isClass reports whether code is a class of statuses such as 5xx that holds status.
func isClass(code, status string) bool {
	return len(code) == 3 && code[1:] == "xx" && code[0] == status[0]
}

// finish runs `finally`. Its own failure counts unless there is one already.
func (s *try) finish(f *Frame, err error) error {
	if f.ctx.Err() != nil {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(f.ctx), finallyGrace)
		defer cancel()
		outer := f.ctx
		f.ctx, f.env.Ctx = ctx, ctx
		defer func() { f.ctx, f.env.Ctx = outer, outer }()
	}
	doc, value := f.doc, f.value
	last := f.Run(s.Finally)
	f.doc, f.value = doc, value
	if leaves(last) {
		return last
	}
	if _, failed := last.(*fault.Failure); failed && err == nil {
		return last
	}
	if err == nil && last == stopped {
		return last
	}
	return err
}
