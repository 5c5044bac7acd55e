package mqtt

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/eclipse/paho.golang/paho"

	"valence/connectors"
	"valence/connectors/session"
	"valence/internal/spec"
)

type listenWith struct {
	Topic  string
	QoS    int
	Share  string
	Expiry time.Duration
}

func subscription() *connectors.Subscription {
	return &connectors.Subscription{
		Doc: "Subscribes to a topic, and acknowledges each message when it is on disk. The broker keeps the messages for this client while the atom is away. At most 16 messages are " +
			"in flight: after a crash they come again, and those with a user property `message-id`, which this connector sends, are recognized within 24 hours. Messages of MQTT 3.1.1 have no user properties: all in flight come again, as many as the broker allows, and the retained ones come at each start. A message that the process " +
			"refuses, or whose content does not match its content type, is kept as a failed execution. Messages are accepted in the order of the broker. A `reply` goes to the response topic.",
		Sample:  "subscribe: { connection: broker, topic: devices/+/state }\n",
		NewWith: func() any { return &listenWith{} },
		With: []spec.Field{
			spec.String("topic", func(w *listenWith) *string { return &w.Topic }, "Topic, which may contain the wildcards `+` and `#`.").Eg("devices/+/state").Required(),
			spec.Int("qos", func(w *listenWith) *int { return &w.QoS }, "Highest quality of service: 0 at most once, 1 at least once, 2 once between the broker and this client. Messages that are published with a lower one keep it.").Or(1).Min(0).Max(2),
			spec.String("share", func(w *listenWith) *string { return &w.Share }, "Group in which subscribers share the messages, such as several atoms."),
			spec.Duration("session_expiry", func(w *listenWith) *time.Duration { return &w.Expiry }, "How long the broker keeps messages while the atom is away, in whole seconds. With MQTT 3.1.1 the broker decides.").Or(7 * 24 * time.Hour).Min(time.Second).Max(100 * 365 * 24 * time.Hour),
		},
		Check:      func(v any) []string { return v.(*listenWith).check() },
		AtMostOnce: func(v any) bool { return v.(*listenWith).QoS == 0 },
		Exclusive:  func(v any) bool { return v.(*listenWith).Share == "" },
		Props: "The process reads `topic`, `qos`, `retain`, `duplicate`, `headers` (the user properties), and the properties that the message has: `content_type`, `response_topic`, " +
			"`correlation_id`, `message_id` and `expires_in` (seconds), as `props`.",
		Replies: true,
	}
}

func (w *listenWith) check() (wrong []string) {
	if spec.Literal(w.Topic) {
		if why := filterProblem(w.Topic); why != "" {
			wrong = append(wrong, "topic: "+why)
		}
	}
	if spec.Literal(w.Share) && (filterProblem(w.Share) != "" || topicProblem(w.Share) != "" || strings.Contains(w.Share, "/")) {
		wrong = append(wrong, "share: a group is one word without /, + and #")
	}
	return wrong
}

// filter is the topic as it is subscribed to.
func (w *listenWith) filter() string {
	if w.Share == "" {
		return w.Topic
	}
	return "$share/" + w.Share + "/" + w.Topic
}

// options are those of the subscription at the broker. Retained messages come when
// it is new, not whenever an atom starts.
func (w *listenWith) options() paho.SubscribeOptions {
	return paho.SubscribeOptions{Topic: w.filter(), QoS: byte(w.QoS), RetainHandling: 1, RetainAsPublished: true}
}

// name is the prefix of origins: shared subscriptions of a group are one.
func (w *listenWith) name() string { return w.filter() }

var _ connectors.Listener = (*connection)(nil)

// Listen implements connectors.Listener. Each subscription is a client of its own
// with a session at the broker.
func (c *connection) Listen(ctx context.Context, v any, host *connectors.Host) error {
	w := v.(*listenWith)
	id := c.listenerID(w)
	if !c.claim(id) {
		return connectors.Failf(codeBadCall, false, nil, "another process subscribes to the topic %q with this connection; use a further connection with another client_id", w.Topic)
	}
	defer c.release(id)
	s := c.session(&paho.Connect{ClientID: id, Properties: &paho.ConnectProperties{
		ReceiveMaximum: paho.Uint16(maxInFlight), SessionExpiryInterval: seconds(w.Expiry), RequestProblemInfo: true}})
	defer s.Close()
	subscribed := false
	return s.Listen(ctx, host, func(ctx context.Context, l *link) error {
		if subscribed && !l.present {
			host.Log.Warn("the broker has lost the session of the subscription; messages may be missing", "topic", w.Topic)
			subscribed = false
		}
		// A repeated subscription of 3.1.1 sends all retained messages again. But a
		// session that is there may lack the subscription, until one succeeds.
		if c.Version != version311 || !subscribed {
			if err := l.subscribe(ctx, w.options()); err != nil {
				return err
			}
		}
		subscribed = true
		host.Up()
		return (&receiver{w, l, host}).run(ctx)
	})
}

// listenerID returns the client id of a subscription.
func (c *connection) listenerID(w *listenWith) string {
	identity := w.filter()
	if c.Version == version311 { // the quality of service of its session is fixed
		identity += fmt.Sprint(" ", w.QoS)
	}
	sum := sha256.Sum256([]byte(identity))
	return c.ClientID + "-" + hex.EncodeToString(sum[:4])
}

func (c *connection) claim(id string) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.listening[id] {
		return false
	}
	c.listening[id] = true
	return true
}

func (c *connection) release(id string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.listening, id)
}

// subscribe subscribes to a topic.
func (l *link) subscribe(ctx context.Context, o paho.SubscribeOptions) error {
	what := "cannot subscribe to " + spec.Clip(o.Topic)
	answer, err := use(ctx, l, func(ctx context.Context) (*paho.Suback, error) {
		return l.client.Subscribe(ctx, &paho.Subscribe{Subscriptions: []paho.SubscribeOptions{o}})
	})
	if answer != nil && len(answer.Reasons) == 1 && answer.Reasons[0] >= refusals {
		code, retryable := codeOf(answer.Reasons[0])
		return connectors.Failf(code, retryable, err, "%s: the broker refused: %s", what, reason(answer.Reasons[0], ""))
	}
	if err != nil {
		return unacknowledged(ctx, what, err)
	}
	if granted := answer.Reasons[0]; granted < o.QoS {
		return connectors.Failf(codeBadCall, false, nil, "%s: the broker grants only qos %d", what, granted)
	}
	return nil
}

const (
	maxUnacknowledged = 1000     // messages with qos 0 that wait; more are lost
	maxWaitingBytes   = 64 << 20 // of them
)

// inbox holds the messages that wait for the runtime.
type inbox struct {
	waiting chan *paho.Publish
	size    atomic.Int64 // of the payloads
	lost    atomic.Int64 // messages with qos 0
}

func newInbox() *inbox {
	return &inbox{waiting: make(chan *paho.Publish, maxUnacknowledged+maxInFlight)}
}

// add adds a message. It waits until there is room or the link is closed, because
// some brokers send more messages than may be in flight. Messages that the broker
// does not want acknowledged are dropped if too many wait.
func (in *inbox) add(m *paho.Publish, closed <-chan struct{}) {
	if m.QoS == 0 && (len(in.waiting) >= maxUnacknowledged || in.size.Load() >= maxWaitingBytes) {
		in.lost.Add(1)
		return
	}
	in.size.Add(int64(len(m.Payload)))
	select {
	case in.waiting <- m:
	case <-closed:
	}
}

// collect returns first and the messages that have arrived since, at most as many
// as may be in flight.
func (in *inbox) collect(first *paho.Publish) []*paho.Publish {
	batch := []*paho.Publish{first}
	for len(batch) < maxInFlight {
		select {
		case m := <-in.waiting:
			batch = append(batch, m)
			continue
		default:
		}
		break
	}
	for _, m := range batch {
		in.size.Add(-int64(len(m.Payload)))
	}
	return batch
}

// receiver delivers the messages of a link to a process.
type receiver struct {
	*listenWith
	link *link
	host *connectors.Host
}

// run delivers messages until ctx ends or the link is lost.
func (r *receiver) run(ctx context.Context) error {
	in := r.link.inbox
	for ctx.Err() == nil {
		select {
		case <-ctx.Done():
		case <-r.link.gone:
			r.rest(ctx)
			return unacknowledged(ctx, "cannot receive from "+spec.Clip(r.Topic), r.link.cause)
		case m := <-in.waiting:
			batch := in.collect(m)
			r.host.Lag(int64(len(batch) + len(in.waiting)))
			r.accept(ctx, batch)
			r.host.Lag(int64(len(in.waiting)))
			if n := in.lost.Swap(0); n > 0 {
				r.host.Log.Error("messages with qos 0 were lost, because too many waited", "topic", r.Topic, "messages", n)
			}
		}
	}
	r.settle()
	return nil
}

// rest delivers the messages that a lost link has left and that the broker does
// not send again.
func (r *receiver) rest(ctx context.Context) {
	for ctx.Err() == nil && len(r.link.inbox.waiting) > 0 {
		if m := <-r.link.inbox.waiting; m.QoS == 0 {
			r.accept(ctx, []*paho.Publish{m})
		}
	}
}

// accept delivers messages and acknowledges them. It tries again until they are
// accepted, ctx ends, or the link is lost, after which the broker delivers them
// again.
func (r *receiver) accept(ctx context.Context, batch []*paho.Publish) {
	for attempt := 1; len(batch) > 0 && ctx.Err() == nil; attempt++ {
		n, err := r.try(ctx, batch, attempt)
		if batch = batch[n:]; n > 0 {
			attempt = 0
		}
		if err == nil {
			continue
		}
		if !r.link.alive() {
			batch = slices.DeleteFunc(batch, func(m *paho.Publish) bool { return m.QoS > 0 })
		}
		select {
		case <-time.After(session.RetryDelay(err, attempt)):
		case <-ctx.Done():
		}
	}
}

// try delivers messages once. It returns how many were accepted, and why the next
// one was not.
func (r *receiver) try(ctx context.Context, batch []*paho.Publish, attempt int) (accepted int, err error) {
	var messages []*connectors.Message
	for i, m := range batch {
		if i > 0 {
			attempt = 1
		}
		out, unread := r.incoming(ctx, m, attempt)
		if err = unread; err != nil {
			break
		}
		messages = append(messages, out)
	}
	if len(messages) == 0 {
		return 0, err
	}
	for i, failed := range r.host.DeliverBatch(ctx, messages) {
		if failed != nil {
			return i, failed
		}
		r.link.ack(batch[i])
	}
	return len(messages), err
}

// settle waits until the broker has handled the acknowledgements.
func (r *receiver) settle() {
	ctx, cancel := context.WithTimeout(context.Background(), closeTimeout)
	defer cancel()
	if err := r.link.settle(ctx, r.options()); err != nil {
		r.host.Log.Warn("cannot end the subscription properly; messages may come again", "topic", r.Topic, "error", err)
	}
}
