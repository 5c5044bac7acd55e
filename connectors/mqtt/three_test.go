package mqtt

import (
	"fmt"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/eclipse/paho.golang/paho"

	"valence/connectors"
	"valence/connectors/connectortest"
	"valence/internal/fault"
	"valence/internal/test/servers"
)

// old are the settings of a connection of version 3.1.1.
func old(t *testing.T, with connectortest.Settings) connectortest.Settings {
	s := settingsWith(t, with)
	s["version"] = version311
	return s
}

// TestVersionThree checks publishes, retained messages, wills and refused logins of
// version 3.1.1.
func TestVersionThree(t *testing.T) {
	topic, p := name(t), newPlain(t)
	p.subscribe(t, topic+"/#")
	network := connectortest.NewLink(t, strings.TrimPrefix(broker.URL(), "mqtt://"))
	c := connect(t, old(t, connectortest.Settings{"url": "mqtt://" + network.Address, "will": map[string]any{"topic": topic + "/will", "payload": "gone"}}))
	for qos := range 3 {
		if _, err := call(t.Context(), t, c, "publish", `{"id":7}`, connectortest.Settings{"topic": topic + "/a", "qos": qos}); err != nil {
			t.Fatal(err)
		}
		if m := p.next(t); string(m.Payload) != `{"id":7}` || m.Topic != topic+"/a" {
			t.Errorf("qos %d: got %s on %s, want the document", qos, m.Payload, m.Topic)
		}
	}
	_, err := call(t.Context(), t, c, "publish", "1", connectortest.Settings{"topic": topic, "headers": map[string]any{"a": "b"}, "expiration": "5s"})
	wantFailure(t, "properties", err, codeBadCall, false, "headers: needs MQTT 5, and the connection has `version: 3.1.1`; expiration: needs MQTT 5")
	_, err = call(t.Context(), t, c, "request", "1", connectortest.Settings{"topic": topic})
	wantFailure(t, "request", err, codeBadCall, false, "request needs MQTT 5")
	network.Cut()
	if m := p.next(t); string(m.Payload) != "gone" {
		t.Errorf("after the connection was lost: got %s, want the will", m.Payload)
	}
	for deadline := time.Now().Add(30 * time.Second); ; { // until the loss was noticed
		_, err := call(t.Context(), t, c, "publish", "1", connectortest.Settings{"topic": topic + "/kept", "retain": true})
		if err == nil {
			break
		}
		if f := fault.AsFailure(err); !f.Retryable || time.Now().After(deadline) {
			t.Fatal(err)
		}
		<-time.After(20 * time.Millisecond)
	}
	r := connectortest.NewRuntime()
	with := connectortest.Settings{"topic": topic + "/kept", "qos": 0}
	stop := listen(t, c, r, with)
	connectortest.Await(t, r, "the retained message", accepted(1))
	stop()
	listen(t, c, r, with) // it comes at each start
	connectortest.Await(t, r, "the retained message again", accepted(2))
	ups := r.State().Ups
	network.Cut() // it does not come after a loss of the link
	connectortest.Await(t, r, "up", func(s connectortest.State) bool { return s.Ups > ups })
	p.send(t, topic+"/kept", "", "2")
	s := connectortest.Await(t, r, "one more", accepted(3))
	if got := s.Accepted[2].Doc.Text(); got != "2" {
		t.Errorf("got %s, want the new message", got)
	}
	wrong := connect(t, old(t, connectortest.Settings{"password": "wrong-s3cret"}))
	_, err = call(t.Context(), t, wrong, "publish", "1", connectortest.Settings{"topic": topic})
	wantFailure(t, "a wrong password", err, codeAuth, true, "check user and password")
}

// login logs a client of version 3.1.1 in without a subscription. It leaves its
// session at the broker.
func login(t *testing.T, c *connection, id string) *link {
	t.Helper()
	conn, err := net.Dial("tcp", strings.TrimPrefix(broker.URL(), "mqtt://"))
	if err != nil {
		t.Fatal(err)
	}
	l, conn := newLink(conn, newInbox())
	l.client, err = loginThree(t.Context(), conn, l, &paho.Connect{ClientID: id, Username: c.User, Password: []byte(c.Password)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(l.close)
	return l
}

// TestVersionThreeSubscribesInAnyCase checks that a session that lacks the
// subscription receives it, such as after a kill before it was acknowledged.
func TestVersionThreeSubscribesInAnyCase(t *testing.T) {
	topic, p, r := name(t), newPlain(t), connectortest.NewRuntime()
	c := connect(t, old(t, nil))
	with := &listenWith{Topic: topic, QoS: 1}
	login(t, c, c.listenerID(with)).close()
	connectortest.Listen(t, c, with, r)
	connectortest.Await(t, r, "up", up)
	p.send(t, topic, "", "1")
	connectortest.Await(t, r, "the message", accepted(1))
}

// TestVersionThreeForgets checks that messages without an acknowledgement, which
// may be dropped, are not recorded.
func TestVersionThreeForgets(t *testing.T) {
	topic := name(t)
	l := login(t, connect(t, old(t, nil)), topic)
	if err := l.subscribe(t.Context(), paho.SubscribeOptions{Topic: topic, QoS: 2}); err != nil {
		t.Fatal(err)
	}
	p := newPlain(t)
	for qos := range 3 {
		if _, err := p.Publish(t.Context(), &paho.Publish{Topic: topic, QoS: byte(qos), Payload: []byte("1")}); err != nil {
			t.Fatal(err)
		}
	}
	three := l.client.(*three)
	for range 3 {
		select {
		case <-l.inbox.waiting:
		case <-time.After(30 * time.Second):
			t.Fatal("got no message, want one")
		}
	}
	three.mu.Lock()
	defer three.mu.Unlock()
	if n := len(three.received); n != 2 {
		t.Errorf("got %d messages that wait for an acknowledgement, want 2", n)
	}
}

// TestVersionThreeSurvivesItsBroker kills the broker and checks that no message is
// missing or out of order.
func TestVersionThreeSurvivesItsBroker(t *testing.T) {
	own, err := servers.NewMosquitto("")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = own.Close() })
	topic, r := name(t), connectortest.NewRuntime()
	c := connect(t, old(t, connectortest.Settings{"url": own.URL()}))
	listen(t, c, r, connectortest.Settings{"topic": topic})
	connectortest.Await(t, r, "up", up)
	publish := func(from int) {
		t.Helper()
		for i := from; i < from+20; {
			_, err := call(t.Context(), t, c, "publish", fmt.Sprint(i), connectortest.Settings{"topic": topic})
			switch f := fault.AsFailure(err); {
			case err == nil:
				i++
			case !f.Retryable:
				t.Fatal(err)
			default:
				<-time.After(20 * time.Millisecond)
			}
		}
	}
	publish(0)
	connectortest.Await(t, r, "the first ones", accepted(20))
	own.Kill()
	connectortest.Await(t, r, "down", down)
	if err := own.Start(); err != nil {
		t.Fatal(err)
	}
	publish(20)
	s := connectortest.Await(t, r, "all", func(s connectortest.State) bool {
		return len(s.Accepted) > 0 && s.Accepted[len(s.Accepted)-1].Doc.Text() == "39"
	})
	next := 0
	for _, m := range s.Accepted { // at least once, each after the one before
		if m.Doc.Text() == fmt.Sprint(next) {
			next++
		}
	}
	if next != 40 {
		t.Errorf("message %d is missing or out of order", next)
	}
}

// TestUnsupportedVersions checks that the failure names the setting to change.
func TestUnsupportedVersions(t *testing.T) {
	for _, test := range []struct {
		about, version, answer, want string
	}{
		{"a broker of 3.1.1 that answers in its format", version5, "\x20\x02\x00\x01", "set `version: 3.1.1`"},
		{"a broker of 3.1.1 that answers in the format of 5", version5, "\x20\x03\x00\x84\x00", "it does not support MQTT 5; set `version: 3.1.1`"},
		{"a broker of 3.1.1 that hangs up", version5, "", "set `version: 3.1.1`"},
		{"a broker of 5", version311, "\x20\x02\x00\x01", "set `version: 5`"},
		{"a name that is not valid", version311, "\x20\x02\x00\x02", "the client_id is not valid"},
		{"a busy broker", version311, "\x20\x02\x00\x03", "it is not available"},
	} {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			conn, err := l.Accept()
			if err != nil {
				return
			}
			defer conn.Close()
			_, _ = conn.Read(make([]byte, 1000))
			_, _ = io.WriteString(conn, test.answer)
			if test.answer != "" {
				_, _ = conn.Read(make([]byte, 1))
			}
		}()
		c := connect(t, settingsWith(t, connectortest.Settings{"version": test.version, "url": "mqtt://" + l.Addr().String()}))
		_, err = call(t.Context(), t, c, "publish", "1", connectortest.Settings{"topic": "x"})
		wantFailure(t, test.about, err, fault.CodeConnect, true, test.want)
		_ = c.Close()
		l.Close()
		<-ended
	}
}

// TestOperationsOfVersionThree checks that lint reports settings that need version 5.
func TestOperationsOfVersionThree(t *testing.T) {
	problems := func(version, operation string, with any) string {
		t.Helper()
		list, wrong := Connector("1").Describe(&settings{Version: version}, nil)
		op, ok := connectors.FindOperation(list, operation)
		if !ok || len(wrong) > 0 {
			t.Fatalf("there is no operation %s: %v", operation, wrong)
		}
		return strings.Join(op.Check(with), "; ")
	}
	for _, test := range []struct {
		version, operation string
		with               any
		want               string
	}{
		{version5, "request", &requestWith{Topic: "a"}, ""},
		{version311, "request", &requestWith{Topic: "a"}, "request needs MQTT 5"},
		{version311, "publish", &publishWith{Topic: "a"}, ""},
		{version311, "publish", &publishWith{Topic: "a/#", Expiration: time.Second}, "the topic contains a wildcard (+ or #); expiration: needs MQTT 5"},
		{version5, "publish", &publishWith{Topic: "a", Expiration: time.Second}, ""},
	} {
		got := problems(test.version, test.operation, test.with)
		if test.want == "" && got != "" || !strings.Contains(got, test.want) {
			t.Errorf("%s %s: got %q, want %q", test.version, test.operation, got, test.want)
		}
	}
}
