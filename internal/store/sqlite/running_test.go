package sqlite_test

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"valence/atom"
	"valence/internal/store/sqlite"
)

// What runs is noted in memory that is shared with a file. The system faults
// an access to a part that the file does not have any more.
func TestRunningFileCutOff(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir, sqlite.Options{})
	stop := running(t, s)
	a, b := accept(t, s, message([]byte("a"))), accept(t, s, message([]byte("b")))
	if err := os.Truncate(filepath.Join(dir, "running"), 0); err != nil {
		t.Fatal(err)
	}
	s.Started(a) // would end the program
	s.Started(b)
	stop()
	notes, err := os.ReadFile(filepath.Join(dir, "running"))
	if err != nil || len(notes) < 16 {
		t.Errorf("%d bytes of notes, %v", len(notes), err)
	}
}

// An origin is known for as long as its execution lives, wherever that is.
func TestOriginOfWhatWaits(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir, sqlite.Options{})
	stop := running(t, s)
	in := message([]byte("x"))
	in.Origin = "o"
	seq := accept(t, s, in)
	done := message([]byte("y"))
	done.Origin = "done"
	apply(t, s, &atom.Change{Seq: accept(t, s, done), Outcome: outcome()})
	if err := s.Move(); err != nil {
		t.Fatal(err)
	}
	stop()
	s = open(t, dir, sqlite.Options{})
	defer running(t, s)()
	if err := s.Move(); err != nil {
		t.Fatal(err)
	}
	if err := s.SweepKeys(time.Now().Add(30 * 24 * time.Hour)); err != nil {
		t.Fatal(err)
	}
	if r, err := s.Accept(ctx, in); err != nil || !r.Duplicate || r.Seq != seq {
		t.Errorf("%+v, %v", r, err)
	}
}
