package agent

import (
	"fmt"
	"io"
	"net/http"
	"sync/atomic"
	"testing"

	"valence/atom/agent/spool"
	"valence/internal/wire"
)

// TestProxyAnswers: no response of a proxy loses a report.
func TestProxyAnswers(t *testing.T) {
	for name, answer := range map[string]struct {
		status int
		body   string
	}{
		"a page":              {200, "<html>Sign in to the network</html>"},
		"nothing":             {200, ""},
		"a bad request":       {400, "<html>400 Bad Request</html>"},
		"not to be read":      {422, "what?"},
		"a login":             {401, "<html>who are you?</html>"},
		"proxy login":         {407, ""},
		"another place":       {302, ""},
		"not found":           {404, "nginx"},
		"too long on the way": {408, ""},
	} {
		t.Run(name, func(t *testing.T) {
			p, data := newPlane(t), t.TempDir()
			join(t, p, data)
			r := start(t, p, data, nil, nil)
			p.deploy(1, p.pack("a.yaml", oneProcess), nil)
			p.waitResult(1, "active")
			var between atomic.Bool
			var asked atomic.Int64
			between.Store(true)
			p.do(func() {
				p.meddle = func(w http.ResponseWriter, r *http.Request) bool {
					if !between.Load() || r.URL.Path != wire.PathReports {
						return false
					}
					asked.Add(1)
					w.WriteHeader(answer.status)
					io.WriteString(w, answer.body)
					return true
				}
			})
			for i := range 3 {
				p.execute(int64(i+1), fmt.Sprint("executionrecord-", i), "one")
			}
			p.wait("attempts", func() bool { return asked.Load() >= 4 })
			between.Store(false)
			for i := range 3 {
				p.waitReport(fmt.Sprint("executionrecord-", i))
			}
			if n := r.agent.Status().Dropped; n != 0 {
				t.Errorf("got %d dropped reports, want 0", n)
			}
		})
	}
}

// TestDamagedReport: a damaged report does not block the others.
func TestDamagedReport(t *testing.T) {
	p, data := newPlane(t), t.TempDir()
	join(t, p, data)
	r := start(t, p, data, nil, nil)
	_, err := r.agent.spool.AddReports(t.Context(), []spool.Report{{Kind: spool.KindRequested, Body: []byte(`{"execu\x01`)}}, nil)
	if err != nil {
		t.Fatal(err)
	}
	p.deploy(1, p.pack("a.yaml", oneProcess), nil)
	p.waitResult(1, "active")
	p.execute(1, "executionrecord-1", "one")
	p.waitReport("executionrecord-1")
	if n := r.agent.Status().Dropped; n != 1 {
		t.Errorf("got %d dropped reports, want 1", n)
	}
}

// TestProxyAnswersForPackages: a deployment waits until its package
// comes from the control plane.
func TestProxyAnswersForPackages(t *testing.T) {
	for name, answer := range map[string]struct {
		status int
		body   string
	}{"a page": {200, "<html>Back soon</html>"}, "not found": {404, "nginx"}, "gone": {410, ""}} {
		t.Run(name, func(t *testing.T) {
			p, data := newPlane(t), t.TempDir()
			join(t, p, data)
			var asked atomic.Int64
			p.do(func() {
				p.meddle = func(w http.ResponseWriter, r *http.Request) bool {
					if r.Method != http.MethodGet || asked.Add(1) > 5 {
						return false
					}
					w.Header().Set("Content-Type", "text/html")
					w.WriteHeader(answer.status)
					io.WriteString(w, answer.body)
					return true
				}
			})
			start(t, p, data, nil, nil)
			p.deploy(1, p.pack("a.yaml", oneProcess), nil)
			p.waitResult(1, "active")
		})
	}
}
