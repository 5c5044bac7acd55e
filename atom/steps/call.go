package steps

import (
	"context"
	"time"

	"valence/connectors"
	"valence/internal/blob"
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
	Optional  bool
}

var _ = define[call]("call", kind{
	doc: "Calls one operation of a connection. The response becomes the document; `response.status` and `response.headers` describe it. A durable " +
		"execution stores the result of each finished call, so that the call is not repeated after a crash. With `mode: handoff` the call runs in a " +
		"separate execution, which commits with this step: the process neither waits for it nor sees its response.",
	sample: "- name: order\n  call: shop.get\n  with: { path: \"/orders/${doc.id}\" }\n  accept: [2xx, 404]\n", makesDocument: true,
}, []spec.Field{
	spec.Operation("call", func(s *call) *processes.Operation { return &s.Operation }, "The operation, as `connection.operation`.").Required(),
	spec.With("with", func(s *call) **expression.Template { return &s.With }, "Settings of the operation."),
	spec.Template("body", func(s *call) **expression.Template { return &s.Body }, "The document to send. Defaults to the current document for operations that send one."),
	spec.Accept("accept", func(s *call) *connectors.Accept { return &s.Accept }, "Statuses that count as success, such as `404` or `2xx`. Defaults to `[2xx]`."),
	spec.Retry("retry", func(s *call) **processes.Retry { return &s.Retry }, "Retry policy. Replaces the policy of the process."),
	spec.Duration("timeout", func(s *call) *time.Duration { return &s.Timeout }, "Timeout of one attempt. Defaults to the timeout of the connection."),
	spec.Duration("cache", func(s *call) *time.Duration { return &s.Cache }, "How long a response may be reused for the same call. Only for read-only operations."),
	spec.Enum("mode", func(s *call) *string { return &s.Mode }, "`wait` waits for the response, `handoff` makes the call in a separate durable execution.", "wait", "handoff").Or("wait"),
	marksField(),
	spec.Bool("optional", func(s *call) *bool { return &s.Optional }, "If the system is `unavailable` after the last attempt, or answers 404, the result is nil and the execution ends with a warning. An open circuit does not hold the execution."),
}, func(s *call, c *processes.CheckContext) {
	op := s.Operation.Operation
	if op == nil {
		return
	}
	problem := func(msg, hint string) {
		c.Report(&fault.Problem{Pos: c.Step.Pos, Code: "no-effect", Msg: msg, Hint: hint})
	}
	if s.Body != nil && !op.SendsBody {
		problem("`"+op.Name+"` sends no body", "remove `body:`, or use an operation that sends one")
	}
	if s.Accept != nil && !op.HasStatus {
		problem(acceptsNothing(s.Operation), "remove `accept:`; to go on after a failure, use `try:` with `catch:`")
	}
	if s.Cache > 0 && !op.Safe {
		problem("`cache:` is not allowed: the operation `"+op.Name+"` is not read-only", "remove `cache:`")
	}
	checkMarks(s, c)
	if s.Mode == "handoff" && s.Optional {
		problem("`optional:` has no effect on a call with `mode: handoff`, whose response the process does not see", "remove one of them")
	}
	if s.Mode == "handoff" && (c.Step.Into != "" || c.Step.Name != "" || s.Cache > 0) {
		problem("a call with `mode: handoff` has no result", "remove `into:`, `name:` and `cache:`, or remove `mode: handoff`")
	}
})

// acceptsNothing is the message for an `accept:` without effect.
func acceptsNothing(o processes.Operation) string {
	return "`accept:` has no effect: the results of `" + o.Connection + "." + o.Operation.Name + "` have no status"
}

// ExternalCall returns the operation that is called.
func (s *call) ExternalCall() processes.ExternalCall {
	r := processes.ExternalCall{Operation: s.Operation, Handoff: s.Mode == "handoff", Body: s.Body, Retry: s.Retry, Timeout: s.Timeout}
	if s.Marks != nil {
		r.Marks = &processes.Marks{System: s.Marks.System, Whole: s.Marks.fromAnswer()}
	}
	return r
}

func (s *call) Run(f *Frame) error {
	c := &Call{Operation: s.Operation, Accept: s.Accept, Retry: s.Retry, Timeout: s.Timeout, Cache: s.Cache, Unheld: s.Optional || f.unheld, template: s.With}
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
			if c.Body, err = buildBody(f, s.Body); err != nil {
				return err
			}
		}
	}
	if s.Mode == "handoff" {
		return f.rt.Handoff(f, &Handoff{Call: c})
	}
	if s.Marks != nil {
		if c.Mark, err = s.Marks.mark(f); err != nil {
			return err
		}
	}
	r, err := f.rt.Call(f, c)
	if fail, ok := err.(*fault.Failure); ok && s.Optional && absent(fail) {
		f.rt.Warn(f, "the optional call "+s.Operation.Connection+"."+s.Operation.Operation.Name+" has no result: "+fail.Error())
		if fail.Status != 0 {
			f.Respond(fail.Status, nil)
		}
		f.SetResult(document.FromJSON([]byte("null")))
		return nil
	}
	if err != nil {
		return err
	}
	f.Respond(r.Status, r.Headers)
	f.SetResult(r.Doc)
	return nil
}

// absent reports whether a failure means that an optional system is unavailable
// or has no such record.
func absent(fail *fault.Failure) bool {
	return fail.Unavailable() || fail.Code == fault.CodeStatus && fail.Status == 404
}

// Decode decodes Settings into With, as the operation declares.
func (c *Call) Decode() error {
	if c.Operation.Operation.NewWith == nil {
		return nil
	}
	settings := c.Settings
	if settings == nil {
		settings = emptyObject
	}
	var err error
	c.With, err = c.bind(settings)
	return err
}

func (c *Call) bind(settings *document.Object) (any, error) {
	op := c.Operation.Operation
	with := op.NewWith()
	if err := spec.Bind(op.With, with, deep(settings)); err != nil {
		return nil, &fault.Failure{Code: fault.CodeExpression, Message: "with: " + err.Error(), Cause: err}
	}
	return with, nil
}

// Loaded returns With for the operation to run: with the content of stored files,
// unless the operation streams it.
func (c *Call) Loaded(ctx context.Context) (any, error) {
	op := c.Operation.Operation
	if op.NewWith == nil || op.Files || c.Settings == nil {
		return c.With, nil
	}
	v, err := blob.InlineValue(ctx, c.Settings)
	if loaded, ok := v.(*document.Object); ok && loaded != c.Settings {
		return c.bind(loaded)
	}
	return c.With, err
}

// Written returns Settings for people: SQL statements are texts as they are
// written, with their values as `params`.
func (c *Call) Written() *document.Object { return c.template.Written(c.Settings) }

// deep returns an object with every Raw below it decoded, as Bind needs it.
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

// RunCall performs the handed-off call of a step with computed settings. It
// sends the frame's document.
func RunCall(f *Frame, s *processes.Step, settings *document.Object) error {
	step, ok := s.Settings.(*call)
	if !ok {
		return fault.Failf(fault.CodeJournalMismatch, "the step %s is not a call", s.Path)
	}
	once := *step
	run := &handedCall{call: &once, settings: settings}
	copied := *s
	copied.When, copied.Into, copied.Name, copied.Settings = nil, "", "", run
	return f.runOne(&copied)
}

// handedCall is a call step with computed settings.
type handedCall struct {
	*call
	settings *document.Object
}

func (s *handedCall) Run(f *Frame) error {
	c := &Call{Operation: s.Operation, Accept: s.Accept, Retry: s.Retry, Timeout: s.Timeout, Settings: s.settings, template: s.With}
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
	f.SetResult(r.Doc)
	return nil
}
