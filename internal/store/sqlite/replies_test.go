package sqlite_test

import (
	"bytes"
	"errors"
	"testing"
	"time"

	"valence/atom"
	"valence/internal/store/sqlite"
)

// A reply outlives the move of its execution to the history and a restart;
// when its time is over it is deleted with its file, and the record stays. One
// that was given early by an execution that ended without a word is not kept
// for ever.
func TestRepliesAreDeletedAtTheirTime(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir, sqlite.Options{})
	stop := running(t, s)
	now := time.Now().UTC()
	end := &atom.Outcome{Status: atom.Completed, Started: now, Ended: now, Trace: []byte(`{"steps":[]}`)}
	message := func() *atom.Acceptance {
		return &atom.Acceptance{Process: "p", Plan: "plan", Env: "env", Received: now, DocType: "application/json", Doc: []byte("{}")}
	}
	large := bytes.Repeat([]byte("reply "), 20<<10)
	kept := accept(t, s, message())
	apply(t, s, &atom.Change{Seq: kept, Outcome: end, Reply: &atom.KeptReply{Until: now.Add(time.Hour), Body: large}})
	orphan := accept(t, s, message())
	apply(t, s, &atom.Change{Seq: orphan, Reply: &atom.KeptReply{Body: []byte("early")}})
	lives := accept(t, s, message())
	apply(t, s, &atom.Change{Seq: lives, Reply: &atom.KeptReply{Body: []byte("early")}})
	apply(t, s, &atom.Change{Seq: orphan, Outcome: end})
	if err := s.Move(); err != nil {
		t.Fatal(err)
	}
	collect := func(seq int64, want []byte) {
		t.Helper()
		r, err := s.KeptReply(ctx, seq)
		if want == nil && !errors.Is(err, atom.ErrUnknown) || want != nil && (err != nil || !bytes.Equal(r.Body, want)) {
			t.Errorf("%d: %v, %v", seq, r != nil, err)
		}
	}
	again := func(jump time.Duration) {
		t.Helper()
		stop()
		s = open(t, dir, sqlite.Options{})
		s.Forward(jump)
		stop = running(t, s)
		if err := s.SweepReplies(); err != nil {
			t.Fatal(err)
		}
	}
	again(0)
	collect(kept, large)
	collect(orphan, []byte("early"))
	collect(lives, []byte("early"))
	again(2 * time.Hour)
	collect(kept, nil)
	if n, err := s.Count("file"); n != 0 || err != nil {
		t.Errorf("%d files are referred to, %v", n, err)
	}
	if x, err := s.Get(ctx, kept, now); err != nil || x.Outcome == nil {
		t.Errorf("its record: %v, %v", x, err)
	}
	again(30 * time.Hour)
	collect(orphan, nil)
	collect(lives, []byte("early"))
	if n, err := s.RepliesKept(ctx); n != 1 || err != nil {
		t.Errorf("%d are kept, %v", n, err)
	}
	stop()
}
