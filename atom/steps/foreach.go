package steps

import (
	"fmt"
	"strconv"
	"time"

	"valence/connectors"
	"valence/internal/document"
	"valence/internal/expression"
	"valence/internal/fault"
	"valence/internal/spec"
	"valence/processes"
)

type forEach struct {
	Of        forEachOf
	Operation processes.Operation // of a paged call; the zero value for a list
	Steps     processes.Block
	As        string
	Parallel  int
	Collect   bool
	OnError   string
	Errors    string
	Batch     int
}

// forEachOf is what a loop goes through: a list, or the pages of a call.
type forEachOf struct {
	List      *expression.Expr
	Operation processes.Operation
	With      *expression.Template
	Accept    connectors.Accept
	Retry     *processes.Retry
	Timeout   time.Duration
}

var _ = define[forEach]("for_each", kind{
	doc: "Runs nested steps per element of a list. Inside, `doc` is the element (also `item` or the `as:` name, and `index`); each element has a copy of the variables. " +
		"With `collect: true` the results, in input order, become the document; an element that ends in `stop` is left out. Without it the document is what it was. " +
		"Over a paged call (`for_each: { call: …, with: { pages: … } }`) it streams: memory is one page and what runs, the journal holds the page it is at and " +
		"which of its elements are done, and after a crash it goes on there. Then there is no `collect`, and `batch` groups the elements of one page.",
	sample: "- for_each: ${doc.lines}\n  as: line\n  parallel: 4\n  collect: true\n  steps:\n    - call: stock.get\n      with: { path: \"/items/${line.sku}\" }\n",
	flow:   processes.Loop, makesDocument: true,
}, []spec.Field{
	spec.Object("for_each", func(s *forEach) *forEachOf { return &s.Of }, "What to go through: a list alone, or the pages of a call.",
		spec.Expr("in", func(s *forEachOf) **expression.Expr { return &s.List }, "The list. A single XML element counts as a list of one.").List(),
		spec.Operation("call", func(s *forEachOf) *processes.Operation { return &s.Operation }, "The connection and its operation, one that has `pages:`."),
		spec.With("with", func(s *forEachOf) **expression.Template { return &s.With }, "The operation's settings, `pages:` among them."),
		spec.Accept("accept", func(s *forEachOf) *connectors.Accept { return &s.Accept }, "Statuses that are no error; `[2xx]` by default."),
		spec.Retry("retry", func(s *forEachOf) **processes.Retry { return &s.Retry }, "The retry policy of each page, in place of the process'."),
		spec.Duration("timeout", func(s *forEachOf) *time.Duration { return &s.Timeout }, "The longest one attempt of a page may take; the connection's by default."),
	).Short("in").Required(),
	spec.Steps("steps", func(s *forEach) *processes.Block { return &s.Steps }, "The steps per element.").Required(),
	spec.Name("as", func(s *forEach) *string { return &s.As }, "The element's name inside, besides `item`."),
	spec.Int("parallel", func(s *forEach) *int { return &s.Parallel }, "How many elements run at once.").Or(1).Min(1).Max(256),
	spec.Bool("collect", func(s *forEach) *bool { return &s.Collect }, "Whether the elements' results become the document."),
	spec.Enum("on_error", func(s *forEach) *string { return &s.OnError }, "`stop`: a failed element fails the step and nothing new starts; unless a `try` or another path goes on behind the failure, elements that only wait are given up. `continue`: all elements run first.", "stop", "continue").Or("stop"),
	spec.Name("errors", func(s *forEach) *string { return &s.Errors }, "With `on_error: continue`: the variable that gets the failures (`index path item error`); then the step succeeds, and the execution ends with warnings."),
	spec.Int("batch", func(s *forEach) *int { return &s.Batch }, "Elements per round: the element is then a list of up to so many.").Min(1).Max(100000),
}, func(s *forEach, c *processes.CheckContext) {
	s.Operation = s.Of.Operation
	problem := func(msg, hint string) {
		c.Report(&fault.Problem{Pos: c.Step.Pos, Code: "no-effect", Msg: msg, Hint: hint})
	}
	switch paged := s.Operation.Operation != nil; {
	case paged && s.Of.List != nil:
		problem("`in:` and `call:` exclude each other", "go through a list or through the pages of a call")
	case !paged && s.Of.List == nil:
		problem("there is nothing to go through", "write `for_each: ${doc.items}`, or `for_each: { call: …, with: { pages: … } }`")
	case !paged && (s.Of.With != nil || s.Of.Accept != nil || s.Of.Retry != nil || s.Of.Timeout != 0):
		problem("`with:`, `accept:`, `retry:` and `timeout:` have no effect without `call:`", "drop them")
	case paged && s.Of.With == nil:
		problem("a loop over a call needs `pages:` in its `with:`", "say how the next page is found, such as `pages: { items: items, cursor: next }`")
	case paged && s.Collect:
		problem("`collect:` would hold the results of all pages in memory", "write them where they belong in a step of each element, and drop `collect:`")
	}
	if s.Errors != "" && s.OnError != "continue" {
		c.Report(&fault.Problem{Pos: c.Step.Pos, Code: "no-effect", Msg: "`errors:` has no effect without `on_error: continue`",
			Hint: "add `on_error: continue`, or drop `errors:`"})
	}
})

// Reach tells which call gives the pages, if they come from one.
func (s *forEach) Reach() processes.Reach {
	return processes.Reach{Operation: s.Operation, Retry: s.Of.Retry, Timeout: s.Of.Timeout}
}

// Repeats tells what it goes through.
func (s *forEach) Repeats() processes.Repetition {
	return processes.Repetition{Pages: s.Operation.Operation != nil}
}

func (s *forEach) Run(f *Frame) error {
	if s.Operation.Operation != nil {
		return s.stream(f)
	}
	list, err := s.elements(f)
	if err != nil {
		return err
	}
	errs, frames := s.run(f, list, 0)
	if err := f.left(errs, s.OnError != "continue"); err != nil {
		return err
	}
	var failed []error
	failures := []any{}
	results := make([]any, 0, len(list))
	for i, err := range errs {
		if frames[i] == nil || isParked(err) {
			continue
		}
		f.Happened(frames[i].env.Now)
		switch {
		case err == nil:
			if s.Collect {
				results = append(results, frames[i].value)
			}
		case err == stopped:
		default:
			failed = append(failed, err)
			failures = append(failures, elementFailure(i, list[i], fault.AsFailure(err)))
		}
	}
	if len(failed) > 0 && s.Errors == "" {
		return several(failed, len(list), "elements")
	}
	if s.Errors != "" {
		f.setVar(s.Errors, failures)
		if len(failures) > 0 {
			f.rt.Warn(f, plural(len(failures), len(list), "elements"))
		}
	}
	if s.Collect {
		f.Give(document.FromValue(results))
	}
	return nil
}

// run runs the steps per element, the first of which has the index base.
func (s *forEach) run(f *Frame, list []any, base int) ([]error, []*Frame) {
	return f.elements(len(list), s.Parallel, s.OnError != "continue", func(i int) (*Frame, error) {
		at := strconv.Itoa(base + i)
		c := f.child("["+at+"]", asDocument(list[i]))
		c.locals = &binding{name: "item", value: list[i], next: &binding{name: "index", value: document.Number(at), next: c.locals}}
		if s.As != "" {
			c.locals = &binding{name: s.As, value: list[i], next: c.locals}
		}
		return c, c.Run(s.Steps)
	})
}

// batches groups elements, where that is asked for.
func (s *forEach) batches(list []any) []any {
	if s.Batch == 0 {
		return list
	}
	var batches []any
	for len(list) > 0 {
		n := min(s.Batch, len(list))
		batches = append(batches, list[:n:n])
		list = list[n:]
	}
	return batches
}

func (s *forEach) elements(f *Frame) ([]any, error) {
	v, err := s.Of.List.Eval(&f.env)
	if err != nil {
		return nil, err
	}
	if v == nil {
		return nil, &fault.Failure{Code: fault.CodeExpression, Pos: s.Of.List.Pos(),
			Message: fmt.Sprintf("%s is null, for_each needs a list; write `?? []` behind it where none is right", s.Of.List.Source())}
	}
	list, ok := document.Decode(v).([]any)
	if !ok {
		list = []any{v}
	}
	return s.batches(list), nil
}

func elementFailure(i int, item any, e *fault.Failure) *document.Object {
	o := &document.Object{}
	o.Set("index", document.Number(strconv.Itoa(i)))
	o.Set("path", e.Step)
	o.Set("item", item)
	o.Set("error", errorValue(e))
	return o
}

func plural(failed, n int, what string) string {
	return fmt.Sprintf("%d of %d %s failed", failed, n, what)
}
