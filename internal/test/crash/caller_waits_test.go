package crash

import (
	"net/http"
	"testing"
	"time"
)

const askProject = `
process: ask
listen: { path: /ask, output: json, auth: none, timeout: 2s }
steps:
  - wait: decision
    key: ${doc.id}
  - reply: { decided: "${doc.yes}" }
---
process: decide
listen: { path: "/decide/{id}", output: json, auth: none }
steps:
  - resume: decision
    key: ${request.params.id}
    body: ${doc}
  - reply: { ok: true }
`

// TestCallerWaitsForASignal checks that a caller's message that waits for a
// signal is on disk while the connection is open. The signal answers it; without
// a signal in time it is cancelled.
func TestCallerWaitsForASignal(t *testing.T) {
	a := newAtom(t, "127.0.0.1:1")
	a.runs(askProject)
	a.start()
	defer a.stop()
	type answer struct {
		resp *http.Response
		body []byte
	}
	answered := make(chan answer, 1)
	go func() {
		resp, body := a.ask(http.MethodPost, "/ask", `{"id":"a"}`)
		answered <- answer{resp, body}
	}()
	for end := time.Now().Add(20 * time.Second); len(a.executions("waiting")) == 0; {
		if time.Now().After(end) {
			t.Fatal("it does not wait")
		}
		pause(5 * time.Millisecond)
	}
	if resp, body := a.ask(http.MethodPost, "/decide/a", `{"yes":true}`); resp.StatusCode != http.StatusOK {
		t.Fatalf("got %s: %s, want 200", resp.Status, body)
	}
	if got := <-answered; got.resp.StatusCode != http.StatusOK || string(got.body) != `{"decided":true}` {
		t.Fatalf(`got %s: %s, want status 200 and body {"decided":true}`, got.resp.Status, got.body)
	}
	if resp, body := a.ask(http.MethodPost, "/ask", `{"id":"b"}`); resp.StatusCode != http.StatusGatewayTimeout {
		t.Fatalf("got %s: %s, want 504", resp.Status, body)
	}
	// The request to cancel is committed before the answer, the end soon after it.
	for end := time.Now().Add(20 * time.Second); len(a.executions("cancelled")) == 0; {
		if time.Now().After(end) {
			t.Fatal("it is not cancelled")
		}
		pause(5 * time.Millisecond)
	}
	if n := len(a.executions("cancelled")); n != 1 {
		t.Fatalf("%d were cancelled", n)
	}
	if n := len(a.executions("waiting")); n != 0 {
		t.Fatalf("%d still wait", n)
	}
}
