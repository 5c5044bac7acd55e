package http

import (
	"bytes"
	"compress/gzip"
	"fmt"
	"io"
	"net"
	nethttp "net/http"
	"strings"
	"testing"
	"time"

	"valence/internal/document"
	"valence/internal/fault"
)

func TestStatuses(t *testing.T) {
	retryable := map[int]bool{408: true, 425: true, 429: true, 500: true, 502: true, 503: true, 504: true, 507: true, 520: true, 529: true}
	for _, status := range []int{300, 304, 400, 401, 403, 404, 405, 408, 409, 410, 412, 415, 422, 423, 425, 428, 429, 451,
		500, 501, 502, 503, 504, 505, 506, 507, 508, 510, 511, 520, 529, 600, 999} {
		url := serve(t, func(w nethttp.ResponseWriter, _ *nethttp.Request) {
			w.Header().Set("Retry-After", "7")
			w.WriteHeader(status)
			if status != 304 {
				_, _ = io.WriteString(w, "sorry")
			}
		})
		c := connect(t, defaults(url))
		_, err := c.do(t.Context(), call("get", &with{Path: "/x", Query: nil}, nil))
		f := failure(t, err)
		want := fmt.Sprintf("GET /x returned %d", status)
		if text := nethttp.StatusText(status); text != "" {
			want += " " + text
		}
		if f.Code != fault.CodeStatus || f.Status != status || f.Source != fault.FromConnector || f.RetryAfter != 7*time.Second ||
			f.Retryable != retryable[status] || f.Message != want || status != 304 && string(f.Body) != "sorry" {
			t.Errorf("%d: got %+v, want message %q, retryable %v", status, f, want, retryable[status])
		}
		k := call("get", &with{Path: "/x"}, nil)
		k.Accept = append(k.Accept, rangeOf(status))
		if r, err := c.do(t.Context(), k); err != nil || r.Status != status {
			t.Errorf("%d accepted: got %v %v, want the status", status, r, err)
		}
	}
}

// TestBadServers calls servers that violate HTTP in various ways.
func TestBadServers(t *testing.T) {
	gz := packed(strings.Repeat("0", 64<<20))
	tests := []struct {
		name      string
		talk      func(c net.Conn)
		code      string
		retryable bool
		status    int
		message   string // a part of it
	}{
		{"closes", func(c net.Conn) { readRequest(c) }, fault.CodeAborted, true, 0, "the connection broke before the response was complete: EOF"},
		{"resets", func(c net.Conn) { readRequest(c); c.(*net.TCPConn).SetLinger(0) }, fault.CodeAborted, true, 0, "the connection broke before the response was complete"},
		{"garbage", answer("\x16\x03\x01 hello there\r\n\r\n"), fault.CodeAnswer, true, 0, "the response is not HTTP"},
		{"another protocol", answer("220 mail.example ESMTP\r\n"), fault.CodeAnswer, true, 0, "the response is not HTTP"},
		{"half a status line", answer("HTTP/1.1 20"), fault.CodeAnswer, true, 0, "the response is not HTTP"},
		{"half a header", answer("HTTP/1.1 200 OK\r\nContent-Le"), fault.CodeAnswer, true, 0, "the response is not HTTP"},
		{"half a body", answer("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf"), fault.CodeAborted, true, 200, "the connection broke before the response was complete: unexpected EOF"},
		{"half a large body", answer("HTTP/1.1 200 OK\r\nContent-Length: 2000000\r\n\r\n" + strings.Repeat("x", 100000)), fault.CodeAborted, true, 200, "unexpected EOF"},
		{"half a chunk", answer("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n10\r\nhalf"), fault.CodeAborted, true, 200, "the connection broke"},
		{"no last chunk", answer("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n"), fault.CodeAborted, true, 200, "the connection broke"},
		{"bad chunk", answer("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\nhalf"), fault.CodeAnswer, true, 200, "the response is not HTTP"},
		{"two lengths", answer("HTTP/1.1 200 OK\r\nContent-Length: 4\r\nContent-Length: 5\r\n\r\nhalf"), fault.CodeAnswer, true, 0, "the response is not HTTP"},
		{"negative length", answer("HTTP/1.1 200 OK\r\nContent-Length: -4\r\n\r\nhalf"), fault.CodeAnswer, true, 0, "the response is not HTTP"},
		{"endless header", func(c net.Conn) {
			readRequest(c)
			flood(c, "HTTP/1.1 200 OK\r\n", "X-A: "+strings.Repeat("a", 1000)+"\r\n")
		}, fault.CodeAnswer, true, 0, "the response is not HTTP"},
		{"endless status line", func(c net.Conn) { readRequest(c); flood(c, "HTTP/1.1 200 ", "a") }, fault.CodeAnswer, true, 0, "the response is not HTTP"},
		{"announced too large", answer("HTTP/1.1 200 OK\r\nContent-Length: 100000000000\r\n\r\n"), fault.CodeTooLarge, false, 200, "the response exceeds max_response (2097152 bytes)"},
		{"endless body", func(c net.Conn) { readRequest(c); flood(c, "HTTP/1.1 200 OK\r\n\r\n", strings.Repeat("a", 4096)) }, fault.CodeTooLarge, false, 200, "exceeds max_response"},
		{"endless chunks", func(c net.Conn) {
			readRequest(c)
			flood(c, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", "40\r\n"+strings.Repeat("a", 64)+"\r\n")
		}, fault.CodeTooLarge, false, 200, "exceeds max_response"},
		{"gzip bomb", answer("HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\n\r\n" + gz), fault.CodeTooLarge, false, 200, "exceeds max_response"},
		{"endless gzip", func(c net.Conn) {
			readRequest(c)
			flood(c, "HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\n\r\n", packed(""))
		}, fault.CodeTooLarge, false, 200, "exceeds max_response"},
		{"half gzip", answer("HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\n\r\n" + gz[:100]), fault.CodeAnswer, false, 200, "cannot decompress the response: not gzip: unexpected EOF"},
		{"half announced gzip", answer("HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 1000\r\n\r\n" + gz[:100]), fault.CodeAborted, true, 200, "unexpected EOF"},
		{"not gzip", answer("HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 12\r\n\r\nhello, world"), fault.CodeAnswer, false, 200, "cannot decompress the response: not gzip: gzip: invalid header"},
		{"brotli", answer("HTTP/1.1 200 OK\r\nContent-Encoding: br\r\nContent-Length: 2\r\n\r\nxx"), fault.CodeAnswer, false, 200, `unsupported Content-Encoding "br"`},
		{"gzip twice", answer("HTTP/1.1 200 OK\r\nContent-Encoding: gzip, gzip\r\nContent-Length: 2\r\n\r\nxx"), fault.CodeAnswer, false, 200, `unsupported Content-Encoding "gzip, gzip"`},
		{"no JSON", answer("HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 7\r\n\r\n{\"a\":1,"), fault.CodeAnswer, false, 200, "the response is not valid JSON: "},
		{"doubled keys", answer("HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 13\r\n\r\n{\"a\":1,\"a\":2}"), fault.CodeAnswer, false, 200, "the response is not valid JSON: "},
		{"JSON in an unknown charset", answer("HTTP/1.1 200 OK\r\nContent-Type: application/json; charset=klingon\r\nContent-Length: 2\r\n\r\n{}"), fault.CodeAnswer, false, 200, "the charset klingon is not supported"},
		{"no XML", answer("HTTP/1.1 200 OK\r\nContent-Type: application/xml\r\nContent-Length: 4\r\n\r\n<a><"), fault.CodeAnswer, false, 200, "the response is not valid XML: "},
		{"switches", answer("HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: Upgrade\r\n\r\n"), fault.CodeStatus, false, 101, "returned 101 Switching Protocols"},
		{"endless error", func(c net.Conn) { readRequest(c); flood(c, "HTTP/1.1 500 Oh\r\n\r\n", strings.Repeat("e", 4096)) }, fault.CodeStatus, true, 500, "returned 500 Internal Server Error"},
		{"half an error", answer("HTTP/1.1 500 Oh\r\nContent-Length: 1000\r\n\r\nhalf"), fault.CodeStatus, true, 500, "returned 500"},
		{"packed error", answer("HTTP/1.1 500 Oh\r\nContent-Encoding: gzip\r\n\r\n" + gz), fault.CodeStatus, true, 500, "returned 500"},
	}
	bodies := map[string]int{"endless error": 64 << 10, "half an error": 4, "packed error": 64 << 10}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			s := defaults(raw(t, func(_ int, c net.Conn) { test.talk(c) }))
			s.MaxResponse = 2 << 20
			c := connect(t, s)
			_, err := c.do(t.Context(), call("post", &with{Path: "/x"}, document.FromText("hello")))
			f := failure(t, err)
			if f.Code != test.code || f.Retryable != test.retryable || f.Status != test.status || f.Source != fault.FromConnector ||
				!strings.Contains(f.Message, test.message) || !strings.HasPrefix(f.Message, "POST /") {
				t.Errorf("got %+v, want code %s, status %d, retryable %v, message %q", f, test.code, test.status, test.retryable, test.message)
			}
			if want := bodies[test.name]; want > 0 && len(f.Body) != want {
				t.Errorf("%d bytes of error, want %d", len(f.Body), want)
			}
		})
	}
}

// TestSlowServers checks that calls end with their timeout, no matter how
// slowly data arrives.
func TestSlowServers(t *testing.T) {
	tests := map[string]string{
		"nothing":      "",
		"slow header":  "HTTP/1.1 200 OK\r\nX-A: ",
		"slow body":    "HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n",
		"slow chunks":  "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
		"slow error":   "HTTP/1.1 500 Oh\r\nContent-Length: 1000\r\n\r\n",
		"only interim": "HTTP/1.1 103 Early Hints\r\n\r\n",
	}
	for name, start := range tests {
		t.Run(name, func(t *testing.T) {
			c := connect(t, defaults(raw(t, func(_ int, conn net.Conn) {
				readRequest(conn)
				_, _ = io.WriteString(conn, start)
				_, _ = io.Copy(io.Discard, conn) // until the caller disconnects
			})))
			ctx, cancel := timeout(t, 50*time.Millisecond)
			defer cancel()
			_, err := c.do(ctx, call("get", &with{}, nil))
			f := failure(t, err)
			want := fault.CodeTimeout
			if name == "slow error" {
				want = fault.CodeStatus // the status is more specific
			}
			if f.Code != want || !f.Retryable {
				t.Errorf("got %+v, want %s, retryable", f, want)
			}
		})
	}
}

func TestConnect(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	closed := "http://" + l.Addr().String()
	l.Close()
	plain := serve(t, func(nethttp.ResponseWriter, *nethttp.Request) {})
	tests := map[string]string{
		"refused":        closed,
		"no such name":   "http://nothing.invalid",
		"TLS to plain":   strings.Replace(plain, "http:", "https:", 1),
		"TLS to garbage": strings.Replace(raw(t, func(_ int, c net.Conn) { _, _ = io.WriteString(c, "hello, this is no TLS at all") }), "http:", "https:", 1),
		"TLS to silence": strings.Replace(raw(t, func(_ int, c net.Conn) { _, _ = c.Read(make([]byte, 10)) }), "http:", "https:", 1),
	}
	for name, url := range tests {
		t.Run(name, func(t *testing.T) {
			c := connect(t, defaults(url))
			_, err := c.do(t.Context(), call("post", &with{}, document.FromText("x")))
			if f := failure(t, err); f.Code != fault.CodeConnect || !f.Retryable || f.Status != 0 {
				t.Errorf("got %+v, want %s, retryable, no status", f, fault.CodeConnect)
			}
		})
	}
}

// TestNoSilentRepeat checks that Go's transport does not repeat a request when
// an idle connection breaks after the request was written.
func TestNoSilentRepeat(t *testing.T) {
	for _, op := range []string{"post", "delete"} {
		for _, own := range []bool{false, true} {
			seen := make(chan string, 10)
			url := raw(t, func(n int, c net.Conn) {
				for i := 0; ; i++ {
					head := readRequest(c)
					if head == "" {
						return
					}
					seen <- head
					if n == 0 && i == 1 {
						return // the second request on the first connection gets no answer
					}
					_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
				}
			})
			c := connect(t, defaults(url))
			k := call(op, &with{}, document.FromText("x"))
			if op == "delete" {
				k.Body = nil
			}
			k.IdempotencyKey = "K"
			if own {
				k.with = &with{Headers: kvs("Idempotency-Key", "mine")}
			}
			if _, err := c.do(t.Context(), k); err != nil {
				t.Fatal(err)
			}
			_, err := c.do(t.Context(), k)
			if f := failure(t, err); f.Code != fault.CodeAborted || !f.Retryable {
				t.Errorf("%s: got %+v, want %s, retryable", op, f, fault.CodeAborted)
			}
			if len(seen) != 2 {
				t.Errorf("%s: the server saw %d requests, want 2", op, len(seen))
			}
			if head := <-seen; strings.Count(strings.ToLower(head), "idempotency-key: ") != 1 {
				t.Errorf("%s: got request\n%s\nwant one Idempotency-Key", op, head)
			}
		}
	}
}

// TestReuse checks that consecutive calls share one connection regardless of
// their outcome, as long as responses are short.
func TestReuse(t *testing.T) {
	conns := make(chan net.Conn, 10)
	s := &nethttp.Server{ConnState: func(c net.Conn, state nethttp.ConnState) {
		if state == nethttp.StateNew {
			conns <- c
		}
	}, Handler: nethttp.HandlerFunc(func(w nethttp.ResponseWriter, r *nethttp.Request) {
		switch r.URL.Path {
		case "/missing":
			nethttp.NotFound(w, r)
		case "/moved":
			nethttp.Redirect(w, r, "/", nethttp.StatusFound)
		case "/packed":
			w.Header().Set("Content-Encoding", "gzip")
			w.Header().Set("Content-Type", "text/plain")
			_, _ = io.WriteString(w, packed("hello"))
		case "/chunked":
			_, _ = io.WriteString(w, "hello")
			w.(nethttp.Flusher).Flush()
		default:
			_, _ = io.WriteString(w, "hello")
		}
	})}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() { defer close(done); _ = s.Serve(l) }()
	t.Cleanup(func() { s.Close(); <-done })
	c := connect(t, defaults("http://"+l.Addr().String()))
	for _, path := range []string{"/", "/missing", "/moved", "/packed", "/chunked", "/"} {
		r, err := c.do(t.Context(), call("get", &with{Path: path}, nil))
		if path != "/missing" && (err != nil || r.Doc.Data() != `"hello"`) {
			t.Errorf("%s: got %v, want a document", path, err)
		}
	}
	if len(conns) != 1 {
		t.Errorf("%d connections, want 1", len(conns))
	}
}

// answer returns a handler that sends text and closes the connection.
func answer(text string) func(net.Conn) {
	return func(c net.Conn) {
		readRequest(c)
		_, _ = io.WriteString(c, text)
	}
}

// flood sends start and then more until the connection breaks.
func flood(c net.Conn, start, more string) {
	_, err := io.WriteString(c, start)
	for err == nil {
		_, err = io.WriteString(c, more)
	}
}

func packed(text string) string {
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	_, _ = io.WriteString(z, text)
	z.Close()
	return b.String()
}
