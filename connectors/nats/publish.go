package nats

import (
	"context"
	"strconv"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"valence/connectors"
	"valence/internal/document"
	"valence/internal/spec"
)

type publish struct {
	Subject string
	Headers []spec.KV
	Core    bool
}

// sendFields declares the settings of operations that send a message.
func sendFields[T any](subject func(*T) *string, headers func(*T) *[]spec.KV) []spec.Field {
	return []spec.Field{
		spec.String("subject", subject, "Subject to send to. It contains no wildcards.").Eg("orders.created").Required(),
		spec.StringMap("headers", headers, "Headers to send. They replace headers of the connector with the same name."),
	}
}

func checkSubject(subject string) []string {
	if spec.Literal(subject) {
		if why := subjectProblem(subject); why != "" {
			return []string{"subject: " + why}
		}
	}
	return nil
}

var publishOperation = connectors.Define(connectors.Operation{
	Name: "publish", SendsBody: true,
	Doc: "Publishes the document to a subject. It returns `{ stream, sequence, duplicate }` after a stream of JetStream has stored the message; a subject that no stream " +
		"stores is an error. `duplicate` is true if the stream had stored an earlier attempt. With `core: true` the result is empty, and the message reaches the subscribers of the moment, if there are any.",
	With: append(sendFields(func(p *publish) *string { return &p.Subject }, func(p *publish) *[]spec.KV { return &p.Headers }),
		spec.Bool("core", func(p *publish) *bool { return &p.Core }, "Publish without JetStream: at most once, done when the server has received the message.")),
	Check:  func(w any) []string { return checkSubject(w.(*publish).Subject) },
	Sample: "- call: broker.publish\n  with: { subject: \"orders.${doc.country}\" }\n",
}, func(ctx context.Context, c *connection, w *publish, call *connectors.Call) (*connectors.Result, error) {
	m, err := outgoing(w.Subject, call, w.Headers)
	if err != nil {
		return nil, err
	}
	r := &connectors.Result{Doc: document.Empty}
	err = c.Do(ctx, func(l *link) error {
		what := quoted("publish to", w.Subject)
		waiting, done := l.wait(ctx, w.Subject)
		defer done()
		if w.Core {
			if err := l.send(waiting, m); err != nil {
				return failed(ctx, waiting, what, err)
			}
			return nil
		}
		ack, err := l.js.PublishMsg(waiting, m, jetstream.WithRetryAttempts(0))
		if err != nil {
			return failed(ctx, waiting, what, err)
		}
		o := &document.Object{}
		o.Set("stream", ack.Stream)
		o.Set("sequence", document.Number(strconv.FormatUint(ack.Sequence, 10)))
		o.Set("duplicate", ack.Duplicate)
		r.Doc = document.FromValue(o)
		return nil
	})
	if err != nil {
		return nil, err
	}
	return r, nil
})

// send publishes without JetStream and returns when the server has received the
// message.
func (l *link) send(ctx context.Context, m *nats.Msg) error {
	if err := l.nc.PublishMsg(m); err != nil {
		return err
	}
	return l.flush(ctx, m.Subject)
}
