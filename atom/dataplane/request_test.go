package dataplane

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"regexp"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"valence/atom"
	"valence/atom/store"
	"valence/internal/document"
	"valence/internal/fault"
	"valence/internal/traceparent"
	"valence/processes"
)

func TestReceipt(t *testing.T) {
	f := &fake{}
	s := serve(t, f, on("/a"))
	f.accept = func(_ context.Context, in *atom.Message) (*atom.Acknowledgement, error) {
		return &atom.Acknowledgement{Execution: "x1", Process: "a", Status: "accepted", ReceivedAt: time.UnixMilli(1700000000123), SHA256: in.SHA256,
			Location: "/executions/x1", ReplyToken: "t", CorrelationID: in.CorrelationID}, nil
	}
	w := send(s, "POST", "/a", `{}`, "Correlation-Id", "c-1")
	want := `{"execution":"x1","process":"a","status":"accepted","received_at":"2023-11-14T22:13:20.123Z",` +
		`"sha256":"44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a","location":"/executions/x1","reply_token":"t","correlation_id":"c-1"}` + "\n"
	if w.Code != 200 || w.Body.String() != want || w.Header().Get("X-Execution-Id") != "x1" || w.Header().Get("Content-Type") != "application/json" ||
		w.Header().Get("Correlation-Id") != "c-1" {
		t.Errorf("got  %d %s %v\nwant %s", w.Code, w.Body, w.Header(), want)
	}

	f.accept = func(_ context.Context, in *atom.Message) (*atom.Acknowledgement, error) {
		return &atom.Acknowledgement{Process: "a", Status: "filtered", ReceivedAt: time.UnixMilli(0)}, nil
	}
	w = send(s, "POST", "/a", `{}`)
	if want := `{"process":"a","status":"filtered","received_at":"1970-01-01T00:00:00.000Z"}` + "\n"; w.Body.String() != want {
		t.Errorf("got %s, want %q", w.Body, want)
	}

	for _, c := range []struct {
		answer atom.Answer
		status int
		media  string
		body   string
	}{
		{atom.Answer{Status: 202, Body: document.FromJSON([]byte(`{"ok":true}`))}, 202, "application/json", `{"ok":true}`},
		{atom.Answer{Status: 204, Body: document.FromJSON([]byte(`{}`))}, 204, "application/json", ``},
		{atom.Answer{Body: document.FromText("ok")}, 200, "text/plain; charset=utf-8", `ok`},
		{atom.Answer{Body: document.FromText("<ok/>"), Headers: []atom.KV{{Name: "content-type", Value: "text/xml"}, {Name: "X-A", Value: "1"}, {Name: "Content-Length", Value: "99"}}}, 200, "text/xml", `<ok/>`},
		{atom.Answer{Status: 201}, 201, "application/json", `{"execution":"x1","process":"a","status":"accepted","received_at":"1970-01-01T00:00:00.000Z"}` + "\n"},
		{atom.Answer{Status: 9999, Body: document.FromText("ok")}, 200, "text/plain; charset=utf-8", `ok`},
	} {
		f.accept = func(context.Context, *atom.Message) (*atom.Acknowledgement, error) {
			return &atom.Acknowledgement{Execution: "x1", Process: "a", Status: "accepted", ReceivedAt: time.UnixMilli(0), Answer: &c.answer}, nil
		}
		w := send(s, "POST", "/a", `{}`)
		if w.Code != c.status || w.Header().Get("Content-Type") != c.media || w.Body.String() != c.body || w.Header().Get("X-Execution-Id") != "x1" {
			t.Errorf("%+v: got %d %q %v, want status %v, Content-Type %q, body %q and X-Execution-Id x1", c.answer, w.Code, w.Body, w.Header(), c.status, c.media, c.body)
		}
		if w.Header().Get("Content-Length") != "" {
			t.Error("got the process' Content-Length, want the server's")
		}
	}
}

// A `validate` of the document that the caller sent is answered like a profile.
func TestInvalidInputIsAnsweredWithItsViolations(t *testing.T) {
	failure := &fault.Failure{Code: fault.CodeInvalid, Step: "2", Problems: []fault.Violation{{Pointer: "/id", Detail: "is missing"}}}
	for ofInput, want := range map[bool]int{true: 400, false: 500} {
		failure.OfInput = ofInput
		s := serve(t, &fake{request: func(context.Context, *atom.Message) (*atom.Reply, error) { return nil, failure }}, on("/a", replies("json")))
		w := send(s, "POST", "/a", `{}`)
		if w.Code != want || strings.Contains(w.Body.String(), `"pointer":"/id"`) != ofInput {
			t.Errorf("of the input %t: got %d %s, want %d and the violations only of the input", ofInput, w.Code, w.Body, want)
		}
	}
}

func TestReplies(t *testing.T) {
	f := &fake{}
	s := serve(t, f, on("/json", replies("json")), on("/xml", replies("xml")), on("/text", replies("text")), on("/binary", replies("binary")))
	doc := func(s string) *document.Document { return document.FromJSON([]byte(s)) }
	long := strings.Repeat("x", 100_000)
	for _, c := range []struct {
		name, path  string
		reply       atom.Reply
		status      int
		media, body string
	}{
		{"JSON as it is", "/json", atom.Reply{Doc: doc(`{"b":1.0,"a":[]}`)}, 200, "application/json", `{"b":1.0,"a":[]}`},
		{"status", "/json", atom.Reply{Doc: doc(`1`), Status: 201}, 201, "application/json", `1`},
		{"XML to a JSON caller", "/json", atom.Reply{Doc: document.New([]byte("<a>1</a>"), "text/xml", `{"a":"1"}`)}, 200, "application/json", `{"a":"1"}`},
		{"bytes to a JSON caller", "/json", atom.Reply{Doc: document.New([]byte{0}, "image/png", "")}, 200, "application/json", `null`},
		{"media type of the author", "/json", atom.Reply{Doc: doc(`{}`), Headers: []atom.KV{{Name: "Content-Type", Value: "application/vnd.a+json"}, {Name: "Cache-Control", Value: "max-age=60"}}}, 200, "application/vnd.a+json", `{}`},
		{"no content", "/json", atom.Reply{Doc: doc(`{}`), Status: 204}, 204, "application/json", ``},
		{"no reply on the path", "/json", atom.Reply{None: true}, 200, "", ``},
		{"long", "/text", atom.Reply{Doc: document.FromText(long)}, 200, "text/plain; charset=utf-8", long},
		{"XML as it is", "/xml", atom.Reply{Doc: document.New([]byte("<a  b='1'/>"), "text/xml", `{}`)}, 200, "text/xml", `<a  b='1'/>`},
		{"text", "/text", atom.Reply{Doc: doc(`"a\nb"`)}, 200, "text/plain; charset=utf-8", "a\nb"},
		{"number as text", "/text", atom.Reply{Doc: doc(`1.50`)}, 200, "text/plain; charset=utf-8", "1.50"},
		{"boolean as text", "/text", atom.Reply{Doc: doc(`true`)}, 200, "text/plain; charset=utf-8", "true"},
		{"null as text", "/text", atom.Reply{Doc: doc(`null`)}, 200, "text/plain; charset=utf-8", ""},
		{"object as text", "/text", atom.Reply{Doc: doc(`{"a":1}`)}, 200, "text/plain; charset=utf-8", `{"a":1}`},
		{"binary", "/binary", atom.Reply{Doc: document.New([]byte{0, 255}, "image/png", "")}, 200, "image/png", "\x00\xff"},
		{"binary of no type", "/binary", atom.Reply{Doc: document.New([]byte{0}, "", "")}, 200, "application/octet-stream", "\x00"},
		{"impossible status", "/json", atom.Reply{Execution: "x1", Doc: doc(`{}`), Status: 42}, 500, "application/problem+json", ""},
		{"what cannot be XML", "/xml", atom.Reply{Execution: "x1", Doc: doc(`{"a":1,"b":2}`)}, 500, "application/problem+xml", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			c.reply.Execution = "x1"
			f.request = func(context.Context, *atom.Message) (*atom.Reply, error) { return &c.reply, nil }
			w := send(s, "POST", c.path, "{}", "Correlation-Id", "c-1")
			if w.Code != c.status || w.Header().Get("Content-Type") != c.media || c.body != "" && w.Body.String() != c.body {
				t.Errorf("got %d %q %q", w.Code, w.Header().Get("Content-Type"), w.Body)
			}
			if c.status == 204 && w.Body.Len() > 0 {
				t.Error("status 204: got a body, want none")
			}
			if got := w.Header().Get("Cache-Control"); (got == "max-age=60") != (len(c.reply.Headers) > 1) || (got == "no-store") != (c.status == 500) {
				t.Errorf("Cache-Control: %s", got)
			}
			if w.Header().Get("X-Execution-Id") != "x1" || w.Header().Get("Correlation-Id") != "c-1" {
				t.Errorf("got headers %v, want X-Execution-Id x1 and Correlation-Id c-1", w.Header())
			}
		})
	}
	f.request = func(context.Context, *atom.Message) (*atom.Reply, error) {
		return &atom.Reply{Doc: doc(`{"order":{"id":7}}`)}, nil
	}
	if w := send(s, "POST", "/xml", "{}"); w.Code != 200 || !strings.Contains(w.Body.String(), "<order><id>7</id></order>") {
		t.Errorf("got %d %s, want status 200, body with \"<order><id>7</id></order>\"", w.Code, w.Body)
	}
}

// Each internal failure has one status, and its text is never exposed.
func TestFailures(t *testing.T) {
	f := &fake{}
	s := serve(t, f, on("/a"), on("/r", replies("json")))
	const secret = "password=hunter2"
	inside := problemDoc("failed", "Message could not be processed", "500", "The message could not be processed. The operator of this service can see the reason.", "")
	again := problemDoc("unavailable", "Service unavailable", "503", "The message was not accepted. Send it again later.", "")
	for _, c := range []struct {
		name   string
		err    error
		status int
		retry  string
		body   string
	}{
		{"store away", fmt.Errorf("accept: %w: %s", store.ErrUnavailable, secret), 503, "2", again},
		{"disk full", fmt.Errorf("accept: %w", store.ErrFull), 503, "30", again},
		{"backlog", atom.ErrBusy, 503, "5", again},
		{"stopping", atom.ErrStopping, 503, "2", again},
		{"starting", atom.ErrStarting, 503, "2", again},
		{"paused", atom.ErrPaused, 503, "30", again},
		{"gone", atom.ErrNoSuch, 404, "", problemDoc("not_found", "Not found", "404", "No listener at this path.", "")},
		{"an error nobody expected", errors.New(secret), 500, "", inside},
		{"expression", &fault.Failure{Code: fault.CodeExpression, Message: secret}, 500, "", inside},
		{"internal", &fault.Failure{Code: fault.CodeInternal, Source: fault.FromAtom, Message: secret, Cause: errors.New(secret)}, 500, "", inside},
		{"cancelled by an operator", &fault.Failure{Code: fault.CodeCancelled, Source: fault.FromAtom, Message: secret}, 500, "",
			problemDoc("cancelled", "Processing was cancelled", "500", "The operator of this service cancelled the processing of this message.", "")},
		{"unavailable", &fault.Failure{Code: fault.CodeUnavailable, Source: fault.FromAtom, Message: secret}, 503, "2", again},
		{"deadline", &fault.Failure{Code: fault.CodeDeadline, Message: secret}, 504, "", problemDoc("timeout", "Request timed out", "504", "The service did not respond within its time limit.", "")},
		{"profile", &fault.Failure{Code: fault.CodeInvalid, Message: secret, Problems: []fault.Violation{{Pointer: "/id", Detail: "must be integer, is string"}, {Pointer: "", Detail: `"a" is missing`}}}, 400, "",
			problemDoc("invalid_document", "Invalid document", "400", "The document does not match the schema of this service.",
				`{"pointer":"/id","detail":"must be integer, is string"},{"pointer":"","detail":"\"a\" is missing"}`)},
		{"a validate step", &fault.Failure{Code: fault.CodeInvalid, Step: "validate at 2", Message: secret, Problems: []fault.Violation{{Pointer: "/secret", Detail: "x"}}}, 500, "", inside},
		{"in progress", &fault.Failure{Code: atom.CodeInProgress, Source: fault.FromAtom, Status: 409, RetryAfter: 1500 * time.Millisecond}, 409, "2",
			problemDoc("in_progress", "Request in progress", "409", "A request with the same key is still in progress. Send it again later to get its response.", "")},
		{"connector", &fault.Failure{Code: fault.CodeStatus, Source: fault.FromConnector, Status: 404, Body: []byte(secret), Message: secret}, 502, "",
			problemDoc("upstream_failed", "Upstream system failed", "502", "A system that this service depends on returned an error.", "")},
		{"connector's timeout", &fault.Failure{Code: fault.CodeTimeout, Source: fault.FromConnector, Message: secret}, 504, "",
			problemDoc("upstream_timeout", "Upstream system timed out", "504", "A system that this service depends on did not respond in time.", "")},
		{"connector not available", &fault.Failure{Code: fault.CodeUnavailable, Source: fault.FromConnector, RetryAfter: 9 * time.Second}, 503, "9",
			problemDoc("upstream_unavailable", "Upstream system unavailable", "503", "A system that this service depends on is unavailable.", "")},
		{"throw", &fault.Failure{Code: "no_stock", Source: fault.FromAuthor, Status: 422, Message: "sold \"out\""}, 422, "",
			problemDoc("no_stock", "Message rejected", "422", `sold \"out\"`, "")},
		{"throw without a status", &fault.Failure{Code: fault.CodeThrown, Source: fault.FromAuthor, Message: "no"}, 500, "", problemDoc("thrown", "Message rejected", "500", "no", "")},
		{"throw with success", &fault.Failure{Code: "a b", Source: fault.FromAuthor, Status: 200, Message: "no"}, 500, "", problemDoc("failed", "Message rejected", "500", "no", "")},
		{"wrapped", fmt.Errorf("run: %w", &fault.Failure{Code: "no_stock", Source: fault.FromAuthor, Status: 409, Message: "no"}), 409, "", problemDoc("no_stock", "Message rejected", "409", "no", "")},
	} {
		t.Run(c.name, func(t *testing.T) {
			f.accept = func(context.Context, *atom.Message) (*atom.Acknowledgement, error) { return nil, c.err }
			f.request = func(context.Context, *atom.Message) (*atom.Reply, error) {
				return &atom.Reply{Execution: "x9"}, c.err
			}
			w := send(s, "POST", "/a", "{}")
			if w.Code != c.status || w.Header().Get("Retry-After") != c.retry || w.Body.String() != c.body {
				t.Errorf("got %d, Retry-After %q, %s\nwant %s", w.Code, w.Header().Get("Retry-After"), w.Body, c.body)
			}
			w = send(s, "POST", "/r", "{}")
			if w.Code != c.status || !strings.Contains(w.Body.String(), `"execution":"x9"`) || w.Header().Get("X-Execution-Id") != "x9" {
				t.Errorf("with an execution: got %d %s", w.Code, w.Body)
			}
			if strings.Contains(w.Body.String(), "hunter2") {
				t.Error("got internal text in the response, want none")
			}
		})
	}
}

func TestPanic(t *testing.T) {
	f := &fake{accept: func(context.Context, *atom.Message) (*atom.Acknowledgement, error) { panic("secret") }}
	w := send(serve(t, f, on("/a")), "POST", "/a", "{}")
	if w.Code != 500 || strings.Contains(w.Body.String(), "secret") {
		t.Errorf("got %d %s, want status 500, body without \"secret\"", w.Code, w.Body)
	}
}

func TestArrival(t *testing.T) {
	f := &fake{}
	s := serve(t, f, on("/a/{id}", guarded("shop", "api_key", map[string]any{"query": "key", "key": "k"})), on("/b", guarded("hook", "basic", map[string]any{"user": "u", "password": "p"}), replies("json")))
	const trace = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
	if w := send(s, "POST", "/a/4%2F7?key=k&x=1&x=2", `{}`, "Traceparent", trace, "Correlation-Id", "corr-1", "X-Event", "e"); w.Code != 200 {
		t.Fatalf("got %d %s, want status 200", w.Code, w.Body)
	}
	in := f.last()
	if in.Traceparent != trace || in.CorrelationID != "corr-1" || !strings.HasPrefix(in.Principal, "shop/key-") || in.Received.Location() != time.UTC || in.Received.Nanosecond()%1e6 != 0 {
		t.Errorf("got %+v", in)
	}
	r := in.Request
	if r.Method != "POST" || r.Path != "/a/4/7" || fmt.Sprint(r.Params) != "[{id 4/7}]" || fmt.Sprint(r.Query) != "map[x:[1 2]]" || r.Header.Get("X-Event") != "e" || !strings.HasPrefix(r.User, "key-") {
		t.Errorf(`got %+v, want Method POST, Path /a/4/7, Params "[{id 4/7}]", Query "map[x:[1 2]]", X-Event e and User beginning with key-`, r)
	}
	if w := send(s, "POST", "/b", `{}`, "Authorization", "Basic dTpw"); w.Code != 200 {
		t.Fatalf("got %d %s, want status 200", w.Code, w.Body)
	}
	in = f.last()
	if in.Principal != "hook/u" || in.Request.User != "u" || fmt.Sprint(in.Request.Hidden) != "[Authorization Authorization Proxy-Authorization Cookie]" || in.Request.Query != nil {
		t.Errorf(`got %+v, want Principal hook/u, User u, Hidden "[Authorization Authorization Proxy-Authorization Cookie]" and nil Query`, in.Request)
	}
	if d, ok := f.contexts[1].Deadline(); !ok || time.Until(d) > 30*time.Second || time.Until(d) < 20*time.Second {
		t.Errorf("got deadline %v %v, want ok, at most %v and at least %v", d, ok, 30*time.Second, 20*time.Second)
	}
}

func TestCorrelationAndTrace(t *testing.T) {
	for _, c := range []struct {
		in    []string
		taken bool
	}{
		{[]string{"a"}, true},
		{[]string{"6f9619ff-8b86-d011-b42d-00cf4fc964ff"}, true},
		{[]string{strings.Repeat("x", 128)}, true},
		{nil, false},
		{[]string{""}, false},
		{[]string{strings.Repeat("x", 129)}, false},
		{[]string{"a b"}, false},
		{[]string{"ä"}, false},
		{[]string{`a"b`}, false},
		{[]string{"a\nb"}, false},
		{[]string{"a", "b"}, false},
	} {
		got := correlation(http.Header{"Correlation-Id": c.in})
		if c.taken && got != c.in[0] || !c.taken && !regexp.MustCompile(`^[0-9a-f]{32}$`).MatchString(got) {
			t.Errorf("correlation of %q is %q", c.in, got)
		}
	}
	const ids = "4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7"
	for _, c := range []struct{ in, want string }{
		{"00-" + ids + "-01", "00-" + ids + "-01"},
		{"00-" + ids + "-00", "00-" + ids + "-00"},
		{"cc-" + ids + "-01-what-comes-later", "00-" + ids + "-01"},
		{"cc-" + ids + "-01.", ""},
		{"00-" + ids + "-01-x", ""},
		{"ff-" + ids + "-01", ""},
		{"00-" + strings.ToUpper(ids) + "-01", ""},
		{"00-00000000000000000000000000000000-00f067aa0ba902b7-01", ""},
		{"00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01", ""},
		{"00-" + ids, ""},
		{"", ""},
	} {
		got := traceOf(http.Header{"Traceparent": {c.in}})
		if c.want != "" && got != c.want {
			t.Errorf("traceparent of %q is %q", c.in, got)
		}
		if traceparent.OrNew(got) != got || c.want == "" && strings.Contains(got, ids) {
			t.Errorf("traceparent of %q is %q", c.in, got)
		}
	}
}

func TestUnauthorized(t *testing.T) {
	f := &fake{}
	s := serve(t, f,
		on("/basic", guarded("a", "basic", map[string]any{"user": "u", "password": "p"})),
		on("/jwt", guarded("b", "jwt", map[string]any{"key": strings.Repeat("k", 32)})),
		on("/key", guarded("c", "api_key", map[string]any{"header": "X-Key", "key": "k"})),
		on("/hook", guarded("d", "hmac", map[string]any{"preset": "github", "secret": "s"})),
		on("/mtls", guarded("e", "mtls", map[string]any{"ca": "broken"})),
	)
	want := problemDoc("unauthorized", "Authentication required", "401", "The request has no valid credentials.", "")
	for path, challenge := range map[string]string{"/basic": `Basic realm="valence", charset="UTF-8"`, "/jwt": "Bearer", "/key": "ApiKey", "/hook": "Signature", "/mtls": "Certificate"} {
		w := send(s, "POST", path, "not even JSON", "Authorization", "Bearer req.y.z", "X-Key", "wrong", "X-Hub-Signature-256", "sha256=00")
		if w.Code != 401 || w.Body.String() != want || w.Header().Get("Www-Authenticate") != challenge {
			t.Errorf("%s: got %d %s %v, want status 401, body %q and Www-Authenticate %q", path, w.Code, w.Body, w.Header(), want, challenge)
		}
	}
	if f.last() != nil {
		t.Error("got a message in the atom, want none")
	}
}

// The signature covers the body as sent, compressed or not.
func TestSignedBody(t *testing.T) {
	s := serve(t, &fake{}, on("/hook", guarded("d", "hmac", map[string]any{"preset": "github", "secret": "It's a Secret to Everybody"}), takesAs("text")))
	const good = "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17"
	if w := send(s, "POST", "/hook", "Hello, World!", "X-Hub-Signature-256", good); w.Code != 200 {
		t.Errorf("got %d %s, want status 200", w.Code, w.Body)
	}
	if w := send(s, "POST", "/hook", gzipped("Hello, World!"), "X-Hub-Signature-256", good, "Content-Encoding", "gzip"); w.Code != 401 {
		t.Errorf("got %d %s, want status 401", w.Code, w.Body)
	}
}

func TestLimits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fake{}
		limits := processes.Limits{Rate: 2}
		s := serve(t, f, on("/rate", limited(limits)), on("/busy", limited(processes.Limits{Concurrency: 1})))
		status := func(path string) (int, string) {
			w := send(s, "POST", path, "{}")
			return w.Code, w.Header().Get("Retry-After")
		}
		for i, want := range []int{200, 200, 429, 429} {
			if got, retry := status("/rate"); got != want || (got == 429) != (retry == "1") {
				t.Errorf("request %d: got %d, Retry-After %q", i, got, retry)
			}
		}
		s.Deploy([]*atom.DeployedProcess{on("/rate", limited(limits)), on("/busy", limited(processes.Limits{Concurrency: 1}))})
		if got, _ := status("/rate"); got != 429 {
			t.Errorf("a deployment that changes no limit forgot the rate: %d, want 429", got)
		}
		<-time.After(500 * time.Millisecond)
		if got, _ := status("/rate"); got != 200 {
			t.Errorf("after half a second: got %d, want 200", got)
		}
		f.members = 2 // of a group, which share the limits
		<-time.After(time.Minute)
		for i, want := range []int{200, 429} {
			if got, _ := status("/rate"); got != want {
				t.Errorf("request %d with two members: got %d, want %d", i, got, want)
			}
		}
		f.members = 1

		entered, leave := make(chan struct{}), make(chan struct{})
		f.accept = func(context.Context, *atom.Message) (*atom.Acknowledgement, error) {
			close(entered)
			<-leave
			return &atom.Acknowledgement{Process: "busy", Status: "accepted"}, nil
		}
		first := make(chan int)
		go func() { got, _ := status("/busy"); first <- got }()
		<-entered
		w := send(s, "POST", "/busy", "{}")
		if want := problemDoc("limited", "Too many requests", "503", "Nothing was accepted. Send the request again later.", ""); w.Code != 503 || w.Body.String() != want || w.Header().Get("Retry-After") != "1" {
			t.Errorf("got %d %s, want status 503, body %q and Retry-After 1", w.Code, w.Body, want)
		}
		close(leave)
		if got := <-first; got != 200 {
			t.Errorf("the first request: got %d, want 200", got)
		}
		f.accept = nil
		if got, _ := status("/busy"); got != 200 {
			t.Errorf("afterwards: got %d, want 200", got)
		}
	})
}

func TestTimeout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fake{}
		s := serve(t, f, on("/slow", replies("json")))
		f.request = func(ctx context.Context, _ *atom.Message) (*atom.Reply, error) {
			<-ctx.Done()
			return nil, ctx.Err()
		}
		start := time.Now()
		w := send(s, "POST", "/slow", "{}")
		want := problemDoc("timeout", "Request timed out", "504", "The service did not respond within its time limit.", "")
		if took := time.Since(start); w.Code != 504 || w.Body.String() != want || took != 30*time.Second {
			t.Errorf("got %d after %v: %s, want status 504, body %q and took %v", w.Code, took, w.Body, want, 30*time.Second)
		}
	})
}

func TestStarting(t *testing.T) {
	ready := errors.New("the store recovers at /var/lib/secret")
	s := New(Options{Atom: &fake{}, Ready: func() error { return ready }})
	again := problemDoc("unavailable", "Service unavailable", "503", "The message was not accepted. Send it again later.", "")
	check := func(when, path string, status int, body string) {
		t.Helper()
		method := "POST"
		if path != "/a" {
			method = "GET"
		}
		w := send(s, method, path, "")
		if method == "POST" {
			w = send(s, method, path, "{}")
		}
		if w.Code != status || body != "" && w.Body.String() != body {
			t.Errorf("%s: %s: got %d %s", when, path, w.Code, w.Body)
		}
	}
	notReady := func(why string) string { return problemDoc("not_ready", "Not ready", "503", why, "") }
	check("nothing deployed", "/a", 503, again)
	check("nothing deployed", "/healthz", 200, `{"status":"ok"}`+"\n")
	check("nothing deployed", "/readyz", 503, notReady("starting"))
	check("nothing deployed", "/executions/x", 503, again)
	s.Deploy([]*atom.DeployedProcess{on("/a")})
	check("store not ready", "/a", 503, again)
	check("store not ready", "/readyz", 503, notReady("unavailable"))
	ready = nil
	check("ready", "/a", 200, "")
	check("ready", "/readyz", 200, `{"status":"ready"}`+"\n")
	ready = errors.New("store refuses")
	check("store refuses later", "/readyz", 503, notReady("unavailable"))
	ready = fmt.Errorf("%w: %w", store.ErrUnavailable, store.ErrDamaged)
	check("store damaged", "/readyz", 503, notReady("unavailable: the store is damaged"))
	check("store refuses later", "/a", 200, "") // the atom responds itself
}

func TestFollow(t *testing.T) {
	f := &fake{}
	s := serve(t, f, on("/a", guarded("shop", "basic", map[string]any{"user": "u", "password": "p"})), on("/b", guarded("erp", "api_key", map[string]any{"header": "X-Key", "key": "k"})), on("/c"))
	ended := time.UnixMilli(1700000001000)
	f.follow = func(id, principal, token string) (*atom.Progress, error) {
		if id == "x1" && (principal == "shop/u" || token == "tok") || id == "open" {
			return &atom.Progress{Execution: id, Process: "a", Status: "completed", ReceivedAt: time.UnixMilli(1700000000000), EndedAt: ended}, nil
		}
		if id == "broken" {
			return nil, fmt.Errorf("read: %w", store.ErrUnavailable)
		}
		return nil, store.ErrUnknown
	}
	doc := `{"execution":"x1","process":"a","status":"completed","received_at":"2023-11-14T22:13:20.000Z","ended_at":"2023-11-14T22:13:21.000Z"}` + "\n"
	missing := problemDoc("not_found", "Not found", "404", "No such execution.", "")
	for _, c := range []struct {
		name, path string
		headers    []string
		status     int
		body       string
	}{
		{"same principal", "/executions/x1", []string{"Authorization", "Basic dTpw"}, 200, doc},
		{"reply token", "/executions/x1", []string{"Authorization", "Bearer tok"}, 200, doc},
		{"reply token in small letters", "/executions/x1", []string{"Authorization", "bearer tok"}, 200, doc},
		{"nobody", "/executions/x1", nil, 404, missing},
		{"another token", "/executions/x1", []string{"Authorization", "Bearer tik"}, 404, missing},
		{"another principal", "/executions/x1", []string{"X-Key", "k"}, 404, missing},
		{"wrong password", "/executions/x1", []string{"Authorization", "Basic dTpx"}, 404, missing},
		{"sent by anybody", "/executions/open", nil, 200, ""},
		{"unknown", "/executions/nix", []string{"Authorization", "Basic dTpw"}, 404, missing},
		{"no id", "/executions/", nil, 404, missing},
		{"more than an id", "/executions/open/steps", nil, 404, missing},
		{"climbing", "/executions/..%2Fopen", nil, 404, missing},
		{"long", "/executions/" + strings.Repeat("x", 65), nil, 404, missing},
		{"store away", "/executions/broken", nil, 503, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := send(s, "GET", c.path, "", c.headers...)
			if w.Code != c.status || c.body != "" && w.Body.String() != c.body {
				t.Errorf("got %d %s", w.Code, w.Body)
			}
		})
	}
	ended = time.Time{}
	if w := send(s, "GET", "/executions/open", ""); strings.Contains(w.Body.String(), "ended_at") {
		t.Errorf("got %s, want body without \"ended_at\"", w.Body)
	}
}

func TestAccessLog(t *testing.T) {
	var lines strings.Builder
	f := &fake{}
	s := New(Options{Atom: f, Access: slog.New(slog.NewTextHandler(&lines, nil)), AccessEvery: 3})
	s.Deploy([]*atom.DeployedProcess{on("/a", guarded("shop", "api_key", map[string]any{"query": "key", "key": "hunter2"}))})
	for range 6 {
		send(s, "POST", "/a?key=hunter2", "{}", "Correlation-Id", "c")
	}
	send(s, "POST", "/a?key=wrong", "{}")
	send(s, "GET", "/nix", "")
	got := strings.Split(strings.TrimSpace(lines.String()), "\n")
	if len(got) != 4 || strings.Count(lines.String(), "status=200") != 2 || strings.Count(lines.String(), "status=401") != 1 || strings.Count(lines.String(), "status=404") != 1 {
		t.Errorf("got\n%s", lines.String())
	}
	if strings.Contains(lines.String(), "hunter2") {
		t.Error("got a secret in the log, want none")
	}
	if !strings.Contains(got[0], "process=a") || !strings.Contains(got[0], "execution=x1") || !strings.Contains(got[0], "correlation_id=c") || !strings.Contains(got[0], "user=shop/key-") {
		t.Errorf("got %s, want got[0] with \"process=a\", got[0] with \"execution=x1\", got[0] with \"correlation_id=c\", got[0] with \"user=shop/key-\"", got[0])
	}
}
