package amqp

import (
	"context"
	"fmt"
	"testing"
	"time"

	amqp091 "github.com/rabbitmq/amqp091-go"

	"valence/connectors/connectortest"
	"valence/internal/document"
	"valence/internal/spec"
	"valence/internal/test/servers"
)

func bind(t *testing.T, fields []spec.Field, into any, values connectortest.Settings) {
	t.Helper()
	o, _ := document.FromPlain(map[string]any(values)).(*document.Object)
	if o == nil {
		o = &document.Object{}
	}
	if err := spec.Bind(fields, into, o); err != nil {
		t.Fatal(err)
	}
}

func TestConforms(t *testing.T) {
	ch := plain(t)
	in, out := newQueue(t, ch, nil), newQueue(t, ch, nil)
	requests := responder(t)
	sent := 0
	connectortest.Conform(t, connectortest.Subject{
		Connector: Connector("1.2.3"),
		Settings:  brokerSettings(nil),
		Away:      brokerSettings(connectortest.Settings{"url": "amqp://" + connectortest.AwayAddress(t)}),
		Silent:    brokerSettings(connectortest.Settings{"url": "amqp://" + connectortest.SilentAddress(t)}),
		Secrets:   []string{servers.RabbitMQPassword},
		Calls: []connectortest.Call{
			{Operation: "publish", With: connectortest.Settings{"routing_key": out}, Body: `{"n":1}`},
			{Operation: "request", With: connectortest.Settings{"routing_key": requests}, Body: `{"n":1}`},
		},
		Source: &connectortest.Source{
			With:    connectortest.Settings{"queue": in, "order": true},
			Ordered: true,
			Send: func(t *testing.T, doc string) {
				sent++
				m := amqp091.Publishing{ContentType: "application/json", MessageId: fmt.Sprint(sent), DeliveryMode: amqp091.Persistent, Body: []byte(doc)}
				if err := ch.Publish("", in, false, false, m); err != nil {
					t.Fatal(err)
				}
			},
		},
	})
}

// responder starts a client that is not ours and answers the requests of a
// queue with their own body.
func responder(t *testing.T) (queue string) {
	t.Helper()
	ch := plain(t)
	queue = newQueue(t, ch, nil)
	requests, err := ch.Consume(queue, "", true, false, false, false, nil)
	if err != nil {
		t.Fatal(err)
	}
	go func() {
		for r := range requests { // ends with the connection
			_ = ch.Publish("", r.ReplyTo, false, false, amqp091.Publishing{CorrelationId: "another", Body: []byte(`"not for you"`)})
			_ = ch.Publish("", r.ReplyTo, false, false, amqp091.Publishing{CorrelationId: r.CorrelationId, ContentType: r.ContentType,
				Headers: amqp091.Table{"key": r.Headers["idempotency-key"], "trace": r.Headers["traceparent"], "expires": r.Expiration}, Body: r.Body})
		}
	}()
	return queue
}

func TestPublish(t *testing.T) {
	ch := plain(t)
	queue := newQueue(t, ch, nil)
	exchange := queue + ".exchange"
	if err := ch.ExchangeDeclare(exchange, "topic", false, true, false, false, nil); err != nil {
		t.Fatal(err)
	}
	if err := ch.QueueBind(queue, "order.*", exchange, false, nil); err != nil {
		t.Fatal(err)
	}
	c := connect(t, brokerSettings(nil))
	with := connectortest.Settings{"exchange": exchange, "routing_key": "order.new", "priority": 3, "expiration": "1m", "headers": map[string]any{"region": "PT", "tag": []any{"a", "b"}}}
	if _, err := call(t.Context(), t, c, "publish", `{"id":7}`, with); err != nil {
		t.Fatal(err)
	}
	d := get(t, ch, queue)
	got := fmt.Sprintln(string(d.Body), d.ContentType, d.DeliveryMode, d.Priority, d.Expiration, d.MessageId, d.CorrelationId, d.RoutingKey, d.Headers)
	want := `{"id":7} application/json 2 3 60000 key-{"id":7} corr-1 order.new map[region:PT tag:[a b] traceparent:00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01]` + "\n"
	if got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

// TestPublishFile checks that a document that is a file is published as its
// bytes.
func TestPublishFile(t *testing.T) {
	ch := plain(t)
	queue := newQueue(t, ch, nil)
	c := connect(t, brokerSettings(nil))
	with := connectortest.Settings{"routing_key": queue}
	if _, err := call(t.Context(), t, c, "publish", `{"filename":"a.png","type":"image/png","raw":"/wA=","encoding":"base64"}`, with); err != nil {
		t.Fatal(err)
	}
	if d := get(t, ch, queue); string(d.Body) != "\xff\x00" || d.ContentType != "image/png" {
		t.Errorf("got %q as %s, want the bytes of the file as image/png", d.Body, d.ContentType)
	}
	_, err := call(t.Context(), t, c, "publish", `{"raw":"?","encoding":"base64"}`, with)
	wantFailure(t, "an invalid file", err, CodeBadCall, false, "raw is not valid Base64")
}

func TestRefusedMessages(t *testing.T) {
	ch := plain(t)
	full := newQueue(t, ch, amqp091.Table{"x-max-length": 1, "x-overflow": "reject-publish"})
	internal := full + ".internal"
	if err := ch.ExchangeDeclare(internal, "fanout", false, true, true, false, nil); err != nil {
		t.Fatal(err)
	}
	c := connect(t, brokerSettings(nil))
	if _, err := call(t.Context(), t, c, "publish", "1", connectortest.Settings{"routing_key": full}); err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		about, exchange, key, code string
		retryable                  bool
		text                       string
	}{
		{"a queue that does not exist", "", "nowhere", CodeUnroutable, false, `no queue receives messages of queue "nowhere"`},
		{"a key that no queue is bound to", "amq.topic", "nowhere", CodeUnroutable, false, `exchange "amq.topic" with the routing key "nowhere"`},
		{"an exchange that does not exist", "nowhere", "x", CodeMissing, false, "no exchange 'nowhere'"},
		{"an exchange that rejects", internal, "x", CodeAuth, false, "cannot publish to internal exchange"},
		{"a full queue", "", full, CodeRejected, true, "a queue may be full"},
	}
	for _, test := range tests {
		for range 2 { // the second call uses a new channel
			_, err := call(t.Context(), t, c, "publish", "1", connectortest.Settings{"exchange": test.exchange, "routing_key": test.key})
			wantFailure(t, test.about, err, test.code, test.retryable, test.text)
		}
	}
	_, err := call(t.Context(), t, c, "request", "1", connectortest.Settings{"routing_key": "nowhere"})
	wantFailure(t, "request", err, CodeUnroutable, false, "no queue receives")
}

func TestRequest(t *testing.T) {
	queue := responder(t)
	c := connect(t, brokerSettings(nil))
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	results := make(chan error, 20)
	for i := range cap(results) {
		go func() {
			body := fmt.Sprintf(`{"n":%d}`, i)
			r, err := call(ctx, t, c, "request", body, connectortest.Settings{"routing_key": queue})
			if err == nil && (r.Doc.Text() != body || r.Headers.Get("key") != "key-"+body || r.Headers.Get("trace") == "" || r.Headers.Get("expires") == "") {
				err = fmt.Errorf("got %s with %v, want %s with the headers of the request", r.Doc.Text(), r.Headers, body)
			}
			results <- err
		}()
	}
	for range cap(results) {
		if err := <-results; err != nil {
			t.Error(err)
		}
	}
	silent := newQueue(t, plain(t), nil)
	short, stop := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer stop()
	_, err := call(short, t, c, "request", "1", connectortest.Settings{"routing_key": silent})
	wantFailure(t, "a queue that nobody reads", err, "timeout", true, "no reply from queue")
}
