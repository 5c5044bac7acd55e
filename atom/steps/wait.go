package steps

import (
	"strings"
	"time"

	"valence/internal/document"
	"valence/internal/expression"
	"valence/internal/fault"
	"valence/internal/spec"
	"valence/processes"
)

// Suspender lets paths wait without a goroutine, and gives signals to those
// that do.
type Suspender interface {
	// Wait suspends the path until its signal comes, and gives its payload; nil
	// if the time was over before.
	Wait(f *Frame, w *Wait) (*document.Document, error)
	// Resume gives a signal to the oldest execution that waits for it.
	Resume(f *Frame, r *Resume) error
	// Sleep suspends the path for a time.
	Sleep(f *Frame, d time.Duration) error
	// Callback gives the URL that ends the wait with this key in the journal.
	Callback(key string) string
}

// Wait is what a path waits for.
type Wait struct {
	Name    string
	Key     string // what a resume must give
	Keyed   bool   // whether one may end it
	Timeout time.Duration
}

// Resume is a signal for what waits.
type Resume struct {
	Name, Key string
	Body      *document.Document
	Keep      time.Duration // how long it waits for its wait; 0: not at all
}

type wait struct {
	Name      string
	Key       *expression.Expr
	Timeout   time.Duration
	OnTimeout processes.Block
}

var _ = define[wait]("wait", kind{
	doc: "Suspends the execution, using no memory and no thread, until a signal comes: a `resume` with the same name and key, or a POST to the URL that `callback(\"name\")` gave. " +
		"Its payload becomes the document. Where `timeout` is over before, `on_timeout` runs; if that does not end the path, the process goes on with nil. " +
		"A signal that comes before its wait is kept for it; of two the first counts.",
	sample: "- wait: approval\n  key: ${doc.id}\n  timeout: 2d\n  on_timeout:\n    - throw: nobody has approved ${input.id}\n",
	flow:   processes.Wait, makesDocument: true,
}, []spec.Field{
	spec.Name("wait", func(s *wait) *string { return &s.Name }, "Its name, which `callback()` and `resume` use.").Eg("approval").Required(),
	spec.Expr("key", func(s *wait) **expression.Expr { return &s.Key }, "What a `resume` must give as its key; without it only a `callback()` ends the wait.").Text(),
	spec.Duration("timeout", func(s *wait) *time.Duration { return &s.Timeout }, "The longest wait; for ever by default.").Min(time.Millisecond),
	spec.Steps("on_timeout", func(s *wait) *processes.Block { return &s.OnTimeout }, "The steps for when the time is over."),
}, func(s *wait, c *processes.CheckContext) {
	if s.OnTimeout != nil && s.Timeout == 0 {
		c.Report(&fault.Problem{Pos: c.Step.Pos, Code: "no-effect", Msg: "`on_timeout:` has no effect without `timeout:`", Hint: "add `timeout: 1h`, or drop `on_timeout:`"})
	}
})

// Suspends tells what ends the wait.
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
		f.Give(came)
		return nil
	}
	if err := f.Run(s.OnTimeout); err != nil {
		return err
	}
	f.Give(document.Empty)
	return nil
}

type resume struct {
	Name string
	Key  *expression.Expr
	Body *expression.Template
	Keep time.Duration
}

var _ = define[resume]("resume", kind{
	doc: "Gives a signal to the execution that waits under this name and key, the oldest of several, exactly once. Nobody waiting is the error `wait_unknown`, " +
		"unless `keep` lets the signal wait for its `wait`.",
	sample: "- resume: approval\n  key: ${doc.order}\n  body: { approved: \"${doc.yes}\" }\n  keep: 10m\n",
	flow:   processes.Resume,
}, []spec.Field{
	spec.Name("resume", func(s *resume) *string { return &s.Name }, "The name of the `wait`.").Eg("approval").Required(),
	spec.Expr("key", func(s *resume) **expression.Expr { return &s.Key }, "The key of the `wait`.").Text().Required(),
	spec.Template("body", func(s *resume) **expression.Template { return &s.Body }, "What the waiting execution gets; the current document by default."),
	spec.Duration("keep", func(s *resume) *time.Duration { return &s.Keep }, "How long an early signal waits for its `wait`; not at all by default.").Min(time.Second).Max(365 * 24 * time.Hour),
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
	doc:    "Suspends the execution for a time, using no memory and no thread. The time goes on while the atom is down.",
	sample: "- sleep: 10m\n",
	flow:   processes.Sleep,
}, []spec.Field{
	spec.Expr("sleep", func(s *sleep) **expression.Expr { return &s.For }, "How long: a duration such as `10m`, or an expression that gives one.").Text().Required(),
}, func(s *sleep, c *processes.CheckContext) {
	if s.For == nil {
		return
	}
	if v, constant := s.For.Constant(); constant {
		if _, err := sleepTime(v); err != nil {
			c.Report(&fault.Problem{Pos: c.Step.Pos, Code: spec.CodeWrongValue, Msg: err.Error(), Hint: "write a number with its unit, such as 30s, 10m or 2d"})
		}
	}
})

// Suspends tells how long it is.
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
	return 0, fault.Failf(fault.CodeExpression, "`sleep:` needs a duration such as 10m, not %s", document.AppendJSON(nil, v))
}

// callback gives the URL that ends a wait of this process: that of the round
// of the loops around it in which it is called.
func (f *Frame) callback(name string) (string, error) {
	w, ok := f.proc.Waits[name]
	if !ok {
		return "", fault.Failf(fault.CodeExpression, "the process %s has no wait %q", f.proc.Name, name)
	}
	return f.rt.Callback(f.key + w.Path + rounds(f.iter, w.Loops)), nil
}

// rounds gives the indices of the outermost n loops.
func rounds(iter string, n int) string {
	end := 0
	for ; n > 0 && end < len(iter); n-- {
		end += strings.IndexByte(iter[end:], ']') + 1
	}
	return iter[:end]
}
