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
	"valence/atom/store"
	"valence/atom/store/storetest"
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

// failable is a system that tests can take down.
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
		r.t.Fatalf("got %v, %v, want no error and 1 connection", list, err)
	}
	return list[0]
}

func TestDownConnectionHoldsAndReleasesInOrder(t *testing.T) {
	const n = 20
	sys, dead := failable(n)
	kept := storetest.NewStore()
	yaml := guardedWith("circuit: { failures: 3, probe: 30ms }\n")
	r := startAll(t, sys, kept, yaml)
	dead.Store(true)
	var acks []*atom.Acknowledgement
	for i := range n {
		acks = append(acks, r.accept("in", fmt.Sprintf(`{"n":%d}`, i)))
	}
	eventually(t, "held all", func() bool { return r.circuit().Held == n })
	if c := r.circuit(); c.Circuit == atom.CircuitClosed || c.Since == nil || !strings.Contains(c.Cause, "refused") {
		t.Errorf("got %+v, want circuit other than closed, a since and cause containing refused", c)
	}
	_, err := r.atom.Request(context.Background(), r.process("ask"), arrival(`{}`))
	if f := fault.AsFailure(err); f == nil || f.Code != fault.CodeCircuit || f.RetryAfter == 0 {
		t.Errorf("a caller got %v, want a failure with code circuit and retry after other than 0", err)
	}
	held, _, err := r.atom.List(context.Background(), store.Filter{Statuses: []string{"held"}}, "", 50)
	if err != nil || len(held) < n-1 || !strings.Contains(held[0].Reason, "the connection sys is down") {
		t.Errorf("got %d held executions, %v, want at least %d held by the connection", len(held), err, n-1)
	}
	// It stays held through a restart, and probes use no attempt.
	r.stop()
	r = startAll(t, sys, kept, yaml)
	before := len(sys.seen())
	eventually(t, "probed", func() bool { return len(sys.seen()) >= before+5 })
	dead.Store(false)
	mark := len(sys.seen())
	for _, a := range acks {
		if v := r.ended(a.Execution); v.Status != "completed" {
			t.Fatalf("got %+v %+v, want status completed", v, v.Error)
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
		t.Errorf("got calls %v, want the order of acceptance", sys.paths()[mark:])
	}
	if c := r.circuit(); c.Circuit != atom.CircuitClosed || c.Held != 0 {
		t.Errorf("got %+v, want circuit closed and held 0", c)
	}
	if _, err := r.atom.Request(context.Background(), r.process("ask"), arrival(`{}`)); err != nil {
		t.Error(err)
	}
}

func TestMessageErrorsDoNotOpenCircuit(t *testing.T) {
	sys := newSystem()
	for i := range 10 {
		sys.answers[fmt.Sprintf("post /%d", i)] = failing(99, refused, `{}`)
	}
	r := startAll(t, sys, nil, guardedWith("circuit: { failures: 2, probe: 1h }\n"))
	for i := range 10 {
		if v := r.ended(r.accept("in", fmt.Sprintf(`{"n":%d}`, i)).Execution); v.Status != "failed" {
			t.Fatalf("got %+v, want status failed", v)
		}
	}
	if c := r.circuit(); c.Circuit != atom.CircuitClosed {
		t.Errorf("got %+v, want circuit closed", c)
	}
}

// crowded is a store that commits suspensions when many wait, or after a second.
type crowded struct {
	*storetest.Store
	enough int

	mu      sync.Mutex
	here    int
	most    int
	opening chan struct{}
}

func (c *crowded) Apply(ctx context.Context, x *store.Change) error {
	if s := x.Suspension(); s != nil && s.State == store.Held {
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

// Many executions that need a system that is down are held together, not one
// commit after the other, even with few workers. Each worker still makes one call
// at a time.
// slowHolds is a store that counts held executions slowly.
type slowHolds struct{ store.Store }

func (s slowHolds) HeldFor(ctx context.Context) (map[string]int64, error) {
	<-time.After(50 * time.Millisecond)
	return s.Store.HeldFor(ctx)
}

// TestStartProbesBeforeOtherCalls starts an atom that holds executions for a
// system that is still down: one call probes it, and the others are held.
func TestStartProbesBeforeOtherCalls(t *testing.T) {
	const n = 20
	sys, dead := failable(2 * n)
	kept := storetest.NewStore()
	yaml := guardedWith("circuit: { failures: 3, probe: 1h }\n")
	dead.Store(true)
	r := startAll(t, sys, kept, yaml)
	for i := range n {
		r.accept("in", fmt.Sprintf(`{"n":%d}`, i))
	}
	eventually(t, "held all", func() bool { return r.circuit().Held == n })
	r.stop()
	before := len(sys.seen())
	r = startAll(t, sys, slowHolds{kept}, yaml)
	for i := range n {
		r.accept("in", fmt.Sprintf(`{"n":%d}`, n+i))
	}
	eventually(t, "held all again", func() bool { return r.circuit().Held == 2*n })
	if calls := len(sys.seen()) - before; calls != 1 {
		t.Errorf("%d calls, want 1 that probes", calls)
	}
}

func TestManyExecutionsAreHeldTogether(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		sys, kept := newSystem(), &crowded{Store: storetest.NewStore(), enough: 100, opening: make(chan struct{})}
		sys.answers["post /x"] = failing(5, down, `{}`)
		r := startAll(t, sys, kept, `
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
			t.Errorf("got %+v, %v, want %d held", views[0], err, n-5)
		}
		if kept.most < 100 || time.Since(begun) > 30*time.Second {
			t.Errorf("got at most %d executions held at once after %s, want at least 100 within 30s", kept.most, time.Since(begun))
		}
		if got := len(sys.seen()); got != 5 {
			t.Errorf("%d calls, want 5", got)
		}
		<-time.After(2 * time.Minute)
		synctest.Wait()
		if got := len(sys.seen()); got != n {
			t.Errorf("%d calls once it was back, want %v", got, n)
		}
		r.stop()
	})
}
