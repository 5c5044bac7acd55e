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

// maxDepth bounds calls of processes by processes; lint refuses cycles, so
// only a very deep project meets it.
const maxDepth = 50

var _ = define[processStep]("process", kind{
	doc: "Calls another process. `mode: wait` (the default) runs it here, with its own variables and the caller's version and deadline; its reply, or its final document, is the result. " +
		"`mode: handoff` makes an execution of its own, on the current version, committed with this step.",
	sample: "- process: price-order\n  body: ${doc}\n  props: { currency: EUR }\n", makesDocument: true,
}, []spec.Field{
	spec.Ref("process", func(s *processStep) *string { return &s.Name }, "process", "The process.").Required(),
	spec.Template("body", func(s *processStep) **expression.Template { return &s.Body }, "What it starts with; the current document by default."),
	spec.Template("props", func(s *processStep) **expression.Template { return &s.Props }, "Its process properties."),
	spec.Enum("mode", func(s *processStep) *string { return &s.Mode }, "`wait` or `handoff`.", "wait", "handoff").Or("wait"),
}, func(s *processStep, c *processes.CheckContext) {
	if s.Mode == "handoff" && (c.Step.Into != "" || c.Step.Name != "") {
		c.Report(&fault.Problem{Pos: c.Step.Pos, Code: "no-effect", Msg: "a hand-off gives no answer to keep", Hint: "drop `into:` and `name:`, or `mode: handoff`"})
	}
})

// Reach tells which process is started.
func (s *processStep) Reach() processes.Reach {
	return processes.Reach{Process: s.Name, Handoff: s.Mode == "handoff", Body: s.Body}
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
	c.key, c.iter, c.depth, c.beside = f.Key()+"/", "", f.depth+1, f.beside
	c.caught = f.caught
	c.answer = &answered{}
	if err := RunProcess(c); err != nil {
		return err
	}
	f.Happened(c.env.Now)
	if r := c.answer.reply; r != nil {
		f.Give(r.Doc)
	} else {
		f.Give(c.doc)
	}
	return nil
}

func (f *Frame) log(text string) {
	f.rt.Trace(Traced{Key: f.Key(), Step: f.step, Start: f.env.Now, Outcome: "log", Log: text})
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
