package agent

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"valence/internal/document"
	"valence/internal/wire"
)

const waiting = "process: one\nsteps:\n  - wait: end\n    key: ${execution.id}\n    timeout: 1h\n"

// TestCancelByBothNames: an execution is cancelled by its request or by its own
// id, as one is named that nobody asked for from afar.
func TestCancelByBothNames(t *testing.T) {
	p, data := newPlane(t), t.TempDir()
	join(t, p, data)
	r := start(t, p, data, nil, nil)
	p.deploy(1, p.pack("a.yaml", waiting), nil)
	p.waitResult(1, "active")
	ack, err := r.atom.ExecuteOnce(t.Context(), "of this machine", "one", nil, document.Empty)
	if err != nil {
		t.Fatal(err)
	}
	p.execute(1, "executionrecord-1", "one")
	p.wait("the acknowledgement", func() bool { return len(p.messages) == 0 })
	p.do(func() {
		p.messages = append(p.messages, wire.Message{ID: 2, Kind: wire.KindCancel, Cancel: "executionrecord-1"},
			wire.Message{ID: 3, Kind: wire.KindCancel, Cancel: ack.Execution}, wire.Message{ID: 4, Kind: wire.KindCancel, Cancel: "nothing"})
	})
	if x := p.waitReport("executionrecord-1"); x.Status != "cancelled" {
		t.Errorf("%+v", x)
	}
	p.wait("the other execution", func() bool {
		for _, x := range p.reports {
			if x.Execution == ack.Execution && x.Status == "cancelled" {
				return true
			}
		}
		return false
	})
	p.wait("the acknowledgements", func() bool { return len(p.messages) == 0 })
}

// TestCancelBeforeItIsTaken: a request that could not be taken yet does not
// begin after its cancellation was acknowledged.
func TestCancelBeforeItIsTaken(t *testing.T) {
	a := &Agent{}
	a.requests.init()
	a.requests.dealt("executionrecord-1", false)
	if a.cancel(t.Context(), "executionrecord-1") {
		t.Error("the cancellation is acknowledged, and the request comes again")
	}
	a.requests.dealt("executionrecord-1", true)
	if a.requests.comes("executionrecord-1") {
		t.Error("it was taken, and is to come")
	}
}

// TestOlderGeneration: an atom does not ask without a pause where the control
// plane gives what it cannot take.
func TestOlderGeneration(t *testing.T) {
	p, data := newPlane(t), t.TempDir()
	join(t, p, data)
	start(t, p, data, nil, func(o *Options) { o.Pace.First = 20 * time.Millisecond })
	p.deploy(100, p.pack("a.yaml", oneProcess), nil)
	p.waitResult(100, "active")
	var polls atomic.Int64
	begin := time.Now()
	p.do(func() {
		p.meddle = func(w http.ResponseWriter, r *http.Request) bool {
			if r.URL.Path != wire.PathPoll {
				return false
			}
			polls.Add(1)
			w.Write([]byte(`{"desired":{"generation":5,"environment":"prod","deployments":[],"policy":{}}}`))
			return true
		}
	})
	for time.Since(begin) < time.Second {
		time.Sleep(10 * time.Millisecond)
	}
	if n := polls.Load(); n > 15 {
		t.Errorf("it asked %d times in a second", n)
	}
}

// TestRequestComesAgainLater: a request whose acknowledgement was lost is run
// once, also where the store has forgotten by then where its execution came from.
func TestRequestComesAgainLater(t *testing.T) {
	p, data := newPlane(t), t.TempDir()
	join(t, p, data)
	r := start(t, p, data, nil, nil)
	p.deploy(1, p.pack("a.yaml", oneProcess), nil)
	p.waitResult(1, "active")
	p.execute(1, "executionrecord-0", "none")
	p.waitReport("executionrecord-0")
	p.do(func() {
		p.meddle = func(w http.ResponseWriter, r *http.Request) bool {
			body, err := io.ReadAll(r.Body)
			if err != nil {
				return true
			}
			r.Body = io.NopCloser(bytes.NewReader(body))
			var in wire.Poll
			if json.Unmarshal(body, &in) != nil || !slices.Contains(in.Ack, 2) {
				return false
			}
			w.WriteHeader(503)
			return true
		}
	})
	p.execute(2, "executionrecord-1", "one")
	p.waitReport("executionrecord-1")
	r.stop()
	p.do(func() { p.meddle = nil })
	again := start(t, p, data, nil, nil) // with a store that knows nothing any more
	p.execute(3, "executionrecord-2", "one")
	p.waitReport("executionrecord-2")
	p.wait("the acknowledgements", func() bool { return len(p.messages) == 0 })
	again.stop()
	runs := map[string]map[time.Time]bool{} // a report may come twice
	for _, x := range p.reports {
		if runs[x.Request] == nil {
			runs[x.Request] = map[time.Time]bool{}
		}
		runs[x.Request][x.Received] = true
	}
	for request, of := range runs {
		if len(of) != 1 {
			t.Errorf("%s was run %d times: %+v", request, len(of), p.reports)
		}
	}
}
