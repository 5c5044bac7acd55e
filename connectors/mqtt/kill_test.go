package mqtt

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"valence/internal/test/servers"
)

const killProject = `
process: relay
subscribe: { connection: broker, topic: "${env.IN}" }
retry: { max_attempts: 100, backoff: 100ms }
steps:
  - call: out.publish
    with: { topic: "${env.OUT}" }
---
connection: out
connector: mqtt
url: ${env.BROKER}
user: ${env.BROKER_USER}
password: ${env.BROKER_PASSWORD}
client_id: ${env.OUT}
idempotent: key
---
connection: broker
connector: mqtt
version: VERSION
url: ${env.BROKER}
user: ${env.BROKER_USER}
password: ${env.BROKER_PASSWORD}
client_id: ${env.IN}
idempotent: key
`

// TestAtomIsKilled kills the program while it relays messages. Each message with
// an identity starts one execution. At most 16 of those without one are repeated
// by a kill. In version 3.1.1 none has an identity, and the broker sends 20.
func TestAtomIsKilled(t *testing.T) {
	t.Run(version5, func(t *testing.T) { atomIsKilled(t, version5, maxInFlight) })
	t.Run(version311, func(t *testing.T) { atomIsKilled(t, version311, 20) })
}

func atomIsKilled(t *testing.T, version string, inFlight int) {
	const messages, kills = 300, 3
	in, out, p, sender := name(t)+"/in", name(t)+"/out", newPlain(t), newPlain(t)
	p.subscribe(t, out)
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "relay.yaml"), []byte(strings.Replace(killProject, "VERSION", version, 1)), 0o600); err != nil {
		t.Fatal(err)
	}
	start := func() *exec.Cmd {
		cmd := exec.Command(binary, "run", "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0", "--data", filepath.Join(dir, "data"), filepath.Join(dir, "relay.yaml"))
		cmd.Env = append(os.Environ(), "BROKER="+broker.URL(), "BROKER_USER="+servers.MosquittoUser, "BROKER_PASSWORD="+servers.MosquittoPassword, "IN="+in, "OUT="+out)
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
	executions := map[string]map[string]bool{} // ids by body
	late := time.After(2 * time.Minute)
	receive := func() {
		select {
		case m := <-p.received:
			body := string(m.Payload)
			if executions[body] == nil {
				executions[body] = map[string]bool{}
			}
			executions[body][m.Properties.User.Get(propertyID)] = true
		case <-late:
			t.Fatalf("got %d of %d messages after two minutes", len(executions), messages)
		}
	}
	atom := start()
	for len(executions) == 0 { // the subscription exists
		sender.send(t, in, "first", `"first"`)
		select {
		case m := <-p.received:
			executions[string(m.Payload)] = map[string]bool{m.Properties.User.Get(propertyID): true}
		case <-late:
			t.Fatal("the atom does not relay")
		case <-time.After(100 * time.Millisecond):
		}
	}
	for i := range messages {
		id := ""
		if i%2 == 0 {
			id = fmt.Sprint("m", i)
		}
		sender.send(t, in, id, fmt.Sprint(i))
	}
	at := []int{20, 100, 200}
	for len(executions) < messages+1 {
		receive()
		if len(at) > 0 && len(executions) >= at[0] {
			at = at[1:]
			_ = atom.Process.Kill() // SIGKILL
			_ = atom.Wait()
			atom = start()
		}
	}
	repeated := 0
	for i := range messages {
		n := len(executions[fmt.Sprint(i)])
		if i%2 == 0 && n != 1 && version == version5 {
			t.Errorf("message %d with an identity: got %d executions, want 1", i, n)
		}
		repeated += n - 1
	}
	if repeated > kills*inFlight {
		t.Errorf("got %d repeats after %d kills, want at most %d", repeated, kills, kills*inFlight)
	}
}
