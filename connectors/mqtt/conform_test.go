package mqtt

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/eclipse/paho.golang/paho"

	"valence/connectors"
	"valence/connectors/connectortest"
	"valence/internal/document"
	"valence/internal/fault"
	"valence/internal/spec"
	"valence/internal/test/servers"
)

func TestConforms(t *testing.T) {
	for _, version := range []string{version5, version311} {
		t.Run(version, func(t *testing.T) {
			in, out, sender, sent := name(t)+"/in", name(t)+"/out", newPlain(t), 0
			v := connectortest.Settings{"version": version}
			connection := settingsWith(t, v)
			first := connectortest.NewRuntime() // from now on the broker stores the messages
			stop := listen(t, connect(t, connection), first, connectortest.Settings{"topic": in})
			connectortest.Await(t, first, "up", up)
			stop()
			calls := []connectortest.Call{
				{Operation: "publish", With: connectortest.Settings{"topic": out}, Body: `{"n":1}`},
				{Operation: "request", With: connectortest.Settings{"topic": responder(t)}, Body: `{"n":1}`},
			}
			connector := Connector("1.2.3")
			if version == version311 {
				connector.Operations, calls = connector.Operations[:1], calls[:1] // without request
			}
			connectortest.Conform(t, connectortest.Subject{
				Connector: connector,
				Settings:  connection,
				Away:      settingsWith(t, connectortest.Settings{"version": version, "url": "mqtt://" + connectortest.AwayAddress(t)}),
				Silent:    settingsWith(t, connectortest.Settings{"version": version, "url": "mqtt://" + connectortest.SilentAddress(t)}),
				Secrets:   []string{servers.MosquittoPassword},
				Calls:     calls,
				Source: &connectortest.Source{
					With:      connectortest.Settings{"topic": in},
					Ordered:   true,
					Anonymous: version == version311,
					Send: func(t *testing.T, doc string) {
						sent++
						sender.send(t, in, fmt.Sprint(sent), doc)
					},
				},
			})
		})
	}
}

// responder starts a client that is not ours and answers the requests of a topic
// with their own content.
func responder(t *testing.T) (topic string) {
	t.Helper()
	topic = name(t) + "/requests"
	p := newPlain(t)
	p.subscribe(t, topic)
	go func() {
		for {
			var m *paho.Publish
			select {
			case m = <-p.received:
			case <-p.Done():
				return
			}
			properties := *m.Properties
			properties.CorrelationData = []byte("another")
			_, _ = p.Publish(context.Background(), &paho.Publish{Topic: m.Properties.ResponseTopic, Properties: &properties, QoS: 1, Payload: []byte(`"not for you"`)})
			properties.CorrelationData = m.Properties.CorrelationData
			_, _ = p.Publish(context.Background(), &paho.Publish{Topic: m.Properties.ResponseTopic, Properties: &properties, QoS: 1, Payload: m.Payload})
		}
	}()
	return topic
}

func TestPublish(t *testing.T) {
	topic, p, c := name(t), newPlain(t), connect(t, settingsWith(t, nil))
	p.subscribe(t, topic+"/#")
	with := connectortest.Settings{"topic": topic + "/a", "expiration": "90s", "headers": map[string]any{"region": "PT"}}
	for qos := range 3 {
		with["qos"] = qos
		if _, err := call(t.Context(), t, c, "publish", `{"id":7}`, with); err != nil {
			t.Fatal(err)
		}
		m := p.next(t)
		got := fmt.Sprintln(m.Topic, string(m.Payload), m.Properties.ContentType, string(m.Properties.CorrelationData), *m.Properties.MessageExpiry, m.Properties.User)
		want := topic + `/a {"id":7} application/json corr-1 90 [{traceparent 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01} {region PT} {message-id key-{"id":7}}]` + "\n"
		if got != want {
			t.Errorf("qos %d: got %s, want %s", qos, got, want)
		}
	}
	if _, err := call(t.Context(), t, c, "publish", `1`, connectortest.Settings{"topic": topic + "/kept", "retain": true}); err != nil {
		t.Fatal(err)
	}
	late := newPlain(t)
	late.subscribe(t, topic+"/kept")
	if m := late.next(t); !m.Retain || string(m.Payload) != "1" {
		t.Errorf("got %v, want the retained message", m)
	}
}

func TestRequest(t *testing.T) {
	topic := responder(t)
	c := connect(t, settingsWith(t, nil))
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	results := make(chan error, 20)
	for i := range cap(results) {
		go func() {
			body := fmt.Sprintf(`{"n":%d}`, i)
			r, err := call(ctx, t, c, "request", body, connectortest.Settings{"topic": topic})
			if err == nil && (r.Doc.Text() != body || r.Headers.Get(propertyKey) != "key-"+body || r.Headers.Get(propertyTrace) == "") {
				err = fmt.Errorf("got %s with %v, want %s with the headers of the request", r.Doc.Text(), r.Headers, body)
			}
			results <- err
		}()
	}
	for range cap(results) {
		if err := <-results; err != nil {
			t.Error(err)
		}
	}
	silent := newPlain(t)
	silent.subscribe(t, topic+"/silent")
	short, stop := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer stop()
	_, err := call(short, t, c, "request", "1", connectortest.Settings{"topic": topic + "/silent"})
	wantFailure(t, "a topic that nobody answers", err, fault.CodeTimeout, true, "no reply from")
	_, err = call(ctx, t, c, "request", "1", connectortest.Settings{"topic": topic + "/nobody"})
	wantFailure(t, "a topic without subscribers", err, codeMissing, true, "nobody subscribes")
}

// TestRequestAndReply checks that both sides can be this connector.
func TestRequestAndReply(t *testing.T) {
	topic, c, r := name(t), connect(t, settingsWith(t, nil)), connectortest.NewRuntime()
	server := connect(t, settingsWith(t, nil))
	listen(t, server, r, connectortest.Settings{"topic": topic})
	connectortest.Await(t, r, "up", up)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	result := make(chan error, 1)
	go func() {
		got, err := call(ctx, t, c, "request", `{"n":1}`, connectortest.Settings{"topic": topic})
		if err == nil && (got.Doc.Text() != `{"ok":true}` || got.Headers.Get("status") != "201" || got.Headers.Get("x") != "y") {
			err = fmt.Errorf("got %s with %v, want the reply", got.Doc.Text(), got.Headers)
		}
		result <- err
	}()
	m := connectortest.Await(t, r, "the request", accepted(1)).Accepted[0]
	if !strings.HasPrefix(m.CorrelationID, "corr-1.") || m.Traceparent == "" {
		t.Errorf("got the correlation id %q and the trace %q, want those of the request", m.CorrelationID, m.Traceparent)
	}
	if err := server.Reply(ctx, &connectors.Reply{To: m.ReplyTo, CorrelationID: m.CorrelationID, Status: 201, Doc: document.FromJSON([]byte(`{"ok":true}`)),
		Headers: []spec.KV{{Name: "x", Value: "y"}}, IdempotencyKey: "k"}); err != nil {
		t.Fatal(err)
	}
	if err := <-result; err != nil {
		t.Error(err)
	}
}

func TestMessages(t *testing.T) {
	topic, p, r := name(t), newPlain(t), connectortest.NewRuntime()
	listen(t, connect(t, settingsWith(t, nil)), r, connectortest.Settings{"topic": topic + "/+", "qos": 2})
	connectortest.Await(t, r, "up", up)
	tests := []struct {
		about   string
		message paho.Publish
		props   paho.PublishProperties
		doc     string // its data view
		want    string // of the props, without the topic
		invalid bool
	}{
		{"JSON without a type", paho.Publish{QoS: 1, Payload: []byte(`[1]`)}, paho.PublishProperties{}, `[1]`, `"qos":1,"retain":false,"duplicate":false,"headers":{}`, false},
		{"text without a type", paho.Publish{QoS: 1, Payload: []byte(`20.5 C`)}, paho.PublishProperties{}, `"20.5 C"`, `"qos":1,"retain":false,"duplicate":false,"headers":{}`, false},
		{"bytes without a type", paho.Publish{QoS: 0, Payload: []byte("\xff\x00")}, paho.PublishProperties{}, "", `"qos":0,"retain":false,"duplicate":false,"headers":{}`, false},
		{"XML", paho.Publish{QoS: 2, Payload: []byte("<a>1</a>")}, paho.PublishProperties{ContentType: "text/xml"}, `{"a":"1"}`, `"qos":2,"retain":false,"duplicate":false,"content_type":"text/xml","headers":{}`, false},
		{"empty", paho.Publish{QoS: 1}, paho.PublishProperties{}, "null", `"qos":1,"retain":false,"duplicate":false,"headers":{}`, false},
		{"not JSON", paho.Publish{QoS: 1, Payload: []byte("{")}, paho.PublishProperties{ContentType: "application/json"}, "", `"qos":1,"retain":false,"duplicate":false,"content_type":"application/json","headers":{}`, true},
		{"properties", paho.Publish{QoS: 1, Payload: []byte("1")}, paho.PublishProperties{CorrelationData: []byte("c1"), ResponseTopic: "r1", MessageExpiry: paho.Uint32(3600),
			User: paho.UserProperties{{Key: propertyID, Value: "m1"}, {Key: "tag", Value: "a"}, {Key: "tag", Value: "b"}}}, "1",
			`"qos":1,"retain":false,"duplicate":false,"response_topic":"r1","correlation_id":"c1","message_id":"m1","expires_in":3600,"headers":{"message-id":"m1","tag":["a","b"]}`, false},
	}
	refused := 0
	for i, test := range tests {
		test.message.Topic, test.message.Properties = topic+"/a", &test.props
		if _, err := p.Publish(t.Context(), &test.message); err != nil {
			t.Fatal(err)
		}
		seen := connectortest.Await(t, r, test.about, func(s connectortest.State) bool { return len(s.Accepted)+len(s.Refused) == i+1 })
		of := seen.Accepted
		if len(seen.Refused) > refused {
			of, refused = seen.Refused, len(seen.Refused)
		}
		m := of[len(of)-1]
		want := fmt.Sprintf(`{"topic":%q,%s}`, topic+"/a", test.want)
		if props := string(document.AppendJSON(nil, m.Props)); m.Doc.Data() != test.doc || props != want || (m.Invalid != nil) != test.invalid {
			t.Errorf("%s: got %s %s (%v), want %s %s", test.about, m.Doc.Data(), props, m.Invalid, test.doc, want)
		}
		if test.about == "properties" && (m.Origin != topic+"/+: m1" || m.Remember == 0 || m.CorrelationID != "c1" || m.ReplyTo == "") {
			t.Errorf("%s: got the identity %q, %q, %q", test.about, m.Origin, m.CorrelationID, m.ReplyTo)
		}
	}
}

// TestShare checks that the members of a group share the messages.
func TestShare(t *testing.T) {
	topic, p := name(t), newPlain(t)
	first, second := connectortest.NewRuntime(), connectortest.NewRuntime()
	for _, r := range []*connectortest.Runtime{first, second} {
		listen(t, connect(t, settingsWith(t, nil)), r, connectortest.Settings{"topic": topic, "share": "group"})
		connectortest.Await(t, r, "up", up)
	}
	for i := range 20 {
		p.send(t, topic, fmt.Sprint(i), fmt.Sprint(i))
	}
	connectortest.Await(t, first, "a share", accepted(1))
	connectortest.Await(t, second, "a share", accepted(1))
	var got []string
	for deadline := time.Now().Add(time.Minute); len(got) < 20 && time.Now().Before(deadline); time.Sleep(time.Millisecond) { // two runtimes
		got = nil
		for _, m := range append(first.State().Accepted, second.State().Accepted...) {
			got = append(got, m.Doc.Text())
		}
	}
	slices.Sort(got)
	if len(got) != 20 || len(slices.Compact(got)) != 20 {
		t.Errorf("got %v, want each message once", got)
	}
}
