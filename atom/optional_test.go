package atom_test

import (
	"context"
	"strings"
	"testing"

	"valence/atom"
	"valence/internal/document"
	"valence/internal/fault"
)

const optionals = `
process: optional
listen: { path: /optional, input: json, output: json, auth: none }
steps:
  - call: sys.get
    with: { path: /x }
    optional: true
    into: x
  - reply: { x: "${vars.x}", n: "${doc.n}", status: "${response?.status}" }
---
process: caught
listen: { path: /caught, input: json, output: json, auth: none }
steps:
  - try:
      - call: sys.get
        with: { path: /x }
    catch:
      codes: [unavailable]
      handled: true
      steps: [{ map: { caught: "${error.code}" } }]
  - reply: ${doc}
---
process: stored
listen: { path: /stored, input: json, auth: none }
retry: { max_attempts: 2, backoff: 1ms..2ms }
steps:
  - call: sys.get
    with: { path: /x }
    optional: true
    into: x
  - call: sys.post
    with: { path: "/${vars.x == nil ? 'without' : 'with'}" }
---
process: breaks
listen: { path: /breaks, input: json, output: json, auth: none }
steps:
  - call: sys.get
    with: { path: /x }
  - reply: ${doc}
---
connection: sys
connector: fake
circuit: { failures: 1, probe: 1h }
`

func statusFailure(status int) *fault.Failure {
	return &fault.Failure{Code: fault.CodeStatus, Source: fault.FromConnector, Status: status, Message: "status"}
}

// TestUnavailable checks which failures an optional call and a catch of
// unavailable accept.
func TestUnavailable(t *testing.T) {
	for _, c := range []struct {
		name             string
		fail             *fault.Failure
		optional, caught string // replies; "" for a failure
	}{
		{"timeout", &fault.Failure{Code: fault.CodeTimeout, Source: fault.FromConnector}, `{"x":null,"n":1,"status":null}`, `{"caught":"timeout"}`},
		{"connect", &fault.Failure{Code: fault.CodeConnect, Source: fault.FromConnector}, `{"x":null,"n":1,"status":null}`, `{"caught":"connect"}`},
		{"503", statusFailure(503), `{"x":null,"n":1,"status":503}`, `{"caught":"status"}`},
		{"429", statusFailure(429), `{"x":null,"n":1,"status":429}`, `{"caught":"status"}`},
		{"404", statusFailure(404), `{"x":null,"n":1,"status":404}`, ""},
		{"500", statusFailure(500), "", ""},
		{"400", statusFailure(400), "", ""},
		{"an unreadable answer", &fault.Failure{Code: fault.CodeAnswer, Source: fault.FromConnector}, "", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			for process, want := range map[string]string{"optional": c.optional, "caught": c.caught} {
				sys := newSystem()
				sys.answers["get /x"] = func(int) (*document.Document, error) { return nil, c.fail }
				r := startAll(t, sys, nil, optionals)
				reply, err := r.atom.Request(context.Background(), r.process(process), arrival(`{"n":1}`))
				got := ""
				if err == nil {
					got = string(reply.Doc.Body())
				}
				if got != want {
					t.Errorf("%s: got %s %v, want %s", process, got, err, want)
				}
			}
		})
	}
}

// TestOptionalAnswer checks that an optional call with an answer is an ordinary
// call.
func TestOptionalAnswer(t *testing.T) {
	sys := newSystem()
	sys.answers["get /x"] = json(`{"a":1}`)
	r := startAll(t, sys, nil, optionals)
	reply, err := r.atom.Request(context.Background(), r.process("optional"), arrival(`{"n":1}`))
	if err != nil || string(reply.Doc.Body()) != `{"x":{"a":1},"n":1,"status":200}` {
		t.Errorf("got %+v %v, want the answer", reply, err)
	}
}

// TestOptionalWithOpenCircuit checks that an open circuit does not hold a durable
// execution whose call is optional, and that a waiting caller gets a reply.
func TestOptionalWithOpenCircuit(t *testing.T) {
	sys, dead := failable(0)
	dead.Store(true)
	r := startAll(t, sys, nil, optionals)
	if _, err := r.atom.Request(context.Background(), r.process("breaks"), arrival(`{}`)); err == nil {
		t.Fatal("got no failure")
	}
	if c := r.circuit(); c.Circuit == atom.CircuitClosed {
		t.Fatalf("got %+v, want an open circuit", c)
	}
	for process, want := range map[string]string{"optional": `{"x":null,"n":1,"status":null}`, "caught": `{"caught":"circuit_open"}`} {
		reply, err := r.atom.Request(context.Background(), r.process(process), arrival(`{"n":1}`))
		if err != nil || string(reply.Doc.Body()) != want {
			t.Errorf("%s: got %+v %v, want %s", process, reply, err, want)
		}
	}
	before := len(sys.paths())
	id := r.accept("stored", `{}`).Execution
	eventually(t, "suspended or ended", func() bool {
		v, err := r.atom.Show(context.Background(), id)
		return err == nil && v.Status != "running" && v.Status != "accepted"
	})
	v, err := r.atom.Show(context.Background(), id)
	// The second call is not optional: the circuit holds it.
	if err != nil || v.Status != "held" || len(sys.paths()) != before || len(v.Warnings) > 0 && !strings.Contains(v.Warnings[0], "circuit_open") {
		t.Errorf("got %+v %v, want it held at its second call", v, err)
	}
}
