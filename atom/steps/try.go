package steps

import (
	"slices"

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

var _ = define[try]("try", kind{
	doc: "Runs steps and handles their failure. `catch` is a list of steps, or a map such as `{ codes: [409, timeout], handled: true, steps: […] }`. " +
		"It starts with the document that `try` started with, and reads the error as `error`, with the fields `code`, `message`, `status`, `body`, " +
		"`step`, `retryable` and `cause`. The execution then ends as `completed_with_warnings`, unless `handled` is true. A failure inside `catch` " +
		"replaces the first one, which becomes its `cause`. `finally` runs in every case; after a cancellation all `finally` together have 30 seconds. " +
		"Cancellation and the deadline of the execution cannot be caught. If `codes` has `unavailable` or `circuit_open`, an open circuit does not hold a durable execution.",
	sample: "- try:\n    - call: erp.post\n  catch:\n    codes: [409]\n    handled: true\n    steps:\n      - log: it was there already\n",
	flow:   processes.Attempt,
}, []spec.Field{
	spec.Steps("try", func(s *try) *processes.Block { return &s.Steps }, "Steps to run.").Required(),
	spec.Optional("catch", func(s *try) **catch { return &s.Catch }, "Steps to run after a failure, optionally only for some errors.",
		spec.Strings("codes", func(s *catch) *[]string { return &s.Codes }, "Error [codes](codes.md), statuses such as `409`, classes of statuses such as `5xx`, or `unavailable`, which stands for `timeout`, `connect`, `connection_lost`, `circuit_open`, 429, 502, 503 and 504. All errors by default."),
		spec.Bool("handled", func(s *catch) *bool { return &s.Handled }, "Treat the failure as expected, so that the execution does not end with warnings."),
		spec.Steps("steps", func(s *catch) *processes.Block { return &s.Steps }, "Steps to run.").Required(),
	).Short("steps"),
	spec.Steps("finally", func(s *try) *processes.Block { return &s.Finally }, "Steps to run in every case."),
}, func(s *try, c *processes.CheckContext) {
	if s.Catch == nil && s.Finally == nil {
		c.Report(&fault.Problem{Pos: c.Step.Pos, Code: "no-effect", Msg: "`try:` has neither `catch:` nor `finally:`", Hint: "add one of them, or replace the `try:` by its steps"})
	}
})

func (s *try) Run(f *Frame) error {
	doc, iter, caught, unheld := f.doc, f.iter, f.caught, f.unheld
	f.caught, f.unheld = true, unheld || s.Catch.takesCircuit()
	defer func() { f.caught = caught }()
	err := f.Run(s.Steps)
	f.unheld = unheld
	if e, ok := catchable(err); ok && s.Catch != nil && s.Catch.takes(e) {
		f.iter = iter
		f.setDoc(doc)
		err = s.Catch.run(f, e)
	}
	if EndsRun(err) || s.Finally == nil {
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
	return slices.ContainsFunc(c.Codes, e.Matches)
}

// takesCircuit reports whether the catch names the failure of an open circuit.
// The execution then continues without the system in place of waiting for it.
func (c *catch) takesCircuit() bool {
	return c != nil && (slices.Contains(c.Codes, fault.CodeCircuit) || slices.Contains(c.Codes, fault.ClassUnavailable))
}

// finish runs `finally`. It returns err, or the failure of `finally` if err is nil.
func (s *try) finish(f *Frame, err error) error {
	defer f.raise()()
	doc, value := f.doc, f.value
	last := f.Run(s.Finally)
	f.doc, f.value = doc, value
	if EndsRun(last) {
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
