package amqp1

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/Azure/go-amqp"

	"valence/connectors"
	"valence/connectors/connectortest"
	"valence/internal/document"
	"valence/internal/fault"
	"valence/internal/spec"
	"valence/internal/test/servers"
)

func TestConforms(t *testing.T) {
	in, out := name(t)+".in", name(t)+".out"
	requests, send, sent := responder(t), sendTo(t, newPlain(t), place{in, kindQueue}), 0
	connectortest.Conform(t, connectortest.Subject{
		Connector: Connector("1.2.3"),
		Settings:  settingsWith(nil),
		Away:      settingsWith(connectortest.Settings{"url": "amqp://" + connectortest.AwayAddress(t)}),
		Silent:    settingsWith(connectortest.Settings{"url": "amqp://" + connectortest.SilentAddress(t)}),
		Secrets:   []string{servers.ArtemisPassword},
		Calls: []connectortest.Call{
			{Operation: "send", With: connectortest.Settings{"address": out}, Body: `{"n":1}`},
			{Operation: "request", With: connectortest.Settings{"address": requests}, Body: `{"n":1}`},
		},
		Source: &connectortest.Source{
			With:    connectortest.Settings{"address": in},
			Ordered: true,
			Send: func(_ *testing.T, doc string) {
				sent++
				send(numbered(fmt.Sprint(sent), doc))
			},
		},
	})
}

// responder starts a client that is not ours and answers the requests of a queue
// with their own content.
func responder(t *testing.T) (queue string) {
	t.Helper()
	queue = name(t) + ".requests"
	s := newPlain(t)
	receiver, err := s.NewReceiver(t.Context(), queue, &amqp.ReceiverOptions{Credit: 100, SourceCapabilities: []string{kindQueue}})
	if err != nil {
		t.Fatal(err)
	}
	go func() {
		ctx := context.Background()
		for {
			m, err := receiver.Receive(ctx, nil)
			if err != nil { // the test has ended
				return
			}
			_ = receiver.AcceptMessage(ctx, m)
			sender, err := s.NewSender(ctx, *m.Properties.ReplyTo, nil)
			if err != nil {
				return
			}
			for _, id := range []any{"another", m.Properties.CorrelationID} {
				_ = sender.Send(ctx, &amqp.Message{Properties: &amqp.MessageProperties{CorrelationID: id, ContentType: m.Properties.ContentType}, ApplicationProperties: m.ApplicationProperties, Data: m.Data}, nil)
			}
			_ = sender.Close(ctx)
		}
	}()
	return queue
}

func TestSend(t *testing.T) {
	queue := name(t)
	c, next := connect(t, settingsWith(nil)), receiveFrom(t, newPlain(t), queue)
	with := connectortest.Settings{"address": queue, "group": "g1", "priority": 7, "expiration": "1m", "headers": map[string]any{"region": "PT"}}
	for range 2 {
		if _, err := call(t.Context(), t, c, "send", `{"id":7}`, with); err != nil {
			t.Fatal(err)
		}
		m := next()
		got := fmt.Sprintln(string(m.GetData()), *m.Properties.ContentType, m.Header.Durable, m.Header.Priority, m.Header.TTL > 0, m.Properties.MessageID, m.Properties.CorrelationID, *m.Properties.GroupID, m.ApplicationProperties)
		want := `{"id":7} application/json true 7 true key-{"id":7} corr-1 g1 map[region:PT traceparent:00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01]` + "\n"
		if got != want {
			t.Errorf("got %s, want %s", got, want)
		}
	}
}

// TestRequest makes requests whose replies arrive in a temporary queue, and in a
// queue that two clients share.
func TestRequest(t *testing.T) {
	queue := responder(t)
	shared := connectortest.Settings{"reply_address": name(t) + ".replies"}
	for about, clients := range map[string][]*connection{
		"temporary": {connect(t, settingsWith(nil))},
		"shared":    {connect(t, settingsWith(shared)), connect(t, settingsWith(shared))},
	} {
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		results := make(chan error, 20)
		for i := range cap(results) {
			go func() {
				body := fmt.Sprintf(`{"n":%d}`, i)
				r, err := call(ctx, t, clients[i%len(clients)], "request", body, connectortest.Settings{"address": queue})
				if err == nil && (r.Doc.Text() != body || r.Headers.Get(keyProperty) != "key-"+body || r.Headers.Get(traceProperty) == "") {
					err = fmt.Errorf("got %s with %v, want %s with the headers of the request", r.Doc.Text(), r.Headers, body)
				}
				results <- err
			}()
		}
		for range cap(results) {
			if err := <-results; err != nil {
				t.Errorf("%s: %v", about, err)
			}
		}
	}
	short, stop := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer stop()
	_, err := call(short, t, connect(t, settingsWith(nil)), "request", "1", connectortest.Settings{"address": queue + ".silent"})
	wantFailure(t, "a queue that nobody reads", err, fault.CodeTimeout, true, "no reply from queue")
}

// TestRequestAndReply checks that both sides can be this connector.
func TestRequestAndReply(t *testing.T) {
	queue, r := name(t), connectortest.NewRuntime()
	c, server := connect(t, settingsWith(nil)), connect(t, settingsWith(nil))
	listen(t, server, r, connectortest.Settings{"address": queue})
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	result := make(chan error, 1)
	go func() {
		got, err := call(ctx, t, c, "request", `{"n":1}`, connectortest.Settings{"address": queue})
		if err == nil && (got.Doc.Text() != `{"ok":true}` || got.Headers.Get("status") != "201" || got.Headers.Get("x") != "y") {
			err = fmt.Errorf("got %s with %v, want the reply", got.Doc.Text(), got.Headers)
		}
		result <- err
	}()
	m := connectortest.Await(t, r, "the request", accepted(1)).Accepted[0]
	if !strings.HasSuffix(m.CorrelationID, ".corr-1") || m.Traceparent == "" {
		t.Errorf("got the correlation id %q and the trace %q, want those of the request", m.CorrelationID, m.Traceparent)
	}
	reply := &connectors.Reply{To: m.ReplyTo, CorrelationID: m.CorrelationID, Status: 201, Doc: document.FromJSON([]byte(`{"ok":true}`)), Headers: []spec.KV{{Name: "x", Value: "y"}}, IdempotencyKey: "k"}
	if err := server.Reply(ctx, reply); err != nil {
		t.Fatal(err)
	}
	if err := <-result; err != nil {
		t.Error(err)
	}
}

func TestMessages(t *testing.T) {
	queue := name(t)
	send, r := sendTo(t, newPlain(t), place{queue, kindQueue}), connectortest.NewRuntime()
	listen(t, connect(t, settingsWith(nil)), r, connectortest.Settings{"address": queue})
	of := func(s string) *string { return &s }
	tests := []struct {
		about   string
		message amqp.Message
		doc     string // its data view
		props   string // the last ones
		invalid bool
	}{
		{"JSON", amqp.Message{Data: [][]byte{[]byte(`{"a"`), []byte(`:1}`)}}, `{"a":1}`, `"headers":{}}`, false},
		{"a text message", amqp.Message{Value: "20.5 C"}, `"20.5 C"`, `"headers":{}}`, false},
		{"a map message", amqp.Message{Value: map[string]any{"a": int32(1), "b": []any{true, nil, 1.5}}}, `{"a":1,"b":[true,null,1.5]}`, `"headers":{}}`, false},
		{"bytes", amqp.Message{Data: [][]byte{{0xff, 0}}}, "", `"headers":{}}`, false},
		{"XML", amqp.Message{Properties: &amqp.MessageProperties{ContentType: of("text/xml")}, Data: [][]byte{[]byte("<a>1</a>")}}, `{"a":"1"}`, `"headers":{}}`, false},
		{"not JSON", amqp.Message{Properties: &amqp.MessageProperties{ContentType: of("application/json")}, Data: [][]byte{[]byte("{")}}, "", `"headers":{}}`, true},
		{"properties", amqp.Message{Properties: &amqp.MessageProperties{MessageID: amqp.UUID{1}, ReplyTo: of("r1"), Subject: of("s1"), GroupID: of("g1")}, ApplicationProperties: map[string]any{"n": int64(-1), "t": "x"}, Data: [][]byte{[]byte("1")}}, "1",
			`"group":"g1","priority":0,"durable":true,"deliveries":1,"headers":{"n":-1,"t":"x"}}`, false},
	}
	refused := 0
	for i, test := range tests {
		send(&test.message)
		seen := connectortest.Await(t, r, test.about, func(s connectortest.State) bool { return len(s.Accepted)+len(s.Refused) == i+1 })
		of := seen.Accepted
		if len(seen.Refused) > refused {
			of, refused = seen.Refused, len(seen.Refused)
		}
		m := of[len(of)-1]
		props := string(document.AppendJSON(nil, m.Props))
		if m.Doc.Data() != test.doc || !strings.HasPrefix(props, fmt.Sprintf(`{"address":%q`, queue)) || !strings.HasSuffix(props, test.props) || (m.Invalid != nil) != test.invalid {
			t.Errorf("%s: got %s %s (%v), want %s %s", test.about, m.Doc.Data(), props, m.Invalid, test.doc, test.props)
		}
		if test.about == "properties" {
			id, err := decodeID(strings.Fields(m.ReplyTo)[0])
			if m.Origin == "" || m.Remember == 0 || m.CorrelationID != (amqp.UUID{1}).String() || err != nil || id != (amqp.UUID{1}) {
				t.Errorf("got %q, %q and the address %q (%v), want the identity", m.Origin, m.CorrelationID, m.ReplyTo, err)
			}
		}
	}
}

// TestTopics checks that a durable subscription receives the messages that were
// sent while nobody was there, and is shared by two atoms.
func TestTopics(t *testing.T) {
	topic := place{name(t), kindTopic}
	send := sendTo(t, newPlain(t), topic)
	with := connectortest.Settings{"address": topic.Address, "kind": kindTopic, "subscription": name(t)}
	r := connectortest.NewRuntime()
	stop := listen(t, connect(t, settingsWith(nil)), r, with)
	connectortest.Await(t, r, "up", up)
	stop()
	send(numbered("while away", "away"))
	members := []*connectortest.Runtime{connectortest.NewRuntime(), connectortest.NewRuntime()}
	for _, r := range members {
		listen(t, connect(t, settingsWith(nil)), r, with)
		connectortest.Await(t, r, "up", up)
	}
	other := connectortest.NewRuntime()
	listen(t, connect(t, settingsWith(nil)), other, connectortest.Settings{"address": topic.Address, "kind": kindTopic})
	connectortest.Await(t, other, "up", up)
	for i := range 20 {
		send(numbered(fmt.Sprint("n", i), fmt.Sprint(i)))
	}
	connectortest.Await(t, other, "all for a subscription that is not durable", accepted(20))
	var got []string
	for deadline := time.Now().Add(time.Minute); len(got) < 21 && time.Now().Before(deadline); time.Sleep(time.Millisecond) { // two runtimes
		got = nil
		for _, m := range append(members[0].State().Accepted, members[1].State().Accepted...) {
			got = append(got, m.Doc.Text())
		}
	}
	slices.Sort(got)
	if len(slices.Compact(got)) != 21 || !slices.Contains(got, "away") {
		t.Errorf("got %v, want each message once, also the one that was sent while nobody was there", got)
	}
}
