package connectors

import (
	"context"
	"sort"

	"valence/internal/document"
	"valence/internal/spec"
)

// Replier is a Connection whose Subscription has Replies.
type Replier interface {
	Connection
	// Reply answers the message with this ReplyTo. It makes one attempt and
	// fails like Operation.Run. An attempt that is repeated has the same
	// IdempotencyKey.
	Reply(ctx context.Context, r *Reply) error
}

// Reply is the reply to one message of a subscription.
type Reply struct {
	To             string // Message.ReplyTo
	Doc            *document.Document
	Status         int       // `status:` of the reply; 0 if it is not set
	Headers        []spec.KV // `headers:` of the reply, in order of their names
	CorrelationID  string    // Message.CorrelationID, or an own one if that was empty
	Traceparent    string    // may be empty
	IdempotencyKey string
}

// replyWith holds the settings of ReplyOperation.
type replyWith struct {
	To      string
	Status  int
	Headers []spec.KV
}

// ReplyOperation is the operation with which the runtime sends replies. It is
// not among the operations of any connector.
var ReplyOperation = Define(Operation{
	Name: "reply", SendsBody: true,
	With: []spec.Field{
		spec.String("to", func(w *replyWith) *string { return &w.To }, "Where to send the reply.").Required(),
		spec.Int("status", func(w *replyWith) *int { return &w.Status }, "Status of the reply."),
		spec.StringMap("headers", func(w *replyWith) *[]spec.KV { return &w.Headers }, "Headers of the reply."),
	},
}, func(ctx context.Context, c Replier, w *replyWith, call *Call) (*Result, error) {
	r := &Reply{To: w.To, Doc: call.Body, Status: w.Status, Headers: w.Headers,
		CorrelationID: call.CorrelationID, Traceparent: call.Traceparent, IdempotencyKey: call.IdempotencyKey}
	sort.SliceStable(r.Headers, func(i, j int) bool { return r.Headers[i].Name < r.Headers[j].Name })
	if err := c.Reply(ctx, r); err != nil {
		return nil, err
	}
	return &Result{Doc: document.Empty}, nil
})
