package nats

import (
	"context"
	"net/http"
	"strconv"

	"valence/connectors"
	"valence/internal/fault"
	"valence/internal/spec"
)

type request struct {
	Subject string
	Headers []spec.KV
}

var requestOperation = connectors.Define(connectors.Operation{
	Name: "request", SendsBody: true,
	Doc: "Sends the document to a service and returns its reply. The call's `timeout:` bounds the wait. A request that nobody listens for fails at once as " +
		"`unavailable`, and the error of a NATS service fails as `status`.",
	With:   sendFields(func(r *request) *string { return &r.Subject }, func(r *request) *[]spec.KV { return &r.Headers }),
	Check:  func(w any) []string { return checkSubject(w.(*request).Subject) },
	Sample: "- call: broker.request\n  with: { subject: prices.quote }\n  timeout: 5s\n",
}, func(ctx context.Context, c *connection, w *request, call *connectors.Call) (*connectors.Result, error) {
	m, err := outgoing(w.Subject, call, w.Headers)
	if err != nil {
		return nil, err
	}
	r := &connectors.Result{}
	err = c.Do(ctx, func(l *link) error {
		what := quoted("request to", w.Subject)
		waiting, done := l.wait(ctx, w.Subject)
		defer done()
		reply, err := l.nc.RequestMsgWithContext(waiting, m)
		if err != nil {
			return failed(ctx, waiting, what, err)
		}
		if text := header(reply.Header, headerService); text != "" {
			status, _ := strconv.Atoi(header(reply.Header, headerServiceCode))
			f := connectors.Failf(fault.CodeStatus, connectors.RetryableStatus(status), nil, "%s: the service answers %d: %s", what, status, spec.Clip(text))
			f.Status, f.Body = status, reply.Data[:min(len(reply.Data), maxErrorBody)]
			return f
		}
		r.Headers = make(http.Header, len(reply.Header))
		for name, values := range reply.Header {
			for _, v := range values {
				r.Headers.Add(name, v)
			}
		}
		if r.Doc, err = decode(ctx, reply); err != nil {
			return connectors.Failf(fault.CodeAnswer, false, err, "%s: cannot read the reply: %v", what, err)
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return r, nil
})

const maxErrorBody = 64 << 10 // of a failure

// Reply implements connectors.Replier. It publishes to the subject that the
// requester listens on. A status from 400 on is the error of a NATS service.
func (c *connection) Reply(ctx context.Context, r *connectors.Reply) error {
	headers := r.Headers
	if r.Status >= 400 {
		text := http.StatusText(r.Status)
		if text == "" {
			text = "error"
		}
		headers = append(headers[:len(headers):len(headers)], spec.KV{Name: headerService, Value: text}, spec.KV{Name: headerServiceCode, Value: strconv.Itoa(r.Status)})
	}
	m, err := outgoing(r.To, &connectors.Call{Body: r.Doc, CorrelationID: r.CorrelationID, Traceparent: r.Traceparent, IdempotencyKey: r.IdempotencyKey}, headers)
	if err != nil {
		return err
	}
	return c.Do(ctx, func(l *link) error {
		if err := l.send(ctx, m); err != nil {
			return failed(ctx, ctx, "reply", err)
		}
		return nil
	})
}
