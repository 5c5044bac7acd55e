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
	"valence/internal/wire"
)

func TestCutAnswers(t *testing.T) {
	p, data := newPlane(t), t.TempDir()
	join(t, p, data)
	var n atomic.Int64
	p.meddle = func(w http.ResponseWriter, r *http.Request) bool {
		if n.Add(1)%2 == 0 || r.URL.Path == wire.PathEnrol {
			return false
		}
		// Half of what the control plane says.
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
		p.wait("the acknowledgement", func() bool { return len(p.messages) == 0 })
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

func TestRefusalsOfTheLink(t *testing.T) {
	p, data := newPlane(t), t.TempDir()
	id := join(t, p, data)
	l, err := newLink(id)
	if err != nil {
		t.Fatal(err)
	}
	defer l.close()
	l.reserve = func(uint64) error { return nil }
	poll := func() error { return l.call(t.Context(), wire.PathPoll, wire.Poll{}, &wire.Polled{}) }
	if err := poll(); err != nil { // learns the epoch
		t.Fatal(err)
	}
	p.do(func() { p.epoch, p.window = "e2", wire.Window{} }) // it was restarted
	if err := poll(); err != nil {
		t.Fatal(err)
	}
	l.counter = 0 // a restored backup
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
	if err := poll(); err == nil || !strings.Contains(err.Error(), "sends elsewhere") {
		t.Error(err)
	}
	p.do(func() {
		p.meddle = func(w http.ResponseWriter, r *http.Request) bool {
			w.Header().Set("Retry-After", "7")
			w.WriteHeader(503)
			return true
		}
	})
	refused := (*Refused)(nil)
	if err := poll(); !errors.As(err, &refused) || refused.RetryAfter != 7*time.Second {
		t.Error(err)
	}
	b := backoff{first: time.Second, most: 5 * time.Minute}
	for range 20 {
		if d := b.after(refused); d < 7*time.Second || d > 7*time.Second+5*time.Minute {
			t.Error(d)
		}
	}
	if d := b.after(&Refused{RetryAfter: time.Hour}); d > 10*time.Minute {
		t.Errorf("a page that says an hour keeps the atom away for %v", d)
	}
	if b.next != 5*time.Minute {
		t.Error(b.next)
	}
	p.do(func() {
		p.meddle = func(w http.ResponseWriter, r *http.Request) bool {
			for range 1000 {
				w.Write(make([]byte, 1<<20))
			}
			return true
		}
	})
	if _, err := l.fetch(t.Context(), wire.PathPackages+"x", "", 1<<20); err == nil || !strings.Contains(err.Error(), "larger") {
		t.Error(err)
	}
}

func TestAddresses(t *testing.T) {
	for address, want := range map[string]string{
		"https://cloud.example/":          "https://cloud.example",
		"https://Cloud.Example:8443":      "https://cloud.example:8443",
		"http://127.0.0.1:9092":           "http://127.0.0.1:9092",
		"http://localhost:9092":           "http://localhost:9092",
		"http://cloud.example":            "",
		"cloud.example":                   "",
		"ftp://cloud.example":             "",
		"https://user:pw@cloud.example":   "",
		"https://cloud.example/some/path": "",
		"":                                "",
	} {
		if got, err := CheckAddress(address); got != want || (err == nil) != (want != "") {
			t.Errorf("%s: %q, %v", address, got, err)
		}
	}
}

func TestJoinTwice(t *testing.T) {
	p, data := newPlane(t), t.TempDir()
	join(t, p, data)
	info, err := os.Stat(filepath.Join(data, Folder, IdentityFile))
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Error(info.Mode(), err)
	}
	id, err := NewIdentity(p.srv.URL, "edge-02", "", nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := id.Enrol(t.Context(), "once", "test", ""); refusal(err) != "unknown_token" {
		t.Error(err)
	}
	if _, err := Load(t.TempDir()); !errors.Is(err, ErrNotEnrolled) {
		t.Error(err)
	}
	if _, err := json.Marshal(id); err != nil {
		t.Error(err)
	}
}

// TestJoinAgainAfterALostAnswer: an enrolment whose answer was lost is made
// again with the same keys, whatever something on the way has said meanwhile.
func TestJoinAgainAfterALostAnswer(t *testing.T) {
	p, data := newPlane(t), t.TempDir()
	var mu sync.Mutex
	var keys []string
	answer := 0
	p.meddle = func(w http.ResponseWriter, r *http.Request) bool {
		var e wire.Enrol
		json.NewDecoder(r.Body).Decode(&e)
		mu.Lock()
		defer mu.Unlock()
		keys = append(keys, string(e.Key))
		switch answer++; answer {
		case 1: // taken, and the answer is lost
			panic(http.ErrAbortHandler)
		case 2:
			w.WriteHeader(http.StatusProxyAuthRequired)
		case 3:
			w.WriteHeader(http.StatusNotFound)
		default:
			json.NewEncoder(w).Encode(wire.Enrolled{Atom: "atom-1", Account: "default"})
		}
		return true
	}
	for i := range 4 {
		id, err := NewIdentity(p.srv.URL, "edge-01", "", nil)
		if err != nil {
			t.Fatal(err)
		}
		if err := Join(t.Context(), data, id, "once", "test", ""); (err == nil) != (i == 3) {
			t.Errorf("%d: %v", i, err)
		}
		mu.Lock()
		if keys[i] != keys[0] {
			t.Errorf("the attempt %d was made with other keys", i+1)
		}
		mu.Unlock()
	}
}
