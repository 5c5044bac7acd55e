package amqp

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strconv"
	"strings"
	"time"

	amqp091 "github.com/rabbitmq/amqp091-go"

	"valence/connectors"
	"valence/internal/document"
	"valence/internal/fault"
	"valence/internal/spec"
)

// headerTrace is the header with the W3C trace context.
const headerTrace = "traceparent"

// address is the destination of a message.
type address struct{ Exchange, RoutingKey string }

// String describes the address in messages.
func (a address) String() string {
	if a.Exchange == "" {
		return "queue " + strconv.Quote(a.RoutingKey)
	}
	return fmt.Sprintf("exchange %q with the routing key %q", a.Exchange, a.RoutingKey)
}

// direct reports whether the address is a requester that consumes no queue
// (direct reply-to of RabbitMQ). The broker would return a mandatory message even
// after it has delivered it.
func (a address) direct() bool {
	return a.Exchange == "" && strings.HasPrefix(a.RoutingKey, "amq.rabbitmq.reply-to.")
}

// check returns the problems of an address. Values may be expressions.
func (a *address) check() []string {
	if a.Exchange == "" && a.RoutingKey == "" {
		return []string{"needs exchange or routing_key: without an exchange, routing_key is the name of a queue"}
	}
	return append(tooLong("exchange", a.Exchange), tooLong("routing_key", a.RoutingKey)...)
}

func addressFields[T any](a func(*T) *address) []spec.Field {
	return []spec.Field{
		spec.String("exchange", func(w *T) *string { return &a(w).Exchange }, "Exchange. Without it the message goes to the queue that `routing_key` names."),
		spec.String("routing_key", func(w *T) *string { return &a(w).RoutingKey }, "Routing key."),
	}
}

// message are the settings of a message.
type message struct {
	To       address
	Headers  []spec.KV
	Priority int
}

func messageFields[T any](m func(*T) *message) []spec.Field {
	return append(addressFields(func(w *T) *address { return &m(w).To }),
		spec.StringMap("headers", func(w *T) *[]spec.KV { return &m(w).Headers }, "Headers."),
		spec.Int("priority", func(w *T) *int { return &m(w).Priority }, "Priority, for queues with priorities.").Min(0).Max(255))
}

type publishWith struct {
	message
	Expiration time.Duration
}

var publishOperation = connectors.Define(connectors.Operation{
	Name: "publish", SendsBody: true,
	Doc: "Publishes the document, or the bytes of a file, as a persistent message. The call succeeds when the broker has confirmed the message; a message that no queue receives fails " +
		"with `unroutable`. The property `message_id` is the idempotency key, by which receivers recognize a repeat.",
	With: append(messageFields(func(w *publishWith) *message { return &w.message }),
		spec.Duration("expiration", func(w *publishWith) *time.Duration { return &w.Expiration }, "How long the message may wait in a queue. By default it does not expire.").Eg("10s").Min(time.Millisecond)),
	Check:  func(v any) []string { return v.(*publishWith).To.check() },
	Sample: "- call: broker.publish\n  with: { exchange: orders, routing_key: order.new }\n",
}, func(ctx context.Context, c *connection, w *publishWith, call *connectors.Call) (*connectors.Result, error) {
	m, err := w.publishing(call)
	if err != nil {
		return nil, err
	}
	m.DeliveryMode, m.CorrelationId, m.MessageId = amqp091.Persistent, short(call.CorrelationID), messageID(call.IdempotencyKey)
	if w.Expiration > 0 {
		m.Expiration = milliseconds(w.Expiration)
	}
	if err := c.publish(ctx, w.To, m, "publish"); err != nil {
		return nil, err
	}
	return &connectors.Result{Doc: document.Empty}, nil
})

// publish sends a message with an open session.
func (c *connection) publish(ctx context.Context, to address, m *amqp091.Publishing, what string) error {
	return c.calls.Do(ctx, func(s *client) error { return s.publish(ctx, to, m, what) })
}

// publishing returns the message of a call, without its identity.
func (w *message) publishing(call *connectors.Call) (*amqp091.Publishing, error) {
	if wrong := w.To.check(); len(wrong) > 0 {
		return nil, fault.Failf(CodeBadCall, "%s", wrong[0])
	}
	headers, err := headersOf(w.Headers, call.Traceparent)
	if err != nil {
		return nil, err
	}
	m := &amqp091.Publishing{Headers: headers, Priority: uint8(w.Priority), Timestamp: time.Now()}
	return m, fill(m, call.Body)
}

// fill sets the content of a message: of a file its bytes and its media type.
func fill(m *amqp091.Publishing, d *document.Document) error {
	if d == nil {
		return nil
	}
	body, mediaType, err := d.Content()
	if err != nil {
		return fault.Failf(CodeBadCall, "the document is not a valid file: %v", err)
	}
	m.Body, m.ContentType = body, mediaType
	if len(m.ContentType) > maxShort {
		return fault.Failf(CodeBadCall, "the media type of the document has more than 255 bytes")
	}
	return nil
}

// headersOf returns headers as a table. A repeated name has a list.
func headersOf(list []spec.KV, trace string) (amqp091.Table, error) {
	t := amqp091.Table{}
	if trace != "" {
		t[headerTrace] = trace
	}
	given := map[string]bool{}
	for _, h := range list {
		if len(h.Name) > maxShort || h.Name == "" {
			return nil, fault.Failf(CodeBadCall, "the name of a header must have 1 to 255 bytes")
		}
		switch earlier := t[h.Name].(type) {
		case []any:
			t[h.Name] = append(earlier, h.Value)
		case string:
			if given[h.Name] {
				t[h.Name] = []any{earlier, h.Value}
				break
			}
			t[h.Name] = h.Value
		default:
			t[h.Name] = h.Value
		}
		given[h.Name] = true
	}
	return t, nil
}

// messageID returns the identity of a message with an idempotency key. A key
// that is too long for the protocol is hashed.
func messageID(key string) string {
	if len(key) <= maxShort {
		return key
	}
	sum := sha256.Sum256([]byte(key))
	return hex.EncodeToString(sum[:])
}

// short cuts text that only people read to the length of a short string.
func short(s string) string { return s[:min(len(s), maxShort)] }

func milliseconds(d time.Duration) string {
	return strconv.FormatInt(max(1, int64((d+time.Millisecond-1)/time.Millisecond)), 10)
}
