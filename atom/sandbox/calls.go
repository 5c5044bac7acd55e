package sandbox

import (
	"context"
	"net/http"
	"strconv"
	"time"

	"valence/atom/run"
	"valence/connectors"
	"valence/internal/document"
	"valence/internal/fault"
	"valence/processes"
	"valence/processes/testrun"
)

// codeNoMock is the code of a call that no mock answers.
const codeNoMock = "unmocked"

// Call answers one attempt of a call.
func (w *world) Call(ctx context.Context, a *run.Attempt) (*connectors.Result, error) {
	op := a.Of.Operation.Operation
	name := a.Of.Operation.Connection + "." + op.Name
	call := &testrun.Call{Operation: name, Key: a.Key, Step: a.Frame.Step(), With: a.Of.Written(), Body: a.Of.Body, Accept: a.Of.Accept, Reads: op.Safe}
	if w.scenario.Crash != nil {
		return w.callOnDisk(ctx, a, call)
	}
	w.record.called(a, call)
	if w.live != nil {
		return w.live.call(ctx, w, a, call)
	}
	answer := w.scenario.Answer(call)
	return w.respond(ctx, a, call, &answer)
}

// calls reports whether a step makes a call itself.
func calls(s *processes.Step) bool {
	caller, ok := s.Settings.(processes.ExternalCaller)
	return ok && caller.ExternalCall().Operation.Operation != nil && !caller.ExternalCall().Handoff
}

// respond makes a mock's answer the end of an attempt.
func (w *world) respond(ctx context.Context, a *run.Attempt, call *testrun.Call, answer *testrun.Answer) (*connectors.Result, error) {
	switch {
	case answer.Missing:
		w.record.unanswered = append(w.record.unanswered, call)
		return nil, connectors.Failf(codeNoMock, false, nil, "no mock answers this call")
	case answer.Err != nil:
		w.record.broken = append(w.record.broken, answer.Err)
		return nil, connectors.Failf(codeNoMock, false, answer.Err, "the mock failed")
	case answer.Fail != nil && answer.Fail.Code == fault.CodeTimeout && answer.After == 0:
		answer.After = time.Duration(1<<63 - 1) // until the deadline of the attempt
	}
	if answer.After > 0 {
		_ = w.clock.Sleep(ctx, answer.After) // Interrupted reports the end of ctx
		if fail := connectors.Interrupted(ctx, call.Operation); fail != nil {
			return nil, fail
		}
	}
	if f := answer.Fail; f != nil {
		text := f.Message
		if text == "" {
			text = "the mock failed with " + f.Code
		}
		fail := connectors.Failf(f.Code, f.Retryable, nil, "%s", text)
		fail.Status, fail.Body, fail.Detail = f.Status, answer.Body, answer.Detail
		return nil, fail
	}
	return result(a, answer)
}

// result returns the response of a mock as the connector of the call does.
func result(a *run.Attempt, answer *testrun.Answer) (*connectors.Result, error) {
	r := &connectors.Result{Doc: answer.Doc, Status: answer.Status, Headers: answer.Header}
	if r.Status == 0 {
		r.Status = http.StatusOK
	}
	if r.Doc == nil {
		r.Doc = document.Empty
	}
	if r.Headers == nil {
		r.Headers = http.Header{}
	}
	if !a.Of.Accept.Has(r.Status) {
		text := strconv.Itoa(r.Status)
		if name := http.StatusText(r.Status); name != "" {
			text += " " + name
		}
		fail := connectors.Failf(fault.CodeStatus, connectors.RetryableStatus(r.Status), nil, "the mock returned %s", text)
		fail.Status, fail.Body = r.Status, r.Doc.Body()
		fail.RetryAfter = connectors.RetryAfter(r.Headers.Get("Retry-After"), time.Time{})
		return nil, fail
	}
	if op := a.Of.Operation.Operation; a.Of.Paged && op.Page != nil {
		if fail := op.Page(a.Of.With, r, a.Call.Page); fail != nil {
			return nil, fail
		}
	}
	return r, nil
}
