package steps

import (
	"time"

	"valence/connectors"
	"valence/internal/document"
	"valence/internal/expression"
	"valence/internal/fault"
	"valence/internal/spec"
	"valence/processes"
)

type call struct {
	Operation processes.Operation
	With      *expression.Template
	Body      *expression.Template
	Accept    connectors.Accept
	Retry     *processes.Retry
	Timeout   time.Duration
	Cache     time.Duration
	Mode      string
	Marks     *marks
}

var _ = define[call]("call", kind{
	doc: "Performs one operation of a connection: `connection.operation`. Its answer becomes the document; `response.status` and `response.headers` describe it. " +
		"Every finished call of a durable execution is kept, so that it is not made again after a crash. With `mode: handoff` the call becomes an execution of its own, " +
		"committed with this step: the process does not wait for it and does not see its answer.",
	sample: "- name: order\n  call: shop.get\n  with: { path: \"/orders/${doc.id}\" }\n  accept: [2xx, 404]\n", makesDocument: true,
}, []spec.Field{
	spec.Operation("call", func(s *call) *processes.Operation { return &s.Operation }, "The connection and its operation.").Required(),
	spec.With("with", func(s *call) **expression.Template { return &s.With }, "The operation's settings."),
	spec.Template("body", func(s *call) **expression.Template { return &s.Body }, "What is sent; the current document by default, for operations that send one."),
	spec.Accept("accept", func(s *call) *connectors.Accept { return &s.Accept }, "Statuses that are no error; `[2xx]` by default."),
	spec.Retry("retry", func(s *call) **processes.Retry { return &s.Retry }, "The retry policy, in place of the process'."),
	spec.Duration("timeout", func(s *call) *time.Duration { return &s.Timeout }, "The longest one attempt may take; the connection's by default."),
	spec.Duration("cache", func(s *call) *time.Duration { return &s.Cache }, "How long an answer may serve the same call again. Only for operations that change nothing."),
	spec.Enum("mode", func(s *call) *string { return &s.Mode }, "`handoff`: do not wait.", "wait", "handoff").Or("wait"),
	marksField(),
}, func(s *call, c *processes.CheckContext) {
	op := s.Operation.Operation
	if op == nil {
		return
	}
	problem := func(msg, hint string) {
		c.Report(&fault.Problem{Pos: c.Step.Pos, Code: "no-effect", Msg: msg, Hint: hint})
	}
	if s.Body != nil && !op.SendsBody {
		problem("`"+op.Name+"` sends no body", "drop `body:`, or use an operation that sends one")
	}
	if s.Cache > 0 && !op.Safe {
		problem("`cache:` is only for operations that change nothing, and `"+op.Name+"` may", "drop `cache:`")
	}
	checkMarks(s, c)
	if s.Mode == "handoff" && (c.Step.Into != "" || c.Step.Name != "" || s.Cache > 0) {
		problem("a hand-off gives no answer to keep", "drop `into:`, `name:` and `cache:`, or `mode: handoff`")
	}
})

// Reach tells what is called.
func (s *call) Reach() processes.Reach {
	r := processes.Reach{Operation: s.Operation, Handoff: s.Mode == "handoff", Retry: s.Retry, Timeout: s.Timeout}
	if s.Marks != nil {
		r.Marks = &processes.Marks{System: s.Marks.System, Whole: s.Marks.fromAnswer()}
	}
	return r
}

func (s *call) Run(f *Frame) error {
	c := &Call{Operation: s.Operation, Accept: s.Accept, Retry: s.Retry, Timeout: s.Timeout, Cache: s.Cache}
	var err error
	if c.Settings, err = buildObject(f, s.With); err != nil {
		return err
	}
	if err := c.Decode(); err != nil {
		return err
	}
	if s.Operation.Operation.SendsBody {
		c.Body = f.doc
		if s.Body != nil {
			if c.Body, err = build(f, s.Body); err != nil {
				return err
			}
		}
	}
	if s.Mode == "handoff" {
		return f.rt.Handoff(f, &Handoff{Call: c})
	}
	perform := f.rt.Call
	if s.Marks != nil {
		perform = s.Marks.marked
	}
	r, err := perform(f, c)
	if err != nil {
		return err
	}
	f.Respond(r.Status, r.Headers)
	f.Give(r.Doc)
	return nil
}

// Decode makes With of Settings, by the rules of the operation.
func (c *Call) Decode() error {
	op := c.Operation.Operation
	if op.NewWith == nil {
		return nil
	}
	c.With = op.NewWith()
	settings := c.Settings
	if settings == nil {
		settings = emptyObject
	}
	if err := spec.Bind(op.With, c.With, deep(settings)); err != nil {
		return &fault.Failure{Code: fault.CodeExpression, Message: "with: " + err.Error(), Cause: err}
	}
	return nil
}

// deep gives an object with every Raw below it decoded, as Bind wants it.
func deep(o *document.Object) *document.Object {
	out := &document.Object{}
	for i := range o.Len() {
		k, v := o.At(i)
		out.Set(k, deepValue(v))
	}
	return out
}

func deepValue(v any) any {
	switch v := document.Decode(v).(type) {
	case *document.Object:
		return deep(v)
	case []any:
		out := make([]any, len(v))
		for i, e := range v {
			out[i] = deepValue(e)
		}
		return out
	default:
		return v
	}
}

// RunCall performs the call of a step whose settings were computed before: the
// hand-off of one call. The frame's document is what it sends.
func RunCall(f *Frame, s *processes.Step, settings *document.Object) error {
	step, ok := s.Settings.(*call)
	if !ok {
		return fault.Failf(fault.CodeJournalMismatch, "the step %s is no call", s.Path)
	}
	once := *step
	run := &handedCall{call: &once, settings: settings}
	copied := *s
	copied.When, copied.Into, copied.Name, copied.Settings = nil, "", "", run
	return f.one(&copied)
}

type handedCall struct {
	*call
	settings *document.Object
}

func (s *handedCall) Run(f *Frame) error {
	c := &Call{Operation: s.Operation, Accept: s.Accept, Retry: s.Retry, Timeout: s.Timeout, Settings: s.settings}
	if err := c.Decode(); err != nil {
		return err
	}
	if s.Operation.Operation.SendsBody {
		c.Body = f.doc
	}
	r, err := f.rt.Call(f, c)
	if err != nil {
		return err
	}
	f.Give(r.Doc)
	return nil
}
