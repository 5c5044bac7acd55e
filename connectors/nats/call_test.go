package nats

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"valence/connectors"
	"valence/connectors/connectortest"
	"valence/internal/document"
	"valence/internal/fault"
	"valence/internal/test/servers"
)

func TestPublishIsStoredOnce(t *testing.T) {
	name, s := stream(t, broker.URL, nil)
	c := opened(t, settings{URL: broker.URL})
	in := connectors.Call{Body: document.FromJSON([]byte(`{"n":1}`)), IdempotencyKey: "K", CorrelationID: "C", Traceparent: "00-a-b-01"}
	with := connectortest.Settings{"subject": name + ".a", "headers": map[string]any{"X-Tenant": "7"}}
	for i, want := range []string{`{"stream":"` + name + `","sequence":1,"duplicate":false}`, `{"stream":"` + name + `","sequence":1,"duplicate":true}`} {
		r, err := call(t.Context(), t, c, "publish", with, in)
		if err != nil {
			t.Fatal(err)
		}
		if got := r.Doc.Text(); got != want {
			t.Errorf("attempt %d: got %s, want %s", i+1, got, want)
		}
	}
	m, err := s.GetMsg(t.Context(), 1)
	if err != nil {
		t.Fatal(err)
	}
	for header, want := range map[string]string{"Nats-Msg-Id": "K", "Correlation-Id": "C", "traceparent": "00-a-b-01", "Content-Type": "application/json", "X-Tenant": "7"} {
		if got := m.Header[header]; len(got) != 1 || got[0] != want {
			t.Errorf("header %s: got %q, want %q", header, got, want)
		}
	}
	if got := string(m.Data); got != `{"n":1}` {
		t.Errorf("got %s, want the document", got)
	}
}

func TestCorePublishReachesSubscribers(t *testing.T) {
	nc, _ := client(t, broker.URL)
	sub, err := nc.SubscribeSync("core.a")
	if err != nil {
		t.Fatal(err)
	}
	if err := nc.Flush(); err != nil {
		t.Fatal(err)
	}
	c := opened(t, settings{URL: broker.URL})
	if _, err := call(t.Context(), t, c, "publish", connectortest.Settings{"subject": "core.a", "core": true}, connectors.Call{Body: document.FromText("hello")}); err != nil {
		t.Fatal(err)
	}
	m, err := sub.NextMsg(patience)
	if err != nil {
		t.Fatal(err)
	}
	if got := string(m.Data); got != "hello" && got != `"hello"` {
		t.Errorf("got %s, want hello", got)
	}
}

func TestCallsFail(t *testing.T) {
	limited, err := servers.StartNATS(0, "", func(o *server.Options) {
		o.MaxPayload = 2048
		o.Users = []*server.User{
			{Username: "u", Password: "right-pass", Permissions: &server.Permissions{Publish: &server.SubjectPermission{Deny: []string{"denied.>"}}}},
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(limited.Close)
	plain, err := servers.StartNATS(0, "", func(o *server.Options) { o.JetStream = false })
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(plain.Close)
	name, _ := stream(t, broker.URL, func(s *jetstream.StreamConfig) { s.MaxMsgSize = 100 })
	nc, _ := client(t, broker.URL)
	for subject, answer := range map[string]func(m *nats.Msg){
		"fail.service": func(m *nats.Msg) {
			_ = m.RespondMsg(&nats.Msg{Data: []byte("body"), Header: nats.Header{headerService: {"sold out"}, headerServiceCode: {"409"}}})
		},
		"fail.json": func(m *nats.Msg) {
			_ = m.RespondMsg(&nats.Msg{Data: []byte("{"), Header: nats.Header{"Content-Type": {"application/json"}}})
		},
		"fail.silent": func(*nats.Msg) {},
	} {
		if _, err := nc.Subscribe(subject, answer); err != nil {
			t.Fatal(err)
		}
	}
	if err := nc.Flush(); err != nil {
		t.Fatal(err)
	}
	user := strings.Replace(limited.URL, "//", "//u:right-pass@", 1)
	wrong := strings.Replace(limited.URL, "//", "//u:wrong-pass@", 1)
	large := strings.Repeat("x", 4096)
	for _, test := range []struct {
		name, url, operation string
		with                 connectortest.Settings
		body                 string
		code                 string
		retryable            bool
		message              string
	}{
		{"wrong password", wrong, "publish", connectortest.Settings{"subject": "a"}, "", "auth", false, "rejects the credentials"},
		{"no credentials", limited.URL, "request", connectortest.Settings{"subject": "a"}, "", "auth", false, "rejects the credentials"},
		{"publish without permission", user, "publish", connectortest.Settings{"subject": "denied.a"}, "", "auth", false, "ermissions"},
		{"core publish without permission", user, "publish", connectortest.Settings{"subject": "denied.b", "core": true}, "", "auth", false, "ermissions"},
		{"request without permission", user, "request", connectortest.Settings{"subject": "denied.c"}, "", "auth", false, "ermissions"},
		{"larger than the server accepts", user, "publish", connectortest.Settings{"subject": "a"}, large, fault.CodeTooLarge, false, "larger"},
		{"larger than the stream accepts", broker.URL, "publish", connectortest.Settings{"subject": name + ".a"}, large, fault.CodeTooLarge, false, "larger"},
		{"no stream", broker.URL, "publish", connectortest.Settings{"subject": "nowhere.a"}, "", fault.CodeUnavailable, true, "no stream stores the subject"},
		{"no JetStream", plain.URL, "publish", connectortest.Settings{"subject": "a"}, "", fault.CodeUnavailable, true, "no stream"},
		{"no service", broker.URL, "request", connectortest.Settings{"subject": "nowhere.b"}, "", fault.CodeUnavailable, true, "nobody listens"},
		{"service error", broker.URL, "request", connectortest.Settings{"subject": "fail.service"}, "", fault.CodeStatus, false, "409: sold out"},
		{"invalid reply", broker.URL, "request", connectortest.Settings{"subject": "fail.json"}, "", fault.CodeAnswer, false, "cannot read the reply"},
		{"wildcard", broker.URL, "publish", connectortest.Settings{"subject": "a.*"}, "", codeBadCall, false, "wildcard"},
		{"empty part", broker.URL, "publish", connectortest.Settings{"subject": "a..b"}, "", codeBadCall, false, "empty part"},
		{"second line", broker.URL, "request", connectortest.Settings{"subject": "a\r\nPUB b"}, "", codeBadCall, false, "white space"},
		{"header injection", broker.URL, "publish", connectortest.Settings{"subject": "a", "headers": map[string]any{"X": "1\r\nY: 2"}}, "", codeBadCall, false, "line break"},
		{"header name", broker.URL, "publish", connectortest.Settings{"subject": "a", "headers": map[string]any{"X: y": "1"}}, "", codeBadCall, false, "name of a header"},
	} {
		t.Run(test.name, func(t *testing.T) {
			began := time.Now()
			_, err := call(t.Context(), t, opened(t, settings{URL: test.url}), test.operation, test.with, connectors.Call{Body: document.FromText(test.body)})
			f := fault.AsFailure(err)
			if f == nil {
				t.Fatal("got no failure, want one")
			}
			if f.Code != test.code || f.Retryable != test.retryable || !strings.Contains(f.Message, test.message) {
				t.Errorf("got %s (retryable %v): %s, want %s (retryable %v): …%s…", f.Code, f.Retryable, f.Message, test.code, test.retryable, test.message)
			}
			if strings.Contains(f.Error(), "-pass") {
				t.Errorf("got %v, want no password in it", f)
			}
			if took := time.Since(began); took > patience/2 {
				t.Errorf("took %v, want an error without waiting for the timeout", took)
			}
		})
	}
	t.Run("no reply in time", func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
		defer cancel()
		_, err := call(ctx, t, opened(t, settings{URL: broker.URL}), "request", connectortest.Settings{"subject": "fail.silent"}, connectors.Call{})
		if f := fault.AsFailure(err); f == nil || f.Code != fault.CodeTimeout || !f.Retryable {
			t.Errorf("got %v, want a retryable timeout", err)
		}
	})
}

func TestRequestReturnsTheReply(t *testing.T) {
	nc, _ := client(t, broker.URL)
	got := make(chan nats.Header, 1)
	if _, err := nc.Subscribe("prices", func(m *nats.Msg) {
		got <- m.Header
		_ = m.RespondMsg(&nats.Msg{Data: []byte("<p>3</p>"), Header: nats.Header{"content-type": {"application/xml"}, "X-Age": {"1"}}})
	}); err != nil {
		t.Fatal(err)
	}
	if err := nc.Flush(); err != nil {
		t.Fatal(err)
	}
	r, err := call(t.Context(), t, opened(t, settings{URL: broker.URL}), "request", connectortest.Settings{"subject": "prices"},
		connectors.Call{Body: document.FromJSON([]byte(`{}`)), CorrelationID: "C", Traceparent: "00-a-b-01"})
	if err != nil {
		t.Fatal(err)
	}
	if r.Doc.Data() != `{"p":"3"}` || r.Headers.Get("X-Age") != "1" {
		t.Errorf("got %s with headers %v, want the XML reply as a document with its headers", r.Doc.Data(), r.Headers)
	}
	if h := <-got; header(h, "Correlation-Id") != "C" || header(h, "Traceparent") != "00-a-b-01" {
		t.Errorf("the service received %v, want the correlation id and the trace context", h)
	}
}

func TestCallsSurviveARestartOfTheServer(t *testing.T) {
	own, err := servers.StartNATS(0, t.TempDir(), nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(own.Close)
	if err := own.Stream("ORDERS", "orders.>"); err != nil {
		t.Fatal(err)
	}
	c := opened(t, settings{URL: own.URL})
	with := connectortest.Settings{"subject": "orders.a"}
	if _, err := call(t.Context(), t, c, "publish", with, connectors.Call{IdempotencyKey: "1"}); err != nil {
		t.Fatal(err)
	}
	own.Kill()
	_, err = call(t.Context(), t, c, "publish", with, connectors.Call{IdempotencyKey: "2"})
	if f := fault.AsFailure(err); f == nil || !f.Retryable || !f.Unavailable() {
		t.Errorf("while the server is away: got %v, want a retryable failure of a system that is not available", err)
	}
	if err := own.Start(); err != nil {
		t.Fatal(err)
	}
	for deadline := time.Now().Add(patience); ; {
		if _, err = call(t.Context(), t, c, "publish", with, connectors.Call{IdempotencyKey: "2"}); err == nil {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("after the restart: got %v, want nil", err)
		}
	}
}
