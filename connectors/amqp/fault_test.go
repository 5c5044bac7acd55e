package amqp

import (
	"context"
	"fmt"
	"testing"
	"time"

	amqp091 "github.com/rabbitmq/amqp091-go"

	"valence/connectors/connectortest"
	"valence/internal/fault"
)

func TestWrongPassword(t *testing.T) {
	c := connect(t, brokerSettings(connectortest.Settings{"password": "wrong-s3cret"}))
	_, err := call(t.Context(), t, c, "publish", "1", connectortest.Settings{"routing_key": "x"})
	wantFailure(t, "publish", err, CodeAuth, true, "check user and password")
	c = connect(t, brokerSettings(connectortest.Settings{"url": rabbit.URL() + "/nowhere"}))
	_, err = call(t.Context(), t, c, "publish", "1", connectortest.Settings{"routing_key": "x"})
	wantFailure(t, "publish", err, CodeAuth, true, "refused access to the virtual host")
}

func TestDeclare(t *testing.T) {
	ch := plain(t)
	name := t.Name() + fmt.Sprint(time.Now().UnixNano())
	topology := func(durable bool) connectortest.Settings {
		return brokerSettings(connectortest.Settings{"declare": map[string]any{
			"exchanges": []any{map[string]any{"name": name, "type": "topic"}},
			"queues":    []any{map[string]any{"name": name, "durable": durable, "arguments": map[string]any{"x-max-length": 5, "x-overflow": "reject-publish"}}},
			"bindings":  []any{map[string]any{"exchange": name, "queue": name, "routing_key": "order.#"}},
		}})
	}
	with := connectortest.Settings{"exchange": name, "routing_key": "order.new"}
	for range 2 { // created, and found
		if _, err := call(t.Context(), t, connect(t, topology(true)), "publish", "1", with); err != nil {
			t.Fatal(err)
		}
		get(t, ch, name)
	}
	_, err := call(t.Context(), t, connect(t, topology(false)), "publish", "1", with)
	wantFailure(t, "other properties", err, CodeBadCall, false, "cannot declare the queue "+name+": PRECONDITION_FAILED - inequivalent arg 'durable'")
}

// TestBrokerIsKilled kills the broker while it is in use, opens a connection
// while it is away, and starts it again.
func TestBrokerIsKilled(t *testing.T) {
	ch := plain(t)
	queue, other := newQueue(t, ch, nil), newQueue(t, ch, nil)
	c := connect(t, brokerSettings(nil))
	r := connectortest.NewRuntime()
	listen(t, c, r, connectortest.Settings{"queue": queue})
	connectortest.Await(t, r, "up", up)
	publish := func(c *connection, queue, body string) error {
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
		defer cancel()
		_, err := call(ctx, t, c, "publish", body, connectortest.Settings{"routing_key": queue})
		return err
	}
	if err := publish(c, other, `"kept"`); err != nil {
		t.Fatal(err)
	}
	// RabbitMQ confirms the declaration of a queue before it is on disk.
	if err := rabbit.Control("eval", "mnesia:sync_log()."); err != nil {
		t.Fatal(err)
	}
	if err := rabbit.Kill(); err != nil {
		t.Fatal(err)
	}
	if f := fault.AsFailure(publish(c, queue, "1")); f == nil || !f.Retryable || !f.Unavailable() {
		t.Errorf("publish while the broker is away: got %v, want a retryable failure", f)
	}
	connectortest.Await(t, r, "down", func(s connectortest.State) bool { return s.Down != nil })
	late, lateRuntime := connect(t, brokerSettings(nil)), connectortest.NewRuntime()
	listen(t, late, lateRuntime, connectortest.Settings{"queue": other})
	connectortest.Await(t, lateRuntime, "down", func(s connectortest.State) bool { return s.Down != nil })
	if err := rabbit.Start(); err != nil {
		t.Fatal(err)
	}
	connectortest.Await(t, r, "up again", up)
	for i, c := range []*connection{c, late} {
		for deadline := time.Now().Add(time.Minute); ; {
			err := publish(c, queue, fmt.Sprint(i))
			if err == nil {
				break
			}
			if time.Now().After(deadline) {
				t.Fatal(err)
			}
		}
	}
	connectortest.Await(t, r, "the messages after the restart", accepted(2))
	if s := connectortest.Await(t, lateRuntime, "the confirmed message", accepted(1)); s.Accepted[0].Doc.Text() != `"kept"` {
		t.Errorf("got %s, want the message that was confirmed", s.Accepted[0].Doc.Text())
	}
}

// TestConnectionsAreClosed checks that calls and subscriptions go on after the
// broker has closed every connection with an error.
func TestConnectionsAreClosed(t *testing.T) {
	queue := newQueue(t, plain(t), nil)
	c := connect(t, brokerSettings(nil))
	r := connectortest.NewRuntime()
	listen(t, c, r, connectortest.Settings{"queue": queue})
	if _, err := call(t.Context(), t, c, "publish", "1", connectortest.Settings{"routing_key": queue}); err != nil {
		t.Fatal(err)
	}
	connectortest.Await(t, r, "a message", accepted(1))
	if err := rabbit.Control("close_all_connections", "maintenance"); err != nil {
		t.Fatal(err)
	}
	s := connectortest.Await(t, r, "down", func(s connectortest.State) bool { return s.Down != nil })
	wantFailure(t, "Listen", s.Down, fault.CodeConnect, true, "maintenance")
	publishTo(t, plain(t), queue, amqp091.Publishing{MessageId: "m2", Body: []byte("2")})
	if _, err := call(t.Context(), t, c, "publish", "3", connectortest.Settings{"routing_key": queue}); err != nil {
		t.Error(err)
	}
	connectortest.Await(t, r, "the messages after it", accepted(3))
}

// TestMemoryAlarm checks that publishers fail with the reason while the broker
// blocks them, and that subscriptions go on.
func TestMemoryAlarm(t *testing.T) {
	ch := plain(t)
	queue, in := newQueue(t, ch, nil), newQueue(t, ch, nil)
	c := connect(t, brokerSettings(nil))
	r := connectortest.NewRuntime()
	listen(t, c, r, connectortest.Settings{"queue": in})
	connectortest.Await(t, r, "up", up)
	publishTo(t, ch, in, amqp091.Publishing{Body: []byte("1")})
	connectortest.Await(t, r, "a message", accepted(1))
	if _, err := call(t.Context(), t, c, "publish", "1", connectortest.Settings{"routing_key": queue}); err != nil {
		t.Fatal(err)
	}
	if err := rabbit.Control("set_vm_memory_high_watermark", "0.0001"); err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := rabbit.Control("set_vm_memory_high_watermark", "0.4"); err != nil {
			t.Fatal(err)
		}
		if _, err := call(t.Context(), t, c, "publish", "2", connectortest.Settings{"routing_key": queue}); err != nil {
			t.Errorf("after the alarm: got %v, want nil", err)
		}
	}()
	for _, want := range []string{"broker blocks publishers (low on memory)", "nothing was sent, because the broker blocks publishers (low on memory)"} {
		ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
		_, err := call(ctx, t, c, "publish", "1", connectortest.Settings{"routing_key": queue})
		cancel()
		wantFailure(t, "publish", err, fault.CodeTimeout, true, want)
	}
	if s := r.State(); !s.Up {
		t.Errorf("the subscription: got %v, want it up", s.Down)
	}
}

func TestSettings(t *testing.T) {
	tests := []struct {
		settings settings
		want     string
	}{
		{settings{URL: "amqp://rabbit.example"}, ""},
		{settings{URL: "amqps://rabbit.example:5671/orders%2Fnew"}, ""},
		{settings{URL: "${env.RABBIT}"}, ""},
		{settings{URL: "http://rabbit.example"}, "[url must be the URL of a broker, such as amqps://rabbit.example:5671/vhost]"},
		{settings{URL: "amqp://u:p@rabbit.example"}, "[url must not contain the user: write user and password as settings of their own]"},
		{settings{URL: "amqp://rabbit.example/a/b"}, "[url must end with the virtual host; write a slash in its name as %2F]"},
		{settings{URL: "amqp://rabbit.example?heartbeat=5"}, "[url must end with the virtual host; write a slash in its name as %2F]"},
	}
	for _, test := range tests {
		got := ""
		if wrong := test.settings.check(); len(wrong) > 0 {
			got = fmt.Sprint(wrong)
		}
		if got != test.want {
			t.Errorf("%s: got %s, want %s", test.settings.URL, got, test.want)
		}
	}
	plaintext := settings{URL: "amqp://rabbit.example"}
	plaintext.TLS.CA = "ca.pem"
	if got := fmt.Sprint(plaintext.check()); got != "[tls: applies only to an amqps:// url]" {
		t.Errorf("tls without amqps: got %s", got)
	}
	for want, w := range map[string]*listenWith{
		"[dead_letter: must not be the queue itself]": {Queue: "orders", DeadLetter: &address{RoutingKey: "orders"}},
		"[]": {Queue: "orders", DeadLetter: &address{Exchange: "dead"}},
	} {
		if got := fmt.Sprint(w.check()); got != want {
			t.Errorf("got %s, want %s", got, want)
		}
	}
	if got, err := parseURL("amqps://rabbit.example/orders%2Fnew"); err != nil || got != (target{"rabbit.example", "5671", "orders/new", true}) {
		t.Errorf("got %+v and %v, want the virtual host orders/new", got, err)
	}
}

// TestConnectionIsLostWhileBlocked checks that a publisher that waits for the
// broker fails when the connection is lost.
func TestConnectionIsLostWhileBlocked(t *testing.T) {
	queue := newQueue(t, plain(t), nil)
	c := connect(t, brokerSettings(nil))
	publish := func(timeout time.Duration) error {
		ctx, cancel := context.WithTimeout(t.Context(), timeout)
		defer cancel()
		_, err := call(ctx, t, c, "publish", "1", connectortest.Settings{"routing_key": queue})
		return err
	}
	if err := publish(20 * time.Second); err != nil {
		t.Fatal(err)
	}
	if err := rabbit.Control("set_vm_memory_high_watermark", "0.0001"); err != nil {
		t.Fatal(err)
	}
	wantFailure(t, "publish", publish(2*time.Second), fault.CodeTimeout, true, "broker blocks publishers (low on memory)")
	waiting := make(chan error, 1)
	go func() { waiting <- publish(time.Minute) }()
	select {
	case err := <-waiting:
		t.Errorf("publish while the broker blocks: got %v, want no result", err)
	case <-time.After(time.Second):
	}
	if err := rabbit.Kill(); err != nil { // the alarm ends with it
		t.Fatal(err)
	}
	lost := time.Now()
	wantFailure(t, "publish", <-waiting, fault.CodeConnect, true, "cannot open a channel")
	if took := time.Since(lost); took > 20*time.Second {
		t.Errorf("the failure took %v, want it soon", took)
	}
	if err := rabbit.Start(); err != nil {
		t.Fatal(err)
	}
	for deadline := time.Now().Add(time.Minute); ; {
		err := publish(20 * time.Second)
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			t.Fatal(err)
		}
	}
}
