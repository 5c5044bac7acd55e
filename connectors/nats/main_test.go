package nats

import (
	"context"
	"crypto/rand"
	"fmt"
	"os"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"valence/connectors"
	"valence/connectors/connectortest"
	"valence/internal/document"
	"valence/internal/spec"
	"valence/internal/test/servers"
)

// broker is the server that the tests share. Tests that stop it start their own.
var broker *servers.NATS

func TestMain(m *testing.M) {
	var err error
	if broker, err = servers.StartNATS(0, "", nil); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	code := m.Run()
	broker.Close()
	os.Exit(code)
}

// patience bounds the wait for something that must happen.
const patience = 30 * time.Second

// client returns a client of its own of a server.
func client(t *testing.T, url string) (*nats.Conn, jetstream.JetStream) {
	t.Helper()
	nc, err := nats.Connect(url)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	return nc, js
}

// stream creates a stream with a name of its own, which stores NAME.>.
func stream(t *testing.T, url string, change func(*jetstream.StreamConfig)) (name string, s jetstream.Stream) {
	t.Helper()
	_, js := client(t, url)
	config := jetstream.StreamConfig{Name: "S" + rand.Text()[:8]}
	config.Subjects = []string{config.Name + ".>"}
	if change != nil {
		change(&config)
	}
	s, err := js.CreateStream(t.Context(), config)
	if err != nil {
		t.Fatal(err)
	}
	return config.Name, s
}

func send(t *testing.T, url, subject, body string, headers ...string) {
	t.Helper()
	_, js := client(t, url)
	m := nats.NewMsg(subject)
	m.Data = []byte(body)
	for i := 0; i < len(headers); i += 2 {
		m.Header[headers[i]] = []string{headers[i+1]}
	}
	if _, err := js.PublishMsg(t.Context(), m); err != nil {
		t.Fatal(err)
	}
}

func opened(t *testing.T, s settings) *connection {
	t.Helper()
	c, err := open(&s, "1.2.3", nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

// call makes one attempt of an operation.
func call(ctx context.Context, t *testing.T, c *connection, operation string, with connectortest.Settings, in connectors.Call) (*connectors.Result, error) {
	t.Helper()
	op, ok := Connector("1.2.3").Operation(operation)
	if !ok {
		t.Fatalf("no operation %s", operation)
	}
	w := op.NewWith()
	o, _ := document.FromPlain(map[string]any(with)).(*document.Object)
	if err := spec.Bind(op.With, w, o); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	return op.Run(ctx, c, w, &in)
}

// listening runs a subscription until the returned function is called.
func listening(t *testing.T, c *connection, w listen, r *connectortest.Runtime) (stop func()) {
	t.Helper()
	if w.MaxInFlight == 0 {
		w.MaxInFlight = 1000
	}
	return connectortest.Listen(t, c, &w, r)
}
