package language

import (
	"time"

	"valence/internal/spec"
	"valence/processes"
)

// Test holds the settings of a test. The values of type any are only checked;
// package loader compiles them.
type Test struct {
	Name, Description, Target string
	Setup                     TestSetup
	Expect, Cases             any
}

// TestSetup holds the settings that a test and its cases share.
type TestSetup struct {
	Input, Props, State any
	Request             *TestRequest
	Env, Secret         []spec.KV
	Mocks, Signals      any
}

// TestRequest holds the settings of `request:`.
type TestRequest struct {
	Method, Path, User     string
	Operation              string
	Params, Query, Headers []spec.KV
}

func setupFields[T any](ptr func(*T) *TestSetup) []spec.Field {
	return []spec.Field{
		spec.Any("input", func(t *T) *any { return &ptr(t).Input }, "The document that starts the process: a value, or `{ file: PATH }` with a path relative to this file.").Eg("{ id: 4711 }"),
		spec.Optional("request", func(t *T) **TestRequest { return &ptr(t).Request }, "The HTTP request of the target's listener, after its authentication.",
			spec.String("method", func(r *TestRequest) *string { return &r.Method }, "Method. Defaults to that of the listener."),
			spec.String("path", func(r *TestRequest) *string { return &r.Path }, "Path of the request. Its captures become `request.params`."),
			spec.StringMap("params", func(r *TestRequest) *[]spec.KV { return &r.Params }, "Captures of the path, if `path:` is not set."),
			spec.StringMap("query", func(r *TestRequest) *[]spec.KV { return &r.Query }, "Query parameters."),
			spec.StringMap("headers", func(r *TestRequest) *[]spec.KV { return &r.Headers }, "Headers."),
			spec.String("user", func(r *TestRequest) *string { return &r.User }, "The authenticated caller."),
			spec.String("operation", func(r *TestRequest) *string { return &r.Operation }, "Operation of a listener with `input: soap`. Required if its service has several, unless `input:` is a file with an envelope."),
		),
		spec.Any("props", func(t *T) *any { return &ptr(t).Props }, "Properties that the process reads as `props`.").Type("map"),
		spec.Any("state", func(t *T) *any { return &ptr(t).State }, "Properties of the process' state before the run.").Type("map"),
		spec.StringMap("env", func(t *T) *[]spec.KV { return &ptr(t).Env }, "Environment values. Others are placeholders such as `env.SHOP_URL`."),
		spec.StringMap("secret", func(t *T) *[]spec.KV { return &ptr(t).Secret }, "Secrets. Others are placeholders such as `secret.SHOP_KEY`. Write no real secrets."),
		spec.Any("mocks", func(t *T) *any { return &ptr(t).Mocks }, "[Answers](#answers-of-a-mock) to calls, by `connection.operation` or by the name of a step; a list is used in order, and its last answer repeats. A call that no mock answers fails the test.").Type("map").Eg("{ shop.get: { reply: { id: 1 } } }"),
		spec.Any("signals", func(t *T) *any { return &ptr(t).Signals }, "[Signals](#signals-of-a-test) that end waits, as a list of maps from the name of a `wait:`.").Type("list of maps").Eg("[{ verdict: { after: 5h } }]"),
	}
}

// TestFields declares the keys of a test.
var TestFields = append(append([]spec.Field{
	spec.String("test", func(t *Test) *string { return &t.Name }, "What the test shows, unique in the project.").Eg("an order reaches the ERP").Required().Free(),
	descriptionField(func(t *Test) *string { return &t.Description }),
	spec.Ref("target", func(t *Test) *string { return &t.Target }, "process", "The process to run.").Eg("order-sync").Required(),
}, setupFields(func(t *Test) *TestSetup { return &t.Setup })...),
	spec.Any("expect", func(t *Test) *any { return &t.Expect }, "What the run must [result in](#expectations-of-a-test). Without it, the execution must not fail.").Type("map").Eg("{ status: completed }"),
	spec.Any("cases", func(t *Test) *any { return &t.Cases }, "Variants, each with a `name:`. Keys that a case has replace those of the test; `mocks:`, `env:` and `secret:` by name.").Type("list of maps"),
)

// TestCase holds the settings of a case.
type TestCase struct {
	Name   string
	Setup  TestSetup
	Expect any
}

// CaseFields declares the keys of a case.
var CaseFields = append(append([]spec.Field{
	spec.String("name", func(c *TestCase) *string { return &c.Name }, "What the case shows.").Required().Free(),
}, setupFields(func(c *TestCase) *TestSetup { return &c.Setup })...),
	spec.Any("expect", func(c *TestCase) *any { return &c.Expect }, "What the run must result in, in place of the expectations of the test.").Type("map"),
)

// Answer holds the settings of one answer of a mock.
type Answer struct {
	Reply, When, Fail any
	Status            int
	Headers           []spec.KV
	After             time.Duration
}

// AnswerFields declares the keys of an answer.
var AnswerFields = []spec.Field{
	spec.Any("reply", func(a *Answer) *any { return &a.Reply }, "The document: a value, in which strings may be expressions over `body` and `with`, or `{ file: PATH }`.").Eg("{ number: INV-1 }"),
	spec.Int("status", func(a *Answer) *int { return &a.Status }, "Status of the other system. A status that the call does not accept fails it. Defaults to 200.").Min(100).Max(599),
	spec.StringMap("headers", func(a *Answer) *[]spec.KV { return &a.Headers }, "Headers, which the process reads as `response.headers`."),
	spec.Any("fail", func(a *Answer) *any { return &a.Fail }, "Fails the attempt in place of a reply: `timeout`, which lasts as long as the timeout of the call, another [code](codes.md) such as `connect`, or a map with `code`, `message`, `status` and `retryable`.").Eg("timeout"),
	spec.Any("when", func(a *Answer) *any { return &a.When }, "The answer is used only if this expression over `body`, the document that is sent, and `with`, the settings of the call, is true.").Type("expression").Eg("${body.total > 0}"),
	spec.Duration("after", func(a *Answer) *time.Duration { return &a.After }, "How long the answer takes, in virtual time.").Max(MaxDuration),
}

// Failure holds the settings of `fail:`.
type Failure struct {
	Code, Message string
	Status        int
	Retryable     bool
}

// FailureFields declares the keys of `fail:`.
var FailureFields = []spec.Field{
	spec.String("code", func(f *Failure) *string { return &f.Code }, "Code of the failure.").Required().Eg("timeout"),
	spec.String("message", func(f *Failure) *string { return &f.Message }, "Message of the failure.").Free(),
	spec.Int("status", func(f *Failure) *int { return &f.Status }, "Status of the other system.").Min(100).Max(599),
	spec.Bool("retryable", func(f *Failure) *bool { return &f.Retryable }, "Whether another attempt may succeed.").
		OrAs(false, "true for `timeout`, `connect`, `connection_lost`, `unavailable`, `not_ended`, and for `status` by the status; otherwise `false`"),
}

// Signal holds the settings of a signal.
type Signal struct {
	After time.Duration
	By    string
	Body  any
}

// SignalFields declares the keys of a signal.
var SignalFields = []spec.Field{
	spec.Duration("after", func(s *Signal) *time.Duration { return &s.After }, "How long after the beginning of the wait it arrives.").Max(MaxDuration),
	spec.Enum("by", func(s *Signal) *string { return &s.By }, "How it arrives: through the URL of `callback()`, or by a `resume:` step of another process.", processes.ByCallback, processes.ByResume).Or(processes.ByCallback),
	spec.Any("body", func(s *Signal) *any { return &s.Body }, "Its document: a value, or `{ file: PATH }`."),
}

// Expectation holds the settings of `expect:`.
type Expectation struct {
	Status, Took string
	Calls        any
	Reply, Error any
	ReplyStatus  int
	Log          []string
	Exact        bool
}

// ExpectFields declares the keys of `expect:`.
var ExpectFields = []spec.Field{
	spec.Enum("status", func(e *Expectation) *string { return &e.Status }, "How the execution ends. `rejected` also stands for a message that is refused, and `waiting` for a wait that no signal ends. Without it, the execution must not fail.",
		"completed", "completed_with_warnings", "failed", "rejected", "cancelled", "expired", "waiting", "filtered", "echo"),
	spec.String("took", func(e *Expectation) *string { return &e.Took }, "Bound of the virtual time from the message to the end of its execution, such as `< 15s`; the operators are `<`, `<=`, `=`, `>=` and `>`.").Eg("\"< 15s\"").Free(),
	spec.Any("calls", func(e *Expectation) *any { return &e.Calls }, "The [calls](#calls-of-a-test), in order: every call that sends something, and the calls that only read which are to be checked. A call with its retries is one.").Type("list").Eg("[erp.post]"),
	spec.Any("reply", func(e *Expectation) *any { return &e.Reply }, "The reply: a value that it contains, or `{ file: PATH }`."),
	spec.Int("reply_status", func(e *Expectation) *int { return &e.ReplyStatus }, "HTTP status of the reply.").Min(200).Max(599),
	spec.Any("error", func(e *Expectation) *any { return &e.Error }, "The failure: a map with some of `code`, `message`, `status`, `step` and `detail`.").Type("map"),
	spec.Strings("log", func(e *Expectation) *[]string { return &e.Log }, "Lines that `log:` and `stop:` write, in this order; other lines may come between them."),
	spec.Bool("exact", func(e *Expectation) *bool { return &e.Exact }, "The reply and the bodies of calls have no other fields than the listed ones."),
}

// ExpectedCall holds the settings of one expected call.
type ExpectedCall struct {
	Body, With any
	Exact      bool
}

// ExpectedCallFields declares the keys of an expected call.
var ExpectedCallFields = []spec.Field{
	spec.Any("body", func(c *ExpectedCall) *any { return &c.Body }, "The document that is sent: a value that it contains, or `{ file: PATH }`."),
	spec.Any("with", func(c *ExpectedCall) *any { return &c.With }, "Settings of the call that it contains. A statement of a database is its text as it is written, and `params` has the list of its values.").Type("map"),
	spec.Bool("exact", func(c *ExpectedCall) *bool { return &c.Exact }, "`body` and `with` have no other fields than the listed ones."),
}
