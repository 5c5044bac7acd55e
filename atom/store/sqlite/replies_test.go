package sqlite_test

import (
	"bytes"
	"errors"
	"testing"
	"time"

	"valence/atom/store"
	"valence/atom/store/sqlite"
)

// TestRepliesAreDeletedAtTheirTime checks that a reply outlives the archiving
// of its execution and a restart. When it expires it is deleted with its file,
// and the execution stays. An early reply whose execution ended without one
// expires, too.
func TestRepliesAreDeletedAtTheirTime(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir, sqlite.Options{})
	stop := startStore(t, s)
	now := time.Now().UTC()
	end := &store.Outcome{Status: store.Completed, Started: now, Ended: now, Trace: []byte(`{"steps":[]}`)}
	message := func() *store.Message {
		return &store.Message{Process: "p", Plan: "plan", Env: "env", Received: now, DocType: "application/json", Doc: []byte("{}")}
	}
	large := bytes.Repeat([]byte("reply "), 20<<10)
	kept := accept(t, s, message())
	apply(t, s, &store.Change{Seq: kept, Disposition: end, Reply: &store.DeferredReply{Until: now.Add(time.Hour), Body: large}})
	orphan := accept(t, s, message())
	apply(t, s, &store.Change{Seq: orphan, Reply: &store.DeferredReply{Body: []byte("early")}})
	lives := accept(t, s, message())
	apply(t, s, &store.Change{Seq: lives, Reply: &store.DeferredReply{Body: []byte("early")}})
	apply(t, s, &store.Change{Seq: orphan, Disposition: end})
	if err := s.Archive(); err != nil {
		t.Fatal(err)
	}
	collect := func(seq int64, want []byte) {
		t.Helper()
		r, err := s.DeferredReply(ctx, seq)
		if want == nil && !errors.Is(err, store.ErrUnknown) || want != nil && (err != nil || !bytes.Equal(r.Body, want)) {
			t.Errorf("the reply of %d: got it %v, %v, want it %v", seq, r != nil, err, want != nil)
		}
	}
	again := func(jump time.Duration) {
		t.Helper()
		stop()
		s = open(t, dir, sqlite.Options{})
		s.AdvanceClock(jump)
		stop = startStore(t, s)
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
	if n, err := s.CountRows("file"); n != 0 || err != nil {
		t.Errorf("got %d file references, %v, want none", n, err)
	}
	if x, err := s.Get(ctx, kept, now); err != nil || x.Outcome == nil {
		t.Errorf("its record: got %v, %v, want an outcome", x, err)
	}
	again(30 * time.Hour)
	collect(orphan, nil)
	collect(lives, []byte("early"))
	if n, err := s.CountDeferredReplies(ctx); n != 1 || err != nil {
		t.Errorf("got %d replies, %v, want 1", n, err)
	}
	stop()
}
