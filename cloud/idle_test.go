package cloud_test

import (
	"context"
	"testing"

	"valence/cloud"
	"valence/cloud/cloudtest"
	"valence/cloud/store"
	"valence/internal/wire"
)

// detached is a store that can be taken away.
type detached struct{ cloud.Store }

// An idle poll asks the store for nothing: with none there it panics.
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
	if _, err := s.Bootstrap(ctx); err != nil {
		t.Fatal(err)
	}
	desk := &desk{s, cloud.Principal{Account: cloud.DefaultAccount, User: "admin", Role: cloud.Admin}, ctx}
	atom := desk.enrol(t, "prod", "edge-01")
	polled, _, err := s.Next(ctx, atom, 0)
	if err != nil || polled.Desired == nil {
		t.Fatalf("%+v, %v", polled, err)
	}
	d.Store = nil
	for range 3 {
		if _, known := s.Peer(atom); !known {
			t.Fatal("it is not known")
		}
		s.Heard(atom, wire.Heartbeat{Health: "ok"}, polled.Desired.Generation)
		if err := s.Acknowledge(ctx, atom, []int64{1, 2}); err != nil { // of old
			t.Fatal(err)
		}
		if err := s.Ahead(ctx, atom, polled.Desired.Generation); err != nil {
			t.Fatal(err)
		}
		if p, wait, err := s.Next(ctx, atom, polled.Desired.Generation); err != nil || wait != 0 || p.Desired != nil || len(p.Messages) > 0 {
			t.Fatalf("%+v, %v, %v", p, wait, err)
		}
	}
}
