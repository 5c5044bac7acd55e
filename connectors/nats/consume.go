package nats

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"valence/connectors"
	"valence/connectors/session"
	"valence/internal/document"
)

const (
	rememberFor   = 24 * time.Hour  // a message that was accepted and not acknowledged
	reportEvery   = 5 * time.Second // the lag
	pullExpiry    = 10 * time.Second
	pullHeartbeat = 4 * time.Second
	stopTimeout   = 2 * time.Second
	// One commit accepts at most maxBatch messages, of maxBatchBytes unless one
	// is larger.
	maxBatch      = 1000
	maxBatchBytes = 8 << 20
	// maxSetbacks is how many messages of a batch may have to be redelivered
	// before the others are too, without an attempt.
	maxSetbacks = 3
)

// createdBy marks consumers that this connector has created and may change.
const createdBy = "valence"

// consumer is a durable consumer that delivers to a process.
type consumer struct {
	*listen
	link   *link
	host   *connectors.Host
	stream string // the prefix of origins
	source jetstream.Consumer
}

// receive delivers the messages of the consumer until ctx ends or the link is
// lost.
func (w *listen) receive(ctx context.Context, l *link, host *connectors.Host) error {
	what := quoted("read the stream", w.Stream)
	stream, err := l.js.Stream(ctx, w.Stream)
	if err != nil {
		return failed(ctx, ctx, what, err)
	}
	source, err := w.durable(ctx, stream, host)
	if err != nil {
		return failed(ctx, ctx, what, err)
	}
	// A stream that was deleted and created again counts from one again.
	info := stream.CachedInfo()
	c := &consumer{w, l, host, info.Config.Name + "/" + strconv.FormatInt(info.Created.UnixNano(), 36) + "/", source}
	if err := c.run(ctx); err != nil {
		return failed(ctx, ctx, what, err)
	}
	return nil
}

// durable returns the consumer, which it creates if it is missing.
func (w *listen) durable(ctx context.Context, stream jetstream.Stream, host *connectors.Host) (jetstream.Consumer, error) {
	wanted := jetstream.ConsumerConfig{Durable: w.Consumer, FilterSubject: w.Subject, AckPolicy: jetstream.AckExplicitPolicy,
		DeliverPolicy: jetstream.DeliverAllPolicy, MaxDeliver: -1, MaxAckPending: w.MaxInFlight, Metadata: map[string]string{"created_by": createdBy}}
	source, err := stream.Consumer(ctx, w.Consumer)
	if errors.Is(err, jetstream.ErrConsumerNotFound) {
		return stream.CreateConsumer(ctx, wanted)
	}
	if err != nil {
		return nil, err
	}
	got := source.CachedInfo().Config
	problem := func(format string, args ...any) error {
		return connectors.Failf(codeBadCall, false, nil, "the consumer %q %s", w.Consumer, fmt.Sprintf(format, args...))
	}
	switch own := got.Metadata["created_by"] == createdBy; {
	case got.AckPolicy != jetstream.AckExplicitPolicy:
		return nil, problem("does not require an acknowledgement of each message; use another one")
	case own && (got.FilterSubject != w.Subject || got.MaxAckPending != w.MaxInFlight):
		got.FilterSubject, got.MaxAckPending = w.Subject, w.MaxInFlight
		return stream.UpdateConsumer(ctx, got)
	case w.Subject != "" && got.FilterSubject != w.Subject:
		return nil, problem("filters the subject %q, not %q; change one of them", got.FilterSubject, w.Subject)
	case !own && got.MaxDeliver > 0:
		host.Log.Warn("the consumer drops messages after max_deliver deliveries", "consumer", w.Consumer, "max_deliver", got.MaxDeliver)
	}
	return source, nil
}

// run delivers messages until ctx ends or the consumer fails.
func (c *consumer) run(ctx context.Context) error {
	received, stopping, failures := make(chan jetstream.Msg, c.MaxInFlight), make(chan struct{}), make(chan error, 1)
	consuming, err := c.source.Consume(func(m jetstream.Msg) {
		select {
		case <-stopping:
			c.giveBack(m, 0)
			return
		default:
		}
		select {
		case received <- m:
		case <-stopping:
			c.giveBack(m, 0)
		}
	}, jetstream.PullMaxMessages(c.MaxInFlight), jetstream.PullExpiry(pullExpiry), jetstream.PullHeartbeat(pullHeartbeat),
		jetstream.ConsumeErrHandler(func(_ jetstream.ConsumeContext, err error) {
			select {
			case failures <- err:
			default:
			}
		}))
	if err != nil {
		return err
	}
	c.host.Up()
	defer c.stop(consuming, received, stopping)
	report := time.NewTicker(reportEvery)
	defer report.Stop()
	if err := c.report(ctx); err != nil {
		return err
	}
	for ctx.Err() == nil {
		select {
		case <-ctx.Done():
		case <-c.link.lost:
			return nats.ErrConnectionClosed
		case err := <-failures:
			return err
		case <-report.C:
			if err := c.report(ctx); err != nil {
				return err
			}
		case m := <-received:
			c.accept(ctx, collect(m, received))
		}
	}
	return nil
}

// stop ends the consumption and returns the messages that wait to the server.
func (c *consumer) stop(consuming jetstream.ConsumeContext, received chan jetstream.Msg, stopping chan struct{}) {
	close(stopping)
	consuming.Drain()
	timeout := time.After(stopTimeout)
	for closed := consuming.Closed(); closed != nil; {
		select {
		case m := <-received:
			c.giveBack(m, 0)
		case <-closed:
			closed = nil
		case <-c.link.lost:
			return
		case <-timeout:
			consuming.Stop()
			closed = nil
		}
	}
	for len(received) > 0 {
		c.giveBack(<-received, 0)
	}
	_ = c.link.nc.FlushTimeout(stopTimeout) // otherwise the server redelivers the messages later
}

// collect returns first and the messages that have arrived since.
func collect(first jetstream.Msg, received <-chan jetstream.Msg) []jetstream.Msg {
	batch, size := []jetstream.Msg{first}, len(first.Data())
	for len(batch) < maxBatch && size < maxBatchBytes {
		select {
		case m := <-received:
			batch, size = append(batch, m), size+len(m.Data())
		default:
			return batch
		}
	}
	return batch
}

// accept delivers messages and acknowledges those that are accepted. A message
// that must be redelivered does not hold up those after it.
func (c *consumer) accept(ctx context.Context, batch []jetstream.Msg) {
	messages := make([]*connectors.Message, len(batch))
	for i, m := range batch {
		messages[i] = c.message(ctx, m)
	}
	for setbacks := 0; len(batch) > 0 && ctx.Err() == nil && setbacks < maxSetbacks; {
		errs := c.host.DeliverBatch(ctx, messages)
		n := 0
		for n < len(errs) && errs[n] == nil {
			c.acknowledge(batch[n])
			n++
		}
		if n < len(errs) {
			c.giveBack(batch[n], session.RetryDelay(errs[n], messages[n].Delivery))
			n++
			setbacks++
		}
		batch, messages = batch[n:], messages[n:]
	}
	for i, m := range batch {
		delay := time.Duration(0)
		if ctx.Err() == nil {
			delay = session.RetryDelay(nil, messages[i].Delivery)
		}
		c.giveBack(m, delay)
	}
}

// acknowledge ends the delivery of a message. If the server does not receive
// it, the message comes again and is recognized.
func (c *consumer) acknowledge(m jetstream.Msg) {
	if err := m.Ack(); err != nil {
		c.host.Log.Warn("cannot acknowledge a message", "stream", c.Stream, "error", err)
	}
}

// giveBack makes the server deliver a message again after a delay.
func (c *consumer) giveBack(m jetstream.Msg, delay time.Duration) {
	var err error
	if delay > 0 {
		err = m.NakWithDelay(delay)
	} else {
		err = m.Nak()
	}
	if err != nil {
		c.host.Log.Debug("cannot return a message; the server delivers it again later", "stream", c.Stream, "error", err)
	}
}

// message returns the message of a stream for the runtime.
func (c *consumer) message(ctx context.Context, m jetstream.Msg) *connectors.Message {
	out := incoming(ctx, &nats.Msg{Subject: m.Subject(), Header: m.Headers(), Data: m.Data()})
	out.ReplyTo = replyAddress(header(m.Headers(), headerReplyTo))
	meta, err := m.Metadata()
	if err != nil { // not from JetStream
		return out
	}
	sequence := strconv.FormatUint(meta.Sequence.Stream, 10)
	out.Origin, out.Remember = c.stream+sequence, rememberFor
	out.Time, out.Delivery = meta.Timestamp, int(min(meta.NumDelivered, 1<<30))
	out.Props.Set("stream", meta.Stream)
	out.Props.Set("sequence", document.Number(sequence))
	return out
}

// report reports how many messages wait. It fails if the consumer is gone.
func (c *consumer) report(ctx context.Context) error {
	info, err := c.source.Info(ctx)
	if err != nil {
		return err
	}
	c.host.Lag(int64(min(info.NumPending, 1<<62)) + int64(info.NumAckPending))
	return nil
}
