package amqp1

import (
	"context"
	"strings"
	"time"

	"github.com/Azure/go-amqp"

	"valence/connectors"
	"valence/internal/document"
	"valence/internal/fault"
	"valence/internal/spec"
)

// message are the settings of a message.
type message struct {
	To       place
	Headers  []spec.KV
	Group    string
	Priority int
}

func messageFields[T any](m func(*T) *message) []spec.Field {
	return []spec.Field{
		spec.String("address", func(w *T) *string { return &m(w).To.Address }, "Address.").Eg("orders").Required(),
		spec.Enum("kind", func(w *T) *string { return &m(w).To.Kind }, "Whether the address is a queue, whose receivers share the messages, or a topic, whose subscriptions receive all of them.", kindQueue, kindTopic).Or(kindQueue),
		spec.String("group", func(w *T) *string { return &m(w).Group }, "Group of messages that one receiver gets, in their order."),
		spec.StringMap("headers", func(w *T) *[]spec.KV { return &m(w).Headers }, "Application properties."),
		spec.Int("priority", func(w *T) *int { return &m(w).Priority }, "Priority.").Or(4).Min(0).Max(255),
	}
}

type sendWith struct {
	message
	Expiration time.Duration
}

var sendOperation = connectors.Define(connectors.Operation{
	Name: "send", SendsBody: true,
	Doc: "Sends the document, or the bytes of a file, as a durable message. The call succeeds when the broker has accepted the message. The message id is the idempotency key, by which " +
		"receivers recognize a repeat.",
	With: append(messageFields(func(w *sendWith) *message { return &w.message }),
		spec.Duration("expiration", func(w *sendWith) *time.Duration { return &w.Expiration }, "How long the message may wait. By default it does not expire.").Eg("10s").Min(time.Millisecond)),
	Check:  func(v any) []string { return v.(*sendWith).To.check() },
	Sample: "- call: broker.send\n  with: { address: orders }\n",
}, func(ctx context.Context, c *connection, w *sendWith, call *connectors.Call) (*connectors.Result, error) {
	m, err := w.outgoing(call)
	if err != nil {
		return nil, err
	}
	m.Header.TTL = w.Expiration
	if call.CorrelationID != "" {
		m.Properties.CorrelationID = call.CorrelationID
	}
	if call.IdempotencyKey != "" {
		m.Properties.MessageID = call.IdempotencyKey
	}
	if err := c.calls.Do(ctx, func(x *client) error { return x.send(ctx, w.To, m, "send") }); err != nil {
		return nil, err
	}
	return &connectors.Result{Doc: document.Empty}, nil
})

// check returns the problems of an address. It may be an expression.
func (p place) check() []string {
	if spec.Literal(p.Address) && strings.ContainsFunc(p.Address, func(r rune) bool { return r < ' ' || r == 0x7f }) {
		return []string{"address: it contains control characters"}
	}
	return nil
}

// outgoing returns the message of a call, without its identity.
func (w *message) outgoing(call *connectors.Call) (*amqp.Message, error) {
	if w.To.Address == "" || len(w.To.check()) > 0 {
		return nil, fault.Failf(codeBadCall, "the address is empty or contains control characters")
	}
	now := time.Now()
	m := &amqp.Message{Header: &amqp.MessageHeader{Durable: true, Priority: uint8(w.Priority)}, Properties: &amqp.MessageProperties{To: &w.To.Address, CreationTime: &now}}
	if w.Group != "" {
		m.Properties.GroupID = &w.Group
	}
	return m, fill(m, call.Body, w.Headers, call.Traceparent)
}

// traceProperty is the application property with the W3C trace context.
const traceProperty = "traceparent"

// fill sets the content of a message: of a file its bytes and its media type.
func fill(m *amqp.Message, d *document.Document, headers []spec.KV, trace string) error {
	m.ApplicationProperties = map[string]any{}
	if trace != "" {
		m.ApplicationProperties[traceProperty] = trace
	}
	for _, h := range headers {
		m.ApplicationProperties[h.Name] = h.Value
	}
	var body []byte
	if d != nil {
		var mediaType string
		var err error
		if body, mediaType, err = d.Content(); err != nil {
			return fault.Failf(codeBadCall, "the document is not a valid file: %v", err)
		}
		if len(body) > 0 && mediaType != "" {
			m.Properties.ContentType = &mediaType
		}
	}
	m.Data = [][]byte{body}
	return nil
}
