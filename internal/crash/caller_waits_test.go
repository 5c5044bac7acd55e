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

// TestCallerWaitsForASignal: what a caller sends that waits for a signal, its
// connection open, is on disk all the same. It is answered by the signal, and
// cancelled where the signal does not come in time.
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
		t.Fatalf("%s: %s", resp.Status, body)
	}
	if got := <-answered; got.resp.StatusCode != http.StatusOK || string(got.body) != `{"decided":true}` {
		t.Fatalf("%s: %s", got.resp.Status, got.body)
	}
	if resp, body := a.ask(http.MethodPost, "/ask", `{"id":"b"}`); resp.StatusCode != http.StatusGatewayTimeout {
		t.Fatalf("%s: %s", resp.Status, body)
	}
	if n := len(a.executions("cancelled")); n != 1 {
		t.Fatalf("%d were cancelled", n)
	}
}
