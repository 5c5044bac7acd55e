package cloud_test

import (
	"context"
	"testing"

	"valence/cloud"
	"valence/cloud/cloudtest"
	"valence/cloud/store"
	"valence/internal/wire"
)

// detached is a store that can be removed.
type detached struct{ cloud.Store }

// An idle poll does not use the store: without one it would panic.
func TestIdlePollDoesNotTouchTheStore(t *testing.T) {
	st, err := store.Open(t.TempDir(), store.Options{})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- st.Run(ctx) }()
	defer func() {
		cancel()
		<-done
		st.Close()
	}()
	d := &detached{st}
	s, err := cloud.New(ctx, d, cloud.Options{Key: make([]byte, cloud.KeyBytes), Catalog: cloudtest.Catalog()})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Accounts.Bootstrap(ctx); err != nil {
		t.Fatal(err)
	}
	desk := &fixture{s, cloud.Principal{Account: cloud.DefaultAccount, User: "admin", Role: cloud.Admin}, ctx}
	atom := desk.enrol(t, "prod", "edge-01")
	polled, _, err := s.AtomAPI.Next(ctx, atom, 0)
	if err != nil || polled.Desired == nil {
		t.Fatalf("got %+v, %v, want Desired set and no error", polled, err)
	}
	d.Store = nil
	for range 3 {
		if _, known := s.AtomAPI.Peer(atom); !known {
			t.Fatal("the atom is unknown")
		}
		s.AtomAPI.RecordHeartbeat(atom, wire.Heartbeat{Health: "ok"}, polled.Desired.Generation)
		if err := s.AtomAPI.Acknowledge(ctx, atom, []int64{1, 2}); err != nil { // old ids
			t.Fatal(err)
		}
		if err := s.AtomAPI.RaiseGeneration(ctx, atom, polled.Desired.Generation); err != nil {
			t.Fatal(err)
		}
		if p, wait, err := s.AtomAPI.Next(ctx, atom, polled.Desired.Generation); err != nil || wait != 0 || p.Desired != nil || len(p.Instructions) > 0 {
			t.Fatalf("got %+v, %v, %v, want wait 0, nil Desired, len(p.Instructions) 0 and no error", p, wait, err)
		}
	}
}
