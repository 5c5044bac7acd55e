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

// forEachOf is the source of the elements: a list, or the pages of a call.
type forEachOf struct {
	List      *expression.Expr
	Operation processes.Operation
	With      *expression.Template
	Accept    connectors.Accept
	Retry     *processes.Retry
	Timeout   time.Duration
}

var _ = define[forEach]("for_each", kind{
	doc: "Runs steps for each element of a list. Inside the loop, `doc` is the element, which is also `item` and the name given by `as:`; `index` " +
		"counts from 0. Each element has a copy of the variables. With `collect: true` the results become the document, in input order, without " +
		"elements that ended in `stop`. Otherwise the document stays as it was. Over a paged call (`for_each: { call: …, with: { pages: … } }`) the " +
		"loop streams: memory holds one page and its running elements, and the journal holds the current page and its finished elements, so that the " +
		"loop resumes there after a crash. A paged loop has no `collect`, and `batch` groups the elements of one page.",
	sample: "- for_each: ${doc.lines}\n  as: line\n  parallel: 4\n  collect: true\n  steps:\n    - call: stock.get\n      with: { path: \"/items/${line.sku}\" }\n",
	flow:   processes.Loop, makesDocument: true,
}, []spec.Field{
	spec.Object("for_each", func(s *forEach) *forEachOf { return &s.Of }, "The list to iterate over, or a paged call.",
		spec.Expr("in", func(s *forEachOf) **expression.Expr { return &s.List }, "The list. A single XML element counts as a list with one element.").List(),
		spec.Operation("call", func(s *forEachOf) *processes.Operation { return &s.Operation }, "A paged operation, as `connection.operation`."),
		spec.With("with", func(s *forEachOf) **expression.Template { return &s.With }, "Settings of the operation, including `pages:`."),
		spec.Accept("accept", func(s *forEachOf) *connectors.Accept { return &s.Accept }, "Statuses that count as success, such as `404` or `2xx`. Defaults to `[2xx]`."),
		spec.Retry("retry", func(s *forEachOf) **processes.Retry { return &s.Retry }, "Retry policy of each page. Replaces the policy of the process."),
		spec.Duration("timeout", func(s *forEachOf) *time.Duration { return &s.Timeout }, "Timeout of one attempt for a page. Defaults to the timeout of the connection."),
	).Short("in").Required(),
	spec.Steps("steps", func(s *forEach) *processes.Block { return &s.Steps }, "Steps to run for each element.").Required(),
	spec.Name("as", func(s *forEach) *string { return &s.As }, "Additional name for `item` inside the loop."),
	spec.Int("parallel", func(s *forEach) *int { return &s.Parallel }, "Maximum number of elements that run at once.").Or(1).Min(1).Max(256),
	spec.Bool("collect", func(s *forEach) *bool { return &s.Collect }, "Collect the results of the elements, in input order, as the new document."),
	spec.Enum("on_error", func(s *forEach) *string { return &s.OnError }, "What a failed element does: `stop` fails the step and starts no further element; elements that only wait are abandoned unless a `try` or another path continues after the failure. `continue` runs all elements first.", "stop", "continue").Or("stop"),
	spec.Name("errors", func(s *forEach) *string { return &s.Errors }, "With `on_error: continue`: variable that receives the failures, a list of maps with `index`, `path`, `item` and `error`. The step then succeeds, and the execution ends with warnings."),
	spec.Int("batch", func(s *forEach) *int { return &s.Batch }, "Batch size. Each iteration then gets a list of up to this many elements.").Min(1).Max(100000),
}, func(s *forEach, c *processes.CheckContext) {
	s.Operation = s.Of.Operation
	problem := func(msg, hint string) {
		c.Report(&fault.Problem{Pos: c.Step.Pos, Code: "no-effect", Msg: msg, Hint: hint})
	}
	switch paged := s.Operation.Operation != nil; {
	case paged && s.Of.List != nil:
		problem("`in:` and `call:` exclude each other", "iterate over either a list or the pages of a call")
	case !paged && s.Of.List == nil:
		problem("the loop has no list", "write `for_each: ${doc.items}`, or `for_each: { call: …, with: { pages: … } }`")
	case !paged && (s.Of.With != nil || s.Of.Accept != nil || s.Of.Retry != nil || s.Of.Timeout != 0):
		problem("`with:`, `accept:`, `retry:` and `timeout:` have no effect without `call:`", "remove them")
	case paged && s.Of.With == nil:
		problem("a loop over a call needs `pages:` in its `with:`", "describe how to find the next page, such as `pages: { items: items, cursor: next }`")
	case paged && s.Of.Accept != nil && !s.Operation.Operation.HasStatus:
		problem(acceptsNothing(s.Operation), "remove `accept:`")
	case paged && s.Collect:
		problem("`collect:` would hold the results of all pages in memory", "process each result in a step of its element, and remove `collect:`")
	}
	if s.Errors != "" && s.OnError != "continue" {
		c.Report(&fault.Problem{Pos: c.Step.Pos, Code: "no-effect", Msg: "`errors:` has no effect without `on_error: continue`",
			Hint: "add `on_error: continue`, or remove `errors:`"})
	}
})

// ExternalCall returns the call that returns the pages, if there is one.
func (s *forEach) ExternalCall() processes.ExternalCall {
	return processes.ExternalCall{Operation: s.Operation, Retry: s.Of.Retry, Timeout: s.Of.Timeout}
}

// Repeats reports whether the elements come from pages.
func (s *forEach) Repeats() processes.Repetition {
	return processes.Repetition{Pages: s.Operation.Operation != nil}
}

func (s *forEach) Run(f *Frame) error {
	if s.Operation.Operation != nil {
		return s.runPages(f)
	}
	list, err := s.elements(f)
	if err != nil {
		return err
	}
	errs, frames := s.run(f, list, 0)
	if err := f.runEnd(errs, s.OnError != "continue"); err != nil {
		return err
	}
	if err := ending(errs); err != nil {
		return err
	}
	var failed []error
	failures := []any{}
	results := make([]any, 0, len(list))
	for i, err := range errs {
		if frames[i] == nil || isSuspended(err) {
			continue
		}
		f.AdvanceClock(frames[i].env.Now)
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
		return partialFailure(failed, len(list), "elements")
	}
	if s.Errors != "" {
		f.setVar(s.Errors, failures)
		if len(failures) > 0 {
			f.rt.Warn(f, failedOf(len(failures), len(list), "elements"))
		}
	}
	if s.Collect {
		f.SetResult(document.FromValue(results))
	}
	return nil
}

// run runs the steps for each element. base is the index of the first one.
func (s *forEach) run(f *Frame, list []any, base int) ([]error, []*Frame) {
	return f.runAll(len(list), s.Parallel, s.OnError != "continue", func(i int) (*Frame, error) {
		at := strconv.Itoa(base + i)
		c := f.child("["+at+"]", asDocument(list[i]))
		c.locals = &binding{name: "item", value: list[i], next: &binding{name: "index", value: document.Number(at), next: c.locals}}
		if s.As != "" {
			c.locals = &binding{name: s.As, value: list[i], next: c.locals}
		}
		return c, c.Run(s.Steps)
	})
}

// batches groups elements into batches, if `batch:` is set.
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
			Message: fmt.Sprintf("%s is null, but for_each needs a list; write `?? []` after it if null means no elements", s.Of.List.Source())}
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

func failedOf(failed, n int, parts string) string {
	return fmt.Sprintf("%d of %d %s failed", failed, n, parts)
}
