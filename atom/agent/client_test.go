package agent

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"valence/atom/agent/cloudclient"
	"valence/internal/wire"
)

func TestTruncatedResponses(t *testing.T) {
	p, data := newPlane(t), t.TempDir()
	join(t, p, data)
	var n atomic.Int64
	p.meddle = func(w http.ResponseWriter, r *http.Request) bool {
		if n.Add(1)%2 == 0 || r.URL.Path == wire.PathEnroll {
			return false
		}
		// Send half of the response.
		rec := &recorder{header: http.Header{}}
		p.mu.Lock()
		p.meddle, n = nil, atomic.Int64{}
		p.mu.Unlock()
		p.ServeHTTP(rec, r)
		w.Header().Set("Content-Length", fmt.Sprint(len(rec.body)))
		w.WriteHeader(max(rec.status, 200))
		w.Write(rec.body[:len(rec.body)/2])
		return true
	}
	meddle := p.meddle
	start(t, p, data, nil, nil)
	p.deploy(1, p.pack("a.yaml", oneProcess), nil)
	for i := range 5 {
		p.do(func() { p.meddle = meddle })
		p.execute(int64(i+1), fmt.Sprint("executionrecord-", i), "one")
		p.wait("the acknowledgement", func() bool { return len(p.instructions) == 0 })
	}
	executions := map[string]bool{}
	for i := range 5 {
		x := p.waitReport(fmt.Sprint("executionrecord-", i))
		if x.Status != "completed" || executions[x.Execution] {
			t.Errorf("%+v", x)
		}
		executions[x.Execution] = true
	}
}

type recorder struct {
	header http.Header
	status int
	body   []byte
}

func (r *recorder) Header() http.Header         { return r.header }
func (r *recorder) WriteHeader(status int)      { r.status = status }
func (r *recorder) Write(b []byte) (int, error) { r.body = append(r.body, b...); return len(b), nil }

func TestErrorResponses(t *testing.T) {
	p, data := newPlane(t), t.TempDir()
	id := join(t, p, data)
	l, err := cloudclient.New(id)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	reserve := func(uint64) error { return nil }
	l.StartCounter(0, 0, reserve)
	poll := func() error { return l.Call(t.Context(), wire.PathPoll, wire.PollRequest{}, &wire.PollResponse{}) }
	if err := poll(); err != nil { // learns the epoch
		t.Fatal(err)
	}
	p.do(func() { p.epoch, p.window = "e2", wire.Window{} }) // it was restarted
	if err := poll(); err != nil {
		t.Fatal(err)
	}
	l.StartCounter(0, 0, reserve) // a restored backup
	if err := poll(); err != nil {
		t.Fatal(err)
	}
	elsewhere := newPlane(t)
	p.do(func() {
		p.meddle = func(w http.ResponseWriter, r *http.Request) bool {
			http.Redirect(w, r, elsewhere.srv.URL+r.URL.Path, http.StatusTemporaryRedirect)
			return true
		}
	})
	if err := poll(); err == nil || !strings.Contains(err.Error(), "redirects to") {
		t.Errorf("got %v, want an error with \"redirects to\"", err)
	}
	p.do(func() {
		p.meddle = func(w http.ResponseWriter, r *http.Request) bool {
			w.Header().Set("Retry-After", "7")
			w.WriteHeader(503)
			return true
		}
	})
	refused := (*cloudclient.ResponseError)(nil)
	if err := poll(); !errors.As(err, &refused) || refused.RetryAfter != 7*time.Second {
		t.Errorf("got %v, want refused, RetryAfter 7*time.Second", err)
	}
	b := cloudclient.Backoff{Initial: time.Second, Max: 5 * time.Minute}
	for range 20 {
		if d := b.After(refused); d < 7*time.Second || d > 7*time.Second+5*time.Minute {
			t.Errorf("got %v, want d >= 7*time.Second, d <= 7*time.Second+5*time.Minute", d)
		}
	}
	if d := b.After(&cloudclient.ResponseError{RetryAfter: time.Hour}); d > 10*time.Minute {
		t.Errorf("a page that says an hour keeps the atom away for %v", d)
	}
	p.do(func() {
		p.meddle = func(w http.ResponseWriter, r *http.Request) bool {
			for range 1000 {
				w.Write(make([]byte, 1<<20))
			}
			return true
		}
	})
	if _, err := l.Fetch(t.Context(), wire.PathPackages+"x", "", 1<<20); err == nil || !strings.Contains(err.Error(), "exceeds") {
		t.Errorf("got %v, want an error with \"exceeds\"", err)
	}
}

func TestJoinTwice(t *testing.T) {
	p, data := newPlane(t), t.TempDir()
	join(t, p, data)
	info, err := os.Stat(filepath.Join(data, cloudclient.Folder, cloudclient.IdentityFile))
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("got %v %v, want mode 0o600 and no error", info.Mode(), err)
	}
	id, err := cloudclient.NewIdentity(p.srv.URL, "edge-02", "", nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := id.Enroll(t.Context(), "once", "test", ""); cloudclient.ErrorCode(err) != "unknown_token" {
		t.Errorf("got %v, want unknown_token", err)
	}
	if _, err := cloudclient.LoadIdentity(t.TempDir()); !errors.Is(err, cloudclient.ErrNotJoined) {
		t.Errorf("got %v, want cloudclient.ErrNotJoined", err)
	}
	if _, err := json.Marshal(id); err != nil {
		t.Error(err)
	}
}

// TestJoinAgainAfterALostAnswer: an enrollment whose response was lost is
// repeated with the same keys, whatever intermediaries responded meanwhile.
func TestJoinAgainAfterALostAnswer(t *testing.T) {
	p, data := newPlane(t), t.TempDir()
	var mu sync.Mutex
	var keys []string
	answer := 0
	p.meddle = func(w http.ResponseWriter, r *http.Request) bool {
		var e wire.EnrollRequest
		json.NewDecoder(r.Body).Decode(&e)
		mu.Lock()
		defer mu.Unlock()
		keys = append(keys, string(e.Key))
		switch answer++; answer {
		case 1: // accepted, but the response is lost
			panic(http.ErrAbortHandler)
		case 2:
			w.WriteHeader(http.StatusProxyAuthRequired)
		case 3:
			w.WriteHeader(http.StatusNotFound)
		default:
			json.NewEncoder(w).Encode(wire.EnrollResponse{Atom: "atom-1", Account: "default"})
		}
		return true
	}
	for i := range 4 {
		id, err := cloudclient.NewIdentity(p.srv.URL, "edge-01", "", nil)
		if err != nil {
			t.Fatal(err)
		}
		if err := cloudclient.Join(t.Context(), data, id, "once", "test", ""); (err == nil) != (i == 3) {
			t.Errorf("%d: %v", i, err)
		}
		mu.Lock()
		if keys[i] != keys[0] {
			t.Errorf("the attempt %d was made with other keys", i+1)
		}
		mu.Unlock()
	}
}
