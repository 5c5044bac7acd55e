package mqtt

import (
	"context"
	"fmt"
	"net"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/eclipse/paho.golang/packets"
	"github.com/eclipse/paho.golang/paho"

	"valence/connectors"
	"valence/connectors/connectortest"
	"valence/internal/document"
	"valence/internal/fault"
	"valence/internal/spec"
	"valence/internal/test/program"
	"valence/internal/test/servers"
)

// broker is the broker of all tests in this package.
var broker *servers.Mosquitto

// binary is the program.
var binary string

func TestMain(m *testing.M) {
	var err error
	if broker, err = servers.NewMosquitto(""); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	code := program.Test(m, &binary)
	if err := broker.Close(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	os.Exit(code)
}

// name returns a name that only this test uses.
func name(t *testing.T) string {
	return strings.ReplaceAll(t.Name(), "/", ".") + fmt.Sprint(time.Now().UnixNano())
}

// settingsWith returns the settings of a connection to the broker.
func settingsWith(t *testing.T, with connectortest.Settings) connectortest.Settings {
	s := connectortest.Settings{"url": broker.URL(), "user": servers.MosquittoUser, "password": servers.MosquittoPassword, "client_id": name(t)}
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
	c, err := open(into, nil)
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

// plain is a client that is not ours. It receives the messages of its subscriptions.
type plain struct {
	*paho.Client
	received chan *paho.Publish
}

func newPlain(t *testing.T) *plain {
	t.Helper()
	conn, err := net.Dial("tcp", strings.TrimPrefix(broker.URL(), "mqtt://"))
	if err != nil {
		t.Fatal(err)
	}
	p := &plain{received: make(chan *paho.Publish, 1000)}
	p.Client = paho.NewClient(paho.ClientConfig{Conn: packets.NewThreadSafeConn(conn), OnPublishReceived: []func(paho.PublishReceived) (bool, error){
		func(r paho.PublishReceived) (bool, error) { p.received <- r.Packet; return true, nil }}})
	if _, err := p.Connect(t.Context(), &paho.Connect{ClientID: "plain-" + name(t), CleanStart: true, KeepAlive: 60, UsernameFlag: true, Username: servers.MosquittoUser,
		PasswordFlag: true, Password: []byte(servers.MosquittoPassword)}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = p.Disconnect(&paho.Disconnect{}) })
	return p
}

func (p *plain) subscribe(t *testing.T, topic string) {
	t.Helper()
	if _, err := p.Subscribe(t.Context(), &paho.Subscribe{Subscriptions: []paho.SubscribeOptions{{Topic: topic, QoS: 1}}}); err != nil {
		t.Fatal(err)
	}
}

// send publishes a message with an identity, or without one if id is empty.
func (p *plain) send(t *testing.T, topic, id, body string) {
	t.Helper()
	m := &paho.Publish{Topic: topic, QoS: 1, Payload: []byte(body), Properties: &paho.PublishProperties{ContentType: "application/json"}}
	if id != "" {
		m.Properties.User.Add(propertyID, id)
	}
	if _, err := p.Publish(t.Context(), m); err != nil {
		t.Fatal(err)
	}
}

// next returns the next message.
func (p *plain) next(t *testing.T) *paho.Publish {
	t.Helper()
	select {
	case m := <-p.received:
		return m
	case <-time.After(30 * time.Second):
		t.Fatal("got no message, want one")
		return nil
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
