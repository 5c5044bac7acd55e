package steps

import (
	"fmt"
	"strconv"

	"valence/internal/document"
	"valence/internal/expression"
	"valence/internal/fault"
	"valence/internal/spec"
	"valence/processes"
)

type forEach struct {
	List     *expression.Expr
	Steps    processes.Block
	As       string
	Parallel int
	Collect  bool
	OnError  string
	Errors   string
	Batch    int
}

var _ = define[forEach]("for_each", kind{
	doc: "Runs nested steps per element of a list. Inside, `doc` is the element (also `item` or the `as:` name, and `index`); each element has a copy of the variables. " +
		"With `collect: true` the results, in input order, become the document; an element that ends in `stop` is left out. Without it the document is what it was.",
	sample: "- for_each: ${doc.lines}\n  as: line\n  parallel: 4\n  collect: true\n  steps:\n    - call: stock.get\n      with: { path: \"/items/${line.sku}\" }\n",
	flow:   processes.Loop, makesDocument: true,
}, []spec.Field{
	spec.Expr("for_each", func(s *forEach) **expression.Expr { return &s.List }, "The list. A single XML element counts as a list of one.").List().Required(),
	spec.Steps("steps", func(s *forEach) *processes.Block { return &s.Steps }, "The steps per element.").Required(),
	spec.Name("as", func(s *forEach) *string { return &s.As }, "The element's name inside, besides `item`."),
	spec.Int("parallel", func(s *forEach) *int { return &s.Parallel }, "How many elements run at once.").Or(1).Min(1).Max(256),
	spec.Bool("collect", func(s *forEach) *bool { return &s.Collect }, "Whether the elements' results become the document."),
	spec.Enum("on_error", func(s *forEach) *string { return &s.OnError }, "`stop`: a failed element fails the step and nothing new starts. `continue`: all elements run first.", "stop", "continue").Or("stop"),
	spec.Name("errors", func(s *forEach) *string { return &s.Errors }, "With `on_error: continue`: the variable that gets the failures (`index path item error`); then the step succeeds, and the execution ends with warnings."),
	spec.Int("batch", func(s *forEach) *int { return &s.Batch }, "Elements per round: the element is then a list of up to so many.").Min(1).Max(100000),
}, func(s *forEach, c *processes.CheckContext) {
	if s.Errors != "" && s.OnError != "continue" {
		c.Report(&fault.Problem{Pos: c.Step.Pos, Code: "no-effect", Msg: "`errors:` has no effect without `on_error: continue`",
			Hint: "add `on_error: continue`, or drop `errors:`"})
	}
})

func (s *forEach) Run(f *Frame) error {
	list, err := s.elements(f)
	if err != nil {
		return err
	}
	stop := s.OnError != "continue"
	errs, frames := f.elements(len(list), s.Parallel, stop, func(i int) (*Frame, error) {
		c := f.child("["+strconv.Itoa(i)+"]", asDocument(list[i]))
		index := document.Number(strconv.Itoa(i))
		c.locals = &binding{name: "item", value: list[i], next: &binding{name: "index", value: index, next: c.locals}}
		if s.As != "" {
			c.locals = &binding{name: s.As, value: list[i], next: c.locals}
		}
		return c, c.Run(s.Steps)
	})
	if err := left(errs); err != nil {
		return err
	}
	var failed []error
	failures := []any{}
	results := make([]any, 0, len(list))
	for i, err := range errs {
		if frames[i] == nil {
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

func (s *forEach) elements(f *Frame) ([]any, error) {
	v, err := s.List.Eval(&f.env)
	if err != nil {
		return nil, err
	}
	if v == nil {
		return nil, &fault.Failure{Code: fault.CodeExpression, Pos: s.List.Pos(),
			Message: fmt.Sprintf("%s is null, for_each needs a list; write `?? []` behind it where none is right", s.List.Source())}
	}
	list, ok := document.Decode(v).([]any)
	if !ok {
		list = []any{v}
	}
	if s.Batch == 0 {
		return list, nil
	}
	var batches []any
	for len(list) > 0 {
		n := min(s.Batch, len(list))
		batches = append(batches, list[:n:n])
		list = list[n:]
	}
	return batches, nil
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
