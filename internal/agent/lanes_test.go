package agent

import (
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"sync"
	"sync/atomic"
	"testing"

	"valence/internal/wire"
)

// Behind a balancer that gives each connection to another control plane, a
// connection costs one refusal for the epoch, and a request none.
func TestEachConnectionHasItsEpoch(t *testing.T) {
	first, second := newPlane(t), newPlane(t)
	id := join(t, first, t.TempDir())
	second.do(func() { second.key, second.epoch = first.key, "e2" })
	var refusals, connections atomic.Int64
	for _, p := range []*plane{first, second} {
		p.do(func() {
			p.meddle = func(_ http.ResponseWriter, r *http.Request) bool {
				if c, err := wire.ReadClaim(r); err == nil && c.Epoch != p.epoch {
					refusals.Add(1)
				}
				return false
			}
		})
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var all sync.WaitGroup
	all.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			to := []*plane{first, second}[connections.Add(1)%2]
			all.Go(func() {
				defer c.Close()
				d, err := net.Dial("tcp", to.srv.Listener.Addr().String())
				if err != nil {
					return
				}
				all.Go(func() { defer d.Close(); _, _ = io.Copy(d, c) })
				_, _ = io.Copy(c, d)
			})
		}
	})
	id.URL = "http://" + l.Addr().String()
	link, err := newLink(id)
	if err != nil {
		t.Fatal(err)
	}
	link.reserve = func(uint64) error { return nil }
	defer all.Wait()
	defer l.Close()
	defer link.close()
	for range 10 {
		for _, call := range []struct {
			path string
			in   any
		}{{wire.PathPoll, wire.Poll{Instance: "i"}}, {wire.PathReports, wire.Reports{Instance: "i"}}} {
			if err := link.call(t.Context(), call.path, call.in, nil); err != nil {
				t.Fatal(err)
			}
		}
	}
	if refusals.Load() == 0 || refusals.Load() > connections.Load() || connections.Load() > 2 {
		t.Errorf("%d refusals on %d connections", refusals.Load(), connections.Load())
	}
}

// A balancer that gives each request to another control plane costs more
// requests, and stops nothing.
func TestRequestsInTurn(t *testing.T) {
	first, second := newPlane(t), newPlane(t)
	id := join(t, first, t.TempDir())
	second.do(func() { second.key, second.epoch = first.key, "e2" })
	var n atomic.Int64
	between := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		[]*plane{first, second}[n.Add(1)%2].ServeHTTP(w, r)
	}))
	defer between.Close()
	id.URL = between.URL
	link, err := newLink(id)
	if err != nil {
		t.Fatal(err)
	}
	link.reserve = func(uint64) error { return nil }
	defer link.close()
	for range 10 {
		if err := link.call(t.Context(), wire.PathPoll, wire.Poll{Instance: "i"}, nil); err != nil {
			t.Fatal(err)
		}
	}
}
