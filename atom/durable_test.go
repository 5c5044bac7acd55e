package atom_test

import (
	"context"
	"errors"
	"reflect"
	"strings"
	"testing"

	"valence/atom"
	"valence/atom/store"
	"valence/atom/store/storetest"
	"valence/internal/document"
	"valence/internal/fault"
)

const twoCalls = `
process: two
listen: { path: /two, input: json, auth: none }
retry: { max_attempts: 3, backoff: 10ms..20ms }
steps:
  - call: sys.get
    with: { path: "/orders/${doc.id}" }
  - map: { number: "${doc.number}", id: "${uuid()}", at: "${now()}" }
  - call: sys.post
    with: { path: /erp }
`

func TestDurableExecutionRunsItsCallsInOrder(t *testing.T) {
	sys := newSystem()
	sys.answers["get /orders/4711"] = json(`{"number":0.10}`)
	r := start(t, sys, nil, twoCalls)
	ack := r.accept("two", `{"id":4711}`)
	if ack.Status != "accepted" || ack.Location != "/executions/"+ack.Execution || len(ack.ReplyToken) != 32 {
		t.Errorf("got receipt %+v, want an accepted execution with its location and reply token", ack)
	}
	v := r.ended(ack.Execution)
	if v.Status != "completed" {
		t.Fatalf("got %+v, want status completed", v)
	}
	calls := sys.seen()
	if len(calls) != 2 || calls[0].path != "/orders/4711" || !strings.HasPrefix(calls[1].body, `{"number":0.10,"id":"`) {
		t.Fatalf("got calls %+v, want /orders/4711 and then the document with its number", calls)
	}
	if calls[0].key != "" || calls[1].key == "" || calls[0].correlation != "c-1" {
		t.Errorf("keys: got %+v, want a key for the second call only, and correlation c-1", calls)
	}
	if len(v.Steps) != 3 || v.Steps[0].Kind != "call" || v.Steps[0].Position != "p.yaml:6:5" || v.Steps[0].Document == nil {
		t.Errorf("steps: got %+v, want 3 steps, kind call, position p.yaml:6:5 and a document", v.Steps)
	}
}

func TestFailedAttemptsWaitAndAreCounted(t *testing.T) {
	sys := newSystem()
	sys.answers["post /erp"] = failing(2, down, `{}`)
	r := start(t, sys, nil, twoCalls)
	v := r.ended(r.accept("two", `{"id":1}`).Execution)
	if v.Status != "completed" {
		t.Fatalf("got %+v, want status completed", v)
	}
	want := []string{"get /orders/1", "post /erp", "post /erp", "post /erp"}
	if got := sys.paths(); !reflect.DeepEqual(got, want) {
		t.Errorf("calls %v, want %v: what finished is not called again", got, want)
	}
	calls := sys.seen()
	if calls[1].key != calls[3].key || calls[1].body != calls[3].body {
		t.Errorf("an attempt differs from the one before: got %+v, want key that of calls[3] and body that of calls[3]", calls[1:])
	}
}

func TestAttemptsEnd(t *testing.T) {
	sys := newSystem()
	sys.answers["post /erp"] = failing(100, down, `{}`)
	r := start(t, sys, nil, twoCalls)
	v := r.ended(r.accept("two", `{"id":1}`).Execution)
	if v.Status != "failed" || v.Error.Code != fault.CodeConnect || v.Error.Position != "p.yaml:9:5" || v.Fingerprint == "" {
		t.Errorf("got %+v %+v, want status failed, code connect, position p.yaml:9:5 and a fingerprint", v, v.Error)
	}
	if n := len(sys.seen()); n != 4 {
		t.Errorf("%d calls, want 1 and 3 attempts", n)
	}
}

func TestPermanentErrorsFailAtOnce(t *testing.T) {
	sys := newSystem()
	sys.answers["get /orders/1"] = failing(9, refused, `{}`)
	r := start(t, sys, nil, twoCalls)
	v := r.ended(r.accept("two", `{"id":1}`).Execution)
	if v.Status != "failed" || v.Error.Status != 422 || v.Error.Body != `{"why":"bad"}` || len(sys.seen()) != 1 {
		t.Errorf("got %+v, calls %+v, want status failed with the answer 422, after one call", v, sys.seen())
	}
}

func TestRestartContinuesAfterFinishedCalls(t *testing.T) {
	sys := newSystem()
	sys.answers["get /orders/1"] = json(`{"number":7}`)
	kept := storetest.NewStore()
	r := start(t, sys, kept, twoCalls+"  - call: sys.post\n    with: { path: /last }\n")
	sys.entered, sys.block = make(chan string, 10), make(chan struct{})
	ack := r.accept("two", `{"id":1}`)
	<-sys.entered
	sys.mu.Lock()
	close(sys.block)
	sys.block = make(chan struct{})
	sys.mu.Unlock()
	<-sys.entered // the post to /erp waits for its answer
	r.stop()
	first := sys.seen()[1]

	sys.mu.Lock()
	sys.block, sys.entered = nil, nil
	sys.mu.Unlock()
	r = start(t, sys, kept, twoCalls+"  - call: sys.post\n    with: { path: /last }\n")
	v := r.ended(ack.Execution)
	if v.Status != "completed" || v.Attempts != 0 {
		t.Errorf("got %+v, want status completed and attempts 0", v)
	}
	want := []string{"get /orders/1", "post /erp", "post /erp", "post /last"}
	if got := sys.paths(); !reflect.DeepEqual(got, want) {
		t.Fatalf("calls %v, want %v", got, want)
	}
	again := sys.seen()[2]
	if again.key != first.key || again.body != first.body {
		t.Errorf("got calls\n%+v\n%+v, want equal ones: uuid() and now() must not change", first, again)
	}
}

func TestAnExecutionFinishesOnTheVersionItStartedWith(t *testing.T) {
	sys := newSystem()
	kept := storetest.NewStore()
	r := start(t, sys, kept, twoCalls)
	sys.entered, sys.block = make(chan string, 10), make(chan struct{})
	ack := r.accept("two", `{"id":1}`)
	<-sys.entered
	r.stop()
	sys.mu.Lock()
	sys.block, sys.entered = nil, nil
	sys.mu.Unlock()
	r = start(t, sys, kept, strings.Replace(twoCalls, "path: /erp", "path: /new", 1))
	if v := r.ended(ack.Execution); v.Status != "completed" {
		t.Fatalf("got %+v %+v, want status completed", v, v.Error)
	}
	r.ended(r.accept("two", `{"id":2}`).Execution)
	want := []string{"get /orders/1", "get /orders/1", "post /erp", "get /orders/2", "post /new"}
	if got := sys.paths(); !reflect.DeepEqual(got, want) {
		t.Errorf("calls %v, want %v", got, want)
	}
}

func TestHandoffsAreCreatedOnce(t *testing.T) {
	sys := newSystem()
	sys.answers["post /last"] = failing(2, down, `{}`)
	r := start(t, sys, nil, `
process: main
listen: { path: /m, input: json, auth: none }
retry: { max_attempts: 5, backoff: 5ms..10ms }
steps:
  - call: sys.post
    with: { path: "/audit/${doc.id}" }
    mode: handoff
  - process: other
    mode: handoff
    props: { from: main }
  - call: sys.post
    with: { path: /last }
---
process: other
steps:
  - call: sys.post
    with: { path: "/other/${props.from}/${doc.id}" }
`)
	r.ended(r.accept("main", `{"id":5}`).Execution)
	for r.count("post /audit/5") == 0 || r.count("post /other/main/5") == 0 {
		r.tick()
	}
	r.stop()
	if a, o := r.count("post /audit/5"), r.count("post /other/main/5"); a != 1 || o != 1 {
		t.Errorf("audit %d, other %d, want each once", a, o)
	}
}

func TestRepeatsAreRecognized(t *testing.T) {
	sys := newSystem()
	r := start(t, sys, nil, `
process: once
listen: { path: /o, input: json, auth: none }
dedupe: { key: '${request.headers["X-Event-Id"]}', window: 24h }
filter: ${doc.id != 0}
track: { order: "${doc.id}" }
steps:
  - call: sys.post
    with: { path: "/o/${doc.id}" }
`)
	one := r.accept("once", `{"id":1}`)
	two := r.accept("once", `{"id":1}`)
	if two.Status != "duplicate" || two.Execution != one.Execution {
		t.Errorf("got %+v %+v, want status duplicate and execution that of one", one, two)
	}
	if f := r.accept("once", `{"id":0}`); f.Status != "filtered" || f.Execution != "" {
		t.Errorf("got %+v, want status filtered and no execution", f)
	}
	if v := r.ended(one.Execution); v.Track["order"] != "1" {
		t.Errorf("got %+v, want track order=1", v)
	}
	in := arrival(`{"id":3}`)
	in.Request.Header = nil
	_, err := r.atom.Accept(context.Background(), r.process("once"), in)
	if f := fault.AsFailure(err); f == nil || f.Code != fault.CodeInvalid {
		t.Errorf("a nil key: got %v, want a failure with code invalid", err)
	}
	if n := len(sys.seen()); n != 1 {
		t.Errorf("%d calls, want 1", n)
	}
}

func TestCancel(t *testing.T) {
	sys := newSystem()
	sys.block, sys.entered = make(chan struct{}), make(chan string, 10)
	r := start(t, sys, nil, `
process: slow
listen: { path: /s, input: json, auth: none }
workers: 1
steps:
  - try:
      - call: sys.post
        with: { path: /slow }
    catch:
      - call: sys.post
        with: { path: /never }
    finally:
      - log: cleaned up
`)
	running, waiting := r.accept("slow", `{}`), r.accept("slow", `{}`)
	<-sys.entered
	ctx := context.Background()
	for _, id := range []string{waiting.Execution, running.Execution} {
		if err := r.atom.Cancel(ctx, id); err != nil {
			t.Fatal(err)
		}
		v := r.ended(id)
		if v.Status != "cancelled" || v.Error.Code != fault.CodeCancelled {
			t.Errorf("got %+v %+v, want status cancelled and code cancelled", v, v.Error)
		}
	}
	v := r.ended(running.Execution)
	logged := false
	for _, s := range v.Steps {
		logged = logged || s.Log == "cleaned up"
	}
	if !logged {
		t.Error("finally did not run")
	}
	if err := r.atom.Cancel(ctx, running.Execution); !errors.Is(err, store.ErrEnded) {
		t.Errorf("cancelled twice: got %v, want error store.ErrEnded", err)
	}
	if n := len(sys.seen()); n != 1 {
		t.Errorf("got %v, want 1", sys.paths())
	}
}

func TestExecuteRunsAProcessWithProperties(t *testing.T) {
	sys := newSystem()
	r := start(t, sys, nil, "process: job\nsteps:\n  - call: sys.post\n    with: { path: \"/job/${props.id}\" }\n    body: { got: \"${doc}\" }\n")
	props := &document.Object{}
	props.Set("id", "x y/z")
	ack, err := r.atom.Execute(context.Background(), "job", atom.Input{Props: props})
	if err != nil {
		t.Fatal(err)
	}
	r.ended(ack.Execution)
	if c := sys.seen(); len(c) != 1 || c[0].path != "/job/x%20y%2Fz" || c[0].body != `{"got":null}` {
		t.Errorf("got calls %+v, want one with an encoded path and a null document", c)
	}
	if _, err := r.atom.Execute(context.Background(), "nope", atom.Input{}); !errors.Is(err, atom.ErrNoSuch) {
		t.Errorf("got %v, want ErrNoSuch", err)
	}
}

func TestBacklogIsBounded(t *testing.T) {
	sys := newSystem()
	sys.block = make(chan struct{})
	r := start(t, sys, nil, "process: b\nlisten: { path: /b, input: json, auth: none }\nworkers: 1\nbacklog: 3\nsteps:\n  - call: sys.post\n    with: { path: /b }\n")
	for range 3 {
		r.accept("b", `{}`)
	}
	if _, err := r.atom.Accept(context.Background(), r.process("b"), arrival(`{}`)); !errors.Is(err, atom.ErrBusy) {
		t.Errorf("got %v, want error atom.ErrBusy", err)
	}
	close(sys.block)
}

// A backlog larger than the window of a queue runs completely, in order and each
// execution once.
func TestBacklogBeyondTheWindow(t *testing.T) {
	sys := newSystem()
	sys.block, sys.entered = make(chan struct{}), make(chan string, 10_000)
	r := start(t, sys, nil, "process: many\nlisten: { path: /m, input: json, auth: none }\nworkers: 1\nsteps:\n  - call: sys.post\n    with: { path: \"/m/${doc.n}\" }\n")
	const n = 3000
	var last string
	for i := range n {
		last = r.accept("many", `{"n":`+itoa(i)+`}`).Execution
	}
	close(sys.block)
	r.ended(last)
	calls := sys.paths()
	if len(calls) != n {
		t.Fatalf("%d calls, want %d", len(calls), n)
	}
	for i, c := range calls {
		if c != "post /m/"+itoa(i) {
			t.Fatalf("call %d: got %s, want post /m/%d", i, c, i)
		}
	}
}
