package amqp

import (
	"context"
	"sync"

	amqp091 "github.com/rabbitmq/amqp091-go"

	"valence/connectors"
	"valence/internal/fault"
)

const (
	maxPipelined = 1 << 20 // bytes of a message; a broker may close the channel of one that is larger
	maxReturned  = 1024    // returns that the channel holds until somebody looks
)

// pipeline publishes many messages at once on one channel, so that the broker
// confirms them together. A message that the broker refuses closes its channel and
// leaves the outcome of the others unknown, so the pipeline is only for messages
// to addresses that have received one before on this session.
type pipeline struct {
	mu       sync.Mutex
	ch       *channel // nil: none is open
	reason   *amqp091.Error
	proven   map[address]bool
	inFlight map[string]bool           // by message id
	returned map[string]amqp091.Return // of messages in flight
}

// reserve claims the id of a message that may use the pipeline.
func (p *pipeline) reserve(to address, m *amqp091.Publishing) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.proven[to] || m.MessageId == "" || p.inFlight[m.MessageId] || len(m.Body) > maxPipelined {
		return false
	}
	if p.inFlight == nil {
		p.inFlight, p.returned = map[string]bool{}, map[string]amqp091.Return{}
	}
	p.inFlight[m.MessageId] = true
	return true
}

// prove notes that an address has received a message.
func (p *pipeline) prove(to address) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.proven == nil || len(p.proven) >= maxIdle {
		p.proven = map[address]bool{}
	}
	p.proven[to] = !to.direct()
}

// open returns the channel, which it opens if it is closed.
func (p *pipeline) open(open func() (*amqp091.Channel, error)) (*channel, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.ch != nil && !p.ch.IsClosed() {
		p.collect()
		return p.ch, nil
	}
	opened, err := open()
	if err != nil {
		return nil, err
	}
	p.ch = &channel{opened, opened.NotifyReturn(make(chan amqp091.Return, maxReturned)), opened.NotifyClose(make(chan *amqp091.Error, 1))}
	p.reason = nil
	return p.ch, opened.Confirm(false)
}

// collect notes the returns that have arrived. The caller holds p.mu.
func (p *pipeline) collect() {
	for {
		select {
		case r, ok := <-p.ch.returned:
			if !ok {
				return
			}
			if p.inFlight[r.MessageId] {
				p.returned[r.MessageId] = r
			}
		default:
			return
		}
	}
}

// settle releases the id of a message, and returns whether the broker has
// returned it.
func (p *pipeline) settle(id string) (r amqp091.Return, returned bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.ch != nil {
		p.collect()
	}
	r, returned = p.returned[id]
	delete(p.returned, id)
	delete(p.inFlight, id)
	return r, returned
}

// broken returns why a channel of the pipeline was closed; nil if that is not
// known. Every address must be proven again: one of them may be the cause.
func (p *pipeline) broken(ch *channel) *amqp091.Error {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.proven = nil
	if e := ch.reason(); e != nil {
		p.reason = e
	}
	return p.reason
}

// publishPipelined is publish on the channel of the pipeline, for a message that
// is reserved.
func (c *client) publishPipelined(ctx context.Context, to address, m *amqp091.Publishing, what string) error {
	p := &c.pipeline
	defer p.settle(m.MessageId)
	ch, err := connectors.Within(ctx, func() (*channel, error) { return p.open(c.conn.Channel) }, func(*channel) {})
	if err != nil {
		return notOpened(ctx, what, err)
	}
	sent, err := connectors.Within(ctx, func() (*amqp091.DeferredConfirmation, error) {
		return ch.PublishWithDeferredConfirm(to.Exchange, to.RoutingKey, true, false, *m)
	}, func(*amqp091.DeferredConfirmation) {})
	if err != nil {
		if f := c.flow.interrupted(ctx, what); f != nil {
			return f
		}
		return failed(what+": nothing was sent", err)
	}
	select {
	case <-sent.Done():
	case <-ctx.Done():
		return c.flow.interrupted(ctx, what)
	}
	r, returned := p.settle(m.MessageId)
	switch {
	case returned:
		return unroutable(what, to, r)
	case sent.Acked():
		return nil
	case ch.IsClosed():
		e := p.broken(ch)
		if e != nil && e.Server && permanent(e) != "" { // it may be about another message
			return connectors.Failf(fault.CodeAborted, true, e, "%s: the broker closed the channel before it confirmed the message: %s", what, e.Reason)
		}
		return unconfirmed(what, e)
	}
	return rejected(what)
}
