package amqp

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	amqp091 "github.com/rabbitmq/amqp091-go"

	"valence/internal/test/servers"
)

const killProject = `
process: relay
subscribe: { connection: broker, queue: "${env.IN}" }
retry: { max_attempts: 100, backoff: 100ms }
steps:
  - call: broker.publish
    with: { routing_key: "${env.OUT}" }
---
connection: broker
connector: amqp
url: ${env.RABBIT}
user: ${env.RABBIT_USER}
password: ${env.RABBIT_PASSWORD}
idempotent: key
`

// TestAtomIsKilled kills the program while it relays messages. Each message
// starts one execution, and each execution publishes one message, possibly more
// than once under the same id.
func TestAtomIsKilled(t *testing.T) {
	const messages = 400
	ch := plain(t)
	in, out := newQueue(t, ch, nil), newQueue(t, ch, nil)
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "relay.yaml"), []byte(killProject), 0o600); err != nil {
		t.Fatal(err)
	}
	start := func() *exec.Cmd {
		cmd := exec.Command(binary, "run", "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0", "--data", filepath.Join(dir, "data"), filepath.Join(dir, "relay.yaml"))
		cmd.Env = append(os.Environ(), "RABBIT="+rabbit.URL(), "RABBIT_USER="+servers.RabbitMQUser, "RABBIT_PASSWORD="+servers.RabbitMQPassword, "IN="+in, "OUT="+out)
		var output bytes.Buffer
		cmd.Stdout, cmd.Stderr = &output, &output
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			_ = cmd.Process.Kill() // it may have been killed already
			_ = cmd.Wait()
			if t.Failed() {
				t.Logf("the output of the atom:\n%.4000s", output.String())
			}
		})
		return cmd
	}
	relayed, err := ch.Consume(out, "", true, false, false, false, nil)
	if err != nil {
		t.Fatal(err)
	}
	for i := range messages {
		publishTo(t, ch, in, amqp091.Publishing{MessageId: fmt.Sprint("m", i), DeliveryMode: amqp091.Persistent, Body: fmt.Appendf(nil, `{"n":%d}`, i)})
	}
	ids := map[string]map[string]bool{} // by body
	atom := start()
	kills := []int{20, 150, 280}
	late := time.After(2 * time.Minute)
	for len(ids) < messages {
		select {
		case d := <-relayed:
			if ids[string(d.Body)] == nil {
				ids[string(d.Body)] = map[string]bool{}
			}
			ids[string(d.Body)][d.MessageId] = true
		case <-late:
			t.Fatalf("got %d of %d messages after two minutes", len(ids), messages)
		}
		if len(kills) > 0 && len(ids) >= kills[0] {
			kills = kills[1:]
			_ = atom.Process.Kill() // SIGKILL
			_ = atom.Wait()
			atom = start()
		}
	}
	for body, of := range ids {
		if len(of) != 1 {
			t.Errorf("%s: got %d executions, want 1", body, len(of))
		}
	}
}
