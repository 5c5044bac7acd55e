package atom_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"valence/atom"
	"valence/atom/store"
	"valence/atom/store/storetest"
	"valence/internal/document"
)

const sequenced = `
process: seq
listen: { path: /seq, input: json, auth: none }
workers: 8
sequence: { key: "${doc.key}" }
retry: { max_attempts: 3, backoff: 5ms..10ms }
steps:
  - call: sys.post
    with: { path: "/${doc.key}/${doc.n}" }
`

func TestOneKeyRunsInOrderThroughRetries(t *testing.T) {
	sys := newSystem()
	for i := range 6 {
		sys.answers[fmt.Sprintf("post /a/%d", i)] = failing(i%3, down, `{}`)
	}
	r := start(t, sys, nil, sequenced)
	var last *atom.Acknowledgement
	for i := range 6 {
		last = r.accept("seq", fmt.Sprintf(`{"key":"a","n":%d}`, i))
		r.accept("seq", fmt.Sprintf(`{"key":"b%d","n":%d}`, i, i))
	}
	r.ended(last.Execution)
	var got []string
	for _, p := range sys.paths() {
		if strings.HasPrefix(p, "post /a/") && (len(got) == 0 || got[len(got)-1] != p) {
			got = append(got, p)
		}
	}
	if want := "post /a/0 post /a/1 post /a/2 post /a/3 post /a/4 post /a/5"; strings.Join(got, " ") != want {
		t.Errorf("got order %v, want %s", got, want)
	}
}

func TestFailedExecutionBlocksOnlyItsKey(t *testing.T) {
	sys := newSystem()
	sys.answers["post /a/0"] = failing(99, refused, `{}`)
	kept := storetest.NewStore()
	r := start(t, sys, kept, sequenced)
	first, second := r.accept("seq", `{"key":"a","n":0}`), r.accept("seq", `{"key":"a","n":1}`)
	third := r.accept("seq", `{"key":"a","n":2}`)
	if v := r.ended(r.accept("seq", `{"key":"b","n":1}`).Execution); v.Status != "completed" {
		t.Errorf("another key: got %+v, want status completed", v)
	}
	if v := r.ended(first.Execution); v.Status != "failed" {
		t.Errorf("got %+v, want status failed", v)
	}
	ctx := context.Background()
	keys, next, err := r.atom.BlockedKeys(ctx, "", 10)
	if err != nil || next != "" || len(keys) != 1 {
		t.Fatalf("got %v, %v, %v, want no error, no next and 1 keys", keys, next, err)
	}
	if k := keys[0]; k.Process != "seq" || k.Key != "a" || k.Execution != first.Execution || k.Waiting != 2 || k.Error == nil {
		t.Errorf("got %+v, want process seq, key a, execution that of first, waiting 2 and an error", k)
	}
	held, _, err := r.atom.List(ctx, store.Filter{Statuses: []string{"held"}}, "", 10)
	if err != nil || len(held) != 2 || held[0].Execution != third.Execution || held[1].BlockedBy != first.Execution {
		t.Errorf("held: got %+v %v, want no error, 2 held, execution that of third and blocked by that of first", held, err)
	}
	// A restart does not release it.
	r.stop()
	r = start(t, sys, kept, sequenced)
	if v, err := r.atom.Show(ctx, second.Execution); err != nil || v.Status != "held" || v.Ahead != 1 {
		t.Errorf("got %+v %v, want no error, status held and ahead 1", v, err)
	}
	if _, err := r.atom.SkipKey(ctx, "seq", "b"); !errors.Is(err, store.ErrUnknown) {
		t.Errorf("got %v, want ErrUnknown", err)
	}
	if id, err := r.atom.SkipKey(ctx, "seq", "a"); err != nil || id != first.Execution {
		t.Errorf("got %v, %v, want no error and id that of first", id, err)
	}
	if v := r.ended(third.Execution); v.Status != "completed" {
		t.Errorf("got %+v, want status completed", v)
	}
	if p := sys.paths(); p[len(p)-1] != "post /a/2" {
		t.Errorf("got calls %v, want post /a/2 as the last", p)
	}
}

func TestScopeSharesKeysAndHandoffsKeepOrder(t *testing.T) {
	sys := newSystem()
	r := start(t, sys, nil, `
process: one
listen: { path: /one, input: json, auth: none }
sequence: { key: "${doc.key}", scope: customer }
steps:
  - call: sys.post
    with: { path: "/one/${doc.n}" }
---
process: two
sequence: { key: "${doc.key}", scope: customer }
steps:
  - call: sys.post
    with: { path: "/two/${doc.n}" }
---
process: fan
listen: { path: /fan, input: json, auth: none }
steps:
  - process: two
    mode: handoff
  - process: one
    mode: handoff
  - process: two
    mode: handoff
`)
	sys.mu.Lock()
	sys.block, sys.entered = make(chan struct{}), make(chan string, 10)
	sys.mu.Unlock()
	r.accept("one", `{"key":"k","n":0}`)
	<-sys.entered
	r.ended(r.accept("fan", `{"key":"k","n":1}`).Execution)
	last, err := r.atom.Execute(context.Background(), "two", atom.Input{Document: document.FromJSON([]byte(`{"key":"k","n":2}`))})
	if err != nil {
		t.Fatal(err)
	}
	if n := len(sys.seen()); n != 1 {
		t.Fatalf("%d calls while the first of the key runs, want 1", n)
	}
	close(sys.block)
	r.ended(last.Execution)
	if got := strings.Join(sys.paths(), " "); got != "post /one/0 post /two/1 post /one/1 post /two/1 post /two/2" {
		t.Errorf("got %v, want post /one/0 post /two/1 post /one/1 post /two/1 post /two/2", got)
	}
}

func TestLaneLimit(t *testing.T) {
	sys := newSystem()
	sys.block, sys.entered = make(chan struct{}), make(chan string, 10)
	r := start(t, sys, nil, strings.Replace(sequenced, `"${doc.key}" }`, `"${doc.key}", limit: 1 }`, 1))
	r.accept("seq", `{"key":"a","n":0}`)
	<-sys.entered
	last := r.accept("seq", `{"key":"a","n":1}`)
	_, err := r.atom.Accept(context.Background(), r.process("seq"), arrival(`{"key":"a","n":2}`))
	if !errors.Is(err, store.ErrLaneFull) || !atom.IsUnavailable(err) {
		t.Errorf("got %v, want ErrLaneFull, which means unavailable", err)
	}
	if _, err := r.atom.Accept(context.Background(), r.process("seq"), arrival(`{"n":2}`)); err == nil {
		t.Error("a message without a key was accepted")
	}
	close(sys.block)
	r.ended(last.Execution)
}

func TestResubmissionKeepsLanePosition(t *testing.T) {
	sys := newSystem()
	sys.answers["post /a/0"] = failing(1, refused, `{}`)
	sys.answers["post /a/1"] = failing(1, refused, `{}`)
	r := start(t, sys, nil, sequenced)
	first, second := r.accept("seq", `{"key":"a","n":0}`), r.accept("seq", `{"key":"a","n":1}`)
	third := r.accept("seq", `{"key":"a","n":2}`)
	r.ended(first.Execution)
	ctx := context.Background()
	if _, err := r.atom.Resubmit(ctx, first.Execution, atom.Resubmission{}); err != nil {
		t.Fatal(err)
	}
	r.ended(second.Execution)
	// With another key, it leaves this lane.
	if _, err := r.atom.Resubmit(ctx, second.Execution, atom.Resubmission{Document: document.FromJSON([]byte(`{"key":"z","n":1}`))}); err != nil {
		t.Fatal(err)
	}
	r.ended(third.Execution)
	if got := strings.Join(sys.paths()[:3], " "); got != "post /a/0 post /a/0 post /a/1" {
		t.Errorf("got %v, want post /a/0 post /a/0 post /a/1", got)
	}
	if keys, _, err := r.atom.BlockedKeys(ctx, "", 10); err != nil || len(keys) != 0 {
		t.Errorf("got %v, %v, want no error and 0 keys", keys, err)
	}
}

func TestWaitForOwnKeyFailsAtOnce(t *testing.T) {
	r := start(t, newSystem(), nil, `
process: asks
listen: { path: /asks, input: json, auth: none }
sequence: { key: "${doc.k}", scope: customer }
steps:
  - process: answers
    body: { k: "${doc.k}" } # lint cannot know that the key is the same
    mode: handoff
  - wait: answer
    key: ${doc.k}
---
process: answers
sequence: { key: "${doc.k}", scope: customer }
steps:
  - resume: answer
    key: ${doc.k}
    keep: 1m
`)
	v := r.ended(r.accept("asks", `{"k":"a"}`).Execution)
	if v.Status != "failed" || v.Error.Code != "own_key" {
		t.Errorf("got %+v %+v, want status failed and code own_key", v, v.Error)
	}
}
