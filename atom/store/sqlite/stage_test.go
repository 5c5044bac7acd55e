package sqlite_test

import (
	"context"
	"encoding/binary"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"valence/atom/store"
	"valence/atom/store/sqlite"
)

// manyDigests returns digests of n records.
func manyDigests(n int, content byte) []store.Digest {
	digests := make([]store.Digest, n)
	for i := range digests {
		hash := binary.BigEndian.AppendUint64([]byte{content}, uint64(i))
		digests[i] = store.Digest{Key: fmt.Sprintf("customer-%06d", i), Hash: hash}
	}
	return digests
}

func snapshotOf(t *testing.T, s *sqlite.Store) (all []store.Digest, version int64) {
	t.Helper()
	for after := ""; ; after = all[len(all)-1].Key {
		page, v, err := s.Snapshot(ctx, "p", "records", after, 2000)
		if err != nil {
			t.Fatal(err)
		}
		if all, version = append(all, page...), v; len(page) < 2000 {
			return all, version
		}
	}
}

// TestLargeSnapshotDoesNotBlock checks that messages are accepted while a
// change of 100,000 digests is written.
func TestLargeSnapshotDoesNotBlock(t *testing.T) {
	var longest atomic.Int64
	s := open(t, t.TempDir(), sqlite.Options{OnCommit: func(_ int, took time.Duration) {
		longest.Store(max(longest.Load(), int64(took)))
	}})
	defer startStore(t, s)()
	const n = 100_000
	for version := range int64(2) {
		m := &store.StateUpdate{Snapshots: []store.SnapshotChange{{Process: "p", Name: "records", Version: version, Digests: manyDigests(n, byte(version))}}}
		written := make(chan error, 1)
		begun := time.Now()
		go func() { written <- s.UpdateState(ctx, m) }()
		concurrent := 0
		for open := true; open; concurrent++ {
			accept(t, s, message([]byte(`{"n":1}`)))
			select {
			case err := <-written:
				if open = false; err != nil {
					t.Fatal(err)
				}
			default:
			}
		}
		t.Logf("written in %s, with %d concurrent acceptances; the longest commit took %s", time.Since(begun), concurrent, time.Duration(longest.Load()))
		if concurrent < 20 {
			t.Errorf("got %d messages accepted during the update, want at least 20", concurrent)
		}
		all, v := snapshotOf(t, s)
		if len(all) != n || v != version+1 || all[n-1].Hash[0] != byte(version) || all[0].Hash[0] != byte(version) {
			t.Errorf("got %d digests of version %d, want %d of version %d", len(all), v, n, version+1)
		}
	}
}

// TestStagesAndKills checks that an uncommitted stage has no effect, whether
// the change was refused or the program ended. A committed one is effective
// before it is merged, also after a kill.
func TestStagesAndKills(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir, sqlite.Options{})
	s.SetDigestsPerCommit(10)
	first, kill := context.WithCancel(ctx)
	done := make(chan error, 1)
	go func() { done <- s.Run(first) }()
	change := func(version int64, digests []store.Digest) error {
		return s.UpdateState(ctx, &store.StateUpdate{Snapshots: []store.SnapshotChange{{Process: "p", Name: "records", Version: version, Digests: digests}}})
	}
	if err := change(0, manyDigests(100, 0)); err != nil {
		t.Fatal(err)
	}
	if err := change(7, manyDigests(300, 9)); err != store.ErrConflict {
		t.Fatalf("got %v, want %v", err, store.ErrConflict)
	}
	held, cancel := context.WithCancel(ctx)
	go func() { // the program ends while it writes a stage
		for n, err := s.CountRows("staged"); err == nil && n < 50; n, err = s.CountRows("staged") {
		}
		cancel()
	}()
	err := s.UpdateState(held, &store.StateUpdate{Snapshots: []store.SnapshotChange{{Process: "p", Name: "records", Version: 1, Digests: manyDigests(200_000, 9)}}})
	if err == nil {
		t.Fatal("got no error from an interrupted update")
	}
	update := append(manyDigests(50, 1), store.Digest{Key: "customer-000099"}, store.Digest{Key: "zoe", Hash: []byte{2}})
	if err := change(1, update); err != nil {
		t.Fatal(err)
	}
	kill()
	if err := <-done; err != nil {
		t.Error(err)
	}
	if err := s.Abandon(); err != nil {
		t.Error(err)
	}
	for range 2 {
		s = open(t, dir, sqlite.Options{})
		s.SetDigestsPerCommit(10)
		stop := startStore(t, s)
		all, v := snapshotOf(t, s)
		if v != 2 || len(all) != 100 || all[49].Hash[0] != 1 || all[50].Hash[0] != 0 || all[99].Key != "zoe" {
			t.Errorf("got %d digests of version %d, want 100 of version 2", len(all), v)
		}
		for over := time.Now().Add(20 * time.Second); ; {
			n, err := s.CountRows("staged")
			if err != nil {
				t.Fatal(err)
			}
			if n == 0 {
				break
			}
			if time.Now().After(over) {
				t.Fatalf("got %d staged digests, want none", n)
			}
		}
		stop()
	}
}
