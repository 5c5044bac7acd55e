package amqp

import (
	"context"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	amqp091 "github.com/rabbitmq/amqp091-go"

	"valence/connectors"
	"valence/connectors/connectortest"
	"valence/internal/document"
	"valence/internal/fault"
	"valence/internal/test/program"
	"valence/internal/test/servers"
)

// rabbit is the broker of all tests in this package.
var rabbit *servers.RabbitMQ

// binary is the program.
var binary string

func TestMain(m *testing.M) {
	var err error
	if rabbit, err = servers.NewRabbitMQ(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	code := program.Test(m, &binary)
	if err := rabbit.Close(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	os.Exit(code)
}

// brokerSettings returns the settings of a connection to the broker.
func brokerSettings(with connectortest.Settings) connectortest.Settings {
	s := connectortest.Settings{"url": rabbit.URL(), "user": servers.RabbitMQUser, "password": servers.RabbitMQPassword}
	for k, v := range with {
		s[k] = v
	}
	return s
}

// connect opens a connection until the test ends.
func connect(t *testing.T, s connectortest.Settings) *connection {
	t.Helper()
	into := &settings{}
	bind(t, settingsFields, into, s)
	c, err := open(into, "1.2.3", nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}

// call makes one attempt of a call.
func call(ctx context.Context, t *testing.T, c *connection, name, body string, with connectortest.Settings) (*connectors.Result, error) {
	t.Helper()
	for _, op := range Connector("1").Operations {
		if op.Name == name {
			w := op.NewWith()
			bind(t, op.With, w, with)
			return op.Run(ctx, c, w, &connectors.Call{Body: document.FromJSON([]byte(body)), IdempotencyKey: "key-" + body, CorrelationID: "corr-1",
				Traceparent: "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"})
		}
	}
	t.Fatalf("there is no operation %s", name)
	return nil, nil
}

// plain returns a channel of a client that is not ours.
func plain(t *testing.T) *amqp091.Channel {
	t.Helper()
	conn, err := amqp091.DialConfig(rabbit.URL(), amqp091.Config{SASL: []amqp091.Authentication{&amqp091.PlainAuth{Username: servers.RabbitMQUser, Password: servers.RabbitMQPassword}}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	ch, err := conn.Channel()
	if err != nil {
		t.Fatal(err)
	}
	return ch
}

// newQueue declares an empty queue that only this test uses.
func newQueue(t *testing.T, ch *amqp091.Channel, arguments amqp091.Table) string {
	t.Helper()
	name := strings.ReplaceAll(t.Name(), "/", ".") + fmt.Sprint(time.Now().UnixNano())
	if _, err := ch.QueueDeclare(name, true, false, false, false, arguments); err != nil {
		t.Fatal(err)
	}
	return name
}

// get returns the next message of a queue.
func get(t *testing.T, ch *amqp091.Channel, queue string) amqp091.Delivery {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); time.Now().Before(deadline); {
		d, ok, err := ch.Get(queue, true)
		if err != nil {
			t.Fatal(err)
		}
		if ok {
			return d
		}
	}
	t.Fatalf("got no message in the queue %s, want one", queue)
	return amqp091.Delivery{}
}

// wantFailure checks the code and the text of a failure.
func wantFailure(t *testing.T, what string, err error, code string, retryable bool, text string) {
	t.Helper()
	f := fault.AsFailure(err)
	if f == nil || f.Code != code || f.Retryable != retryable || !strings.Contains(f.Message, text) {
		t.Errorf("%s: got %v, want %s (retryable: %v) with %q", what, err, code, retryable, text)
	}
}
