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

	"valence/atom"
	"valence/internal/wire"
)

const waiting = "process: one\nsteps:\n  - wait: end\n    key: ${execution.id}\n    timeout: 1h\n"

// TestCancelByBothNames: an execution can be cancelled by its request ID or its
// own ID.
func TestCancelByBothNames(t *testing.T) {
	p, data := newPlane(t), t.TempDir()
	join(t, p, data)
	r := start(t, p, data, nil, nil)
	p.deploy(1, p.pack("a.yaml", waiting), nil)
	p.waitResult(1, "active")
	ack, err := r.atom.ExecuteOnce(t.Context(), "of this machine", "one", atom.Input{})
	if err != nil {
		t.Fatal(err)
	}
	p.execute(1, "executionrecord-1", "one")
	p.wait("the acknowledgement", func() bool { return len(p.instructions) == 0 })
	p.do(func() {
		p.instructions = append(p.instructions, wire.Instruction{ID: 2, Kind: wire.KindCancel, Cancel: "executionrecord-1"},
			wire.Instruction{ID: 3, Kind: wire.KindCancel, Cancel: ack.Execution}, wire.Instruction{ID: 4, Kind: wire.KindCancel, Cancel: "nothing"})
	})
	if x := p.waitReport("executionrecord-1"); x.Status != "cancelled" {
		t.Errorf("got %+v, want Status \"cancelled\"", x)
	}
	p.wait("the other execution", func() bool {
		for _, x := range p.reports {
			if x.Execution == ack.Execution && x.Status == "cancelled" {
				return true
			}
		}
		return false
	})
	p.wait("the acknowledgements", func() bool { return len(p.instructions) == 0 })
}

// TestCancelPostponed: a postponed request is not started after its cancellation
// was acknowledged.
func TestCancelPostponed(t *testing.T) {
	h := &requestHandler{}
	h.running.init()
	h.running.setHandled("executionrecord-1", false)
	if h.cancel(t.Context(), "executionrecord-1") {
		t.Error("postponed request: got its cancellation acknowledged, want it postponed too")
	}
	h.running.setHandled("executionrecord-1", true)
	if h.running.isPostponed("executionrecord-1") {
		t.Error("handled request: got postponed, want handled")
	}
}

// TestOutdatedGeneration: an atom backs off if the control plane sends an outdated
// generation.
func TestOutdatedGeneration(t *testing.T) {
	p, data := newPlane(t), t.TempDir()
	join(t, p, data)
	start(t, p, data, nil, func(o *Options) { o.Timing.MinBackoff = 20 * time.Millisecond })
	p.deploy(100, p.pack("a.yaml", oneProcess), nil)
	p.waitResult(100, "active")
	var polls atomic.Int64
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
	<-time.After(time.Second) // real time: the rate of HTTP requests is measured
	if n := polls.Load(); n > 15 {
		t.Errorf("got %d polls within a second, want at most 15", n)
	}
}

// TestRequestComesAgainLater: a request whose acknowledgement was lost runs once,
// even after the store has deleted its origin.
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
			var in wire.PollRequest
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
	again := start(t, p, data, nil, nil) // with an empty store
	p.execute(3, "executionrecord-2", "one")
	p.waitReport("executionrecord-2")
	p.wait("the acknowledgements", func() bool { return len(p.instructions) == 0 })
	again.stop()
	runs := map[string]map[time.Time]bool{} // a report may be repeated
	for _, x := range p.reports {
		if runs[x.Request] == nil {
			runs[x.Request] = map[time.Time]bool{}
		}
		runs[x.Request][x.Received] = true
	}
	for request, of := range runs {
		if len(of) != 1 {
			t.Errorf("%s was run %d times: %+v, want len of 1", request, len(of), p.reports)
		}
	}
}
