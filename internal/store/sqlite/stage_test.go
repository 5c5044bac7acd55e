package sqlite_test

import (
	"context"
	"encoding/binary"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"valence/atom"
	"valence/internal/store/sqlite"
)

// manyPrints gives prints of n records.
func manyPrints(n int, content byte) []atom.Print {
	prints := make([]atom.Print, n)
	for i := range prints {
		hash := binary.BigEndian.AppendUint64([]byte{content}, uint64(i))
		prints[i] = atom.Print{Key: fmt.Sprintf("customer-%06d", i), Hash: hash}
	}
	return prints
}

func snapshotOf(t *testing.T, s *sqlite.Store) (all []atom.Print, version int64) {
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

// A change of 100,000 prints keeps nobody else from committing: others are
// accepted while it is written.
func TestALargeSnapshotKeepsNobody(t *testing.T) {
	var longest atomic.Int64
	s := open(t, t.TempDir(), sqlite.Options{OnCommit: func(_ int, took time.Duration) {
		longest.Store(max(longest.Load(), int64(took)))
	}})
	defer running(t, s)()
	const n = 100_000
	for version := range int64(2) {
		m := &atom.Memory{Snapshots: []atom.SnapshotChange{{Process: "p", Name: "records", Version: version, Prints: manyPrints(n, byte(version))}}}
		written := make(chan error, 1)
		begun := time.Now()
		go func() { written <- s.Remember(ctx, m) }()
		beside := 0
		for open := true; open; beside++ {
			accept(t, s, message([]byte(`{"n":1}`)))
			select {
			case err := <-written:
				if open = false; err != nil {
					t.Fatal(err)
				}
			default:
			}
		}
		t.Logf("written in %s, beside %d acceptances; the longest commit took %s", time.Since(begun), beside, time.Duration(longest.Load()))
		if beside < 20 {
			t.Errorf("%d messages were accepted while it was written", beside)
		}
		all, v := snapshotOf(t, s)
		if len(all) != n || v != version+1 || all[n-1].Hash[0] != byte(version) || all[0].Hash[0] != byte(version) {
			t.Errorf("%d prints of version %d", len(all), v)
		}
	}
}

// What is staged and not committed does not count, whether it is refused or
// the program ends; what was committed counts before it is in its place, and
// also after a kill in between.
func TestStagesAndKills(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir, sqlite.Options{})
	s.AtOnce(10)
	first, kill := context.WithCancel(ctx)
	done := make(chan error, 1)
	go func() { done <- s.Run(first) }()
	change := func(version int64, prints []atom.Print) error {
		return s.Remember(ctx, &atom.Memory{Snapshots: []atom.SnapshotChange{{Process: "p", Name: "records", Version: version, Prints: prints}}})
	}
	if err := change(0, manyPrints(100, 0)); err != nil {
		t.Fatal(err)
	}
	if err := change(7, manyPrints(300, 9)); err != atom.ErrConflict {
		t.Fatal(err)
	}
	held, cancel := context.WithCancel(ctx)
	go func() { // the program ends in the middle of staging
		for n, err := s.Count("staged"); err == nil && n < 50; n, err = s.Count("staged") {
		}
		cancel()
	}()
	err := s.Remember(held, &atom.Memory{Snapshots: []atom.SnapshotChange{{Process: "p", Name: "records", Version: 1, Prints: manyPrints(200_000, 9)}}})
	if err == nil {
		t.Fatal("it was not interrupted")
	}
	update := append(manyPrints(50, 1), atom.Print{Key: "customer-000099"}, atom.Print{Key: "zoe", Hash: []byte{2}})
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
		s.AtOnce(10)
		stop := running(t, s)
		all, v := snapshotOf(t, s)
		if v != 2 || len(all) != 100 || all[49].Hash[0] != 1 || all[50].Hash[0] != 0 || all[99].Key != "zoe" {
			t.Errorf("version %d: %d prints", v, len(all))
		}
		for over := time.Now().Add(20 * time.Second); ; {
			n, err := s.Count("staged")
			if err != nil {
				t.Fatal(err)
			}
			if n == 0 {
				break
			}
			if time.Now().After(over) {
				t.Fatalf("%d prints are still staged", n)
			}
		}
		stop()
	}
}
