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

// TestCallersWaitForTheirTurn: callers of one key get their replies one after
// the other. One whose turn does not come in time gives up its place; what it
// sent is on disk all the same until then, and with `continue` also after it.
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

	callers.Go(func() { // it keeps the key, and is cancelled
		if resp, body := a.ask(http.MethodPost, "/book", `{"seat":"b","n":"slow"}`); resp.StatusCode != http.StatusGatewayTimeout {
			t.Errorf("%s: %s", resp.Status, body)
		}
	})
	until("the slow one is called", func() bool { return strings.HasSuffix(calls(), "/book/slow") })
	pause(1500 * time.Millisecond)
	callers.Go(func() { // its turn comes when the slow one is given up
		if resp, body := a.ask(http.MethodPost, "/book", `{"seat":"b","n":7}`); resp.StatusCode != http.StatusOK {
			t.Errorf("%s: %s", resp.Status, body)
		}
	})
	callers.Wait()

	for _, n := range []string{"slow", "next"} {
		if resp, body := a.ask(http.MethodPost, "/stay", `{"seat":"c","n":"`+n+`"}`); resp.StatusCode != http.StatusAccepted || resp.Header.Get("Location") == "" {
			t.Errorf("%s: %s %s", n, resp.Status, body)
		}
	}
	if strings.Contains(calls(), "next") {
		t.Error("the next one of a key began before the first had ended")
	}

	callers.Go(func() { // begun in time, it is cut off by SIGKILL
		if status, _ := post("http://"+a.listen+"/soon", `{"seat":"d","n":"slow"}`); status == http.StatusOK {
			t.Error("answered")
		}
	})
	until("it is called", func() bool { return strings.HasSuffix(calls(), "/soon/slow") })
	resp, body := a.ask(http.MethodPost, "/soon", `{"seat":"d","n":"late"}`)
	if resp.StatusCode != http.StatusGatewayTimeout || !strings.Contains(string(body), "urn:valence:problem:expired") {
		t.Errorf("%s: %s", resp.Status, body)
	}
	if n := len(a.executions("expired")); n != 1 {
		t.Errorf("%d have expired", n)
	}
	a.kill()
	callers.Wait()
	a.start()
	close(gate)
	until("both go on after SIGKILL", func() bool { return strings.Contains(calls(), "/stay/next") })
	until("all have ended", func() bool { return len(a.executions("completed")) >= 24 })
	if strings.Contains(calls(), "/soon/late") {
		t.Error("what had expired ran")
	}
	if n := len(a.executions("cancelled")); n != 1 {
		t.Errorf("%d were cancelled", n)
	}
	if code := a.stop(); code != 0 {
		t.Errorf("exit code %d:\n%s", code, a.out.String())
	}
}
