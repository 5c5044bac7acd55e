package nats

import (
	"context"
	"time"

	"github.com/nats-io/nats.go"

	"valence/connectors"
	"valence/connectors/session"
)

// receiveCore delivers the messages of a subject without JetStream until ctx
// ends or the link is lost, and then those that have arrived. A message that the runtime cannot accept yet is held,
// and later ones wait in memory.
func (w *listen) receiveCore(ctx context.Context, l *link, host *connectors.Host) error {
	what := quoted("subscribe to", w.Subject)
	received := make(chan *nats.Msg, w.MaxInFlight)
	sub, err := w.subscribeCore(l, received)
	if err != nil {
		return failed(ctx, ctx, what, err)
	}
	defer func() {
		_ = sub.Unsubscribe()
		if n := len(received); n > 0 {
			host.Log.Warn("messages were received and not accepted", "subject", w.Subject, "messages", n)
		}
	}()
	if err := l.flush(ctx, w.Subject); err != nil {
		return failed(ctx, ctx, what, err)
	}
	host.Up()
	dropped := 0
	for ctx.Err() == nil {
		select {
		case <-ctx.Done():
		case <-l.lost:
			for ctx.Err() == nil && len(received) > 0 {
				deliverCore(ctx, <-received, received, host)
			}
			return failed(ctx, ctx, what, nats.ErrConnectionClosed)
		case m := <-received:
			host.Lag(int64(len(received)))
			deliverCore(ctx, m, received, host)
			if n, err := sub.Dropped(); err == nil && n > dropped {
				host.Log.Error("messages were lost, because more than max_in_flight waited", "subject", w.Subject, "messages", n-dropped)
				dropped = n
			}
		}
	}
	return nil
}

func (w *listen) subscribeCore(l *link, received chan *nats.Msg) (*nats.Subscription, error) {
	if w.Consumer != "" {
		return l.nc.ChanQueueSubscribe(w.Subject, w.Consumer, received)
	}
	return l.nc.ChanSubscribe(w.Subject, received)
}

// deliverCore delivers a message and those that have arrived since. It tries
// again until they are accepted or ctx ends.
func deliverCore(ctx context.Context, first *nats.Msg, received <-chan *nats.Msg, host *connectors.Host) {
	var messages []*connectors.Message
	size := 0
	for m, more := first, true; more; {
		out := incoming(ctx, m)
		out.ReplyTo = replyAddress(m.Reply)
		messages, size = append(messages, out), size+len(m.Data)
		if len(messages) == maxBatch || size >= maxBatchBytes {
			break
		}
		select {
		case m = <-received:
		default:
			more = false
		}
	}
	for attempt := 1; len(messages) > 0 && ctx.Err() == nil; attempt++ {
		errs := host.DeliverBatch(ctx, messages)
		n := 0
		for n < len(errs) && errs[n] == nil {
			n++
		}
		if messages = messages[n:]; len(messages) == 0 {
			return
		}
		select {
		case <-time.After(session.RetryDelay(errs[n], attempt)):
		case <-ctx.Done():
			host.Log.Error("messages were lost, because the atom stopped before it accepted them", "messages", len(messages), "error", errs[n])
		}
	}
}
