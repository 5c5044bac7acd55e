package http

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	nethttp "net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"valence/connectors"
	"valence/internal/document"
	"valence/internal/fault"
	"valence/internal/spec"
)

// defaults returns settings as decoded from a file with only a URL.
func defaults(url string) *settings {
	s := &settings{}
	o := &document.Object{}
	o.Set("url", url)
	if err := spec.Bind(settingsFields, s, o); err != nil {
		panic(err)
	}
	return s
}

// connect opens a connection for one test.
func connect(t testing.TB, s *settings) *connection {
	t.Helper()
	c, err := open(s, "1.2.3", nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

// serve runs a server for one test.
func serve(t testing.TB, h nethttp.HandlerFunc) string {
	t.Helper()
	s := httptest.NewServer(h)
	t.Cleanup(s.Close)
	return s.URL
}

// raw runs a server that calls talk for every connection.
func raw(t testing.TB, talk func(n int, c net.Conn)) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for n := 0; ; n++ {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				talk(n, c)
			}()
		}
	}()
	t.Cleanup(func() { l.Close(); <-done })
	return "http://" + l.Addr().String()
}

// readRequest reads the header of one request and its announced body.
func readRequest(c net.Conn) string {
	var head []byte
	b := make([]byte, 1)
	for !strings.HasSuffix(string(head), "\r\n\r\n") {
		if _, err := c.Read(b); err != nil {
			return string(head)
		}
		head = append(head, b[0])
	}
	n := 0
	for line := range strings.SplitSeq(string(head), "\r\n") {
		_, _ = fmt.Sscanf(line, "Content-Length: %d", &n)
	}
	_, _ = io.CopyN(io.Discard, c, int64(n))
	return string(head)
}

// testCall is a call with its operation and settings.
type testCall struct {
	connectors.Call
	operation string
	with      *with
}

func call(op string, w *with, body *document.Document) *testCall {
	return &testCall{operation: op, with: w, Call: connectors.Call{Body: body}}
}

var declared = connectors.Connector{Operations: operations()}

func (c *connection) do(ctx context.Context, k *testCall) (*connectors.Result, error) {
	op, ok := declared.Operation(k.operation)
	if !ok {
		panic("unknown operation " + k.operation)
	}
	return op.Run(ctx, c, k.with, &k.Call)
}

// quiet discards the log of a server whose handshakes are expected to fail.
func quiet() *log.Logger { return log.New(io.Discard, "", 0) }

func lines(s string) []string { return strings.Split(s, "\n") }

func writeFile(t *testing.T, dir, name, content string) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
}

func kvs(pairs ...string) (out []spec.KV) {
	for i := 0; i < len(pairs); i += 2 {
		out = append(out, spec.KV{Name: pairs[i], Value: pairs[i+1]})
	}
	return out
}

func rangeOf(status int) connectors.StatusRange {
	return connectors.StatusRange{From: status, To: status}
}

func timeout(t *testing.T, d time.Duration) (context.Context, context.CancelFunc) {
	return context.WithTimeout(t.Context(), d)
}

// failure returns err as a failure and fails the test if it is not one.
func failure(t *testing.T, err error) *fault.Failure {
	t.Helper()
	var f *fault.Failure
	if !errors.As(err, &f) {
		t.Fatalf("got %v, want a *fault.Failure", err)
	}
	return f
}

func TestOperations(t *testing.T) {
	url := serve(t, func(w nethttp.ResponseWriter, r *nethttp.Request) {
		body, _ := io.ReadAll(r.Body)
		w.Header().Set("Content-Type", "application/json")
		fmt.Fprintf(w, `{"method":%q,"uri":%q,"type":%q,"body":%q,"key":%q,"cid":%q,"trace":%q,"agent":%q,"length":%d}`, r.Method, r.RequestURI,
			r.Header.Get("Content-Type"), body, r.Header.Get("Idempotency-Key"), r.Header.Get("Correlation-Id"),
			r.Header.Get("Traceparent"), r.UserAgent(), r.ContentLength)
	})
	c := connect(t, defaults(url+"/api/"))
	doc := document.FromJSON([]byte(`{"n":12345678901234567890}`))
	const jsonBody = `{\"n\":12345678901234567890}`
	tests := []struct {
		op   string
		with *with
		body *document.Document
		want string // of the response, without the parts common to all
	}{
		{"get", &with{Path: "/orders/1", Query: []spec.KV{{Name: "a", Value: "ä &"}, {Name: "a", Value: "2"}}}, nil,
			`"method":"GET","uri":"/api/orders/1?a=%C3%A4+%26&a=2","type":"","body":"","key":"","length":0`},
		{"head", &with{}, nil, ``},
		{"post", &with{Path: "orders"}, doc, `"method":"POST","uri":"/api/orders","type":"application/json","body":"` + jsonBody + `","key":"K","length":26`},
		{"post", &with{}, document.Empty, `"method":"POST","uri":"/api/","type":"","body":"","key":"K","length":0`},
		{"put", &with{Path: "/o"}, doc, `"method":"PUT","uri":"/api/o","type":"application/json","body":"` + jsonBody + `","key":"K","length":26`},
		{"patch", &with{Path: "/o", ContentType: "application/merge-patch+json"}, doc,
			`"method":"PATCH","uri":"/api/o","type":"application/merge-patch+json","body":"` + jsonBody + `","key":"K","length":26`},
		{"delete", &with{Path: "/o?force=1"}, nil, `"method":"DELETE","uri":"/api/o?force=1","type":"","body":"","key":"K","length":0`},
		{"request", &with{Method: "PROPFIND", Path: "/o"}, doc, `"method":"PROPFIND","uri":"/api/o","type":"application/json","body":"` + jsonBody + `","key":"K","length":26`},
		{"request", &with{Method: "GET", Path: "/o"}, doc, `"method":"GET","uri":"/api/o","type":"","body":"","key":"","length":0`},
		{"request", &with{Method: "GET", Path: "/o", Format: "json"}, doc, `"method":"GET","uri":"/api/o","type":"application/json","body":"` + jsonBody + `","key":"","length":26`},
	}
	for _, test := range tests {
		k := call(test.op, test.with, test.body)
		k.IdempotencyKey, k.CorrelationID, k.Traceparent = "K", "c-1", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
		r, err := c.do(t.Context(), k)
		if err != nil {
			t.Errorf("%s: got %v, want nil", test.op, err)
			continue
		}
		if r.Status != 200 || r.Headers.Get("Content-Type") != "application/json" {
			t.Errorf("%s: got status %d, headers %v, want 200, JSON", test.op, r.Status, r.Headers)
		}
		if test.want == "" {
			if r.Doc != document.Empty {
				t.Errorf("%s: got document %q, want the empty one", test.op, r.Doc.Body())
			}
			continue
		}
		got := r.Doc.Data()
		for _, part := range []string{`"cid":"c-1"`, `"trace":"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"`, `"agent":"valence/1.2.3"`} {
			if !strings.Contains(got, part) {
				t.Errorf("%s: got %s, want %s in it", test.op, got, part)
			}
			got = strings.Replace(got, ","+part, "", 1)
		}
		if got != "{"+test.want+"}" {
			t.Errorf("%s:\n got %s\nwant {%s}", test.op, got, test.want)
		}
	}
}

func TestHeaders(t *testing.T) {
	url := serve(t, func(w nethttp.ResponseWriter, r *nethttp.Request) {
		w.Header().Set("X-Got", strings.Join(r.Header.Values("X-A"), "|")+"/"+strings.Join(r.Header.Values("X-B"), "|")+"/"+strings.Join(r.Header.Values("Idempotency-Key"), "|"))
	})
	s := defaults(url)
	s.Headers = []spec.KV{{Name: "x-a", Value: "1"}, {Name: "X-A", Value: "2"}, {Name: "X-B", Value: "b"}}
	c := connect(t, s)
	tests := []struct {
		own  []spec.KV
		want string
		code string
	}{
		{nil, "1|2/b/K", ""},
		{[]spec.KV{{Name: "X-b", Value: "own"}}, "1|2/own/K", ""},
		{[]spec.KV{{Name: "X-a", Value: "3"}, {Name: "x-A", Value: "4"}}, "3|4/b/K", ""},
		{[]spec.KV{{Name: "Idempotency-Key", Value: "mine"}}, "1|2/b/mine", ""},
		{[]spec.KV{{Name: "X-C", Value: "a\r\nX-Evil: 1"}}, "", "the value of header X-C contains a control character"},
		{[]spec.KV{{Name: "X-C", Value: "a\x00"}}, "", "the value of header X-C contains a control character"},
		{[]spec.KV{{Name: "X-C\r\nX-Evil", Value: "a"}}, "", "header name \"X-C\r\nX-Evil\" contains an invalid character"},
		{[]spec.KV{{Name: "", Value: "a"}}, "", "a header name is empty"},
		{[]spec.KV{{Name: "Host", Value: "evil"}}, "", "header Host is set by the connector and cannot be overridden"},
		{[]spec.KV{{Name: "content-length", Value: "1"}}, "", "header content-length is set by the connector and cannot be overridden"},
		{[]spec.KV{{Name: "Transfer-Encoding", Value: "chunked"}}, "", "header Transfer-Encoding is set by the connector and cannot be overridden"},
	}
	for _, test := range tests {
		k := call("delete", &with{Headers: test.own}, nil)
		k.IdempotencyKey = "K"
		r, err := c.do(t.Context(), k)
		if test.code != "" {
			if f := failure(t, err); f.Code != codeCall || f.Message != test.code || f.Retryable {
				t.Errorf("%v: %v, want %s", test.own, f, test.code)
			}
			continue
		}
		if err != nil || r.Headers.Get("X-Got") != test.want {
			t.Errorf("%v: %v %v, want %s", test.own, r, err, test.want)
		}
	}
	if got := c.headers.Get("X-B"); got != "b" {
		t.Errorf("the connection's header after the call: got %q, want b", got)
	}
}

func TestMethods(t *testing.T) {
	c := connect(t, defaults("http://127.0.0.1:1"))
	for _, method := range []string{"", "get", "GE T", "GET\r\n", "CONNECT", "TRACE"} {
		_, err := c.do(t.Context(), call("request", &with{Method: method}, nil))
		if f := failure(t, err); f.Code != codeCall {
			t.Errorf("%q: got %v, want %s", method, f, codeCall)
		}
	}
}

func TestOpenTouchesNoNetwork(t *testing.T) {
	dialled := make(chan struct{}, 1)
	url := raw(t, func(int, net.Conn) { dialled <- struct{}{} })
	s := defaults(url)
	s.Auth = authSettings{Scheme: schemeOAuth2, TokenURL: url, ClientID: "a", ClientSecret: "b", ClientAuth: "basic"}
	c := connect(t, s)
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
	select {
	case <-dialled:
		t.Fatal("Open: got a connection to the server, want none")
	default:
	}
}

func TestContext(t *testing.T) {
	hold := make(chan struct{})
	url := serve(t, func(_ nethttp.ResponseWriter, r *nethttp.Request) {
		select {
		case <-hold:
		case <-r.Context().Done():
		}
	})
	defer close(hold)
	c := connect(t, defaults(url))
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	_, err := c.do(ctx, call("post", &with{Path: "/slow"}, document.FromText("x")))
	if f := failure(t, err); f.Code != fault.CodeTimeout || !f.Retryable || f.Message != "POST /slow: timed out" {
		t.Errorf("got %v (retryable %v), want %s, retryable", f, f.Retryable, fault.CodeTimeout)
	}
	ctx, cancel = context.WithCancel(t.Context())
	time.AfterFunc(20*time.Millisecond, cancel)
	_, err = c.do(ctx, call("get", &with{}, nil))
	if f := failure(t, err); f.Code != fault.CodeCancelled || f.Retryable || !errors.Is(f, context.Canceled) {
		t.Errorf("got %v (retryable %v), want %s, not retryable", f, f.Retryable, fault.CodeCancelled)
	}
}
