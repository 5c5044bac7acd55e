package amqp1

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/Azure/go-amqp"

	"valence/connectors"
	"valence/connectors/connectortest"
	"valence/internal/document"
	"valence/internal/fault"
	"valence/internal/spec"
	"valence/internal/test/program"
	"valence/internal/test/servers"
)

// broker is the broker of all tests in this package; nil if this machine cannot
// run it.
var broker *servers.Artemis

// binary is the program.
var binary string

func TestMain(m *testing.M) {
	var err error
	if broker, err = servers.NewArtemis(); err != nil && !errors.Is(err, servers.ErrNoJava) {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	code := program.Test(m, &binary)
	if broker != nil {
		if err := broker.Close(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			code = 1
		}
	}
	os.Exit(code)
}

// name returns a name that only this test uses, and skips the test without a
// broker.
func name(t *testing.T) string {
	t.Helper()
	if broker == nil {
		t.Skip(servers.ErrNoJava)
	}
	return strings.ReplaceAll(t.Name(), "/", ".") + fmt.Sprint(time.Now().UnixNano())
}

// settingsWith returns the settings of a connection to the broker.
func settingsWith(with connectortest.Settings) connectortest.Settings {
	s := connectortest.Settings{"url": broker.URL(), "sasl": map[string]any{"user": servers.ArtemisUser, "password": servers.ArtemisPassword}}
	for k, v := range with {
		s[k] = v
	}
	return s
}

func bind(t *testing.T, fields []spec.Field, into any, values connectortest.Settings) {
	t.Helper()
	o, _ := document.FromPlain(map[string]any(values)).(*document.Object)
	if err := spec.Bind(fields, into, o); err != nil {
		t.Fatal(err)
	}
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

// listen runs a subscription until the test ends or stop is called.
func listen(t *testing.T, c *connection, r *connectortest.Runtime, with connectortest.Settings) (stop func()) {
	t.Helper()
	w := &listenWith{}
	bind(t, subscription().With, w, with)
	return connectortest.Listen(t, c, w, r)
}

func up(s connectortest.State) bool { return s.Up }

func down(s connectortest.State) bool { return s.Down != nil }

func accepted(n int) func(connectortest.State) bool {
	return func(s connectortest.State) bool { return len(s.Accepted) >= n }
}

// newPlain returns a session of a client that is not ours.
func newPlain(t *testing.T) *amqp.Session {
	t.Helper()
	conn, err := amqp.Dial(t.Context(), broker.URL(), &amqp.ConnOptions{SASLType: amqp.SASLTypePlain(servers.ArtemisUser, servers.ArtemisPassword)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	s, err := conn.NewSession(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// sendTo returns a function that sends messages to an address.
func sendTo(t *testing.T, s *amqp.Session, to place) func(m *amqp.Message) {
	t.Helper()
	sender, err := s.NewSender(t.Context(), to.Address, &amqp.SenderOptions{TargetCapabilities: []string{to.Kind}})
	if err != nil {
		t.Fatal(err)
	}
	return func(m *amqp.Message) {
		t.Helper()
		m.Header = &amqp.MessageHeader{Durable: true}
		if err := sender.Send(context.Background(), m, nil); err != nil {
			t.Fatal(err)
		}
	}
}

// numbered returns a message with an identity.
func numbered(id any, body string) *amqp.Message {
	return &amqp.Message{Properties: &amqp.MessageProperties{MessageID: id}, Data: [][]byte{[]byte(body)}}
}

// receiveFrom returns a function that returns the next message of a queue.
func receiveFrom(t *testing.T, s *amqp.Session, queue string) func() *amqp.Message {
	t.Helper()
	receiver, err := s.NewReceiver(t.Context(), queue, &amqp.ReceiverOptions{Credit: 100, SourceCapabilities: []string{kindQueue}})
	if err != nil {
		t.Fatal(err)
	}
	return func() *amqp.Message {
		t.Helper()
		ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
		defer cancel()
		m, err := receiver.Receive(ctx, nil)
		if err != nil {
			t.Fatal(err)
		}
		if err := receiver.AcceptMessage(ctx, m); err != nil {
			t.Fatal(err)
		}
		return m
	}
}

// wantFailure checks the code and the text of a failure.
func wantFailure(t *testing.T, what string, err error, code string, retryable bool, text string) {
	t.Helper()
	f := fault.AsFailure(err)
	if f == nil || f.Code != code || f.Retryable != retryable || !strings.Contains(f.Message, text) {
		t.Errorf("%s: got %v, want %s (retryable: %v) with %q", what, err, code, retryable, text)
	}
}
