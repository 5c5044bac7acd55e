package crash

import (
	"bytes"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"
)

const conflictProject = `
process: counts
listen:
  path: /counts
  output: json
  auth: none
  reply_modes: [callback]
  callbacks: { allow: ["http://127.0.0.1:%s/hooks/"], secret: "${secret.CALLBACK_KEY}" }
steps:
  - state: { set: { n: "${(state.n ?? 0) + 1}" }, if_version: "${state.version}" }
  - call: sink.post
    with: { path: "/book/${doc.id}" }
  - reply: { counted: "${input.id}" }
---
connection: sink
connector: http
url: ${env.SINK}
timeout: 20s
`

// TestStateConflictReachesTheCallback checks that a caller whose execution fails
// at its last commit, with state_conflict, is called back once, with the failure:
// the reply that was pending is dropped.
func TestStateConflictReachesTheCallback(t *testing.T) {
	s := newSlowSink(t)
	t.Setenv("CALLBACK_KEY", callbackKey)
	a := newAtom(t, strings.TrimPrefix(s.URL, "http://"))
	_, port, _ := strings.Cut(strings.TrimPrefix(s.URL, "http://"), ":")
	a.runs(fmt.Sprintf(conflictProject, port))
	a.start()
	for _, id := range []string{"1", "2"} {
		resp, body := a.ask("POST", "/counts", `{"id":"`+id+`"}`, "Prefer", "respond-async", "Callback-Url", s.URL+"/hooks/"+id)
		if resp.StatusCode != http.StatusAccepted {
			t.Fatalf("got %s %s, want 202", resp.Status, body)
		}
	}
	s.wait(t, "/book/1", "/book/2")
	s.open.Store(true) // both have read the state; the first to end wins
	var replies, failures int
	for range 2 {
		switch h := s.hook(t); h.header.Get("X-Reply-Status") {
		case "200":
			replies++
		case "500":
			failures++
			if bytes.Contains(h.body, []byte("counted")) || h.header.Get("Content-Type") != "application/problem+json" {
				t.Errorf("got %v %s, want a problem", h.header, h.body)
			}
		default:
			t.Errorf("got %v %s, want status 200 or 500", h.header, h.body)
		}
	}
	if replies != 1 || failures != 1 {
		t.Errorf("got %d replies and %d failures, want one of each", replies, failures)
	}
	for end := time.Now().Add(20 * time.Second); len(a.executions("completed")) < 3 && time.Now().Before(end); {
		pause(10 * time.Millisecond)
	}
	if done, failed, hooks := len(a.executions("completed")), len(a.executions("failed")), len(s.hooks); done != 3 || failed != 1 || hooks != 0 {
		t.Errorf("got %d completed (with callbacks), %d failed, %d more callbacks; want 3, 1, 0", done, failed, hooks)
	}
}
