package crash

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"valence/internal/test/servers"
)

const natsProject = `
process: orders
workers: 8
retry: { max_attempts: 200, backoff: 50ms..200ms }
subscribe: { connection: broker, stream: ORDERS, consumer: orders }
steps:
  - call: sink.post
    with: { path: "/a/${input.id}" }
---
connection: broker
connector: nats
url: ${env.BROKER}
---
connection: sink
connector: http
url: ${env.SINK}
timeout: 5s
`

// TestNATSMessagesRunOnceThroughKills kills the program and restarts the NATS
// server while messages are published. Each message starts one execution,
// identified by the idempotency keys of its calls, and is acknowledged.
func TestNATSMessagesRunOnceThroughKills(t *testing.T) {
	const messages = 1000
	random := seeded(t)
	broker, err := servers.StartNATS(0, t.TempDir(), nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(broker.Close)
	if err := broker.Stream("ORDERS", "orders.>"); err != nil {
		t.Fatal(err)
	}
	nc, err := nats.Connect(broker.URL, nats.MaxReconnects(-1), nats.ReconnectWait(20*time.Millisecond))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	// Messages that a killed program held come again soon.
	consumer, err := js.CreateConsumer(t.Context(), "ORDERS", jetstream.ConsumerConfig{Durable: "orders", AckPolicy: jetstream.AckExplicitPolicy, AckWait: time.Second})
	if err != nil {
		t.Fatal(err)
	}
	dest := newSink(t)
	a := newAtom(t, dest.addr)
	a.runs(strings.Replace(natsProject, "${env.BROKER}", broker.URL, 1))
	a.start()
	published := make(chan error, 1)
	go func() {
		for n := range messages {
			id := jetstream.WithMsgID(fmt.Sprint(n))
			_, err := js.Publish(t.Context(), "orders.a", fmt.Appendf(nil, `{"id":%d}`, n), id)
			for end := time.Now().Add(20 * time.Second); err != nil && time.Now().Before(end); pause(20 * time.Millisecond) {
				_, err = js.Publish(t.Context(), "orders.a", fmt.Appendf(nil, `{"id":%d}`, n), id)
			}
			if err != nil {
				published <- err
				return
			}
			pause(time.Millisecond)
		}
		published <- nil
	}()
	for round := range 6 {
		pause(time.Duration(50+random.IntN(250)) * time.Millisecond)
		if round == 3 {
			broker.Kill()
			if err := broker.Start(); err != nil {
				t.Fatal(err)
			}
			continue
		}
		a.restart()
	}
	if err := <-published; err != nil {
		t.Fatal(err)
	}
	var info *jetstream.ConsumerInfo
	for end := time.Now().Add(60 * time.Second); time.Now().Before(end); pause(50 * time.Millisecond) {
		if info, err = consumer.Info(t.Context()); err == nil && info.NumPending == 0 && info.NumAckPending == 0 &&
			len(a.executions("accepted"))+len(a.executions("running"))+len(a.executions("waiting")) == 0 {
			break
		}
	}
	if err != nil {
		t.Fatal(err)
	}
	if info.AckFloor.Stream != messages {
		t.Errorf("acknowledged: got messages up to %d, want %d", info.AckFloor.Stream, messages)
	}
	for n := range messages {
		if times, keys := dest.got(fmt.Sprint("/a/", n)); times == 0 || keys != 1 {
			t.Errorf("message %d: got %d calls of %d executions, want one execution", n, times, keys)
		}
	}
}
