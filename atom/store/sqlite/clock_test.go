package sqlite_test

import (
	"testing"
	"time"

	"valence/atom/store"
	"valence/atom/store/sqlite"
)

// TestDeadlinesIgnoreTheClock checks that dedupe windows, start deadlines and
// replies last as long as they should while the clock of the machine is wrong.
func TestDeadlinesIgnoreTheClock(t *testing.T) {
	for _, jump := range []time.Duration{-48 * time.Hour, 48 * time.Hour} {
		s := open(t, t.TempDir(), sqlite.Options{})
		now := time.Now()
		s.JumpClock(jump)
		stop := startStore(t, s)
		once := func() bool {
			m := message([]byte("x"))
			m.Dedupe = &store.Dedupe{Key: "k", Until: now.Add(time.Hour)}
			r, err := s.Accept(ctx, m)
			if err != nil {
				t.Fatal(err)
			}
			return r.Duplicate
		}
		if first, again := once(), once(); first || !again {
			t.Errorf("jump of %v: got duplicates %v and %v, want the second one", jump, first, again)
		}
		due, later := message([]byte("due")), message([]byte("later"))
		due.Expires, later.Expires = now, now.Add(time.Hour)
		seq := accept(t, s, due)
		accept(t, s, later)
		found, next, err := s.Overdue(ctx, 10)
		if err != nil || len(found) != 1 || found[0].Seq != seq || !next.Equal(later.Expires) {
			t.Errorf("jump of %v: got overdue %v, next %v, %v; want %d, %v", jump, found, next, err, seq, later.Expires)
		}
		stop()
	}
}

// TestClockJumps checks that a clock that jumps purges nothing, and is
// reported.
func TestClockJumps(t *testing.T) {
	s := open(t, t.TempDir(), sqlite.Options{})
	a := message([]byte("x"))
	a.Dedupe = &store.Dedupe{Key: "k", Until: time.Now().Add(time.Hour)}
	s.JumpClock(400 * 24 * time.Hour)
	defer startStore(t, s)()
	seq := accept(t, s, a)
	apply(t, s, &store.Change{Seq: seq, Disposition: outcome()})
	if err := s.Archive(); err != nil {
		t.Fatal(err)
	}
	if err := s.Purge(); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Get(ctx, seq, time.Now()); err != nil {
		t.Error(err)
	}
	if r, err := s.Accept(ctx, a); err != nil || !r.Duplicate {
		t.Errorf("a repeated message: got %+v, %v, want a duplicate", r, err)
	}
	if st := s.Stats(); st.ClockJumps != 1 || !st.PurgeSuspended {
		t.Errorf("got %+v, want one clock jump, and no purge", st)
	}
}
