package amqp

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	amqp091 "github.com/rabbitmq/amqp091-go"

	"valence/connectors/connectortest"
	"valence/internal/fault"
)

// TestMessagesArePublishedTogether publishes many messages at once and checks
// that each call learns the fate of its own message.
func TestMessagesArePublishedTogether(t *testing.T) {
	ch := plain(t)
	kept, gone, exchange := newQueue(t, ch, nil), newQueue(t, ch, nil)+".gone", t.Name()+fmt.Sprint(time.Now().UnixNano())
	if _, err := ch.QueueDeclare(gone, true, false, false, false, nil); err != nil {
		t.Fatal(err)
	}
	if err := ch.ExchangeDeclare(exchange, "fanout", true, false, false, false, nil); err != nil {
		t.Fatal(err)
	}
	if err := ch.QueueBind(kept, "", exchange, false, nil); err != nil {
		t.Fatal(err)
	}
	c := connect(t, brokerSettings(nil))
	publish := func(body string, with connectortest.Settings) error {
		ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
		defer cancel()
		_, err := call(ctx, t, c, "publish", body, with)
		return err
	}
	to, lost, fanout := connectortest.Settings{"routing_key": kept}, connectortest.Settings{"routing_key": gone}, connectortest.Settings{"exchange": exchange, "routing_key": ""}
	for i, with := range []connectortest.Settings{to, lost, fanout} {
		if err := publish(fmt.Sprint(i), with); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := ch.QueueDelete(gone, false, false, false); err != nil {
		t.Fatal(err)
	}
	const n = 50
	var all sync.WaitGroup
	for i := range n {
		all.Go(func() {
			if err := publish(fmt.Sprint(100+i), to); err != nil {
				t.Errorf("to a queue: got %v, want nil", err)
			}
		})
		all.Go(func() {
			if f := fault.AsFailure(publish(fmt.Sprint(200+i), lost)); f == nil || f.Code != CodeUnroutable {
				t.Errorf("to a queue that is gone: got %v, want %s", f, CodeUnroutable)
			}
		})
	}
	all.Wait()
	if q, err := ch.QueueDeclarePassive(kept, true, false, false, false, amqp091.Table{}); err != nil || q.Messages != n+2 {
		t.Errorf("got %d messages in the queue, %v, want %d", q.Messages, err, n+2)
	}
	if err := ch.ExchangeDelete(exchange, false, false); err != nil {
		t.Fatal(err)
	}
	for i := range n { // the first refusal closes the channel for all
		all.Go(func() {
			f := fault.AsFailure(publish(fmt.Sprint(300+i), fanout))
			if f == nil || f.Code != CodeMissing && !(f.Retryable && (f.Code == fault.CodeAborted || f.Code == fault.CodeConnect)) {
				t.Errorf("to an exchange that is gone: got %v, want %s or a retryable failure", f, CodeMissing)
			}
		})
	}
	all.Wait()
	wantFailure(t, "later", publish("400", fanout), CodeMissing, false, "NOT_FOUND")
	for i := range 2 {
		if err := publish(fmt.Sprint(500+i), to); err != nil {
			t.Errorf("to a queue, later: got %v, want nil", err)
		}
	}
}
