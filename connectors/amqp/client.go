package amqp

import (
	"context"
	"sync"
	"time"

	amqp091 "github.com/rabbitmq/amqp091-go"

	"valence/connectors"
	"valence/internal/fault"
)

// maxIdle is how many channels stay open between calls.
const maxIdle = 64

// client is a session with the broker. Its methods are safe for concurrent use.
type client struct {
	conn     *amqp091.Connection
	idle     chan *channel
	flow     flow
	replies  replies
	watched  sync.WaitGroup
	pipeline pipeline
}

func newClient(conn *amqp091.Connection) *client {
	c := &client{conn: conn, idle: make(chan *channel, maxIdle)}
	c.replies.turn = make(chan struct{}, 1)
	c.replies.waiting = map[string]chan amqp091.Delivery{}
	blocked := conn.NotifyBlocked(make(chan amqp091.Blocking, 1))
	c.watched.Go(func() {
		for b := range blocked { // ends with the connection
			c.flow.set(b.Active, b.Reason)
		}
		c.flow.set(false, "") // publishers find the connection closed
	})
	return c
}

func (c *client) alive() bool { return !c.conn.IsClosed() }

func (c *client) close() {
	_ = c.conn.CloseDeadline(time.Now().Add(closeTimeout)) // the broker notices by itself
	c.watched.Wait()
}

// flow says whether the broker blocks publishers.
type flow struct {
	mu     sync.Mutex
	reason string
	opened chan struct{} // closed when publishers are no longer blocked; nil: they are not
}

func (f *flow) set(blocked bool, reason string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	switch {
	case blocked:
		if f.reason = reason; f.opened == nil {
			f.opened = make(chan struct{})
		}
	case f.opened != nil:
		close(f.opened)
		f.opened = nil
	}
}

func (f *flow) state() (opened chan struct{}, reason string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.opened, f.reason
}

// wait returns when the broker does not block publishers.
func (f *flow) wait(ctx context.Context, what string) error {
	for {
		opened, reason := f.state()
		if opened == nil {
			return nil
		}
		select {
		case <-opened:
		case <-ctx.Done():
			if failure := connectors.Interrupted(ctx, what+": nothing was sent, because the broker blocks publishers ("+reason+")"); failure != nil {
				return failure
			}
		}
	}
}

// interrupted returns the failure of a message that may have been sent.
func (f *flow) interrupted(ctx context.Context, what string) *fault.Failure {
	if opened, reason := f.state(); opened != nil {
		what += ": not confirmed, because the broker blocks publishers (" + reason + ")"
	}
	return connectors.Interrupted(ctx, what)
}

// channel is a channel with confirms. It has at most one message that is not
// confirmed, so that everything it reports is about that message.
type channel struct {
	*amqp091.Channel
	returned chan amqp091.Return
	closed   chan *amqp091.Error
}

// discard closes a channel that is not used again.
func (ch *channel) discard() { go func() { _ = ch.Close() }() }

// reason returns why the channel was closed, or nil if that is not known.
func (ch *channel) reason() *amqp091.Error {
	select {
	case e := <-ch.closed:
		return e
	default:
		return nil
	}
}

func (c *client) acquire(ctx context.Context) (*channel, error) {
	for {
		select {
		case ch := <-c.idle:
			if !ch.IsClosed() {
				return ch, nil
			}
			continue
		default:
		}
		return connectors.Within(ctx, c.openChannel, (*channel).discard)
	}
}

func (c *client) openChannel() (*channel, error) {
	opened, err := c.conn.Channel()
	if err != nil {
		return nil, err
	}
	ch := &channel{opened, opened.NotifyReturn(make(chan amqp091.Return, 1)), opened.NotifyClose(make(chan *amqp091.Error, 1))}
	return ch, opened.Confirm(false)
}

func (c *client) release(ch *channel) {
	select {
	case c.idle <- ch:
	default:
		ch.discard()
	}
}

// publish sends a message and waits until the broker has confirmed it.
func (c *client) publish(ctx context.Context, to address, m *amqp091.Publishing, what string) error {
	if err := c.flow.wait(ctx, what); err != nil {
		return err
	}
	if c.pipeline.reserve(to, m) {
		return c.publishPipelined(ctx, to, m, what)
	}
	ch, err := c.acquire(ctx)
	if err != nil {
		return notOpened(ctx, what, err)
	}
	sent, err := connectors.Within(ctx, func() (*amqp091.DeferredConfirmation, error) {
		return ch.PublishWithDeferredConfirm(to.Exchange, to.RoutingKey, !to.direct(), false, *m)
	}, func(*amqp091.DeferredConfirmation) {})
	if err != nil {
		ch.discard()
		if f := c.flow.interrupted(ctx, what); f != nil {
			return f
		}
		return failed(what+": nothing was sent", err)
	}
	select {
	case <-sent.Done():
	case <-ctx.Done():
		ch.discard()
		return c.flow.interrupted(ctx, what)
	}
	return c.confirmed(ch, sent, to, what)
}

// confirmed returns the result of a message whose confirmation has arrived, or
// whose channel was closed.
func (c *client) confirmed(ch *channel, sent *amqp091.DeferredConfirmation, to address, what string) error {
	if !sent.Acked() && ch.IsClosed() {
		return unconfirmed(what, ch.reason())
	}
	defer c.release(ch)
	select {
	case r := <-ch.returned: // sent by the broker before the confirmation
		return unroutable(what, to, r)
	default:
	}
	if !sent.Acked() {
		return rejected(what)
	}
	c.pipeline.prove(to)
	return nil
}

// notOpened returns the failure of a message for which no channel could be opened.
func notOpened(ctx context.Context, what string, err error) *fault.Failure {
	if f := connectors.Interrupted(ctx, what); f != nil {
		return f
	}
	return failed(what+": cannot open a channel", err)
}

func unroutable(what string, to address, r amqp091.Return) error {
	return connectors.Failf(CodeUnroutable, false, nil, "%s: no queue receives messages of %s (%s)", what, to, r.ReplyText)
}

func rejected(what string) error {
	return connectors.Failf(CodeRejected, true, nil, "%s: the broker did not store the message; a queue may be full", what)
}
