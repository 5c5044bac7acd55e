package atom_test

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"valence/atom"
	"valence/atom/atomtest"
	"valence/internal/document"
	"valence/internal/fault"
)

const guarded = `
process: in
listen: { path: /in, input: json, auth: none }
workers: 1
retry: { max_attempts: 4, backoff: 1ms..2ms }
steps:
  - call: sys.post
    with: { path: "/${doc.n}" }
---
process: ask
listen: { path: /ask, input: json, output: json, auth: none }
steps:
  - call: sys.get
    with: { path: "/x" }
  - reply: ${doc}
`

// failable is a system that can be taken down.
func failable(n int) (*system, *atomic.Bool) {
	sys, dead := newSystem(), &atomic.Bool{}
	answer := func(int) (*document.Document, error) {
		if dead.Load() {
			return nil, down()
		}
		return document.FromJSON([]byte(`{}`)), nil
	}
	for i := range n {
		sys.answers[fmt.Sprintf("post /%d", i)] = answer
	}
	sys.answers["get /x"] = answer
	return sys, dead
}

func guardedWith(circuit string) string {
	return guarded + "---\nconnection: sys\nconnector: fake\n" + circuit
}

func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); !ok(); {
		if time.Now().After(deadline) {
			t.Fatal("never " + what)
		}
		<-time.After(2 * time.Millisecond)
	}
}

func (r *rig) circuit() *atom.ConnectionView {
	r.t.Helper()
	list, err := r.atom.Connections(context.Background())
	if err != nil || len(list) != 1 {
		r.t.Fatal(list, err)
	}
	return list[0]
}

func TestADownConnectionHoldsAndReleasesInOrder(t *testing.T) {
	const n = 20
	sys, dead := failable(n)
	store := atomtest.NewStore()
	yaml := guardedWith("circuit: { failures: 3, probe: 30ms }\n")
	r := startAll(t, sys, store, yaml)
	dead.Store(true)
	var acks []*atom.Acknowledgement
	for i := range n {
		acks = append(acks, r.accept("in", fmt.Sprintf(`{"n":%d}`, i)))
	}
	eventually(t, "held all", func() bool { return r.circuit().Held == n })
	if c := r.circuit(); c.Circuit == atom.CircuitClosed || c.Since == nil || !strings.Contains(c.Cause, "refused") {
		t.Errorf("%+v", c)
	}
	_, err := r.atom.Request(context.Background(), r.process("ask"), arrival(`{}`))
	if f := fault.AsFailure(err); f == nil || f.Code != fault.CodeCircuit || f.RetryAfter == 0 {
		t.Errorf("a caller got %v", err)
	}
	held, _, err := r.atom.List(context.Background(), atom.Filter{Statuses: []string{"held"}}, "", 50)
	if err != nil || len(held) < n-1 || !strings.Contains(held[0].Reason, "the connection sys is down") {
		t.Errorf("%d held, %v", len(held), err)
	}
	// It goes on being held through a restart, and no attempt is spent on probes.
	r.stop()
	r = startAll(t, sys, store, yaml)
	before := len(sys.seen())
	eventually(t, "probed", func() bool { return len(sys.seen()) >= before+5 })
	dead.Store(false)
	mark := len(sys.seen())
	for _, a := range acks {
		if v := r.ended(a.Execution); v.Status != "completed" {
			t.Fatalf("%+v %+v", v, v.Error)
		}
	}
	last, inversions := -1, 0
	for _, c := range sys.seen()[mark:] {
		var i int
		fmt.Sscanf(c.path, "/%d", &i)
		if i < last {
			inversions++
		}
		last = i
	}
	if inversions > 1 { // the one that probed may be any
		t.Errorf("released out of order: %v", sys.paths()[mark:])
	}
	if c := r.circuit(); c.Circuit != atom.CircuitClosed || c.Held != 0 {
		t.Errorf("%+v", c)
	}
	if _, err := r.atom.Request(context.Background(), r.process("ask"), arrival(`{}`)); err != nil {
		t.Error(err)
	}
}

func TestErrorsOfAMessageOpenNoCircuit(t *testing.T) {
	sys := newSystem()
	for i := range 10 {
		sys.answers[fmt.Sprintf("post /%d", i)] = failing(99, refused, `{}`)
	}
	r := startAll(t, sys, nil, guardedWith("circuit: { failures: 2, probe: 1h }\n"))
	for i := range 10 {
		if v := r.ended(r.accept("in", fmt.Sprintf(`{"n":%d}`, i)).Execution); v.Status != "failed" {
			t.Fatalf("%+v", v)
		}
	}
	if c := r.circuit(); c.Circuit != atom.CircuitClosed {
		t.Errorf("%+v", c)
	}
}

// crowded is a store in which holds are committed when many wait for it, or
// after a second.
type crowded struct {
	*atomtest.Store
	enough int

	mu      sync.Mutex
	here    int
	most    int
	opening chan struct{}
}

func (c *crowded) Apply(ctx context.Context, x *atom.Change) error {
	if x.Park != nil && x.Park.State == atom.Held {
		c.mu.Lock()
		c.here++
		c.most = max(c.most, c.here)
		open := c.opening
		if c.here >= c.enough {
			close(open)
			c.opening = make(chan struct{})
			c.here = 0
		}
		c.mu.Unlock()
		select {
		case <-open:
		case <-time.After(time.Second):
		}
	}
	return c.Store.Apply(ctx, x)
}

// Very many executions that need a system that is down are held together, not
// one commit after the other, by however few workers; each call is made by one
// of them at a time all the same.
func TestManyAreHeldTogether(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		sys, store := newSystem(), &crowded{Store: atomtest.NewStore(), enough: 100, opening: make(chan struct{})}
		sys.answers["post /x"] = failing(5, down, `{}`)
		r := startAll(t, sys, store, `
process: one
listen: { path: /one, auth: none }
workers: 1
retry: { max_attempts: 1 }
steps:
  - call: sys.post
    with: { path: /x }
---
connection: sys
connector: fake
circuit: { failures: 5, probe: 1m }
`)
		const n = 1000
		for range n {
			r.accept("one", `{}`)
		}
		begun := time.Now()
		<-time.After(20 * time.Second)
		views, err := r.atom.Connections(context.Background())
		if err != nil || views[0].Held != n-5 {
			t.Errorf("%+v, %v", views[0], err)
		}
		if store.most < 100 || time.Since(begun) > 30*time.Second {
			t.Errorf("at most %d were held at once", store.most)
		}
		if got := len(sys.seen()); got != 5 {
			t.Errorf("%d calls", got)
		}
		<-time.After(2 * time.Minute)
		synctest.Wait()
		if got := len(sys.seen()); got != n {
			t.Errorf("%d calls once it was back", got)
		}
		r.stop()
	})
}
