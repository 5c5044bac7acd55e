package steps

import (
	"valence/internal/document"
	"valence/internal/fault"
	"valence/internal/spec"
	"valence/processes"
)

type branch struct {
	Paths      []processes.Path
	OnError    string
	Sequential bool
}

var _ = define[branch]("branch", kind{
	doc: "Named paths, in parallel, each with a copy of the document and the variables. The result is an object with what each path made. " +
		"With `on_error: continue` (the default) every path runs to its end, then the step fails if one of them failed; with `stop` no further path starts, and unless a `try` or another path goes on behind the failure it is told at once: paths that only wait are given up.",
	sample:        "- branch:\n    erp:\n      - call: erp.post\n    crm:\n      - call: crm.post\n",
	flow:          processes.Parallel,
	makesDocument: true,
}, []spec.Field{
	spec.Paths("branch", func(s *branch) *[]processes.Path { return &s.Paths }, "The paths.").Required(),
	spec.Enum("on_error", func(s *branch) *string { return &s.OnError }, "What a failed path does to the others.", "continue", "stop").Or("continue"),
	spec.Bool("sequential", func(s *branch) *bool { return &s.Sequential }, "One path after the other, in the order written."),
}, nil)

// Repeats tells how the paths run.
func (s *branch) Repeats() processes.Repetition {
	return processes.Repetition{Sequential: s.Sequential}
}

func (s *branch) Run(f *Frame) error {
	parallel := len(s.Paths)
	if s.Sequential {
		parallel = 1
	}
	doc := f.doc
	errs, frames := f.elements(len(s.Paths), parallel, s.OnError == "stop", func(i int) (*Frame, error) {
		c := f.child("", doc)
		return c, c.Run(s.Paths[i].Steps)
	})
	if err := f.left(errs, s.OnError == "stop"); err != nil {
		return err
	}
	result := &document.Object{}
	var failures []error
	for i, p := range s.Paths {
		if isParked(errs[i]) {
			continue // and given up
		}
		if errs[i] != nil && errs[i] != stopped {
			failures = append(failures, errs[i])
			continue
		}
		if frames[i] != nil {
			f.Happened(frames[i].env.Now)
			result.Set(p.Name, frames[i].value)
		}
	}
	if len(failures) > 0 {
		return several(failures, len(s.Paths), "paths")
	}
	f.Give(document.FromValue(result))
	return nil
}

// several gives the failure of a step of whose n parts these failed.
func several(failures []error, n int, what string) error {
	e := fault.AsFailure(failures[0])
	if len(failures) == 1 {
		return e
	}
	sum := *e
	sum.Message = plural(len(failures), n, what) + ", the first: " + e.Message
	sum.Cause, sum.Keys = e, nil
	for _, f := range failures {
		sum.Keys = append(sum.Keys, fault.AsFailure(f).Keys...)
	}
	return &sum
}
