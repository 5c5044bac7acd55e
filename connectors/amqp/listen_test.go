package amqp

import (
	"crypto/rand"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	amqp091 "github.com/rabbitmq/amqp091-go"

	"valence/connectors"
	"valence/connectors/connectortest"
	"valence/internal/document"
	"valence/internal/fault"
)

// listen runs a subscription until the test ends or stop is called.
func listen(t *testing.T, c *connection, r *connectortest.Runtime, with connectortest.Settings) (stop func()) {
	t.Helper()
	w := &listenWith{}
	bind(t, subscription().With, w, with)
	return connectortest.Listen(t, c, w, r)
}

func up(s connectortest.State) bool { return s.Up }

func accepted(n int) func(connectortest.State) bool {
	return func(s connectortest.State) bool { return len(s.Accepted) >= n }
}

func publishTo(t *testing.T, ch *amqp091.Channel, queue string, m amqp091.Publishing) {
	t.Helper()
	if err := ch.Publish("", queue, false, false, m); err != nil {
		t.Fatal(err)
	}
}

func TestMessages(t *testing.T) {
	ch := plain(t)
	queue := newQueue(t, ch, nil)
	at := time.Date(2026, 5, 11, 9, 30, 0, 0, time.UTC)
	tests := []struct {
		about   string
		message amqp091.Publishing
		doc     string // its data view
		props   string // without queue, exchange, routing_key and redelivered
		invalid bool
	}{
		{"JSON", amqp091.Publishing{ContentType: "application/json", Body: []byte(`{"a":1}`)}, `{"a":1}`, `"content_type":"application/json","headers":{}`, false},
		{"JSON without a type", amqp091.Publishing{Body: []byte(`[1]`)}, `[1]`, `"headers":{}`, false},
		{"bytes without a type", amqp091.Publishing{Body: []byte("\xff\x00")}, "", `"headers":{}`, false},
		{"XML", amqp091.Publishing{ContentType: "text/xml", Body: []byte("<a>1</a>")}, `{"a":"1"}`, `"content_type":"text/xml","headers":{}`, false},
		{"compressed", amqp091.Publishing{ContentType: "application/json", ContentEncoding: "gzip", Body: []byte("\x1f\x8b")}, "", `"content_type":"application/json","content_encoding":"gzip","headers":{}`, false},
		{"empty", amqp091.Publishing{}, "null", `"headers":{}`, false},
		{"not JSON", amqp091.Publishing{ContentType: "application/json", Body: []byte(`{`)}, "", `"content_type":"application/json","headers":{}`, true},
		{"properties", amqp091.Publishing{MessageId: "m1", CorrelationId: "c1", ReplyTo: "r1", Type: "order", AppId: "shop", Priority: 4, Timestamp: at, Expiration: "600000", Body: []byte("1")}, "1",
			`"message_id":"m1","correlation_id":"c1","reply_to":"r1","type":"order","app_id":"shop","expiration":"600000","priority":4,"timestamp":"2026-05-11T09:30:00Z","headers":{}`, false},
		{"headers", amqp091.Publishing{Headers: amqp091.Table{"bool": true, "bytes": []byte("x"), "decimal": amqp091.Decimal{Scale: 2, Value: 5}, "float": 1.5, "int": int32(-7), "list": []any{"a", int8(1)},
			"nil": nil, "table": amqp091.Table{"b": "c"}, "time": at}, Body: []byte("1")}, "1",
			`"headers":{"bool":true,"bytes":"x","decimal":0.05,"float":1.5,"int":-7,"list":["a",1],"nil":null,"table":{"b":"c"},"time":"2026-05-11T09:30:00Z"}`, false},
	}
	r := connectortest.NewRuntime()
	listen(t, connect(t, brokerSettings(nil)), r, connectortest.Settings{"queue": queue, "order": true})
	accepted := 0
	for i, test := range tests {
		publishTo(t, ch, queue, test.message)
		seen := connectortest.Await(t, r, test.about, func(s connectortest.State) bool { return len(s.Accepted)+len(s.Refused) == i+1 })
		last := seen.Refused
		if len(seen.Accepted) > accepted {
			last = seen.Accepted
		}
		m := last[len(last)-1]
		accepted = len(seen.Accepted)
		props := string(document.AppendJSON(nil, m.Props))
		want := fmt.Sprintf(`{"queue":%q,"exchange":"","routing_key":%q,"redelivered":false,%s}`, queue, queue, test.props)
		if m.Doc.Data() != test.doc || props != want || (m.Invalid != nil) != test.invalid {
			t.Errorf("%s: got %s %s (%v), want %s %s", test.about, m.Doc.Data(), props, m.Invalid, test.doc, want)
		}
		if test.message.MessageId != "" && (m.Origin != queue+": m1" || m.Remember == 0 || m.CorrelationID != "c1" || m.ReplyTo != "r1" || !m.Time.Equal(at)) {
			t.Errorf("%s: got the identity %q, %q, %q, %v", test.about, m.Origin, m.CorrelationID, m.ReplyTo, m.Time)
		}
	}
}

func TestDeadLetters(t *testing.T) {
	ch := plain(t)
	queue, dead := newQueue(t, ch, nil), newQueue(t, ch, nil)
	r := connectortest.NewRuntime()
	r.Answer = func(*connectors.Message) error { return fault.Failf(fault.CodeRefused, "not an order") }
	listen(t, connect(t, brokerSettings(nil)), r, connectortest.Settings{"queue": queue, "dead_letter": dead})
	publishTo(t, ch, queue, amqp091.Publishing{MessageId: "m1", ContentType: "text/plain", UserId: "valence", Expiration: "60000",
		Headers: amqp091.Table{"tag": "x", "CC": []any{queue}}, Body: []byte("hello")})
	d := get(t, ch, dead)
	got := fmt.Sprintln(string(d.Body), d.ContentType, d.MessageId, d.Expiration, d.Headers)
	want := fmt.Sprintln("hello", "text/plain", "m1", "", amqp091.Table{"tag": "x", "x-refused": "refused: not an order", "x-refused-queue": queue})
	if got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	if m := connectortest.Await(t, r, "refused", func(s connectortest.State) bool { return len(s.DeadLettered) > 0 }).DeadLettered[0]; m.DeadLetter != fmt.Sprintf("queue %q", dead) {
		t.Errorf("got the dead letter %s, want the queue", m.DeadLetter)
	}
}

// TestDeadLettersThatAreMissing checks that a refused message stays in the queue
// while its dead letters cannot receive it.
func TestDeadLettersThatAreMissing(t *testing.T) {
	ch := plain(t)
	queue := newQueue(t, ch, nil)
	dead := queue + ".dead"
	r := connectortest.NewRuntime()
	r.Answer = func(*connectors.Message) error { return fault.Failf(fault.CodeRefused, "not an order") }
	listen(t, connect(t, brokerSettings(nil)), r, connectortest.Settings{"queue": queue, "dead_letter": dead})
	publishTo(t, ch, queue, amqp091.Publishing{Body: []byte("hello")})
	s := connectortest.Await(t, r, "down", func(s connectortest.State) bool { return s.Down != nil })
	wantFailure(t, "Listen", s.Down, CodeUnroutable, false, "cannot move a refused message to queue")
	if _, err := ch.QueueDeclare(dead, true, false, false, false, nil); err != nil {
		t.Fatal(err)
	}
	if d := get(t, ch, dead); string(d.Body) != "hello" {
		t.Errorf("got %s, want the message", d.Body)
	}
}

// acknowledger records the deliveries that are acknowledged.
type acknowledger struct{ tags []uint64 }

func (a *acknowledger) Ack(tag uint64, _ bool) error {
	a.tags = append(a.tags, tag)
	return nil
}

func (*acknowledger) Nack(uint64, bool, bool) error { return nil }

func (*acknowledger) Reject(uint64, bool) error { return nil }

// TestDeadLettersThatAreMissingRepeatNothing checks that the messages after a
// refused one are acknowledged although it cannot be moved: the channel is closed
// then, and they would run again.
func TestDeadLettersThatAreMissingRepeatNothing(t *testing.T) {
	c := connect(t, brokerSettings(nil))
	r := connectortest.NewRuntime()
	r.Answer = func(m *connectors.Message) error {
		if m.Doc.Text() == "bad" {
			return fault.Failf(fault.CodeRefused, "not an order")
		}
		return nil
	}
	acks := &acknowledger{}
	var batch []amqp091.Delivery
	for i, body := range []string{"1", "bad", "3", "4"} {
		batch = append(batch, amqp091.Delivery{Acknowledger: acks, DeliveryTag: uint64(i + 1), ContentType: "text/plain", Body: []byte(body)})
	}
	w := &listenWith{Queue: "orders", DeadLetter: &address{RoutingKey: "missing-" + rand.Text()}}
	n, err := c.accept(t.Context(), batch, w, r.Host())
	var unmoved *moveError
	if n != 1 || !errors.As(err, &unmoved) {
		t.Errorf("got %d done, %v, want the first one and a message that cannot be moved", n, err)
	}
	if !slices.Equal(acks.tags, []uint64{3, 4}) {
		t.Errorf("got acknowledgements of %v, want 3 and 4", acks.tags)
	}
}

// TestOrderIsExclusive checks that a second consumer waits for the first one.
func TestOrderIsExclusive(t *testing.T) {
	ch := plain(t)
	queue := newQueue(t, ch, nil)
	with := connectortest.Settings{"queue": queue, "order": true}
	first, second := connectortest.NewRuntime(), connectortest.NewRuntime()
	stop := listen(t, connect(t, brokerSettings(nil)), first, with)
	connectortest.Await(t, first, "up", up)
	listen(t, connect(t, brokerSettings(nil)), second, with)
	s := connectortest.Await(t, second, "down", func(s connectortest.State) bool { return s.Down != nil })
	if !strings.Contains(s.Down.Error(), "exclusive") {
		t.Errorf("got %v, want the reason of the broker", s.Down)
	}
	stop()
	connectortest.Await(t, second, "up", up)
	publishTo(t, ch, queue, amqp091.Publishing{Body: []byte("1")})
	connectortest.Await(t, second, "the message", accepted(1))
}

func TestReply(t *testing.T) {
	ch := plain(t)
	queue := newQueue(t, ch, nil)
	c := connect(t, brokerSettings(nil))
	r := connectortest.NewRuntime()
	listen(t, c, r, connectortest.Settings{"queue": queue})
	replies, err := ch.Consume("amq.rabbitmq.reply-to", "", true, false, false, false, nil)
	if err != nil {
		t.Fatal(err)
	}
	publishTo(t, ch, queue, amqp091.Publishing{ReplyTo: "amq.rabbitmq.reply-to", MessageId: "m1", Body: []byte("1")})
	m := connectortest.Await(t, r, "the request", accepted(1)).Accepted[0]
	reply := &connectors.Reply{To: m.ReplyTo, CorrelationID: m.CorrelationID, Status: 201, Doc: document.FromJSON([]byte(`{"ok":true}`)), IdempotencyKey: "k1"}
	if err := c.Reply(t.Context(), reply); err != nil {
		t.Fatal(err)
	}
	d := <-replies
	if got := fmt.Sprint(string(d.Body), d.CorrelationId, d.MessageId, d.Headers); got != `{"ok":true}m1k1map[status:201]` {
		t.Errorf("got %s, want the reply with the id of the request", got)
	}
	reply.To = "gone"
	wantFailure(t, "Reply", c.Reply(t.Context(), reply), CodeUnroutable, false, "the requester has stopped waiting")
}

func TestQueueThatDoesNotExist(t *testing.T) {
	ch := plain(t)
	queue := t.Name() + fmt.Sprint(time.Now().UnixNano())
	r := connectortest.NewRuntime()
	listen(t, connect(t, brokerSettings(nil)), r, connectortest.Settings{"queue": queue})
	s := connectortest.Await(t, r, "down", func(s connectortest.State) bool { return s.Down != nil })
	wantFailure(t, "Listen", s.Down, CodeMissing, false, "no queue '"+queue)
	if _, err := ch.QueueDeclare(queue, true, false, false, false, nil); err != nil {
		t.Fatal(err)
	}
	connectortest.Await(t, r, "up", up)
	if _, err := ch.QueueDelete(queue, false, false, false); err != nil {
		t.Fatal(err)
	}
	s = connectortest.Await(t, r, "down", func(s connectortest.State) bool { return s.Down != nil })
	var f *fault.Failure
	if !errors.As(s.Down, &f) || f.Code != CodeMissing {
		t.Errorf("got %v, want %s", s.Down, CodeMissing)
	}
}

// TestBackPressure checks that messages wait on the same channel while the atom
// cannot accept them, and that all are acknowledged afterwards.
func TestBackPressure(t *testing.T) {
	ch := plain(t)
	queue := newQueue(t, ch, nil)
	for i := range 250 {
		publishTo(t, ch, queue, amqp091.Publishing{MessageId: fmt.Sprint(i), ContentType: "application/json", Body: fmt.Append(nil, i)})
	}
	r := connectortest.NewRuntime()
	failures := 0
	r.Answer = func(m *connectors.Message) error {
		if failures++; failures%50 == 0 {
			return connectors.Retry(fault.CodeUnavailable, "the store is full", 0, nil)
		}
		return nil
	}
	stop := listen(t, connect(t, brokerSettings(nil)), r, connectortest.Settings{"queue": queue})
	got := connectortest.Await(t, r, "all messages", accepted(250))
	stop()
	if got.Ups != 1 {
		t.Errorf("got %d subscriptions, want 1", got.Ups)
	}
	for i, m := range got.Accepted {
		if m.Doc.Text() != fmt.Sprint(i) {
			t.Fatalf("message %d: got %s", i, m.Doc.Text())
		}
	}
	if q, err := ch.QueueDeclarePassive(queue, true, false, false, false, nil); err != nil || q.Messages != 0 {
		t.Errorf("got %d messages in the queue and %v, want none", q.Messages, err)
	}
}
