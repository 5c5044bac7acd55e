package atom_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"valence/atom"
	"valence/atom/store"
	"valence/atom/store/storetest"
	"valence/internal/document"
	"valence/internal/fault"
)

// told returns the next end.
func told(t *testing.T, ends chan atom.ExecutionEnd) atom.ExecutionEnd {
	t.Helper()
	select {
	case e := <-ends:
		return e
	case <-time.After(10 * time.Second):
		t.Fatal("nobody was told of the end")
	}
	return atom.ExecutionEnd{}
}

// traffic formats the documents and bytes in and out.
func traffic(e atom.ExecutionEnd) string {
	text := "in ?"
	if e.In != nil {
		text = fmt.Sprintf("in %d %d", e.In.Documents, e.In.Bytes)
	}
	if e.Out == nil {
		return text + " out ?"
	}
	return text + fmt.Sprintf(" out %d %d", e.Out.Documents, e.Out.Bytes)
}

// Traffic is counted once, over retries, waits, parallel paths, replies and pages,
// in memory and durably.
func TestTraffic(t *testing.T) {
	for name, c := range map[string]struct{ steps, body, want string }{
		"nothing":             {"  - log: x", ``, "in 0 0 out 0 0"},
		"a document":          {"  - log: x", `{"a":1}`, "in 1 7 out 0 0"},
		"reads are no writes": {"  - call: sys.get\n    with: { path: /x }", `{}`, "in 1 2 out 0 0"},
		"two writes":          {"  - call: sys.post\n    with: { path: /a }\n    body: { b: 1 }\n  - call: sys.post\n    with: { path: /b }\n    body: {}", `{}`, "in 1 2 out 2 9"},
		"after a failed try":  {"  - call: sys.post\n    with: { path: /flaky }\n    retry: { max_attempts: 3, backoff: 1ms }", `{"a":1}`, "in 1 7 out 1 7"},
		"what failed":         {"  - call: sys.post\n    with: { path: /a }\n  - call: sys.post\n    with: { path: /bad }", `{}`, "in 1 2 out 1 2"},
		"over a wait":         {"  - call: sys.post\n    with: { path: /a }\n  - sleep: 20ms\n  - call: sys.post\n    with: { path: /b }\n    body: [1, 2]", `{}`, "in 1 2 out 2 7"},
		"in parallel":         {"  - branch:\n      one: [{ call: sys.post, with: { path: /a }, body: [1] }]\n      two: [{ call: sys.post, with: { path: /b }, body: [2] }]", `{}`, "in 1 2 out 2 6"},
	} {
		t.Run(name, func(t *testing.T) {
			sys := newSystem()
			sys.answers["post /flaky"], sys.answers["post /bad"] = failing(2, down, `{}`), failing(9, refused, `{}`)
			r := start(t, sys, nil, "process: p\nlisten: { path: /p, auth: none }\nsteps:\n"+c.steps+"\n")
			ends := make(chan atom.ExecutionEnd, 1)
			r.atom.OnEnded(func(e atom.ExecutionEnd) { ends <- e })
			in := arrival(c.body)
			if c.body == "" {
				in.Doc = document.Empty
			}
			ack, err := r.atom.Accept(context.Background(), r.process("p"), in)
			if err != nil {
				t.Fatal(err)
			}
			e := told(t, ends)
			if got := traffic(e); got != c.want {
				t.Errorf("%s: %s, want %s", e.Status, got, c.want)
			}
			v, err := r.atom.Show(context.Background(), ack.Execution)
			if err != nil || (v.Sent == nil) != (e.Out.Documents == 0) || v.Sent != nil && *v.Sent != *e.Out {
				t.Errorf("got stored traffic %+v, %v, want that of the end", v.Sent, err)
			}
		})
	}
}

func TestTrafficOfAReply(t *testing.T) {
	r := start(t, newSystem(), nil, "process: p\nlisten: { path: /p, output: json, auth: none }\nsteps:\n  - call: sys.post\n    with: { path: /a }\n  - reply: { ok: true }\n")
	ends := make(chan atom.ExecutionEnd, 1)
	r.atom.OnEnded(func(e atom.ExecutionEnd) { ends <- e })
	if _, err := r.atom.Request(context.Background(), r.process("p"), arrival(`{"a":1}`)); err != nil {
		t.Fatal(err)
	}
	if got := traffic(told(t, ends)); got != "in 1 7 out 2 18" {
		t.Errorf("got %v, want in 1 7 out 2 18", got)
	}
}

// Writes on finished pages stay counted, also after a failed attempt. A
// resubmission counts only its own writes.
func TestTrafficOfPages(t *testing.T) {
	s := &shelf{system: newSystem(), records: 9, size: 3}
	broken := true
	s.answers["post /4/4"] = func(n int) (*document.Document, error) {
		if n == 1 {
			return nil, &fault.Failure{Code: fault.CodeConnect, Source: fault.FromConnector, Retryable: true}
		}
		return document.FromJSON([]byte(`{}`)), nil
	}
	s.answers["post /7/7"] = func(int) (*document.Document, error) {
		if broken {
			return nil, refused()
		}
		return document.FromJSON([]byte(`{}`)), nil
	}
	r := startWith(t, s.system, s.connector(), storetest.NewStore(), paged)
	ends := make(chan atom.ExecutionEnd, 1)
	r.atom.OnEnded(func(e atom.ExecutionEnd) { ends <- e })
	id := r.accept("sync", `{}`).Execution
	if e := told(t, ends); traffic(e) != "in 1 2 out 7 7" || e.Status != store.Failed {
		t.Errorf("got %s %s, want failed in 1 2 out 7 7", e.Status, traffic(e))
	}
	broken = false
	r.tick() // the other execution's entries are older
	r.tick()
	if _, err := r.atom.Resubmit(context.Background(), id, atom.Resubmission{From: atom.FromFailedStep}); err != nil {
		t.Fatal(err)
	}
	if e := told(t, ends); traffic(e) != "in 1 2 out 2 2" || e.Status != store.Completed {
		t.Errorf("got %s %s, want completed in 1 2 out 2 2", e.Status, traffic(e))
	}
}
