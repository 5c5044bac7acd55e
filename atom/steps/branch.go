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
	doc: "Runs named paths in parallel, each with a copy of the document and the variables. The result is an object with the final document of each " +
		"path. With `on_error: continue` (the default) every path runs to its end, and the step then fails if any path failed. With `stop` the first " +
		"failure cancels the calls that run on the other paths, whose `finally` still runs for up to 30 seconds, and starts no further path; paths that " +
		"only wait are abandoned unless a `try` or another path continues after the failure.",
	sample:        "- branch:\n    erp:\n      - call: erp.post\n    crm:\n      - call: crm.post\n",
	flow:          processes.Parallel,
	makesDocument: true,
}, []spec.Field{
	spec.Paths("branch", func(s *branch) *[]processes.Path { return &s.Paths }, "The steps of each path, by name. Names appear in the result.").Required(),
	spec.Enum("on_error", func(s *branch) *string { return &s.OnError }, "What a failed path does to the others: `continue` runs them to their end, `stop` cancels their calls and starts no further path.", "continue", "stop").Or("continue"),
	spec.Bool("sequential", func(s *branch) *bool { return &s.Sequential }, "Run one path after the other, in the order of the file."),
}, nil)

// Repeats reports whether the paths run one after the other.
func (s *branch) Repeats() processes.Repetition {
	return processes.Repetition{Sequential: s.Sequential}
}

func (s *branch) Run(f *Frame) error {
	parallel := len(s.Paths)
	if s.Sequential {
		parallel = 1
	}
	doc := f.doc
	ctx, abandon := f.rt.Clock().WithCancelCause(f.ctx)
	defer abandon(nil)
	errs, frames := f.runAll(len(s.Paths), parallel, s.OnError == "stop", func(i int) (*Frame, error) {
		c := f.child("", doc)
		c.ctx, c.env.Ctx = ctx, ctx
		err := c.Run(s.Paths[i].Steps)
		if _, failed := err.(*fault.Failure); failed && s.OnError == "stop" {
			abandon(abandoned)
		}
		return c, err
	})
	if err := f.runEnd(errs, s.OnError == "stop"); err != nil {
		return err
	}
	if err := ending(errs); err != nil {
		return err
	}
	result := &document.Object{}
	var failures []error
	for i, p := range s.Paths {
		if isSuspended(errs[i]) || errs[i] == abandoned {
			continue
		}
		if errs[i] != nil && errs[i] != stopped {
			failures = append(failures, errs[i])
			continue
		}
		if frames[i] != nil {
			f.AdvanceClock(frames[i].env.Now)
			result.Set(p.Name, frames[i].value)
		}
	}
	if len(failures) > 0 {
		return partialFailure(failures, len(s.Paths), "paths")
	}
	f.SetResult(document.FromValue(result))
	return nil
}

// partialFailure returns the failure of a step when some of its n parts failed.
func partialFailure(failures []error, n int, parts string) error {
	e := fault.AsFailure(failures[0])
	if len(failures) == 1 {
		return e
	}
	sum := *e
	sum.Message = failedOf(len(failures), n, parts) + ", the first: " + e.Message
	sum.Cause, sum.Keys = e, nil
	for _, f := range failures {
		sum.Keys = append(sum.Keys, fault.AsFailure(f).Keys...)
	}
	return &sum
}
