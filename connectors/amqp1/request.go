package amqp1

import (
	"context"
	"crypto/rand"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/Azure/go-amqp"

	"valence/connectors"
	"valence/internal/budget"
	"valence/internal/fault"
	"valence/internal/spec"
)

type requestWith struct{ message }

// keyProperty is the application property of a request with its idempotency key.
// Its message id differs between attempts, so that each attempt is answered.
const keyProperty = "idempotency-key"

var requestOperation = connectors.Define(connectors.Operation{
	Name: "request", SendsBody: true,
	Doc: "Sends the document as a request and waits for the reply, which becomes the document. Replies arrive in a temporary queue of this atom, or on `reply_address`, and are matched by their " +
		"correlation id. The request expires with the call's `timeout:`. A repeated attempt has the same application property `idempotency-key`.",
	With:   messageFields(func(w *requestWith) *message { return &w.message }),
	Check:  func(v any) []string { return v.(*requestWith).To.check() },
	Sample: "- call: broker.request\n  with: { address: price-requests }\n  timeout: 5s\n",
}, func(ctx context.Context, c *connection, w *requestWith, call *connectors.Call) (*connectors.Result, error) {
	m, err := w.outgoing(call)
	if err != nil {
		return nil, err
	}
	if _, given := m.ApplicationProperties[keyProperty]; !given && call.IdempotencyKey != "" {
		m.ApplicationProperties[keyProperty] = call.IdempotencyKey
	}
	if deadline, ok := ctx.Deadline(); ok {
		m.Header.TTL = max(time.Until(deadline), time.Millisecond)
	}
	var reply *amqp.Message
	err = c.calls.Do(ctx, func(x *client) error {
		reply, err = x.request(ctx, c.ReplyAddress, w.To, m, call.CorrelationID)
		return err
	})
	if err != nil {
		return nil, err
	}
	doc, err := decode(ctx, reply)
	if f := budget.Failure(err); f != nil {
		return nil, f
	}
	if err != nil {
		return nil, connectors.Failf(fault.CodeAnswer, false, err, "request: cannot read the reply as %s: %v", spec.Clip(contentType(reply)), err)
	}
	headers := http.Header{}
	for name, v := range reply.ApplicationProperties {
		if text, ok := scalar(v); ok {
			headers.Set(name, text)
		}
	}
	return &connectors.Result{Doc: doc, Headers: headers}, nil
})

// request sends a request and returns its reply. The correlation id begins with
// the identity of this client, by which a shared queue of replies is selected.
func (x *client) request(ctx context.Context, shared string, to place, m *amqp.Message, correlation string) (*amqp.Message, error) {
	const what = "request"
	address, prefix, err := x.replyAddress(ctx, shared)
	if err != nil {
		return nil, failed(ctx, "request: cannot receive replies", err, fault.CodeConnect)
	}
	if correlation = correlation[:min(len(correlation), 200)]; correlation != "" {
		correlation = "." + correlation
	}
	id := prefix + rand.Text() + correlation
	m.Properties.ReplyTo, m.Properties.CorrelationID, m.Properties.MessageID = &address, id, id
	reply := x.replies.expect(id)
	defer x.replies.forget(id)
	if err := x.send(ctx, to, m, what); err != nil {
		return nil, err
	}
	select {
	case r := <-reply:
		return r, nil
	case <-x.conn.Done():
		return nil, connectors.Failf(fault.CodeAborted, true, x.conn.Err(), "request: the connection was lost before the reply")
	case <-ctx.Done():
		return nil, connectors.Interrupted(ctx, "request: no reply from "+to.String())
	}
}

// replies are the requests of a session that wait for a reply.
type replies struct {
	mu              sync.Mutex
	address, prefix string // "" if there is no receiver
	waiting         map[string]chan *amqp.Message
}

func (r *replies) expect(id string) <-chan *amqp.Message {
	r.mu.Lock()
	defer r.mu.Unlock()
	reply := make(chan *amqp.Message, 1)
	r.waiting[id] = reply
	return reply
}

func (r *replies) forget(id string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.waiting, id)
}

func (r *replies) known() (address, prefix string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.address, r.prefix
}

// receive hands a reply to the request that waits for it.
func (r *replies) receive(m *amqp.Message) {
	if m.Properties == nil {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	id := idText(m.Properties.CorrelationID)
	if reply := r.waiting[id]; reply != nil {
		reply <- m
		delete(r.waiting, id)
	}
}

const replyCredit = 100 // replies in flight

// replyAddress returns the address for replies and the prefix of correlation ids,
// and opens the receiver first if there is none.
func (x *client) replyAddress(ctx context.Context, shared string) (address, prefix string, err error) {
	select {
	case x.turn <- struct{}{}:
		defer func() { <-x.turn }()
	case <-ctx.Done():
		return "", "", ctx.Err()
	}
	if address, prefix = x.replies.known(); address != "" {
		return address, prefix, nil
	}
	options := &amqp.ReceiverOptions{Credit: replyCredit, DynamicAddress: true, SourceCapabilities: []string{"temporary-queue"}, SourceExpiryPolicy: amqp.ExpiryPolicyLinkDetach}
	prefix = rand.Text() + "."
	if shared != "" {
		options = &amqp.ReceiverOptions{Credit: replyCredit, SourceCapabilities: []string{kindQueue}, Filters: []amqp.LinkFilter{amqp.NewSelectorFilter("JMSCorrelationID LIKE '" + prefix + "%'")}}
	}
	receiver, err := x.session.NewReceiver(ctx, shared, options)
	if err != nil {
		return "", "", err
	}
	if address = receiver.Address(); address == "" {
		address = shared
	}
	x.replies.mu.Lock()
	x.replies.address, x.replies.prefix = address, prefix
	x.replies.mu.Unlock()
	go x.receiveReplies(receiver)
	return address, prefix, nil
}

// receiveReplies hands out replies until the receiver ends.
func (x *client) receiveReplies(receiver *amqp.Receiver) {
	for {
		m, err := receiver.Receive(context.Background(), nil)
		if err != nil { // the next request opens another receiver
			break
		}
		x.replies.receive(m)
		if receiver.AcceptMessage(context.Background(), m) != nil {
			break
		}
	}
	x.replies.mu.Lock()
	defer x.replies.mu.Unlock()
	x.replies.address = ""
}

var _ connectors.Replier = (*connection)(nil)

// Reply implements connectors.Replier.
func (c *connection) Reply(ctx context.Context, r *connectors.Reply) error {
	id, address, _ := strings.Cut(r.To, " ")
	correlation, err := decodeID(id)
	if err != nil || address == "" {
		return fault.Failf(codeBadCall, "reply: the address is not one of this connector")
	}
	if correlation == nil {
		correlation = r.CorrelationID
	}
	now := time.Now()
	m := &amqp.Message{Header: &amqp.MessageHeader{}, Properties: &amqp.MessageProperties{To: &address, CorrelationID: correlation, MessageID: r.IdempotencyKey, CreationTime: &now}}
	if err := fill(m, r.Doc, r.Headers, r.Traceparent); err != nil {
		return err
	}
	if r.Status != 0 {
		m.ApplicationProperties["status"] = int32(r.Status)
	}
	return c.calls.Do(ctx, func(x *client) error { return x.send(ctx, place{address, kindQueue}, m, "reply") })
}
