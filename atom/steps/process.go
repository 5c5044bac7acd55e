package steps

import (
	"valence/internal/document"
	"valence/internal/expression"
	"valence/internal/fault"
	"valence/internal/spec"
	"valence/processes"
)

type processStep struct {
	Name  string
	Body  *expression.Template
	Props *expression.Template
	Mode  string
}

// maxDepth bounds nested process calls. Lint rejects cycles, so only a very deep
// project reaches it.
const maxDepth = 50

var _ = define[processStep]("process", kind{
	doc: "Starts another process. With `mode: wait` (the default) the process runs within this execution, with its own variables and the caller's " +
		"project version and deadline; its reply, or else its final document, is the result. With `mode: handoff` it runs in a separate execution on " +
		"the current project version, which commits with this step.",
	sample: "- process: price-order\n  body: ${doc}\n  props: { currency: EUR }\n", makesDocument: true,
}, []spec.Field{
	spec.Ref("process", func(s *processStep) *string { return &s.Name }, "process", "The process to start.").Required(),
	spec.Template("body", func(s *processStep) **expression.Template { return &s.Body }, "Input of the process. Defaults to the current document."),
	spec.Template("props", func(s *processStep) **expression.Template { return &s.Props }, "Properties that the process reads as `props`."),
	spec.Enum("mode", func(s *processStep) *string { return &s.Mode }, "`wait` runs the process within this execution, `handoff` creates a separate durable execution.", "wait", "handoff").Or("wait"),
}, func(s *processStep, c *processes.CheckContext) {
	if s.Mode == "handoff" && (c.Step.Into != "" || c.Step.Name != "") {
		c.Report(&fault.Problem{Pos: c.Step.Pos, Code: "no-effect", Msg: "a process started with `mode: handoff` has no result", Hint: "remove `into:` and `name:`, or remove `mode: handoff`"})
	}
})

// ExternalCall returns the process that is started.
func (s *processStep) ExternalCall() processes.ExternalCall {
	return processes.ExternalCall{Process: s.Name, Handoff: s.Mode == "handoff", Body: s.Body}
}

func (s *processStep) Run(f *Frame) error {
	body := f.doc
	var err error
	if s.Body != nil {
		if body, err = build(f, s.Body); err != nil {
			return err
		}
	}
	props, err := buildObject(f, s.Props)
	if err != nil {
		return err
	}
	if s.Mode == "handoff" {
		return f.rt.Handoff(f, &Handoff{Process: s.Name, Body: body, Props: props})
	}
	p, ok := f.rt.Process(s.Name)
	if !ok {
		return fault.Failf(fault.CodeInternal, "the process %s is not in this version", s.Name)
	}
	return s.call(f, p, body, props)
}

func (s *processStep) call(f *Frame, p *processes.Process, body *document.Document, props *document.Object) error {
	if f.depth >= maxDepth {
		return fault.Failf(fault.CodeLimit, "processes call each other more than %d deep", maxDepth)
	}
	if err := Match(p.Delivery.Profile, body); err != nil {
		return err
	}
	c := NewFrame(f.ctx, f.rt, p, body, props, f.env.Now)
	c.key, c.iter, c.depth, c.concurrent = f.Key()+"/", "", f.depth+1, f.concurrent
	c.caught, c.unheld, c.shield = f.caught, f.unheld, f.shield
	c.answer = &answered{}
	if err := RunProcess(c); err != nil {
		return err
	}
	f.AdvanceClock(c.env.Now)
	if r := c.answer.reply; r != nil {
		f.SetResult(r.Doc)
	} else {
		f.SetResult(c.doc)
	}
	return nil
}

func (f *Frame) log(text string) {
	f.rt.Trace(StepTrace{Key: f.Key(), Step: f.step, Start: f.env.Now, Outcome: "log", Log: text})
}

func intOf(v any) (int, bool) {
	n, ok := v.(document.Number)
	if !ok {
		return 0, false
	}
	i := 0
	for _, c := range n {
		if c < '0' || c > '9' || i > 1<<30 {
			return 0, false
		}
		i = i*10 + int(c-'0')
	}
	return i, len(n) > 0
}
