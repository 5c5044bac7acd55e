package steps

import (
	"valence/internal/document"
	"valence/internal/expression"
	"valence/internal/fault"
	"valence/internal/spec"
	"valence/processes"
)

type reply struct {
	Body    *expression.Template
	Status  *expression.Expr
	Headers *expression.Template
	SOAP    soapReply
}

// soapReply holds the parts of a reply that only envelopes have.
type soapReply struct{ Headers *expression.Template }

var _ = define[reply]("reply", kind{
	doc: "Replies to the caller. Steps that follow in the same list run durably in the background, and then the execution ends. In a called process, " +
		"the reply is the result of the call.",
	sample: "- reply: { accepted: \"${doc.id}\" }\n  status: 202\n",
	flow:   processes.Reply,
}, []spec.Field{
	spec.Template("reply", func(s *reply) **expression.Template { return &s.Body }, "Body of the reply. Empty means the current document."),
	spec.Expr("status", func(s *reply) **expression.Expr { return &s.Status }, "HTTP status of the reply.").Number(),
	spec.Template("headers", func(s *reply) **expression.Template { return &s.Headers }, "HTTP headers of the reply."),
	spec.Object("soap", func(s *reply) *soapReply { return &s.SOAP }, "The envelope of the reply of a SOAP listener.",
		spec.Template("headers", func(s *soapReply) **expression.Template { return &s.Headers }, "Header blocks, by the names of the elements that the WSDL declares for the output."),
	),
}, nil)

// HeaderBlocks returns the template of the header blocks; nil if there is none.
func (s *reply) HeaderBlocks() *expression.Template { return s.SOAP.Headers }

func (s *reply) Run(f *Frame) error {
	r := &Reply{Doc: f.doc}
	if s.Body != nil {
		d, err := buildBody(f, s.Body)
		if err != nil {
			return err
		}
		r.Doc = d
	}
	if s.Status != nil {
		v, err := s.Status.Eval(&f.env)
		if err != nil {
			return err
		}
		n, ok := intOf(v)
		if !ok || n < 200 || n > 599 {
			return &fault.Failure{Code: fault.CodeExpression, Pos: s.Status.Pos(), Message: "status must be a number from 200 to 599, but is " + string(document.AppendJSON(nil, v))}
		}
		r.Status = n
	}
	headers, err := buildObject(f, s.Headers)
	if err != nil {
		return err
	}
	for i := 0; headers != nil && i < headers.Len(); i++ {
		if name, v := headers.At(i); v == nil {
			return fault.Failf(fault.CodeExpression, "headers: `%s:` is nil; write `${… ?? omit}` to leave it out, or another default with ??", name)
		}
	}
	r.Headers = headers
	if r.Blocks, err = buildObject(f, s.SOAP.Headers); err != nil {
		return err
	}
	if f.answer != nil { // a called process: the value of the call
		f.answer.reply = r
		return replied
	}
	if err := f.rt.Reply(f, r, f.rest); err != nil {
		return err
	}
	return replied
}

type throw struct {
	Message *expression.Expr
	Code    string
	Status  int
	Detail  *expression.Template
}

var _ = define[throw]("throw", kind{
	doc: "Fails with an error message for the caller. In a `catch`, an empty `throw:` rethrows the caught error. With a status of 4xx, and a caller who is " +
		"told it, the execution ends as `rejected`: it is recorded and counted, but it is not among the failed executions, and `on_failure` does not run.",
	sample: "- throw: \"${doc.sku} is not in stock\"\n  code: out_of_stock\n  status: 409\n",
	flow:   processes.Throw,
}, []spec.Field{
	spec.Expr("throw", func(s *throw) **expression.Expr { return &s.Message }, "The error message. May be empty only inside `catch`."),
	spec.Name("code", func(s *throw) *string { return &s.Code }, "Error code, as used by `catch` and shown in the list of failed executions.").Or(fault.CodeThrown),
	spec.Int("status", func(s *throw) *int { return &s.Status }, "HTTP status for a waiting caller.").Min(400).Max(599),
	spec.Template("detail", func(s *throw) **expression.Template { return &s.Detail }, "The `error.detail` of a `catch`: an object. The caller of a SOAP listener receives it as the detail of the fault: the key is a fault element that the WSDL declares, and the value its content."),
}, nil)

// FaultDetail returns the template of the detail; nil if there is none.
func (s *throw) FaultDetail() *expression.Template { return s.Detail }

func (s *throw) Run(f *Frame) error {
	if s.Message == nil {
		if f.failure != nil {
			return f.failure
		}
		return &fault.Failure{Code: s.Code, Source: fault.FromAuthor, Status: s.Status, Message: "the process failed"}
	}
	text, err := s.Message.Text(&f.env)
	if err != nil {
		return err
	}
	thrown := &fault.Failure{Code: s.Code, Source: fault.FromAuthor, Status: s.Status, Message: text}
	if s.Detail == nil {
		return thrown
	}
	v, err := s.Detail.Value(&f.env)
	if err != nil {
		return err
	}
	detail, ok := document.Decode(v).(*document.Object)
	if !ok {
		return fault.Failf(fault.CodeExpression, "detail: it must be an object, but is %s", document.TypeName(document.Decode(v)))
	}
	thrown.Detail = document.AppendJSON(nil, detail)
	return thrown
}

type stop struct{ Reason *expression.Expr }

var _ = define[stop]("stop", kind{
	doc:    "Ends the innermost element, branch path or process without an error. `collect` omits the element. `finally` still runs.",
	sample: "- stop: nothing to do\n",
	flow:   processes.Stop,
}, []spec.Field{
	spec.Expr("stop", func(s *stop) **expression.Expr { return &s.Reason }, "Reason, shown to operators."),
}, nil)

func (s *stop) Run(f *Frame) error {
	if s.Reason != nil {
		text, err := s.Reason.Text(&f.env)
		if err != nil {
			return err
		}
		f.log(text)
	}
	return stopped
}

type logStep struct{ Text *expression.Expr }

var _ = define[logStep]("log", kind{
	doc:    "Writes a line to the log of the execution.",
	sample: "- log: \"order ${doc.id} is empty\"\n",
}, []spec.Field{
	spec.Expr("log", func(s *logStep) **expression.Expr { return &s.Text }, "The log line.").Required(),
}, nil)

func (s *logStep) Run(f *Frame) error {
	text, err := s.Text.Text(&f.env)
	if err != nil {
		return err
	}
	f.log(text)
	return nil
}
