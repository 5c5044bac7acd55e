package kafka

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"

	"valence/connectors/connectortest"
	"valence/internal/fault"
	"valence/internal/test/servers"
)

// real is the cluster of Apache Kafka of all tests in this package; nil until one
// needs it.
var real struct {
	once   sync.Once
	server *servers.Kafka
	err    error
}

// realKafka returns the cluster, or skips the test if this machine has no Java.
func realKafka(t *testing.T) *servers.Kafka {
	t.Helper()
	real.once.Do(func() { real.server, real.err = servers.NewKafka() })
	if errors.Is(real.err, servers.ErrNoJava) {
		t.Skip(real.err)
	}
	if real.err != nil {
		t.Fatal(real.err)
	}
	return real.server
}

// suite are the tests of this package. The cluster stops after them.
type suite struct{ m *testing.M }

func (s suite) Run() int {
	code := s.m.Run()
	if real.server != nil {
		if err := real.server.Close(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
	}
	return code
}

const killProject = `
process: relay
subscribe: { connection: broker, topic: in, group: relay, session_timeout: 1s }
sequence: { key: "${props.key}" }
retry: { max_attempts: 200, backoff: 100ms..500ms }
steps:
  - call: broker.publish
    with: { topic: out, key: "${props.key}" }
    timeout: 5s
---
connection: broker
connector: kafka
brokers: ${env.BROKERS}
idempotent: key
`

// relay runs the program, which relays messages with 10 keys, and calls disturb[n]
// after n messages with a function that kills the program and starts it again. It
// checks that each message was relayed by one execution, and in the order of its
// key, possibly more than once.
func relay(t *testing.T, brokers string, messages int, disturb map[int]func(restart func())) {
	sender := newPlain(t, brokers)
	created, err := kadm.NewClient(sender).CreateTopics(t.Context(), 2, 1, nil, "in", "out")
	if err = errors.Join(err, created.Error()); err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "relay.yaml"), []byte(killProject), 0o600); err != nil {
		t.Fatal(err)
	}
	start := func() *exec.Cmd {
		cmd := exec.Command(binary, "run", "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0", "--data", filepath.Join(dir, "data"), filepath.Join(dir, "relay.yaml"))
		cmd.Env = append(os.Environ(), "BROKERS="+brokers)
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
	for i := range messages {
		produce(t, sender, &kgo.Record{Topic: "in", Partition: int32(i % 2), Key: fmt.Append(nil, i%10), Value: fmt.Append(nil, i)})
	}
	atom := start()
	receiver := newPlain(t, brokers, kgo.ConsumeTopics("out"), kgo.ConsumeStartOffset(kgo.NewOffset().AtStart()))
	executions, last := map[int]map[string]bool{}, map[string]int{}
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	for len(executions) < messages && ctx.Err() == nil {
		for _, r := range receiver.PollFetches(ctx).Records() {
			var n int
			if _, err := fmt.Sscan(string(r.Value), &n); err != nil {
				t.Fatal(err)
			}
			if executions[n] == nil {
				executions[n] = map[string]bool{}
				if before, ok := last[string(r.Key)]; ok && n != before+10 {
					t.Errorf("key %s: got %d after %d, want the order of the key", r.Key, n, before)
				}
				last[string(r.Key)] = n
			}
			executions[n][header(r, headerID)] = true
			if f := disturb[len(executions)]; f != nil {
				delete(disturb, len(executions))
				f(func() {
					_ = atom.Process.Kill() // SIGKILL
					_ = atom.Wait()
					atom = start()
				})
			}
		}
	}
	for n := range messages {
		if len(executions[n]) != 1 {
			t.Errorf("message %d: got %d executions, want 1", n, len(executions[n]))
		}
	}
}

// TestAtomIsKilled kills the program while it relays messages.
func TestAtomIsKilled(t *testing.T) {
	cluster, _ := newCluster(t, 1)
	kill := func(restart func()) { restart() }
	relay(t, strings.Join(cluster.ListenAddrs(), ", "), 400, map[int]func(func()){20: kill, 150: kill, 300: kill})
}

// TestApacheKafka relays messages over Apache Kafka while it and the program are
// killed, and checks its refusals.
func TestApacheKafka(t *testing.T) {
	k := realKafka(t)
	relay(t, k.Brokers(), 200, map[int]func(func()){
		30: func(restart func()) { restart() },
		90: func(func()) {
			k.Kill()
			if err := k.Start(); err != nil {
				t.Fatal(err)
			}
		},
	})
	login := func(password string) connectortest.Settings {
		return connectortest.Settings{"brokers": fmt.Sprint("127.0.0.1:", k.SASLPort), "sasl": map[string]any{"mechanism": mechanismPlain, "user": servers.KafkaUser, "password": password}}
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if _, err := publish(ctx, t, connect(t, login(servers.KafkaPassword)), "1", connectortest.Settings{"topic": "out"}); err != nil {
		t.Errorf("with the password: got %v, want nil", err)
	}
	_, err := publish(ctx, t, connect(t, login("wrong-word")), "1", connectortest.Settings{"topic": "out"})
	wantFailure(t, "a wrong password", err, codeAuth, true, "check user and password")
	r := connectortest.NewRuntime()
	listen(t, connect(t, login("wrong-word")), r, connectortest.Settings{"topic": "out", "group": "g"})
	wantFailure(t, "a subscription", connectortest.Await(t, r, "down", down).Down, codeAuth, true, "check user and password")
	plaintext := connectortest.Settings{"brokers": k.Brokers()}
	c := connect(t, plaintext)
	_, err = publish(ctx, t, c, "1", connectortest.Settings{"topic": "missing"})
	wantFailure(t, "a topic that does not exist", err, codeMissing, true, "UNKNOWN_TOPIC_OR_PARTITION")
	_, err = publish(ctx, t, c, `"`+strings.Repeat("x", 1_100_000)+`"`, connectortest.Settings{"topic": "out"})
	wantFailure(t, "a large record", err, fault.CodeTooLarge, false, "max.message.bytes")
	plaintext["max_message"] = "4MiB"
	_, err = publish(ctx, t, connect(t, plaintext), `"`+random(2_000_000)+`"`, connectortest.Settings{"topic": "out"})
	wantFailure(t, "a record that the topic refuses", err, fault.CodeTooLarge, false, "max.message.bytes")
	plaintext["tls"] = map[string]any{}
	_, err = publish(ctx, t, connect(t, plaintext), "1", connectortest.Settings{"topic": "out"})
	wantFailure(t, "a cluster without TLS", err, fault.CodeConnect, true, "cannot connect")
}

// random returns text that cannot be compressed well.
func random(n int) string {
	b, x := make([]byte, n), uint32(1)
	for i := range b {
		x = x*1664525 + 1013904223
		b[i] = 'a' + byte(x>>24)%26
	}
	return string(b)
}

// TestBrokerIsKilled checks that waiting and later publishes fail while no broker
// can be reached, and that calls and subscriptions go on afterwards.
func TestBrokerIsKilled(t *testing.T) {
	cluster, topic := newCluster(t, 1)
	address := strings.Join(cluster.ListenAddrs(), ", ")
	var port int
	if _, err := fmt.Sscanf(address, "127.0.0.1:%d", &port); err != nil {
		t.Fatal(err)
	}
	c, r := connect(t, settingsOf(cluster, nil)), connectortest.NewRuntime()
	listen(t, c, r, connectortest.Settings{"topic": topic, "group": "g"})
	if _, err := publish(t.Context(), t, c, "1", connectortest.Settings{"topic": topic}); err != nil {
		t.Fatal(err)
	}
	connectortest.Await(t, r, "a message", accepted(1))
	cluster.Close()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	for range 2 {
		_, err := publish(ctx, t, c, "2", connectortest.Settings{"topic": topic})
		if f := fault.AsFailure(err); f == nil || !f.Retryable || !f.Unavailable() || ctx.Err() != nil {
			t.Errorf("while the cluster is away: got %v, want a retryable failure before the deadline", err)
		}
	}
	connectortest.Await(t, r, "down", down)
	again, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.Ports(port), kfake.SeedTopics(1, topic), kfake.GroupMinSessionTimeout(time.Millisecond))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(again.Close)
	connectortest.Await(t, r, "up", up)
	for deadline := time.Now().Add(time.Minute); ; {
		_, err := publish(ctx, t, c, "3", connectortest.Settings{"topic": topic})
		if err == nil {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal(err)
		}
	}
	connectortest.Await(t, r, "the message afterwards", accepted(2))
}
