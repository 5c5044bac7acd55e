package steps

import (
	"fmt"
	"strings"
	"time"

	"valence/internal/document"
	"valence/internal/expression"
	"valence/internal/fault"
	"valence/internal/spec"
	"valence/processes"
)

// Suspender suspends paths without a goroutine, and sends signals to suspended
// ones.
type Suspender interface {
	// Wait suspends the path until its signal arrives, and returns the payload;
	// nil after a timeout.
	Wait(f *Frame, w *Wait) (*document.Document, error)
	// Resume sends a signal to the oldest execution that waits for it.
	Resume(f *Frame, r *Resume) error
	// Sleep suspends the path for a time.
	Sleep(f *Frame, d time.Duration) error
	// Callback returns the URL that ends the wait with a journal key.
	Callback(key string) string
}

// Wait describes the signal that a path waits for.
type Wait struct {
	Name    string
	Key     string // that a resume must match
	Keyed   bool   // whether a resume may end the wait
	Timeout time.Duration
}

// Resume is a signal for a waiting execution.
type Resume struct {
	Name, Key string
	Body      *document.Document
	Keep      time.Duration // how long an early signal is kept for its wait; 0: not at all
}

type wait struct {
	Name      string
	Key       *expression.Expr
	Timeout   time.Duration
	OnTimeout processes.Block
}

var _ = define[wait]("wait", kind{
	doc: "Suspends the execution, without memory or a thread, until a signal arrives: a `resume` with the same name and key, or a POST to the URL " +
		"returned by `callback(\"name\")`. The payload of the signal becomes the document. After `timeout`, `on_timeout` runs and, unless it ends " +
		"the path, the process continues with nil as the document. A signal that arrives before its wait is stored. Only the first signal of a wait " +
		"counts.",
	sample: "- wait: approval\n  key: ${doc.id}\n  timeout: 2d\n  on_timeout:\n    - throw: nobody has approved ${input.id}\n",
	flow:   processes.Wait, makesDocument: true,
}, []spec.Field{
	spec.Name("wait", func(s *wait) *string { return &s.Name }, "Name of the wait, as used by `callback()` and `resume`.").Eg("approval").Required(),
	spec.Expr("key", func(s *wait) **expression.Expr { return &s.Key }, "Key that a `resume` must specify. Without it, only a `callback()` URL ends the wait.").Text(),
	spec.Duration("timeout", func(s *wait) *time.Duration { return &s.Timeout }, "Maximum time to wait. Unlimited by default.").Min(time.Millisecond),
	spec.Steps("on_timeout", func(s *wait) *processes.Block { return &s.OnTimeout }, "Steps to run after the timeout."),
}, func(s *wait, c *processes.CheckContext) {
	if s.OnTimeout != nil && s.Timeout == 0 {
		c.Report(&fault.Problem{Pos: c.Step.Pos, Code: "no-effect", Msg: "`on_timeout:` has no effect without `timeout:`", Hint: "add `timeout: 1h`, or remove `on_timeout:`"})
	}
})

// Suspends describes the wait for analysis.
func (s *wait) Suspends() processes.Suspension {
	return processes.Suspension{Name: s.Name, Timeout: s.Timeout, Keyed: s.Key != nil}
}

func (s *wait) Run(f *Frame) error {
	w := &Wait{Name: s.Name, Timeout: s.Timeout, Keyed: s.Key != nil}
	if s.Key != nil {
		var err error
		if w.Key, err = s.Key.Text(&f.env); err != nil {
			return err
		}
	}
	came, err := f.rt.Wait(f, w)
	if err != nil {
		return err
	}
	if came != nil {
		f.SetResult(came)
		return nil
	}
	if err := f.Run(s.OnTimeout); err != nil {
		return err
	}
	f.SetResult(document.Empty)
	return nil
}

type resume struct {
	Name string
	Key  *expression.Expr
	Body *expression.Template
	Keep time.Duration
}

var _ = define[resume]("resume", kind{
	doc: "Sends a signal, exactly once, to the execution that waits with this name and key. If several wait, the oldest receives it. If none waits, " +
		"the step fails with `wait_unknown`, unless `keep` is set.",
	sample: "- resume: approval\n  key: ${doc.order}\n  body: { approved: \"${doc.yes}\" }\n  keep: 10m\n",
	flow:   processes.Resume,
}, []spec.Field{
	spec.Name("resume", func(s *resume) *string { return &s.Name }, "Name of the `wait` to end.").Eg("approval").Required(),
	spec.Expr("key", func(s *resume) **expression.Expr { return &s.Key }, "Key of the `wait` to end.").Text().Required(),
	spec.Template("body", func(s *resume) **expression.Template { return &s.Body }, "Payload of the signal. Defaults to the current document."),
	spec.Duration("keep", func(s *resume) *time.Duration { return &s.Keep }, "How long to store a signal whose `wait` does not exist yet. By default the step fails with `wait_unknown`.").Min(time.Second).Max(365 * 24 * time.Hour),
}, nil)

func (s *resume) Run(f *Frame) error {
	r := &Resume{Name: s.Name, Body: f.doc, Keep: s.Keep}
	var err error
	if r.Key, err = s.Key.Text(&f.env); err != nil {
		return err
	}
	if s.Body != nil {
		if r.Body, err = build(f, s.Body); err != nil {
			return err
		}
	}
	return f.rt.Resume(f, r)
}

type sleep struct{ For *expression.Expr }

var _ = define[sleep]("sleep", kind{
	doc:    "Suspends the execution for a duration, without memory or a thread. The duration includes time during which the atom is down.",
	sample: "- sleep: 10m\n",
	flow:   processes.Sleep,
}, []spec.Field{
	spec.Expr("sleep", func(s *sleep) **expression.Expr { return &s.For }, "A duration such as `10m`, or an expression that returns one.").Text().Required(),
}, func(s *sleep, c *processes.CheckContext) {
	if s.For == nil {
		return
	}
	if v, constant := s.For.Constant(); constant {
		if _, err := sleepTime(v); err != nil {
			c.Report(&fault.Problem{Pos: c.Step.Pos, Code: spec.CodeWrongValue, Msg: err.Error(), Hint: "write a number with a unit, such as 30s, 10m or 2d"})
		}
	}
})

// Suspends describes the sleep for analysis.
func (s *sleep) Suspends() processes.Suspension { return processes.Suspension{For: s.For.Source()} }

func (s *sleep) Run(f *Frame) error {
	v, err := s.For.Eval(&f.env)
	if err != nil {
		return err
	}
	d, err := sleepTime(v)
	if err != nil {
		return &fault.Failure{Code: fault.CodeExpression, Pos: s.For.Pos(), Message: err.Error()}
	}
	return f.rt.Sleep(f, d)
}

func sleepTime(v any) (time.Duration, error) {
	text, err := expression.Text(v)
	if err == nil {
		var d time.Duration
		if d, err = spec.ParseDuration(text); err == nil {
			return d, nil
		}
	}
	return 0, fmt.Errorf("`sleep:` needs a duration such as 10m, not %s", document.AppendJSON(nil, v))
}

// callback returns the URL that ends a wait of this process, in the current round
// of the loops around the wait.
func (f *Frame) callback(name string) (string, error) {
	w, ok := f.proc.Waits[name]
	if !ok {
		return "", fault.Failf(fault.CodeExpression, "the process %s has no wait %q", f.proc.Name, name)
	}
	return f.rt.Callback(f.key + w.Path + rounds(f.iter, w.Loops)), nil
}

// rounds returns the indices of the outermost n loops.
func rounds(iter string, n int) string {
	end := 0
	for ; n > 0 && end < len(iter); n-- {
		end += strings.IndexByte(iter[end:], ']') + 1
	}
	return iter[:end]
}
