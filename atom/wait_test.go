package atom_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"valence/atom"
	"valence/atom/store"
	"valence/atom/store/storetest"
	"valence/internal/document"
)

const approval = `
process: approval
listen: { path: /approval, input: json, auth: none }
steps:
  - call: sys.post
    with: { path: /ask }
    body: { order: "${doc.id}", url: "${callback(\"approved\")}" }
  - wait: approved
    key: ${input.id}
    timeout: 2h
    on_timeout:
      - call: sys.post
        with: { path: /reminder }
  - call: sys.post
    with: { path: /done }
    body: { answer: "${doc}", at: "${now()}" }
---
process: decide
listen: { path: /decide, input: json, auth: none }
steps:
  - resume: approved
    key: ${doc.id}
    body: { yes: "${doc.yes}" }
  - log: resumed
`

// waits blocks until an execution is suspended, and returns it.
func (r *rig) waits(id string) *atom.ExecutionView {
	r.t.Helper()
	for range 5000 {
		v, err := r.atom.Show(context.Background(), id)
		if err != nil {
			r.t.Fatal(err)
		}
		if v.Status == "waiting" || v.EndedAt != nil {
			return v
		}
		<-time.After(time.Millisecond)
	}
	r.t.Fatal("it does not wait")
	return nil
}

// asked returns the body of the first call of a path.
func (r *rig) asked(path string) string {
	for _, c := range r.sys.seen() {
		if c.path == path {
			return c.body
		}
	}
	return ""
}

// token returns the callback token in a body.
func token(t *testing.T, body string) string {
	t.Helper()
	_, rest, ok := strings.Cut(body, "/callbacks/")
	if !ok {
		t.Fatalf("there is no callback in %s", body)
	}
	return rest[:strings.IndexByte(rest, '"')]
}

func (r *rig) callBack(token, body string) (bool, error) {
	return r.atom.DeliverCallback(context.Background(), token, document.FromJSON([]byte(body)))
}

// bubbled runs a test in a synctest bubble.
func bubbled(t *testing.T, yaml string, test func(t *testing.T, r *rig)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		r := start(t, newSystem(), nil, yaml)
		test(t, r)
		r.stop()
	})
}

func TestCallbackEndsWaitOnce(t *testing.T) {
	bubbled(t, approval, func(t *testing.T, r *rig) {
		id := r.accept("approval", `{"id":"4711"}`).Execution
		v := r.waits(id)
		if v.Status != "waiting" || v.Reason != "wait approved" || v.Due == nil || v.Steps[1].Outcome != "waiting" {
			t.Fatalf("got %+v %+v, want status waiting, reason wait approved, a due and outcome waiting", v, v.Error)
		}
		time.Sleep(time.Hour)
		tok := token(t, r.asked("/ask"))
		before := time.Now()
		if repeated, err := r.callBack(tok, `{"yes":true}`); err != nil || repeated {
			t.Fatalf("got %v, %v, want no error and not repeated", repeated, err)
		}
		if v := r.ended(id); v.Status != "completed" || v.Steps[1].Outcome != "ok" || v.Steps[1].Document == nil {
			t.Errorf("got %+v, want status completed, outcome ok and a document", v)
		}
		at := before.UTC().Format("2006-01-02T15:04:05.000Z")
		if got, want := r.asked("/done"), `{"answer":{"yes":true},"at":"`+at+`"}`; got != want {
			t.Errorf("%s, want %s: now() moves to the wake", got, want)
		}
		if repeated, err := r.callBack(tok, `{"yes":false}`); err != nil || !repeated {
			t.Errorf("got %v, %v, want no error and repeated", repeated, err)
		}
		if got := strings.Join(r.sys.paths(), " "); got != "post /ask post /done" {
			t.Errorf("got %s, want post /ask post /done", got)
		}
	})
}

func TestLateCallback(t *testing.T) {
	bubbled(t, approval, func(t *testing.T, r *rig) {
		id := r.accept("approval", `{"id":"4711"}`).Execution
		r.waits(id)
		time.Sleep(3 * time.Hour)
		if v := r.ended(id); v.Status != "completed" {
			t.Errorf("got %+v, want status completed", v)
		}
		if got := r.asked("/done"); !strings.HasPrefix(got, `{"answer":null,`) {
			t.Errorf("got %s, want the answer null after an on_timeout that does not end the path", got)
		}
		if got := strings.Join(r.sys.paths(), " "); got != "post /ask post /reminder post /done" {
			t.Errorf("got %s, want post /ask post /reminder post /done", got)
		}
		if _, err := r.callBack(token(t, r.asked("/ask")), `{}`); !errors.Is(err, store.ErrEnded) {
			t.Errorf("a late callback: got %v, want ErrEnded", err)
		}
		if _, err := r.callBack("z"+token(t, r.asked("/ask"))[1:], `{}`); !errors.Is(err, store.ErrUnknown) {
			t.Errorf("an unknown token: got %v, want ErrUnknown", err)
		}
	})
}

func TestEarlyCallbackIsKept(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		sys := newSystem()
		sys.entered, sys.block = make(chan string, 10), make(chan struct{})
		r := start(t, sys, nil, approval)
		id := r.accept("approval", `{"id":"4711"}`).Execution
		<-sys.entered // the call with the URL has not been answered
		tok := token(t, r.asked("/ask"))
		if repeated, err := r.callBack(tok, `{"yes":1}`); err != nil || repeated {
			t.Fatalf("got %v, %v, want no error and not repeated", repeated, err)
		}
		if repeated, err := r.callBack(tok, `{"yes":2}`); err != nil || !repeated {
			t.Fatalf("got %v, %v, want no error and repeated", repeated, err)
		}
		close(sys.block)
		if v := r.ended(id); v.Status != "completed" {
			t.Errorf("got %+v, want status completed", v)
		}
		if got := r.asked("/done"); !strings.HasPrefix(got, `{"answer":{"yes":1},`) {
			t.Errorf("got %s, want the payload of the first callback", got)
		}
		r.stop()
	})
}

func TestResumeEndsWaitWithItsKey(t *testing.T) {
	bubbled(t, approval, func(t *testing.T, r *rig) {
		first := r.accept("approval", `{"id":"1"}`).Execution
		second := r.accept("approval", `{"id":"2"}`).Execution
		r.waits(first)
		r.waits(second)
		if v := r.ended(r.accept("decide", `{"id":"2","yes":7}`).Execution); v.Status != "completed" {
			t.Errorf("got %+v, want status completed", v)
		}
		r.ended(second)
		if got := r.asked("/done"); !strings.HasPrefix(got, `{"answer":{"yes":7},`) {
			t.Errorf("got %s, want the payload of the resume", got)
		}
		if v := r.waits(first); v.Status != "waiting" {
			t.Errorf("got %+v, want status waiting", v)
		}
		v := r.ended(r.accept("decide", `{"id":"2","yes":7}`).Execution)
		if v.Status != "failed" || v.Error.Code != "wait_unknown" {
			t.Errorf("nobody waits: got %+v, want status failed and code wait_unknown", v)
		}
		if err := r.atom.Cancel(context.Background(), first); err != nil {
			t.Fatal(err)
		}
		if v := r.ended(r.accept("decide", `{"id":"1","yes":7}`).Execution); v.Status != "failed" {
			t.Errorf("a resume of a cancelled execution: got %+v, want status failed", v)
		}
	})
}

const several = `
process: several
listen: { path: /several, input: json, auth: none }
steps:
  - for_each: ${doc.list}
    parallel: 4
    collect: true
    steps:
      - call: sys.post
        with: { path: "/ask/${item}" }
        body: ${callback("answer")}
      - wait: answer
        key: ${item}
  - branch:
      a:
        - wait: a
          key: a
      b:
        - sleep: 10m
        - resume: a
          key: a
          body: from b
  - call: sys.post
    with: { path: /done }
`

func TestSeveralPathsWaitAtOnce(t *testing.T) {
	bubbled(t, several, func(t *testing.T, r *rig) {
		id := r.accept("several", `{"list":["x","y","z"]}`).Execution
		r.waits(id)
		for i, item := range []string{"z", "x", "y"} {
			if _, err := r.callBack(token(t, r.asked("/ask/"+item)), `"for `+item+`"`); err != nil {
				t.Fatal(err)
			}
			if i == 1 {
				r.waits(id)
			}
		}
		time.Sleep(9 * time.Minute)
		if v := r.waits(id); v.Status != "waiting" || v.Reason != "wait a, sleep" {
			t.Errorf("got %+v, want status waiting and reason wait a, sleep", v)
		}
		time.Sleep(time.Minute)
		if v := r.ended(id); v.Status != "completed" {
			t.Errorf("got %+v %+v, want status completed", v, v.Error)
		}
		calls := r.sys.paths()
		if len(calls) != 4 {
			t.Errorf("a call was made again: got %v, want 4 calls", calls)
		}
		if got := r.asked("/done"); got != `{"a":"from b","b":["for x","for y","for z"]}` {
			t.Errorf("got %s, want the payload of each path", got)
		}
	})
}

const kept = `
process: waiter
listen: { path: /waiter, input: json, auth: none }
steps:
  - wait: parcel
    key: ${doc.id}
    timeout: 1m
    into: got
  - call: sys.post
    with: { path: /got }
    body: { got: "${vars.got}", id: "${doc.id}" }
---
process: sender
listen: { path: /sender, input: json, auth: none }
steps:
  - resume: parcel
    key: ${doc.id}
    keep: 10m
---
process: catcher
listen: { path: /catcher, input: json, auth: none }
steps:
  - try:
      - resume: parcel
        key: ${doc.id}
    catch:
      codes: [wait_unknown]
      handled: true
      steps:
        - sleep: 5m
        - call: sys.post
          with: { path: /nobody }
`

func TestEarlySignalIsKept(t *testing.T) {
	bubbled(t, kept, func(t *testing.T, r *rig) {
		r.ended(r.accept("sender", `{"id":1}`).Execution)
		time.Sleep(9 * time.Minute)
		r.ended(r.accept("waiter", `{"id":1}`).Execution)
		if got := r.asked("/got"); got != `{"got":{"id":1},"id":1}` {
			t.Errorf("got %s, want the payload of the early signal", got)
		}
		r.ended(r.accept("sender", `{"id":2}`).Execution)
		time.Sleep(11 * time.Minute)
		id := r.accept("waiter", `{"id":2}`).Execution
		time.Sleep(30 * time.Second)
		if v := r.waits(id); v.Status != "waiting" {
			t.Errorf("a signal that was kept for 10 minutes came after 11: got %+v, want status waiting", v)
		}
	})
}

func TestUnknownWaitIsDecidedOnce(t *testing.T) {
	bubbled(t, kept, func(t *testing.T, r *rig) {
		id := r.accept("catcher", `{"id":1}`).Execution
		r.waits(id)
		waiter := r.accept("waiter", `{"id":1}`).Execution // now somebody waits, but the path is taken
		r.waits(waiter)
		time.Sleep(6 * time.Minute)
		if v := r.ended(id); v.Status != "completed" {
			t.Errorf("got %+v, want status completed", v)
		}
		r.ended(waiter)
		if got := strings.Join(r.sys.paths(), " "); got != "post /got post /nobody" {
			t.Errorf("got %v, want post /got post /nobody", got)
		}
	})
}

func TestWaitsSurviveARestartWithAnotherVersion(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		kept := storetest.NewStore()
		r := start(t, newSystem(), kept, approval)
		id := r.accept("approval", `{"id":"4711"}`).Execution
		r.waits(id)
		tok := token(t, r.asked("/ask"))
		r.stop()
		r = start(t, newSystem(), kept, strings.ReplaceAll(approval, "/done", "/changed"))
		if _, err := r.callBack(tok, `{"yes":true}`); err != nil {
			t.Fatal(err)
		}
		if v := r.ended(id); v.Status != "completed" {
			t.Errorf("got %+v, want status completed", v)
		}
		if got := strings.Join(r.sys.paths(), " "); got != "post /done" {
			t.Errorf("%s: it ends on the version it started with, want post /done", got)
		}
		r.stop()
	})
}
