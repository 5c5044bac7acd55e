package mqtt

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/eclipse/paho.golang/paho"

	"valence/connectors"
	"valence/connectors/connectortest"
	"valence/internal/access"
	"valence/internal/egress"
	"valence/internal/fault"
	"valence/internal/test/servers"
	"valence/internal/test/testcert"
)

func TestWrongPassword(t *testing.T) {
	c := connect(t, settingsWith(t, connectortest.Settings{"password": "wrong-s3cret"}))
	_, err := call(t.Context(), t, c, "publish", "1", connectortest.Settings{"topic": "x"})
	wantFailure(t, "publish", err, codeAuth, true, "check user and password: not authorized (0x87)")
	r := connectortest.NewRuntime()
	listen(t, c, r, connectortest.Settings{"topic": "x"})
	wantFailure(t, "Listen", connectortest.Await(t, r, "down", down).Down, codeAuth, true, "check user and password")
}

// TestForbiddenTopics checks topics that the user may not use.
func TestForbiddenTopics(t *testing.T) {
	c := connect(t, settingsWith(t, nil))
	_, err := call(t.Context(), t, c, "publish", "1", connectortest.Settings{"topic": "forbidden/x"})
	wantFailure(t, "publish", err, codeAuth, false, "the broker refused the message: not authorized (0x87)")
}

// TestSizeLimits checks messages that are larger than the broker accepts.
func TestSizeLimits(t *testing.T) {
	small, err := servers.NewMosquitto("max_packet_size 2000")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = small.Close() })
	c := connect(t, settingsWith(t, connectortest.Settings{"url": small.URL()}))
	for range 2 {
		_, err = call(t.Context(), t, c, "publish", `"`+strings.Repeat("x", 3000)+`"`, connectortest.Settings{"topic": "x"})
		wantFailure(t, "publish", err, fault.CodeTooLarge, false, "and the broker accepts 2000")
	}
	if _, err = call(t.Context(), t, c, "publish", `"x"`, connectortest.Settings{"topic": "x"}); err != nil {
		t.Errorf("a small message: got %v, want nil", err)
	}
}

func TestTLS(t *testing.T) {
	cert, key := testcert.New(t)
	secure, err := servers.NewMosquitto("certfile " + cert + "\nkeyfile " + key)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = secure.Close() })
	address := strings.TrimPrefix(secure.URL(), "mqtt://")
	for _, test := range []struct {
		about, want string
		with        connectortest.Settings
	}{
		{"with the authority", "", connectortest.Settings{"url": "mqtts://" + address, "tls": map[string]any{"ca": cert}}},
		{"without the authority", "certificate", connectortest.Settings{"url": "mqtts://" + address}},
		{"without TLS where it is required", "no answer of a broker", connectortest.Settings{"url": "mqtt://" + address}},
		{"a broker without TLS", "cannot connect", connectortest.Settings{"url": "mqtts://" + strings.TrimPrefix(broker.URL(), "mqtt://"), "tls": map[string]any{"ca": cert}}},
	} {
		_, err := call(t.Context(), t, connect(t, settingsWith(t, test.with)), "publish", "1", connectortest.Settings{"topic": "x"})
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
	s := &settings{URL: broker.URL(), ClientID: name(t)}
	if _, err := open(s, policy.Signed("shop", []string{"broker.example"})); !errors.Is(err, egress.ErrRefused) {
		t.Errorf("another host: got %v, want a refusal", err)
	}
	s.URL = strings.Replace(s.URL, "127.0.0.1", "localhost", 1)
	c, err := open(s, policy.Signed("shop", []string{"10.0.0.0/8"}))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	_, err = call(t.Context(), t, c, "publish", "1", connectortest.Settings{"topic": "x"})
	wantFailure(t, "an address that is not allowed", err, codeBadCall, false, "does not allow")
}

// TestBrokerIsKilled kills the broker while it is in use, opens a connection
// while it is away, and starts it again.
func TestBrokerIsKilled(t *testing.T) {
	own, err := servers.NewMosquitto("")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = own.Close() })
	url, topic := connectortest.Settings{"url": own.URL()}, name(t)
	c, r := connect(t, settingsWith(t, url)), connectortest.NewRuntime()
	listen(t, c, r, connectortest.Settings{"topic": topic})
	connectortest.Await(t, r, "up", up)
	publish := func(c *connection, body string) error {
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
		defer cancel()
		_, err := call(ctx, t, c, "publish", body, connectortest.Settings{"topic": topic})
		return err
	}
	if err := publish(c, "0"); err != nil {
		t.Fatal(err)
	}
	connectortest.Await(t, r, "a message", accepted(1))
	waiting := make(chan error, 1)
	go func() {
		_, err := call(t.Context(), t, c, "request", "1", connectortest.Settings{"topic": topic})
		waiting <- err
	}()
	connectortest.Await(t, r, "the request", accepted(2))
	own.Kill()
	wantFailure(t, "a request that waits", <-waiting, fault.CodeAborted, true, "the connection was lost")
	if f := fault.AsFailure(publish(c, "1")); f == nil || !f.Retryable || !f.Unavailable() {
		t.Errorf("publish while the broker is away: got %v, want a retryable failure", f)
	}
	connectortest.Await(t, r, "down", down)
	late := connect(t, settingsWith(t, url))
	if err := publish(late, "1"); fault.AsFailure(err) == nil {
		t.Errorf("a new connection: got %v, want a failure", err)
	}
	if err := own.Start(); err != nil {
		t.Fatal(err)
	}
	connectortest.Await(t, r, "up again", up)
	for i, c := range []*connection{c, late} {
		for deadline := time.Now().Add(time.Minute); ; {
			err := publish(c, fmt.Sprint(2+i))
			if err == nil {
				break
			}
			if time.Now().After(deadline) {
				t.Fatal(err)
			}
		}
	}
	connectortest.Await(t, r, "the messages after the restart", accepted(4))
}

// TestClientIDInUse checks that two clients with the same name take turns, and that
// two processes of one connection do not.
func TestClientIDInUse(t *testing.T) {
	id := connectortest.Settings{"client_id": name(t)}
	r := connectortest.NewRuntime()
	stop := listen(t, connect(t, settingsWith(t, id)), r, connectortest.Settings{"topic": "x"})
	connectortest.Await(t, r, "up", up)
	other := connectortest.NewRuntime()
	second := connect(t, settingsWith(t, id))
	listen(t, second, other, connectortest.Settings{"topic": "x"})
	wantFailure(t, "Listen", connectortest.Await(t, r, "down", down).Down, fault.CodeAborted, true, "cannot receive from x: the connection was lost")
	stop()
	connectortest.Await(t, other, "up", up)
	err := second.Listen(t.Context(), &listenWith{Topic: "x", QoS: 1, Expiry: time.Hour}, connectortest.NewRuntime().Host())
	wantFailure(t, "a second process", err, codeBadCall, false, "another process subscribes to the topic")
}

// TestWill checks that the broker publishes the will when it loses a connection,
// and not when it is closed.
func TestWill(t *testing.T) {
	topic, p := name(t), newPlain(t)
	p.subscribe(t, topic+"/#")
	will := connectortest.Settings{"will": map[string]any{"topic": topic + "/will", "payload": "gone", "retain": true}}
	closed, lost := connect(t, settingsWith(t, will)), connect(t, settingsWith(t, will))
	for _, c := range []*connection{closed, lost} {
		if _, err := call(t.Context(), t, c, "publish", "1", connectortest.Settings{"topic": topic + "/m"}); err != nil {
			t.Fatal(err)
		}
		p.next(t)
	}
	if err := closed.Close(); err != nil {
		t.Fatal(err)
	}
	p.send(t, topic+"/m", "", `"after"`)
	if m := p.next(t); string(m.Payload) != `"after"` {
		t.Errorf("after the connection was closed: got %s, want no will", m.Payload)
	}
	if err := lost.calls.Do(t.Context(), func(l *link) error { l.client.(*five).TerminateConnectionForTest(); return nil }); err != nil {
		t.Fatal(err)
	}
	if m := p.next(t); string(m.Payload) != "gone" || m.Topic != topic+"/will" {
		t.Errorf("after the connection was lost: got %s, want the will", m.Payload)
	}
}

// TestPoison checks that a message whose delivery fails again and again counts its
// deliveries, and holds up the ones after it.
func TestPoison(t *testing.T) {
	topic, p, r := name(t), newPlain(t), connectortest.NewRuntime()
	r.Answer = func(m *connectors.Message) error {
		if m.Doc.Text() == "1" && m.Delivery <= 4 {
			return connectors.Retry(fault.CodeUnavailable, "the store is full", 0, nil)
		}
		return nil
	}
	listen(t, connect(t, settingsWith(t, nil)), r, connectortest.Settings{"topic": topic})
	connectortest.Await(t, r, "up", up)
	p.send(t, topic, "", "1")
	p.send(t, topic, "", "2")
	s := connectortest.Await(t, r, "both", accepted(2))
	if s.Accepted[0].Doc.Text() != "1" || s.Accepted[0].Delivery != 5 {
		t.Errorf("got %s first, delivered %d times, want 1 after 5 deliveries", s.Accepted[0].Doc.Text(), s.Accepted[0].Delivery)
	}
}

// TestAtMostSixteen checks that no more messages than the receive maximum are in
// flight, and that a message without an identity is acknowledged before a
// subscription ends.
func TestAtMostSixteen(t *testing.T) {
	topic, p, r := name(t), newPlain(t), connectortest.NewRuntime()
	r.Answer = func(m *connectors.Message) error {
		if m.Doc.Text() == "0" {
			return connectors.Retry(fault.CodeUnavailable, "the store is full", 0, nil)
		}
		return nil
	}
	c := connect(t, settingsWith(t, nil))
	stop := listen(t, c, r, connectortest.Settings{"topic": topic})
	connectortest.Await(t, r, "up", up)
	for i := range 50 {
		p.send(t, topic, "", fmt.Sprint(i))
	}
	connectortest.Await(t, r, "the lag", func(s connectortest.State) bool { return s.Lag > 0 && s.Lag <= maxInFlight })
	stop()
	r.Answer = nil
	stop = listen(t, c, r, connectortest.Settings{"topic": topic})
	connectortest.Await(t, r, "all", accepted(50))
	stop()
	listen(t, c, r, connectortest.Settings{"topic": topic})
	connectortest.Await(t, r, "up", up)
	p.send(t, topic, "", "50")
	s := connectortest.Await(t, r, "the last one", accepted(51))
	for i, m := range s.Accepted {
		if m.Doc.Text() != fmt.Sprint(i) {
			t.Fatalf("message %d: got %s, want the order of the broker and no repeats", i, m.Doc.Text())
		}
	}
}

func TestSettings(t *testing.T) {
	for url, want := range map[string]string{
		"mqtt://broker.example":       "[]",
		"mqtts://broker.example:8884": "[]",
		"${env.BROKER}":               "[]",
		"http://broker.example":       "[url must be the URL of a broker, such as mqtts://broker.example:8883]",
		"mqtt://u:p@broker.example":   "[url must not contain the user: write user and password as settings of their own]",
		"mqtt://broker.example/a":     "[url contains more than a host and a port]",
	} {
		if got := fmt.Sprint((&settings{URL: url}).check()); got != want {
			t.Errorf("%s: got %s, want %s", url, got, want)
		}
	}
	plain := settings{URL: "mqtt://broker.example", Will: &will{Topic: "a/#"}}
	plain.TLS.CA = "ca.pem"
	if got := fmt.Sprint(plain.check()); got != "[tls: applies only to an mqtts:// url will: topic: the topic contains a wildcard (+ or #)]" {
		t.Errorf("got %s", got)
	}
	for want, w := range map[string]listenWith{
		"[]": {Topic: "devices/+/state/#", Share: "${env.GROUP}"},
		"[topic: + stands for a whole level, as in devices/+/state]":                    {Topic: "devices/a+"},
		"[topic: # stands for all further levels and is the last one, as in devices/#]": {Topic: "devices/#/state"},
		"[topic: the topic begins with $share/; write the group as `share:`]":           {Topic: "$share/g/devices"},
		"[share: a group is one word without /, + and #]":                               {Topic: "a", Share: "a/b"},
	} {
		if got := fmt.Sprint(w.check()); got != want {
			t.Errorf("got %s, want %s", got, want)
		}
	}
	if !subscription().AtMostOnce(&listenWith{QoS: 0}) || subscription().AtMostOnce(&listenWith{QoS: 1}) {
		t.Error("at most once: want it exactly with qos 0")
	}
}

// TestManyUnacknowledged checks that messages with qos 0 are dropped if too many
// wait, and that others are not.
func TestManyUnacknowledged(t *testing.T) {
	in := newInbox()
	for range maxUnacknowledged + 5 {
		in.add(&paho.Publish{Payload: []byte("x")}, nil)
	}
	for range maxInFlight {
		in.add(&paho.Publish{QoS: 1}, nil)
	}
	if lost, waiting := in.lost.Load(), len(in.waiting); lost != 5 || waiting != maxUnacknowledged+maxInFlight {
		t.Errorf("got %d lost and %d waiting", lost, waiting)
	}
	closed := make(chan struct{})
	close(closed)
	in.add(&paho.Publish{QoS: 1}, closed) // beyond the receive maximum: waits for room or the end
}
