package mqtt

import (
	"context"
	"crypto/rand"
	"strconv"
	"sync"
	"time"

	"github.com/eclipse/paho.golang/paho"

	"valence/connectors"
	"valence/internal/budget"
	"valence/internal/fault"
	"valence/internal/spec"
)

type requestWith struct {
	Topic   string
	Headers []spec.KV
}

var requestOperation = connectors.Define(connectors.Operation{
	Name: "request", SendsBody: true,
	Doc: "Sends the document as a request and waits for the reply, which becomes the document. Replies arrive on the `response_topic` of the connection and are matched by their " +
		"correlation data. The request expires with the call's `timeout:`, and fails at once as `not_found` if the broker reports that nobody subscribes to the topic. A repeated attempt has the same user property `idempotency-key`.",
	With: []spec.Field{
		spec.String("topic", func(w *requestWith) *string { return &w.Topic }, "Topic, without wildcards.").Eg("prices/quote").Required(),
		spec.StringMap("headers", func(w *requestWith) *[]spec.KV { return &w.Headers }, "User properties."),
	},
	Check:  func(v any) []string { return checkTopic("topic", v.(*requestWith).Topic) },
	Sample: "- call: broker.request\n  with: { topic: prices/quote }\n  timeout: 5s\n",
}, func(ctx context.Context, c *connection, w *requestWith, call *connectors.Call) (*connectors.Result, error) {
	if c.Version == version311 {
		return nil, connectors.Failf(codeBadCall, false, nil, "request needs MQTT 5, and the connection has `version: "+version311+"`")
	}
	m, err := outgoing(w.Topic, 1, call, w.Headers)
	if err != nil {
		return nil, err
	}
	id := call.CorrelationID
	if id = id[:min(len(id), 200)]; id != "" {
		id += "."
	}
	id += rand.Text()
	m.Properties.CorrelationData, m.Properties.ResponseTopic = []byte(id), c.ResponseTopic
	m.Properties.User.Add(propertyID, id)
	if call.IdempotencyKey != "" {
		m.Properties.User.Add(propertyKey, call.IdempotencyKey)
	}
	if deadline, ok := ctx.Deadline(); ok {
		m.Properties.MessageExpiry = seconds(time.Until(deadline))
	}
	var reply *paho.Publish
	if err := c.calls.Do(ctx, func(l *link) error { reply, err = l.request(ctx, m); return err }); err != nil {
		return nil, err
	}
	doc, err := decode(ctx, reply)
	if f := budget.Failure(err); f != nil {
		return nil, f
	}
	if err != nil {
		return nil, connectors.Failf(fault.CodeAnswer, false, err, "request: cannot read the reply as %s: %v", spec.Clip(reply.Properties.ContentType), err)
	}
	return &connectors.Result{Doc: doc, Headers: httpHeaders(reply)}, nil
})

// request sends a request and returns its reply.
func (l *link) request(ctx context.Context, m *paho.Publish) (*paho.Publish, error) {
	const what = "request"
	if err := l.expectReplies(ctx, m.Properties.ResponseTopic); err != nil {
		return nil, err
	}
	id := string(m.Properties.CorrelationData)
	reply := l.replies.expect(id)
	defer l.replies.forget(id)
	wanted, err := l.publish(ctx, m, what)
	if err != nil {
		return nil, err
	}
	if !wanted {
		return nil, connectors.Failf(codeMissing, true, nil, "request: nobody subscribes to the topic %q", spec.Clip(m.Topic))
	}
	select {
	case r := <-reply:
		return r, nil
	case <-l.gone:
		return nil, connectors.Failf(fault.CodeAborted, true, l.cause, "request: the connection was lost before the reply")
	case <-ctx.Done():
		return nil, connectors.Interrupted(ctx, "request: no reply from "+strconv.Quote(m.Topic))
	}
}

// replies are the requests of a link that wait for a reply.
type replies struct {
	turn       chan struct{} // held by who subscribes
	subscribed bool          // to the topic for replies; of who holds turn

	mu      sync.Mutex
	waiting map[string]chan *paho.Publish // by correlation data
}

func (r *replies) expect(id string) <-chan *paho.Publish {
	r.mu.Lock()
	defer r.mu.Unlock()
	reply := make(chan *paho.Publish, 1)
	r.waiting[id] = reply
	return reply
}

func (r *replies) forget(id string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.waiting, id)
}

// receive hands a reply to the request that waits for it.
func (r *replies) receive(m *paho.Publish) {
	r.mu.Lock()
	defer r.mu.Unlock()
	id := string(m.Properties.CorrelationData)
	if reply := r.waiting[id]; reply != nil {
		reply <- m
		delete(r.waiting, id)
	}
}

// expectReplies subscribes to the topic for replies, once.
func (l *link) expectReplies(ctx context.Context, topic string) error {
	select {
	case l.replies.turn <- struct{}{}:
		defer func() { <-l.replies.turn }()
	case <-ctx.Done():
		return connectors.Interrupted(ctx, "request: cannot subscribe to the topic for replies")
	}
	if l.replies.subscribed {
		return nil
	}
	if err := l.subscribe(ctx, paho.SubscribeOptions{Topic: topic, QoS: 1, RetainHandling: 2}); err != nil {
		return err
	}
	l.replies.subscribed = true
	return nil
}

var _ connectors.Replier = (*connection)(nil)

// Reply implements connectors.Replier.
func (c *connection) Reply(ctx context.Context, r *connectors.Reply) error {
	topic, correlation, err := parseReplyTo(r.To)
	if err != nil {
		return fault.Failf(codeBadCall, "reply: the address is not one of this connector")
	}
	m, err := outgoing(topic, 1, &connectors.Call{Body: r.Doc, Traceparent: r.Traceparent, CorrelationID: r.CorrelationID}, r.Headers)
	if err != nil {
		return err
	}
	if len(correlation) > 0 {
		m.Properties.CorrelationData = correlation
	}
	if r.Status != 0 {
		m.Properties.User.Add(propertyState, strconv.Itoa(r.Status))
	}
	m.Properties.User.Add(propertyID, identity(r.IdempotencyKey))
	return c.calls.Do(ctx, func(l *link) error {
		_, err := l.publish(ctx, m, "reply")
		return err
	})
}
