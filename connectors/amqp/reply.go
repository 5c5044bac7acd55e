package amqp

import (
	"context"
	"errors"
	"time"

	amqp091 "github.com/rabbitmq/amqp091-go"

	"valence/connectors"
	"valence/internal/fault"
)

var _ connectors.Replier = (*connection)(nil)

// Reply implements connectors.Replier. Replies go to a queue through the default
// exchange.
func (c *connection) Reply(ctx context.Context, r *connectors.Reply) error {
	to := address{RoutingKey: r.To}
	if wrong := to.check(); len(wrong) > 0 {
		return fault.Failf(CodeBadCall, "reply: %s", wrong[0])
	}
	headers, err := headersOf(r.Headers, r.Traceparent)
	if err != nil {
		return err
	}
	if r.Status != 0 {
		headers["status"] = int32(r.Status)
	}
	m := &amqp091.Publishing{Headers: headers, CorrelationId: short(r.CorrelationID), MessageId: messageID(r.IdempotencyKey), Timestamp: time.Now()}
	if err := fill(m, r.Doc); err != nil {
		return err
	}
	err = c.publish(ctx, to, m, "reply")
	var f *fault.Failure
	if errors.As(err, &f) && f.Code == CodeUnroutable {
		return connectors.Failf(CodeUnroutable, false, err, "reply: the queue %s no longer exists; the requester has stopped waiting", r.To)
	}
	return err
}
