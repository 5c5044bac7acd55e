package amqp1

import (
	"context"
	"time"

	"github.com/Azure/go-amqp"

	"valence/connectors"
	"valence/connectors/session"
	"valence/internal/budget"
	"valence/internal/document"
	"valence/internal/fault"
	"valence/internal/spec"
)

const (
	rememberFor = 24 * time.Hour // how long a message that was not accepted may wait for this atom
	maxBatch    = 100            // messages of one commit
)

type listenWith struct {
	From         place
	Subscription string
	Credit       int
}

func subscription() *connectors.Subscription {
	return &connectors.Subscription{
		Doc: "Receives the messages of a queue or a topic. A message is accepted when it is on disk. A message with a message id that comes again within 24 hours is recognized, so senders must not " +
			"use an id for two messages; one without an id may run twice after a crash. A message that the process refuses, or whose content does not match its content type, is kept as a failed " +
			"execution. Messages are accepted in the order of the broker. A `reply` is sent to the address in `reply_to`. The protocol does not report how many messages wait.",
		Sample:  "subscribe: { connection: broker, address: orders }\n",
		NewWith: func() any { return &listenWith{} },
		With: []spec.Field{
			spec.String("address", func(w *listenWith) *string { return &w.From.Address }, "Address.").Eg("orders").Required(),
			spec.Enum("kind", func(w *listenWith) *string { return &w.From.Kind }, "Whether the address is a queue or a topic.", kindQueue, kindTopic).Or(kindQueue),
			spec.String("subscription", func(w *listenWith) *string { return &w.Subscription }, "Name of a durable subscription to a topic. The broker stores its messages while no atom is there, and atoms with the same name share them. It is the name of the container and of the link.").Eg("invoicing"),
			spec.Int("credit", func(w *listenWith) *int { return &w.Credit }, "How many messages the broker sends before they are accepted.").Or(100).Min(1).Max(10_000),
		},
		Check:      func(v any) []string { return v.(*listenWith).check() },
		AtMostOnce: func(v any) bool { w := v.(*listenWith); return w.From.Kind == kindTopic && w.Subscription == "" },
		Exclusive:  func(v any) bool { w := v.(*listenWith); return w.From.Kind == kindTopic && w.Subscription == "" },
		Props: "The process reads `address`, `headers` (the application properties), `priority`, `durable`, `deliveries`, and the properties that the message has: `message_id`, `correlation_id`, `to`, " +
			"`reply_to`, `subject`, `content_type`, `content_encoding`, `group` and `created`, as `props`.",
		Replies: true,
	}
}

func (w *listenWith) check() []string {
	wrong := w.From.check()
	if w.Subscription != "" && w.From.Kind == kindQueue {
		wrong = append(wrong, "subscription: applies only to `kind: topic`")
	}
	return wrong
}

// options are those of the receiver. A durable subscription has a name, and is
// shared if the broker can do that.
func (w *listenWith) options() *amqp.ReceiverOptions {
	o := &amqp.ReceiverOptions{Credit: int32(w.Credit), SourceCapabilities: []string{w.From.Kind}}
	if w.Subscription != "" {
		o.Name, o.SourceDurability, o.SourceExpiryPolicy = w.Subscription, amqp.DurabilityUnsettledState, amqp.ExpiryPolicyNever
		o.SourceCapabilities = append(o.SourceCapabilities, "shared", "global")
	}
	return o
}

// name is the prefix of origins.
func (w *listenWith) name() string {
	if w.Subscription != "" {
		return w.From.String() + "/" + w.Subscription
	}
	return w.From.String()
}

var _ connectors.Listener = (*connection)(nil)

// Listen implements connectors.Listener. Each subscription has a connection of its
// own.
func (c *connection) Listen(ctx context.Context, v any, host *connectors.Host) error {
	w := v.(*listenWith)
	s := c.session(w.Subscription)
	defer s.Close()
	return s.Listen(ctx, host, func(ctx context.Context, x *client) error {
		defer x.close() // the broker delivers the other messages again; a durable subscription remains
		what := "cannot receive from the " + w.From.String()
		receiver, err := x.session.NewReceiver(ctx, w.From.Address, w.options())
		if err != nil {
			return failed(ctx, what, err, fault.CodeConnect)
		}
		host.Up()
		if err := (&receiving{w, x, receiver, host}).run(ctx); err != nil {
			return failed(ctx, what, err, fault.CodeAborted)
		}
		return nil
	})
}

// receiving delivers the messages of a link to a process.
type receiving struct {
	*listenWith
	client   *client
	receiver *amqp.Receiver
	host     *connectors.Host
}

// run delivers messages until ctx ends or the link is lost.
func (r *receiving) run(ctx context.Context) error {
	for ctx.Err() == nil {
		first, err := r.receiver.Receive(ctx, nil)
		if err != nil {
			if ctx.Err() != nil {
				return nil
			}
			return err
		}
		batch := []*amqp.Message{first}
		for len(batch) < maxBatch {
			m := r.receiver.Prefetched()
			if m == nil {
				break
			}
			batch = append(batch, m)
		}
		if err := r.accept(ctx, batch); err != nil {
			return err
		}
	}
	return nil
}

// accept delivers messages and accepts them. It tries again until they are
// delivered, ctx ends, or the link is lost, after which the broker delivers them
// again.
func (r *receiving) accept(ctx context.Context, batch []*amqp.Message) error {
	for attempt := 1; len(batch) > 0 && ctx.Err() == nil; attempt++ {
		n, failure := r.try(ctx, batch, attempt)
		for _, m := range batch[:n] {
			if err := r.settle(m); err != nil {
				return err
			}
		}
		if batch = batch[n:]; n > 0 {
			attempt = 0
		}
		if failure == nil {
			continue
		}
		select {
		case <-time.After(session.RetryDelay(failure, attempt)):
		case <-r.client.conn.Done():
			return r.client.conn.Err()
		case <-ctx.Done():
		}
	}
	return nil
}

func (r *receiving) settle(m *amqp.Message) error {
	ctx, cancel := context.WithTimeout(context.Background(), closeTimeout)
	defer cancel()
	return r.receiver.AcceptMessage(ctx, m)
}

// try delivers messages once. It returns how many were accepted, and why the next
// one was not.
func (r *receiving) try(ctx context.Context, batch []*amqp.Message, attempt int) (accepted int, err error) {
	var messages []*connectors.Message
	for i, m := range batch {
		if i > 0 {
			attempt = 1
		}
		out, unread := r.incoming(ctx, m, attempt)
		if err = unread; err != nil {
			break
		}
		messages = append(messages, out)
	}
	if len(messages) == 0 {
		return 0, err
	}
	for i, failure := range r.host.DeliverBatch(ctx, messages) {
		if failure != nil {
			return i, failure
		}
	}
	return len(messages), err
}

// incoming returns a received message. Its error means that the message cannot be
// read now.
func (w *listenWith) incoming(ctx context.Context, m *amqp.Message, attempt int) (*connectors.Message, error) {
	out := &connectors.Message{Props: propsOf(w.From, m), Delivery: attempt}
	if m.Header != nil {
		out.Delivery += int(min(m.Header.DeliveryCount, 1<<30))
	}
	out.Traceparent, _ = m.ApplicationProperties[traceProperty].(string)
	if p := m.Properties; p != nil {
		correlation := p.CorrelationID
		if correlation == nil {
			correlation = p.MessageID // as requesters without a correlation id expect
		}
		if out.CorrelationID = valid(idText(p.CorrelationID)); p.ReplyTo != nil && *p.ReplyTo != "" {
			out.CorrelationID, out.ReplyTo = valid(idText(correlation)), encodeID(correlation)+" "+*p.ReplyTo
		}
		if p.MessageID != nil {
			out.Origin, out.Remember = w.name()+": "+encodeID(p.MessageID), rememberFor
		}
		if p.CreationTime != nil {
			out.Time = *p.CreationTime
		}
	}
	doc, err := decode(ctx, m)
	switch exhausted := budget.Failure(err); {
	case err == nil:
		out.Doc = doc
	case exhausted != nil:
		return nil, exhausted
	case ctx.Err() != nil:
		return nil, ctx.Err()
	default:
		out.Doc = document.New(m.GetData(), contentType(m), "")
		out.Invalid = connectors.Failf(fault.CodeAnswer, false, err, "cannot read the message as %s: %v", spec.Clip(contentType(m)), err)
	}
	return out, nil
}
