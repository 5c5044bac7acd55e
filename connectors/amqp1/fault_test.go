package amqp1

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"valence/connectors"
	"valence/connectors/connectortest"
	"valence/internal/access"
	"valence/internal/egress"
	"valence/internal/fault"
	"valence/internal/test/servers"
	"valence/internal/test/testcert"
)

func TestRefusals(t *testing.T) {
	queue := name(t)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	wrong := connect(t, settingsWith(connectortest.Settings{"sasl": map[string]any{"user": servers.ArtemisUser, "password": "wrong-s3cret"}}))
	_, err := call(ctx, t, wrong, "send", "1", connectortest.Settings{"address": queue})
	wantFailure(t, "a wrong password", err, codeAuth, true, "check user and password")
	if strings.Contains(err.Error(), "s3cret") {
		t.Error("the failure contains the password")
	}
	c := connect(t, settingsWith(nil))
	for _, test := range []struct {
		about, address, code string
		retryable            bool
		text                 string
	}{
		{"a queue that does not exist", "missing." + queue, codeMissing, false, "amqp:not-found"},
		{"an address that is not allowed", "forbidden." + queue, codeAuth, false, "amqp:unauthorized-access"},
	} {
		for range 2 {
			_, err := call(ctx, t, c, "send", "1", connectortest.Settings{"address": test.address})
			wantFailure(t, test.about, err, test.code, test.retryable, test.text)
		}
		r := connectortest.NewRuntime()
		listen(t, c, r, connectortest.Settings{"address": test.address})
		wantFailure(t, test.about, connectortest.Await(t, r, "down", down).Down, test.code, test.retryable, test.text)
	}
	full := "small." + queue
	for err = nil; err == nil && ctx.Err() == nil; {
		_, err = call(ctx, t, c, "send", `"`+strings.Repeat("x", 500)+`"`, connectortest.Settings{"address": full})
	}
	wantFailure(t, "a full queue", err, codeRejected, true, "full")
	if _, err := call(ctx, t, c, "send", "1", connectortest.Settings{"address": queue}); err != nil {
		t.Errorf("afterwards: got %v, want nil", err)
	}
}

// TestPoison checks that a message whose delivery fails again and again counts its
// deliveries, and holds up the ones after it.
func TestPoison(t *testing.T) {
	queue, r := name(t), connectortest.NewRuntime()
	r.Answer = func(m *connectors.Message) error {
		if m.Doc.Text() == "1" && m.Delivery <= 3 {
			return connectors.Retry(fault.CodeUnavailable, "the store is full", 0, nil)
		}
		return nil
	}
	listen(t, connect(t, settingsWith(nil)), r, connectortest.Settings{"address": queue})
	send := sendTo(t, newPlain(t), place{queue, kindQueue})
	send(numbered("m1", "1"))
	send(numbered("m2", "2"))
	s := connectortest.Await(t, r, "both", accepted(2))
	if s.Accepted[0].Doc.Text() != "1" || s.Accepted[0].Delivery != 4 {
		t.Errorf("got %s first, delivered %d times, want 1 after 4 deliveries", s.Accepted[0].Doc.Text(), s.Accepted[0].Delivery)
	}
}

// TestBrokerIsKilled kills the broker while it is in use, opens a connection while
// it is away, and starts it again.
func TestBrokerIsKilled(t *testing.T) {
	queue, other := name(t), name(t)+".other"
	c, r := connect(t, settingsWith(nil)), connectortest.NewRuntime()
	listen(t, c, r, connectortest.Settings{"address": queue})
	connectortest.Await(t, r, "up", up)
	send := func(c *connection, queue, body string) error {
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
		defer cancel()
		_, err := call(ctx, t, c, "send", body, connectortest.Settings{"address": queue})
		return err
	}
	if err := send(c, other, `"kept"`); err != nil {
		t.Fatal(err)
	}
	waiting := make(chan error, 1)
	go func() {
		_, err := call(t.Context(), t, c, "request", "0", connectortest.Settings{"address": queue})
		waiting <- err
	}()
	connectortest.Await(t, r, "the request", accepted(1))
	broker.Kill()
	wantFailure(t, "a request that waits", <-waiting, fault.CodeAborted, true, "request")
	if f := fault.AsFailure(send(c, queue, "1")); f == nil || !f.Retryable || !f.Unavailable() {
		t.Errorf("send while the broker is away: got %v, want a retryable failure", f)
	}
	connectortest.Await(t, r, "down", down)
	late, lateRuntime := connect(t, settingsWith(nil)), connectortest.NewRuntime()
	listen(t, late, lateRuntime, connectortest.Settings{"address": other})
	connectortest.Await(t, lateRuntime, "down", down)
	if err := broker.Start(); err != nil {
		t.Fatal(err)
	}
	connectortest.Await(t, r, "up again", up)
	for i, c := range []*connection{c, late} {
		for deadline := time.Now().Add(time.Minute); ; {
			err := send(c, queue, fmt.Sprint(i+1))
			if err == nil {
				break
			}
			if time.Now().After(deadline) {
				t.Fatal(err)
			}
		}
	}
	connectortest.Await(t, r, "the messages after the restart", accepted(3))
	if s := connectortest.Await(t, lateRuntime, "the accepted message", accepted(1)); s.Accepted[0].Doc.Text() != `"kept"` {
		t.Errorf("got %s, want the message that was accepted", s.Accepted[0].Doc.Text())
	}
}

const killProject = `
process: relay
subscribe: { connection: broker, address: "${env.IN}" }
retry: { max_attempts: 100, backoff: 100ms }
steps:
  - call: broker.send
    with: { address: "${env.OUT}" }
---
connection: broker
connector: amqp1
url: ${env.BROKER}
sasl: { user: "${env.BROKER_USER}", password: "${env.BROKER_PASSWORD}" }
idempotent: key
`

// TestAtomIsKilled kills the program while it relays messages. Each message starts
// one execution, and each execution sends one message, possibly more than once
// under the same id.
func TestAtomIsKilled(t *testing.T) {
	const messages = 300
	in, out := name(t)+".in", name(t)+".out"
	s := newPlain(t)
	next, send := receiveFrom(t, s, out), sendTo(t, s, place{in, kindQueue})
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "relay.yaml"), []byte(killProject), 0o600); err != nil {
		t.Fatal(err)
	}
	start := func() *exec.Cmd {
		cmd := exec.Command(binary, "run", "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0", "--data", filepath.Join(dir, "data"), filepath.Join(dir, "relay.yaml"))
		cmd.Env = append(os.Environ(), "BROKER="+broker.URL(), "BROKER_USER="+servers.ArtemisUser, "BROKER_PASSWORD="+servers.ArtemisPassword, "IN="+in, "OUT="+out)
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
		send(numbered(fmt.Sprint("m", i), fmt.Sprintf(`{"n":%d}`, i)))
	}
	ids := map[string]map[any]bool{} // by body
	atom := start()
	kills := []int{20, 100, 200}
	for len(ids) < messages {
		m := next()
		body := string(m.GetData())
		if ids[body] == nil {
			ids[body] = map[any]bool{}
		}
		ids[body][m.Properties.MessageID] = true
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

// secured returns the address of a TLS proxy in front of the broker and the file
// with its certificate.
func secured(t *testing.T) (address, ca string) {
	t.Helper()
	cert, key := testcert.New(t)
	pair, err := tls.LoadX509KeyPair(cert, key)
	if err != nil {
		t.Fatal(err)
	}
	l, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{Certificates: []tls.Certificate{pair}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			in, err := l.Accept()
			if err != nil {
				return // the test has ended
			}
			out, err := net.Dial("tcp", strings.TrimPrefix(broker.URL(), "amqp://"))
			if err != nil {
				in.Close()
				continue
			}
			pass := func(to, from net.Conn) {
				_, _ = io.Copy(to, from) // until one side closes
				to.Close()
			}
			go pass(out, in)
			go pass(in, out)
		}
	}()
	return l.Addr().String(), cert
}

// greeting returns the address of a server without TLS, which greets at once.
func greeting(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return // the test has ended
			}
			_, _ = io.WriteString(c, "AMQP\x03\x01\x00\x00")
			c.Close()
		}
	}()
	return l.Addr().String()
}

func TestTLS(t *testing.T) {
	queue := name(t)
	address, ca := secured(t)
	for _, test := range []struct {
		about, want string
		with        connectortest.Settings
	}{
		{"with the authority", "", connectortest.Settings{"url": "amqps://" + address, "tls": map[string]any{"ca": ca}}},
		{"without the authority", "certificate", connectortest.Settings{"url": "amqps://" + address}},
		{"without TLS where it is required", "cannot connect", connectortest.Settings{"url": "amqp://" + address}},
		{"a broker without TLS", "cannot connect", connectortest.Settings{"url": "amqps://" + greeting(t), "tls": map[string]any{"ca": ca}}},
	} {
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
		_, err := call(ctx, t, connect(t, settingsWith(test.with)), "send", "1", connectortest.Settings{"address": queue})
		cancel()
		switch {
		case test.want != "":
			wantFailure(t, test.about, err, fault.CodeConnect, true, test.want)
		case err != nil:
			t.Errorf("%s: got %v, want nil", test.about, err)
		}
	}
}

func TestPolicy(t *testing.T) {
	policy, err := access.Local(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	away := connectortest.AwayAddress(t)
	if _, err := open(&settings{URL: "amqp://" + away}, "1", policy.Signed("shop", []string{"broker.example"})); !errors.Is(err, egress.ErrRefused) {
		t.Errorf("another host: got %v, want a refusal", err)
	}
	c, err := open(&settings{URL: "amqp://" + strings.Replace(away, "127.0.0.1", "localhost", 1)}, "1", policy.Signed("shop", []string{"10.0.0.0/8"}))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	_, err = call(t.Context(), t, c, "send", "1", connectortest.Settings{"address": "x"})
	wantFailure(t, "an address that is not allowed", err, codeBadCall, false, "does not allow")
}

func TestSettings(t *testing.T) {
	for want, s := range map[string]settings{
		"[]": {URL: "amqps://broker.example"},
		"[url contains more than a host and a port]":                             {URL: "amqp://broker.example/vhost"},
		"[url must not contain the user: write it in sasl]":                      {URL: "amqp://u:p@broker.example"},
		"[url must be the URL of a broker, such as amqps://broker.example:5671]": {URL: "http://broker.example"},
		"[sasl: plain needs user and password]":                                  {URL: "${env.B}", SASL: login{Mechanism: mechanismPlain}},
		"[sasl: external needs a certificate in tls]":                            {URL: "amqps://b.example", SASL: login{Mechanism: mechanismExternal}},
		"[sasl: anonymous has no user]":                                          {URL: "amqps://b.example", SASL: login{Mechanism: mechanismAnonymous, User: "u"}},
	} {
		if got := fmt.Sprint(s.check()); got != want {
			t.Errorf("got %s, want %s", got, want)
		}
	}
	sub := subscription()
	for about, test := range map[string]struct {
		with  listenWith
		lossy bool
		wrong string
	}{
		"a queue":                   {listenWith{From: place{"a", kindQueue}}, false, "[]"},
		"a topic":                   {listenWith{From: place{"a", kindTopic}}, true, "[]"},
		"a durable subscription":    {listenWith{From: place{"a", kindTopic}, Subscription: "s"}, false, "[]"},
		"a subscription of a queue": {listenWith{From: place{"a", kindQueue}, Subscription: "s"}, false, "[subscription: applies only to `kind: topic`]"},
	} {
		if got := fmt.Sprint(sub.Check(&test.with)); got != test.wrong || sub.AtMostOnce(&test.with) != test.lossy {
			t.Errorf("%s: got %s, at most once: %v, want %s, %v", about, got, sub.AtMostOnce(&test.with), test.wrong, test.lossy)
		}
	}
}
