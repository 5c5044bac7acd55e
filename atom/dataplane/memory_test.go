package dataplane

import (
	"context"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"valence/atom"
	"valence/internal/budget"
)

// Sixty bombs of 10 KB each, which decompress to 10 MiB, share 64 MiB: some are
// processed, the others are refused while they are read.
func TestConcurrentBombsStayWithinTheMemoryLimit(t *testing.T) {
	const limit, bombs, size = 64 << 20, 60, 10 << 20
	bomb := gzipped(`"` + strings.Repeat("0", size) + `"`)
	if len(bomb) > 16<<10 {
		t.Fatalf("got a bomb of %d bytes, want about 10 KB", len(bomb))
	}
	var answered atomic.Int64
	accepted, all := make(chan struct{}, bombs), make(chan struct{})
	f := &fake{request: func(ctx context.Context, in *atom.Message) (*atom.Reply, error) {
		if budget.From(ctx) == nil {
			t.Error("got a context without the memory of the request, want its share")
		}
		accepted <- struct{}{}
		<-all // hold the body until every other request has been answered or arrived here
		return &atom.Reply{Execution: "x1"}, nil
	}}
	large := func(d *atom.DeployedProcess) { d.Process.Listen.Limits.Body = 16 << 20 }
	s := serve(t, f, on("/bomb", replies("json"), large))
	pool := budget.NewPool(limit)
	s.options.Memory = pool

	results := make(chan *httptest.ResponseRecorder, bombs)
	var wg sync.WaitGroup
	for range bombs {
		wg.Go(func() {
			results <- send(s, "POST", "/bomb", bomb, "Content-Type", "application/json", "Content-Encoding", "gzip")
			answered.Add(1)
		})
	}
	held := 0
	for held+int(answered.Load()) < bombs {
		select {
		case <-accepted:
			held++
		default:
		}
		if used := pool.Used(); used > limit+bombs*2*size { // a reservation that is being refused counts for a moment
			t.Fatalf("got %d bytes in use, want at most %d", used, limit)
		}
	}
	if used := pool.Used(); used > limit || used < int64(held)*size || held == 0 {
		t.Errorf("got %d bytes for %d requests in progress, want at least 1 request and between %d and %d bytes", used, held, held*size, limit)
	}
	close(all)
	wg.Wait()
	close(results)
	ok := 0
	for w := range results {
		switch w.Code {
		case http.StatusOK:
			ok++
		case http.StatusServiceUnavailable:
			if w.Header().Get("Retry-After") == "" {
				t.Error("got 503 without Retry-After, want one")
			}
		default:
			t.Errorf("got %d, want 200 or 503: %s", w.Code, w.Body)
		}
	}
	if ok != held || pool.Used() != 0 || pool.Refused() == 0 {
		t.Errorf("got %d replies, %d bytes in use and %d refusals, want %d, 0 and some", ok, pool.Used(), pool.Refused(), held)
	}
	f.request = nil
	if w := send(s, "POST", "/bomb", bomb, "Content-Type", "application/json", "Content-Encoding", "gzip"); w.Code != http.StatusOK {
		t.Errorf("got %d after all requests have ended, want 200", w.Code)
	}
}

// Every kind of input counts its memory while it is in use.
func TestInputsReserveMemory(t *testing.T) {
	f := &fake{}
	s := serve(t, f, on("/json"), on("/xml", takesAs("xml")), on("/form", takesAs("form")), on("/text", takesAs("text")),
		on("/binary", takesAs("binary")), on("/multipart", takesAs("multipart")))
	text := strings.Repeat("x", 200_000)
	for _, test := range []struct{ path, kind, body string }{
		{"/json", "application/json", `"` + text + `"`},
		{"/xml", "application/xml", "<a>" + text + "</a>"},
		{"/form", "application/x-www-form-urlencoded", "a=" + text},
		{"/text", "text/plain", text},
		{"/binary", "application/octet-stream", text},
		{"/multipart", "multipart/form-data; boundary=b", "--b\r\nContent-Disposition: form-data; name=\"a\"\r\n\r\n" + text + "\r\n--b--\r\n"},
	} {
		for _, encoding := range []string{"identity", "gzip"} {
			body := test.body
			if encoding == "gzip" {
				body = gzipped(body)
			}
			for limit, want := range map[int64]int{64 << 20: http.StatusOK, 100_000: http.StatusRequestEntityTooLarge} {
				s.options.Memory = budget.NewPool(limit)
				w := send(s, "POST", test.path, body, "Content-Type", test.kind, "Content-Encoding", encoding)
				if w.Code != want || s.options.Memory.Used() != 0 {
					t.Errorf("%s, %s, limit %d: got %d with %d bytes still in use, want %d with 0: %s", test.path, encoding, limit, w.Code, s.options.Memory.Used(), want, w.Body)
				}
			}
			full := budget.NewPool(64 << 20)
			s.options.Memory = full
			var other budget.Share
			other.Open(full)
			if err := other.Reserve(64<<20 - 10_000); err != nil {
				t.Fatal(err)
			}
			if w := send(s, "POST", test.path, body, "Content-Type", test.kind, "Content-Encoding", encoding); w.Code != http.StatusServiceUnavailable || w.Header().Get("Retry-After") != "5" {
				t.Errorf("%s, %s: got %d, Retry-After %q while others hold the memory, want 503 and 5", test.path, encoding, w.Code, w.Header().Get("Retry-After"))
			}
		}
	}
}

// A caller that has left does not keep a core busy.
func TestParsingStopsWhenTheCallerLeaves(t *testing.T) {
	s := serve(t, &fake{}, on("/xml", takesAs("xml")))
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	r := httptest.NewRequestWithContext(ctx, "POST", "/xml", strings.NewReader("<r>"+strings.Repeat("<a/>", 10_000)+"</r>"))
	w := newRecorder()
	s.ServeHTTP(w, r)
	if w.Code != statusClientClosed {
		t.Errorf("got %d, want %d", w.Code, statusClientClosed)
	}
}
