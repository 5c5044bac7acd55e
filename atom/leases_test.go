package atom_test

import (
	"context"
	"errors"
	"reflect"
	"testing"
	"time"

	"valence/atom/store"
	"valence/atom/store/storetest"
)

// An atom that loses its lease during a call interrupts the run and commits
// nothing. When it holds the execution again, the run is repeated from its
// journal, with the same key.
func TestLostLeaseEndsRunsSilently(t *testing.T) {
	sys := newSystem()
	sys.answers["get /orders/1"] = json(`{"number":7}`)
	kept := storetest.NewStore()
	r := start(t, sys, kept, twoCalls)
	sys.entered, sys.block = make(chan string, 10), make(chan struct{})
	ack := r.accept("two", `{"id":1}`)
	<-sys.entered
	sys.mu.Lock()
	close(sys.block)
	sys.block = make(chan struct{})
	sys.mu.Unlock()
	<-sys.entered // the post to /erp waits for its answer
	kept.Expire()
	if _, err := r.atom.Accept(context.Background(), r.process("two"), arrival(`{"id":2}`)); !errors.Is(err, store.ErrUnavailable) {
		t.Errorf("accept without a lease: got %v, want ErrUnavailable", err)
	}
	for {
		load, err := r.atom.Load(context.Background(), "two")
		if err != nil {
			t.Fatal(err)
		}
		if load.Running == 0 {
			break
		}
		<-time.After(time.Millisecond)
	}
	v, err := r.atom.Show(context.Background(), ack.Execution)
	if err != nil || v.EndedAt != nil || v.Attempts != 0 {
		t.Errorf("without a lease: got %+v, %v, want it live and not suspended", v, err)
	}
	want := []string{"get /orders/1", "post /erp"}
	if got := sys.paths(); !reflect.DeepEqual(got, want) {
		t.Errorf("without a lease: got calls %v, want %v", got, want)
	}

	sys.mu.Lock()
	sys.block, sys.entered = nil, nil
	sys.mu.Unlock()
	kept.Rejoin()
	if v := r.ended(ack.Execution); v.Status != "completed" {
		t.Errorf("after the lease was renewed: got %+v %+v, want status completed", v, v.Error)
	}
	calls := map[string]int{}
	for _, c := range sys.seen() {
		calls[c.path+" "+c.key]++
	}
	first := sys.seen()[1]
	if calls["/orders/1 "] != 1 || calls["/erp "+first.key] != 2 || first.key == "" {
		t.Errorf("got calls %v, want the finished call once and the interrupted one twice with one key", calls)
	}
}

// A call that waits for a slot of its connection while the lease ends is not
// made.
func TestLeaseIsCheckedAfterTheWaitForASlot(t *testing.T) {
	sys := newSystem()
	sys.entered, sys.block = make(chan string, 10), make(chan struct{})
	kept := storetest.NewStore()
	r := startAll(t, sys, kept, twoCalls+"---\nconnection: sys\nconnector: fake\nconcurrency: 1\n")
	first := r.accept("two", `{"id":1}`)
	<-sys.entered // the first execution occupies the slot
	second := r.accept("two", `{"id":2}`)
	until(t, "both run", func() bool {
		load, err := r.atom.Load(context.Background(), "two")
		return err == nil && load.Running == 2
	})
	kept.Lapse()
	sys.mu.Lock()
	close(sys.block)
	sys.block, sys.entered = nil, nil
	sys.mu.Unlock()
	until(t, "no execution runs", func() bool {
		load, err := r.atom.Load(context.Background(), "two")
		return err == nil && load.Running == 0
	})
	if got, want := sys.paths(), []string{"get /orders/1"}; !reflect.DeepEqual(got, want) {
		t.Errorf("without a lease: got calls %v, want %v", got, want)
	}
	kept.Expire() // it is noticed
	kept.Rejoin()
	for _, id := range []string{first.Execution, second.Execution} {
		if v := r.ended(id); v.Status != "completed" {
			t.Errorf("with a new lease: got %+v %+v, want status completed", v, v.Error)
		}
	}
}

// until waits for a condition.
func until(t *testing.T, what string, holds func() bool) {
	t.Helper()
	for end := time.Now().Add(30 * time.Second); !holds(); <-time.After(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("%s does not become true", what)
		}
	}
}
