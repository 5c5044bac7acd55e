package agent

import (
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"sync"
	"sync/atomic"
	"testing"

	"valence/atom/agent/cloudclient"
	"valence/internal/wire"
)

// If a balancer connects each connection to a different control plane, each
// connection costs one error response for the epoch and requests cost none.
func TestEachConnectionHasItsEpoch(t *testing.T) {
	first, second := newPlane(t), newPlane(t)
	id := join(t, first, t.TempDir())
	second.do(func() { second.key, second.epoch = first.key, "e2" })
	var refusals, connections atomic.Int64
	for _, p := range []*plane{first, second} {
		p.do(func() {
			p.meddle = func(_ http.ResponseWriter, r *http.Request) bool {
				if c, err := wire.ReadSignatureHeaders(r); err == nil && c.Epoch != p.epoch {
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
	link, err := cloudclient.New(id)
	if err != nil {
		t.Fatal(err)
	}
	link.StartCounter(0, 0, func(uint64) error { return nil })
	defer all.Wait()
	defer l.Close()
	defer link.Close()
	for range 10 {
		for _, call := range []struct {
			path string
			in   any
		}{{wire.PathPoll, wire.PollRequest{Instance: "i"}}, {wire.PathReports, wire.Reports{Instance: "i"}}} {
			if err := link.Call(t.Context(), call.path, call.in, nil); err != nil {
				t.Fatal(err)
			}
		}
	}
	if refusals.Load() == 0 || refusals.Load() > connections.Load() || connections.Load() > 2 {
		t.Errorf("%d refusals on %d connections", refusals.Load(), connections.Load())
	}
}

// If a balancer distributes requests in turn, they cost repetitions but
// succeed.
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
	link, err := cloudclient.New(id)
	if err != nil {
		t.Fatal(err)
	}
	link.StartCounter(0, 0, func(uint64) error { return nil })
	defer link.Close()
	for range 10 {
		if err := link.Call(t.Context(), wire.PathPoll, wire.PollRequest{Instance: "i"}, nil); err != nil {
			t.Fatal(err)
		}
	}
}
