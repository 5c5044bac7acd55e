package crash

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"
)

const turnProject = `
process: book
listen: { path: /book, output: json, auth: none, timeout: 2s }
sequence: { key: "${doc.seat}" }
steps:
  - call: sink.post
    with: { path: "/book/${doc.n}" }
  - reply: { booked: "${input.n}" }
---
process: stay
listen: { path: /stay, output: json, auth: none, timeout: 1s, timeout_action: continue }
sequence: { key: "${doc.seat}", scope: seats }
steps:
  - call: sink.post
    with: { path: "/stay/${doc.n}" }
  - reply: { booked: "${input.n}" }
---
process: soon
listen: { path: /soon, output: json, auth: none, timeout: 30s }
sequence: { key: "${doc.seat}" }
expires: { request: 1s }
steps:
  - call: sink.post
    with: { path: "/soon/${doc.n}" }
  - reply: { booked: "${input.n}" }
---
connection: sink
connector: http
url: ${env.SINK}
timeout: 20s
`

// TestCallersWaitForTheirTurn checks that callers of one key get their replies
// in order. A caller whose turn does not come in time loses its position. Its
// message is on disk until then, and with `continue` also afterwards.
func TestCallersWaitForTheirTurn(t *testing.T) {
	t.Parallel()
	var mu sync.Mutex
	var order []string
	now, most := 0, 0
	gate := make(chan struct{})
	sink := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		order = append(order, r.URL.Path)
		now++
		most = max(most, now)
		mu.Unlock()
		if strings.HasSuffix(r.URL.Path, "/slow") {
			select {
			case <-gate:
			case <-r.Context().Done():
			}
		}
		mu.Lock()
		now--
		mu.Unlock()
		fmt.Fprint(w, `{}`)
	}))
	t.Cleanup(sink.Close)
	a := newAtom(t, strings.TrimPrefix(sink.URL, "http://"))
	a.runs(turnProject)
	a.start()
	calls := func() string {
		mu.Lock()
		defer mu.Unlock()
		return strings.Join(order, " ")
	}
	until := func(what string, met func() bool) {
		t.Helper()
		for end := time.Now().Add(20 * time.Second); !met(); pause(5 * time.Millisecond) {
			if time.Now().After(end) {
				t.Fatalf("not in time: %s; the calls were %s", what, calls())
			}
		}
	}

	var callers sync.WaitGroup
	for n := range 20 {
		callers.Go(func() {
			resp, body := a.ask(http.MethodPost, "/book", fmt.Sprintf(`{"seat":"a","n":%d}`, n))
			if want := fmt.Sprintf(`{"booked":%d}`, n); resp.StatusCode != http.StatusOK || string(body) != want {
				t.Errorf("%s: %s, want %s", resp.Status, body, want)
			}
		})
	}
	callers.Wait()
	if most != 1 || len(order) != 20 {
		t.Errorf("%d calls, %d at once", len(order), most)
	}

	callers.Go(func() { // holds the key and is cancelled
		if resp, body := a.ask(http.MethodPost, "/book", `{"seat":"b","n":"slow"}`); resp.StatusCode != http.StatusGatewayTimeout {
			t.Errorf("got %s: %s, want 504", resp.Status, body)
		}
	})
	until("the slow one is called", func() bool { return strings.HasSuffix(calls(), "/book/slow") })
	pause(1500 * time.Millisecond)
	callers.Go(func() { // gets its turn when the slow one times out
		if resp, body := a.ask(http.MethodPost, "/book", `{"seat":"b","n":7}`); resp.StatusCode != http.StatusOK {
			t.Errorf("got %s: %s, want 200", resp.Status, body)
		}
	})
	callers.Wait()

	for _, n := range []string{"slow", "next"} {
		if resp, body := a.ask(http.MethodPost, "/stay", `{"seat":"c","n":"`+n+`"}`); resp.StatusCode != http.StatusAccepted || resp.Header.Get("Location") == "" {
			t.Errorf("%s: got %s %s, want status 202 and Location set", n, resp.Status, body)
		}
	}
	if strings.Contains(calls(), "next") {
		t.Error("the next one of a key began before the first had ended")
	}

	callers.Go(func() { // starts in time and is interrupted by SIGKILL
		if status, _ := post("http://"+a.listen+"/soon", `{"seat":"d","n":"slow"}`); status == http.StatusOK {
			t.Error("answered")
		}
	})
	until("it is called", func() bool { return strings.HasSuffix(calls(), "/soon/slow") })
	resp, body := a.ask(http.MethodPost, "/soon", `{"seat":"d","n":"late"}`)
	if resp.StatusCode != http.StatusGatewayTimeout || !strings.Contains(string(body), "urn:valence:problem:expired") {
		t.Errorf(`got %s: %s, want status 504 and text with "urn:valence:problem:expired"`, resp.Status, body)
	}
	until("one has expired", func() bool { return len(a.executions("expired")) == 1 })
	a.kill()
	callers.Wait()
	a.start()
	close(gate)
	until("both go on after SIGKILL", func() bool { return strings.Contains(calls(), "/stay/next") })
	until("all have ended", func() bool { return len(a.executions("completed")) >= 24 })
	if strings.Contains(calls(), "/soon/late") {
		t.Error("what had expired ran")
	}
	until("one is cancelled", func() bool { return len(a.executions("cancelled")) == 1 })
	if code := a.stop(); code != 0 {
		t.Errorf("exit code %d:\n%s", code, a.out.String())
	}
}
