package crash

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

const holdProject = `
process: needs
listen: { path: /needs, input: json, auth: none }
workers: 4
retry: { max_attempts: 2, backoff: 1s }
steps:
  - call: sink.post
    with: { path: "/${doc.n}" }
---
connection: sink
connector: http
url: ${env.SINK}
timeout: 5s
circuit: { failures: 3, probe: 300ms }
`

// TestHeldThroughKills kills the program while thousands of executions are being
// held because their system is down, and again after it is back. Each one
// resumes, and none has spent attempts on a system known to be down.
func TestHeldThroughKills(t *testing.T) {
	t.Parallel()
	const messages = 3000
	random := seeded(t)
	var up atomic.Bool
	var mu sync.Mutex
	done := map[string]bool{}
	sink := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !up.Load() {
			w.WriteHeader(http.StatusServiceUnavailable)
			return
		}
		mu.Lock()
		defer mu.Unlock()
		done[r.URL.Path] = true
		fmt.Fprint(w, `{}`)
	}))
	t.Cleanup(sink.Close)
	a := newAtom(t, strings.TrimPrefix(sink.URL, "http://"))
	a.runs(holdProject)
	a.start()
	var senders sync.WaitGroup
	for c := range clients {
		senders.Go(func() {
			for n := c; n < messages; n += clients {
				for over := time.Now().Add(time.Minute); time.Now().Before(over); pause(5 * time.Millisecond) {
					if status, _ := post("http://"+a.listen+"/needs", fmt.Sprintf(`{"n":%d}`, n)); status == http.StatusOK {
						break
					}
				}
			}
		})
	}
	for range 3 {
		pause(time.Duration(100+random.IntN(300)) * time.Millisecond)
		a.restart()
	}
	senders.Wait()
	up.Store(true)
	for range 2 {
		pause(time.Duration(100+random.IntN(600)) * time.Millisecond)
		a.restart()
	}
	count := func() int {
		mu.Lock()
		defer mu.Unlock()
		return len(done)
	}
	for over := time.Now().Add(60 * time.Second); count() < messages && time.Now().Before(over); {
		pause(20 * time.Millisecond)
	}
	if n := count(); n != messages {
		t.Errorf("%d of %d messages arrived; %d are held, %d failed", n, messages, len(a.executions("held")), len(a.executions("failed")))
	}
	for _, failed := range a.executions("failed") {
		var e struct{ ID string }
		var whole json.RawMessage
		if err := json.Unmarshal(failed, &e); err != nil {
			t.Fatal(err)
		}
		a.adminCall(http.MethodGet, "/executions/"+e.ID, &whole)
		t.Errorf("an execution failed: %s", whole)
	}
	if code := a.stop(); code != 0 {
		t.Errorf("exit code %d:\n%s", code, a.out.String())
	}
}
