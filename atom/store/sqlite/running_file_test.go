package sqlite_test

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"valence/atom/store"
	"valence/atom/store/sqlite"
)

// TestRunningFileCutOff checks that an access to a part of the mapped file that
// no longer exists raises a fault, which must not end the program.
func TestRunningFileCutOff(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir, sqlite.Options{})
	stop := startStore(t, s)
	a, b := accept(t, s, message([]byte("a"))), accept(t, s, message([]byte("b")))
	if err := os.Truncate(filepath.Join(dir, "running"), 0); err != nil {
		t.Fatal(err)
	}
	s.Started(a) // would end the program
	s.Started(b)
	stop()
	notes, err := os.ReadFile(filepath.Join(dir, "running"))
	if err != nil || len(notes) < 16 {
		t.Errorf("got %d bytes, %v, want two slots", len(notes), err)
	}
}

// TestOriginOfLiveExecution checks that an origin is remembered while its
// execution lives.
func TestOriginOfLiveExecution(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir, sqlite.Options{})
	stop := startStore(t, s)
	in := message([]byte("x"))
	in.Origin = "o"
	seq := accept(t, s, in)
	done := message([]byte("y"))
	done.Origin = "done"
	apply(t, s, &store.Change{Seq: accept(t, s, done), Disposition: outcome()})
	if err := s.Archive(); err != nil {
		t.Fatal(err)
	}
	stop()
	s = open(t, dir, sqlite.Options{})
	defer startStore(t, s)()
	if err := s.Archive(); err != nil {
		t.Fatal(err)
	}
	if err := s.SweepKeys(time.Now().Add(30 * 24 * time.Hour)); err != nil {
		t.Fatal(err)
	}
	if r, err := s.Accept(ctx, in); err != nil || !r.Duplicate || r.Seq != seq {
		t.Errorf("got %+v, %v, want a duplicate of %d", r, err, seq)
	}
}
