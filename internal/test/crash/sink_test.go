package crash

import (
	"context"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"
)

// sink is the destination. It records every call with its idempotency key, and
// can be stopped and restarted on the same address.
type sink struct {
	addr string

	mu     sync.Mutex
	calls  map[string]map[string]int // "/a/17" → idempotency key → times
	total  int
	server *http.Server
}

func newSink(t *testing.T) *sink {
	s := &sink{calls: map[string]map[string]int{}}
	s.start(t, "127.0.0.1:0")
	t.Cleanup(s.stop)
	return s
}

func (s *sink) start(t *testing.T, addr string) {
	l, err := net.Listen("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	s.addr = l.Addr().String()
	s.server = &http.Server{Handler: s}
	go s.server.Serve(l)
}

// called reports whether a call to path has arrived.
func (s *sink) called(path string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.calls[path]) > 0
}

func (s *sink) stop() {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	s.server.Shutdown(ctx)
	s.server.Close()
}

func (s *sink) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	keys := s.calls[r.URL.Path]
	if keys == nil {
		keys = map[string]int{}
		s.calls[r.URL.Path] = keys
	}
	keys[r.Header.Get("Idempotency-Key")]++
	s.total++
	s.mu.Unlock()
	w.Header().Set("Content-Type", "application/json")
	w.Write([]byte(`{"ok":true}`))
}

// got returns the number of calls to a path and the number of distinct keys.
func (s *sink) got(path string) (times, keys int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, n := range s.calls[path] {
		times += n
	}
	return times, len(s.calls[path])
}

// repeats returns the number of repeated calls of a step.
func (s *sink) repeats(step string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := 0
	for path, keys := range s.calls {
		if strings.HasPrefix(path, "/"+step+"/") {
			for _, times := range keys {
				n += times
			}
			n--
		}
	}
	return n
}
