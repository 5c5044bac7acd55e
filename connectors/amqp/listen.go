package amqp

import (
	"context"
	"errors"
	"time"

	amqp091 "github.com/rabbitmq/amqp091-go"

	"valence/connectors"
	"valence/internal/budget"
	"valence/internal/document"
	"valence/internal/fault"
	"valence/internal/spec"
)

const (
	rememberFor = 24 * time.Hour // how long a message that was not acknowledged may wait for this atom
	maxBatch    = 100            // messages of one commit
	lagEvery    = 10 * time.Second
	moveTimeout = 30 * time.Second
)

type listenWith struct {
	Queue      string
	Prefetch   int
	DeadLetter *address
	Order      bool
}

func subscription() *connectors.Subscription {
	return &connectors.Subscription{
		Doc: "Consumes a queue. A message is acknowledged when it is on disk. A message with a `message_id` that comes again within 24 hours is recognized, so " +
			"publishers must not use an id for two messages; one without an id may run twice after a crash. A message that the process rejects, or that cannot be " +
			"parsed, goes to `dead_letter`, or else becomes a failed execution. The body is read by its content type; without one it is JSON if it is valid JSON. " +
			"A `reply` is sent to the queue in `reply_to`.",
		Sample:  "subscribe: { connection: broker, queue: new-orders, dead_letter: rejected-orders }\n",
		NewWith: func() any { return &listenWith{} },
		With: []spec.Field{
			spec.String("queue", func(w *listenWith) *string { return &w.Queue }, "Queue.").Eg("new-orders").Required(),
			spec.Int("prefetch", func(w *listenWith) *int { return &w.Prefetch }, "How many messages the broker sends before they are acknowledged.").Or(100).Min(1).Max(65535),
			spec.Optional("dead_letter", func(w *listenWith) **address { return &w.DeadLetter },
				"Where refused messages go: the name of a queue, or an exchange and a routing key. Their header `x-refused` contains the reason.",
				addressFields(func(a *address) *address { return a })...).Short("routing_key"),
			spec.Bool("order", func(w *listenWith) *bool { return &w.Order },
				"Consume the queue exclusively, so that the messages are accepted in their order. Other consumers, such as further atoms, wait until this one has ended."),
		},
		Check: func(v any) []string { return v.(*listenWith).check() },
		Props: "The process reads `queue`, `exchange`, `routing_key`, `redelivered`, `headers`, and the properties that the message has, such as `message_id`, " +
			"`correlation_id`, `reply_to`, `content_type`, `priority`, `timestamp`, `type` and `app_id`, as `props`.",
		Replies: true,
	}
}

func (w *listenWith) check() []string {
	wrong := tooLong("queue", w.Queue)
	if w.DeadLetter == nil {
		return wrong
	}
	for _, problem := range w.DeadLetter.check() {
		wrong = append(wrong, "dead_letter: "+problem)
	}
	if w.DeadLetter.Exchange == "" && w.DeadLetter.RoutingKey == w.Queue && spec.Literal(w.Queue) {
		wrong = append(wrong, "dead_letter: must not be the queue itself")
	}
	return wrong
}

var _ connectors.Listener = (*connection)(nil)

// Listen implements connectors.Listener.
func (c *connection) Listen(ctx context.Context, v any, host *connectors.Host) error {
	w := v.(*listenWith)
	return c.consumers.Listen(ctx, host, func(ctx context.Context, s *client) error {
		err := c.consume(ctx, s, w, host)
		if err != nil {
			return failed("cannot receive from the queue "+w.Queue, err)
		}
		return nil
	})
}

// consume delivers messages until ctx ends or the channel fails. The broker then
// delivers every message again that was not acknowledged.
func (c *connection) consume(ctx context.Context, s *client, w *listenWith, host *connectors.Host) error {
	ch, err := connectors.Within(ctx, s.conn.Channel, func(late *amqp091.Channel) { _ = late.Close() })
	if err != nil {
		return err
	}
	defer closeChannel(ch)
	closed := ch.NotifyClose(make(chan *amqp091.Error, 1))
	deliveries, err := connectors.Within(ctx, func() (<-chan amqp091.Delivery, error) {
		if err := ch.Qos(w.Prefetch, 0, false); err != nil {
			return nil, err
		}
		return ch.Consume(w.Queue, "", false, w.Order, false, false, nil)
	}, func(<-chan amqp091.Delivery) {})
	if err != nil {
		return err
	}
	host.Up()
	left := make(chan struct{})
	received := buffered(deliveries, min(w.Prefetch, maxBatch), left)
	defer func() {
		close(left)
		for range received { // until the reader has ended
		}
	}()
	measure := time.NewTicker(lagEvery)
	defer measure.Stop()
	for ctx.Err() == nil {
		select {
		case d, ok := <-received:
			if !ok {
				return ended(closed)
			}
			if err := c.deliver(ctx, ch, gather(d, received), w, host); err != nil {
				return err
			}
		case <-measure.C:
			q, err := connectors.Within(ctx, func() (amqp091.Queue, error) { return ch.QueueDeclarePassive(w.Queue, true, false, false, false, nil) }, func(amqp091.Queue) {})
			if err != nil {
				return err
			}
			host.Lag(int64(q.Messages))
		case <-ctx.Done():
		}
	}
	return nil
}

// buffered returns a channel that holds the deliveries which have arrived, so that
// gather finds them: the channel of the client library holds none. It is closed
// after the end of deliveries, and after left is closed.
func buffered(deliveries <-chan amqp091.Delivery, n int, left <-chan struct{}) <-chan amqp091.Delivery {
	out := make(chan amqp091.Delivery, n)
	go func() {
		defer close(out)
		for {
			select {
			case d, ok := <-deliveries:
				if !ok {
					return
				}
				select {
				case out <- d:
				case <-left:
					return
				}
			case <-left:
				return
			}
		}
	}()
	return out
}

// closeChannel closes a channel, which also sends the last acknowledgements.
func closeChannel(ch *amqp091.Channel) {
	ctx, cancel := context.WithTimeout(context.Background(), closeTimeout)
	defer cancel()
	_, _ = connectors.Within(ctx, func() (any, error) { return nil, ch.Close() }, func(any) {})
}

// ended returns why the broker sends no more messages.
func ended(closed <-chan *amqp091.Error) error {
	select {
	case e := <-closed:
		if e != nil {
			return e
		}
		return amqp091.ErrClosed
	default:
		return connectors.Retry(CodeMissing, "the broker ended the subscription; the queue may have been deleted", 0, nil)
	}
}

// gather returns the messages that have arrived, at most maxBatch.
func gather(first amqp091.Delivery, more <-chan amqp091.Delivery) []amqp091.Delivery {
	batch := []amqp091.Delivery{first}
	for len(batch) < maxBatch {
		select {
		case d, ok := <-more:
			if !ok {
				return batch
			}
			batch = append(batch, d)
			continue
		default:
		}
		break
	}
	return batch
}

// deliver delivers messages and acknowledges those that are done. It tries again
// until all are, ctx ends, or the channel is closed, whose messages come again.
func (c *connection) deliver(ctx context.Context, ch *amqp091.Channel, batch []amqp091.Delivery, w *listenWith, host *connectors.Host) error {
	for attempt := 0; len(batch) > 0 && ctx.Err() == nil; attempt++ {
		n, err := c.accept(ctx, batch, w, host)
		if n > 0 {
			attempt = 0
			if err := batch[n-1].Ack(true); err != nil { // with all before it
				return err
			}
		}
		batch = batch[n:]
		var unmoved *moveError
		switch {
		case err == nil:
		case errors.As(err, &unmoved):
			return unmoved.error
		case ch.IsClosed():
			return amqp091.ErrClosed
		default:
			pause(ctx, err, attempt)
		}
	}
	return nil
}

// maxPause bounds the pause before messages are delivered again, because the
// channel may be closed meanwhile.
const maxPause = 5 * time.Second

// pause waits after a failed delivery, until ctx ends.
func pause(ctx context.Context, err error, attempt int) {
	delay := min(100*time.Millisecond<<min(attempt, 10), maxPause)
	if f := fault.AsFailure(err); f != nil {
		delay = min(max(delay, f.RetryAfter), maxPause)
	}
	select {
	case <-time.After(delay):
	case <-ctx.Done():
	}
}

// moveError is why a refused message is not in the dead letters.
type moveError struct{ error }

// accept delivers messages and moves refused ones to the dead letters. It
// returns how many of them, from the first on, are done, and why the next one is
// not.
func (c *connection) accept(ctx context.Context, batch []amqp091.Delivery, w *listenWith, host *connectors.Host) (int, error) {
	messages := make([]*connectors.Message, 0, len(batch))
	var unread error
	for i := range batch {
		m, err := w.message(ctx, &batch[i])
		if err != nil {
			unread = err
			break
		}
		messages = append(messages, m)
	}
	if len(messages) == 0 {
		return 0, unread
	}
	results := host.DeliverBatch(ctx, messages)
	for i, err := range results {
		if err != nil && connectors.Refused(err) && w.DeadLetter != nil {
			if err := c.bury(ctx, &batch[i], w, err); err != nil {
				return i, &moveError{errors.Join(err, acknowledge(batch[i+1:], results[i+1:]))}
			}
			continue
		}
		if err != nil {
			return i, err
		}
	}
	return len(messages), unread
}

// acknowledge acknowledges the messages that were accepted although one before
// them could not be moved: the channel is closed then, and they would run again.
func acknowledge(batch []amqp091.Delivery, results []error) error {
	for i, err := range results {
		if err != nil {
			continue
		}
		if err := batch[i].Ack(false); err != nil {
			return err
		}
	}
	return nil
}

// message returns a delivery as a message. Its error means that the message
// cannot be read now.
func (w *listenWith) message(ctx context.Context, d *amqp091.Delivery) (*connectors.Message, error) {
	m := &connectors.Message{Props: propsOf(w.Queue, d), ReplyTo: d.ReplyTo, CorrelationID: valid(d.CorrelationId), Time: d.Timestamp, Delivery: deliveryOf(d)}
	m.Traceparent, _ = d.Headers[headerTrace].(string)
	if m.CorrelationID == "" && d.ReplyTo != "" {
		m.CorrelationID = valid(d.MessageId) // as requesters without a correlation id expect
	}
	if d.MessageId != "" {
		m.Origin, m.Remember = w.Queue+": "+d.MessageId, rememberFor
	}
	if w.DeadLetter != nil {
		m.DeadLetter = w.DeadLetter.String()
	}
	doc, err := decode(ctx, d)
	switch exhausted := budget.Failure(err); {
	case err == nil:
		m.Doc = doc
	case exhausted != nil:
		return nil, exhausted
	case ctx.Err() != nil:
		return nil, ctx.Err()
	default:
		m.Doc = document.New(d.Body, d.ContentType, "")
		m.Invalid = connectors.Failf(fault.CodeAnswer, false, err, "cannot read the message as %s: %v", d.ContentType, err)
	}
	return m, nil
}

// deliveryOf returns how often a message was delivered. Only quorum queues count
// it.
func deliveryOf(d *amqp091.Delivery) int {
	if n, ok := integer(d.Headers["x-delivery-count"]); ok {
		return int(n) + 1
	}
	if d.Redelivered {
		return 0
	}
	return 1
}

// bury moves a refused message to the dead letters, also when ctx has ended.
func (c *connection) bury(ctx context.Context, d *amqp091.Delivery, w *listenWith, why error) error {
	headers := amqp091.Table{}
	for name, v := range d.Headers {
		if name != "CC" && name != "BCC" { // they would route it to further queues
			headers[name] = v
		}
	}
	headers["x-refused"] = spec.Clip(why.Error())
	headers["x-refused-queue"] = w.Queue
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), moveTimeout)
	defer cancel()
	return c.publish(ctx, *w.DeadLetter, &amqp091.Publishing{
		Headers: headers, ContentType: d.ContentType, ContentEncoding: d.ContentEncoding, DeliveryMode: amqp091.Persistent, Priority: d.Priority,
		CorrelationId: d.CorrelationId, ReplyTo: d.ReplyTo, MessageId: d.MessageId, Timestamp: d.Timestamp, Type: d.Type, AppId: d.AppId, Body: d.Body,
	}, "cannot move a refused message to "+w.DeadLetter.String())
}
