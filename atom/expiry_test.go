package atom_test

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"valence/atom"
	"valence/atom/store/storetest"
)

// shown returns the current view of an execution.
func (r *rig) shown(id string) *atom.ExecutionView {
	r.t.Helper()
	v, err := r.atom.Show(context.Background(), id)
	if err != nil {
		r.t.Fatal(err)
	}
	return v
}

const expiring = `
process: expiring
listen: { path: /expiring, input: json, auth: none }
workers: 1
expires: { request: 10m }
steps:
  - call: sys.post
    with: { path: "/${doc.id}" }
    timeout: 1h
    retry: { max_attempts: 1 }
`

func TestExecutionsNotBegunInTimeExpire(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		sys := newSystem()
		sys.block = make(chan struct{})
		r := start(t, sys, nil, expiring)
		first := r.accept("expiring", `{"id":1}`).Execution
		time.Sleep(time.Minute)
		second := r.accept("expiring", `{"id":2}`).Execution
		time.Sleep(10*time.Minute - time.Millisecond)
		if v := r.shown(second); v.Status != "accepted" {
			t.Errorf("before its time: got %+v, want status accepted", v)
		}
		time.Sleep(20 * time.Millisecond)
		v := r.ended(second)
		if v.Status != "expired" || v.Error == nil || v.Error.Code != "expired" || v.Fingerprint == "" {
			t.Errorf("got %+v %+v, want status expired, an error, code expired and a fingerprint", v, v.Error)
		}
		close(sys.block)
		if v := r.ended(first); v.Status != "completed" {
			t.Errorf("after it began: got %+v, want status completed", v)
		}
		if got := len(sys.seen()); got != 1 {
			t.Errorf("%d calls, want 1", got)
		}
		if v := r.ended(r.accept("expiring", `{"id":3}`).Execution); v.Status != "completed" {
			t.Errorf("got %+v, want status completed", v)
		}
		r.stop()
	})
}

func TestExpiryWhileAtomIsDown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store, sys := storetest.NewStore(), newSystem()
		sys.entered, sys.block = make(chan string, 10), make(chan struct{})
		r := start(t, sys, store, expiring)
		begun, never := r.accept("expiring", `{"id":1}`).Execution, r.accept("expiring", `{"id":2}`).Execution
		<-sys.entered
		r.stop()
		time.Sleep(time.Hour)
		r = start(t, newSystem(), store, expiring)
		if v := r.ended(begun); v.Status != "completed" {
			t.Errorf("got %+v, want status completed", v)
		}
		if v := r.ended(never); v.Status != "expired" {
			t.Errorf("got %+v, want status expired", v)
		}
		r.stop()
	})
}
