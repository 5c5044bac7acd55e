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
}

var _ = define[reply]("reply", kind{
	doc: "Answers the caller, like `return`: after it only the steps that follow in the same list run, in the background, durably; then the execution ends. " +
		"In a called process it is the call's value.",
	sample: "- reply: { accepted: \"${doc.id}\" }\n  status: 202\n",
	flow:   processes.Reply,
}, []spec.Field{
	spec.Template("reply", func(s *reply) **expression.Template { return &s.Body }, "The answer; nothing means the current document."),
	spec.Expr("status", func(s *reply) **expression.Expr { return &s.Status }, "The HTTP status.").Number(),
	spec.Template("headers", func(s *reply) **expression.Template { return &s.Headers }, "Headers of the answer."),
}, nil)

func (s *reply) Run(f *Frame) error {
	r := &Reply{Doc: f.doc}
	if s.Body != nil {
		d, err := build(f, s.Body)
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
	r.Headers = headers
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
}

var _ = define[throw]("throw", kind{
	doc:    "Fails with a message that is meant for the caller. In a `catch`, a bare `throw:` rethrows what was caught.",
	sample: "- throw: \"${doc.sku} is not in stock\"\n  code: out_of_stock\n  status: 409\n",
	flow:   processes.Throw,
}, []spec.Field{
	spec.Expr("throw", func(s *throw) **expression.Expr { return &s.Message }, "The message; bare only inside a catch."),
	spec.Name("code", func(s *throw) *string { return &s.Code }, "What a catch or a failure list knows it by.").Or(fault.CodeThrown),
	spec.Int("status", func(s *throw) *int { return &s.Status }, "The HTTP status for a waiting caller.").Min(400).Max(599),
}, nil)

func (s *throw) Run(f *Frame) error {
	if s.Message == nil {
		if f.failure != nil {
			return f.failure
		}
		return &fault.Failure{Code: s.Code, Origin: fault.FromAuthor, Status: s.Status, Message: "the process failed"}
	}
	text, err := s.Message.Text(&f.env)
	if err != nil {
		return err
	}
	return &fault.Failure{Code: s.Code, Origin: fault.FromAuthor, Status: s.Status, Message: text}
}

type stop struct{ Reason *expression.Expr }

var _ = define[stop]("stop", kind{
	doc:    "Ends the nearest of: element (left out of `collect`), branch path, process; without an error. `finally` runs.",
	sample: "- stop: nothing to do\n",
	flow:   processes.Stop,
}, []spec.Field{
	spec.Expr("stop", func(s *stop) **expression.Expr { return &s.Reason }, "Why, for whoever looks at the execution."),
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
	doc:    "Writes a line into the execution's log.",
	sample: "- log: \"order ${doc.id} is empty\"\n",
}, []spec.Field{
	spec.Expr("log", func(s *logStep) **expression.Expr { return &s.Text }, "The line.").Required(),
}, nil)

func (s *logStep) Run(f *Frame) error {
	text, err := s.Text.Text(&f.env)
	if err != nil {
		return err
	}
	f.log(text)
	return nil
}
