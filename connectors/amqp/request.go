package amqp

import (
	"context"
	"crypto/rand"
	"net/http"
	"sync"
	"time"

	amqp091 "github.com/rabbitmq/amqp091-go"

	"valence/connectors"
	"valence/internal/budget"
	"valence/internal/fault"
)

type requestWith struct{ message }

// headerKey is the header of a request with its idempotency key. Its message_id
// differs between attempts, so that each attempt is answered.
const headerKey = "idempotency-key"

var requestOperation = connectors.Define(connectors.Operation{
	Name: "request", SendsBody: true,
	Doc: "Sends the document as a request and waits for the reply, which becomes the document. `reply_to` names a temporary queue of this atom, and replies are " +
		"matched by their correlation id. The request expires with the call's `timeout:`. A repeated attempt has the same header `idempotency-key`.",
	With:   messageFields(func(w *requestWith) *message { return &w.message }),
	Check:  func(v any) []string { return v.(*requestWith).To.check() },
	Sample: "- call: broker.request\n  with: { routing_key: price-requests }\n  timeout: 5s\n",
}, func(ctx context.Context, c *connection, w *requestWith, call *connectors.Call) (*connectors.Result, error) {
	m, err := w.publishing(call)
	if err != nil {
		return nil, err
	}
	if _, given := m.Headers[headerKey]; !given && call.IdempotencyKey != "" {
		m.Headers[headerKey] = call.IdempotencyKey
	}
	id := call.CorrelationID
	if id = id[:min(len(id), 200)]; id != "" {
		id += "."
	}
	m.CorrelationId = id + rand.Text()
	m.MessageId = m.CorrelationId
	if deadline, ok := ctx.Deadline(); ok {
		m.Expiration = milliseconds(time.Until(deadline))
	}
	var reply amqp091.Delivery
	if err := c.calls.Do(ctx, func(s *client) error { reply, err = s.request(ctx, w.To, m); return err }); err != nil {
		return nil, err
	}
	doc, err := decode(ctx, &reply)
	if f := budget.Failure(err); f != nil {
		return nil, f
	}
	if err != nil {
		return nil, connectors.Failf(fault.CodeAnswer, false, err, "request: cannot read the reply as %s: %v", reply.ContentType, err)
	}
	return &connectors.Result{Doc: doc, Headers: httpHeaders(reply.Headers)}, nil
})

// request sends a request and returns its reply.
func (c *client) request(ctx context.Context, to address, m *amqp091.Publishing) (amqp091.Delivery, error) {
	const what = "request"
	var err error
	if m.ReplyTo, err = c.replyQueue(ctx); err != nil {
		if f := connectors.Interrupted(ctx, what); f != nil {
			return amqp091.Delivery{}, f
		}
		return amqp091.Delivery{}, failed("request: cannot create the queue for replies", err)
	}
	reply := c.replies.expect(m.CorrelationId)
	defer c.replies.forget(m.CorrelationId)
	if err := c.publish(ctx, to, m, what); err != nil {
		return amqp091.Delivery{}, err
	}
	select {
	case d, ok := <-reply:
		if !ok {
			return d, connectors.Failf(fault.CodeAborted, true, nil, "request: the connection was lost before the reply")
		}
		return d, nil
	case <-ctx.Done():
		return amqp091.Delivery{}, connectors.Interrupted(ctx, "request: no reply from "+to.String())
	}
}

// replies are the requests of a session that wait for a reply, and their queue.
type replies struct {
	turn chan struct{} // held by who creates the queue

	mu      sync.Mutex
	queue   string // "" if there is none
	waiting map[string]chan amqp091.Delivery
}

func (r *replies) expect(id string) <-chan amqp091.Delivery {
	r.mu.Lock()
	defer r.mu.Unlock()
	reply := make(chan amqp091.Delivery, 1)
	r.waiting[id] = reply
	return reply
}

func (r *replies) forget(id string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.waiting, id)
}

func (r *replies) name() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.queue
}

// run hands out replies until the queue is gone.
func (r *replies) run(deliveries <-chan amqp091.Delivery) {
	for d := range deliveries {
		r.mu.Lock()
		if reply := r.waiting[d.CorrelationId]; reply != nil {
			reply <- d
			delete(r.waiting, d.CorrelationId)
		}
		r.mu.Unlock()
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.queue = ""
	for id, reply := range r.waiting {
		close(reply)
		delete(r.waiting, id)
	}
}

// replyQueue returns the temporary queue of the session and creates it first if
// there is none.
func (c *client) replyQueue(ctx context.Context) (string, error) {
	select {
	case c.replies.turn <- struct{}{}:
		defer func() { <-c.replies.turn }()
	case <-ctx.Done():
		return "", ctx.Err()
	}
	if name := c.replies.name(); name != "" {
		return name, nil
	}
	return connectors.Within(ctx, c.createReplyQueue, func(string) {})
}

func (c *client) createReplyQueue() (string, error) {
	ch, err := c.conn.Channel()
	if err != nil {
		return "", err
	}
	q, err := ch.QueueDeclare("", false, true, true, false, nil)
	if err != nil {
		return "", err
	}
	deliveries, err := ch.Consume(q.Name, "", true, true, false, false, nil)
	if err != nil {
		return "", err
	}
	c.replies.mu.Lock()
	c.replies.queue = q.Name
	c.replies.mu.Unlock()
	c.watched.Go(func() {
		c.replies.run(deliveries)
		_ = ch.Close() // the queue was deleted
	})
	return q.Name, nil
}

// httpHeaders returns the headers of a reply that are single values.
func httpHeaders(t amqp091.Table) http.Header {
	h := http.Header{}
	for name, v := range t {
		if text, ok := scalar(v); ok {
			h.Set(name, text)
		}
	}
	return h
}
