package crash

import (
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

const suspectProject = `
project: suspects
---
process: ordered
listen: { path: /ordered, input: json, auth: none }
sequence: { key: all, on_failure: block }
workers: 4
steps:
  - call: sink.post
    with: { path: "/ordered/${doc.n}" }
---
process: free
listen: { path: /free, input: json, auth: none }
workers: 16
steps:
  - call: sink.post
    with: { path: "/free/${doc.n}" }
---
connection: sink
connector: http
url: ${env.SINK}
timeout: 20s
`

// TestQuickKillsBlameNobody kills the program at short intervals while calls
// take longer than it lives. Nothing fails, and when the kills end, everything
// runs, in order.
func TestQuickKillsBlameNobody(t *testing.T) {
	t.Parallel()
	var mu sync.Mutex
	var ordered []string
	var calm atomic.Bool
	dest := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body) // then the server notices that the caller dies
		if !calm.Load() {
			select {
			case <-time.After(3 * time.Second):
			case <-r.Context().Done():
				return
			}
		}
		if strings.HasPrefix(r.URL.Path, "/ordered/") {
			mu.Lock()
			ordered = append(ordered, r.URL.Path)
			mu.Unlock()
		}
		fmt.Fprint(w, `{}`)
	}))
	t.Cleanup(dest.Close)
	a := newAtom(t, strings.TrimPrefix(dest.URL, "http://"))
	a.runs(suspectProject)
	a.start()
	for n := range 6 {
		for _, path := range []string{"/ordered", "/free"} {
			if resp, body := a.ask(http.MethodPost, path, fmt.Sprintf(`{"n":%d}`, n)); resp.StatusCode != http.StatusOK {
				t.Fatalf("%s: %s", resp.Status, body)
			}
		}
	}
	for range 10 {
		pause(time.Duration(200+rand.IntN(700)) * time.Millisecond)
		a.kill()
		a.start()
	}
	calm.Store(true)
	for end := time.Now().Add(time.Minute); len(a.executions("completed")) < 12 && time.Now().Before(end); {
		pause(50 * time.Millisecond)
	}
	if n := len(a.executions("completed")); n != 12 {
		t.Errorf("got %d completed executions, want 12; failed: %s", n, a.executions("failed"))
	}
	mu.Lock()
	defer mu.Unlock()
	if got, want := strings.Join(ordered, " "), "/ordered/0 /ordered/1 /ordered/2 /ordered/3 /ordered/4 /ordered/5"; got != want {
		t.Errorf("got calls %s, want %s", got, want)
	}
	if code := a.stop(); code != 0 {
		t.Errorf("got exit code %d after SIGTERM, want 0:\n%s", code, a.out.String())
	}
}

// TestPoisonMessage kills the program whenever two of the executions make their
// calls. They end as crashed_atom, each after three kills, and all others
// complete.
func TestPoisonMessage(t *testing.T) {
	t.Parallel()
	deadly := make(chan struct{}, 1)
	var kills atomic.Int64
	dest := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body) // then the server notices that the caller dies
		if strings.HasSuffix(r.URL.Path, "/poison") {
			select {
			case deadly <- struct{}{}:
			default:
			}
			<-r.Context().Done()
			return
		}
		fmt.Fprint(w, `{}`)
	}))
	t.Cleanup(dest.Close)
	a := newAtom(t, strings.TrimPrefix(dest.URL, "http://"))
	a.runs(suspectProject)
	a.start()
	for _, n := range []string{`"a"`, `"poison"`, `"b"`} {
		for _, path := range []string{"/free", "/ordered"} {
			if resp, body := a.ask(http.MethodPost, path, `{"n":`+n+`}`); resp.StatusCode != http.StatusOK {
				t.Fatalf("%s: %s", resp.Status, body)
			}
		}
	}
	for end := time.Now().Add(90 * time.Second); time.Now().Before(end) && len(a.executions("failed")) < 2; {
		select {
		case <-deadly:
			a.kill()
			kills.Add(1)
			select { // a call that arrived before the kill
			case <-deadly:
			default:
			}
			a.start()
		case <-time.After(100 * time.Millisecond):
		}
	}
	for _, x := range a.executions("failed") {
		var v struct {
			Error struct {
				Code string `json:"code"`
			} `json:"error"`
		}
		if err := json.Unmarshal(x, &v); err != nil || v.Error.Code != "crashed_atom" {
			t.Errorf("got failed execution %s, want code crashed_atom", x)
		}
	}
	if n := len(a.executions("failed")); n != 2 {
		t.Errorf("got %d failed executions, want 2", n)
	}
	if n := kills.Load(); n < 3 || n > 6 {
		t.Errorf("got %d kills, want 3 to 6", n)
	}
}
