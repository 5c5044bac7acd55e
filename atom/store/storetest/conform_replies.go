package storetest

import (
	"bytes"
	"errors"
	"time"

	"valence/atom/store"
)

// deferredReplies checks that a reply is committed with its change, early or at
// the end, and expires at its time.
func deferredReplies(s *suite) {
	nothing := func(what string, seq int64) {
		s.Helper()
		if r, err := s.DeferredReply(ctx, seq); !errors.Is(err, store.ErrUnknown) {
			s.Errorf("%s: got a reply %v, %v, want ErrUnknown", what, r != nil, err)
		}
	}
	holds := func(what string, seq int64, body []byte, until time.Time) {
		s.Helper()
		r, err := s.DeferredReply(ctx, seq)
		if err != nil || !bytes.Equal(r.Body, body) || !r.Until.Equal(until) {
			s.Errorf("%s: got a reply %v, %v, want %d bytes until %v", what, r != nil, err, len(body), until)
		}
	}
	soon := time.Now().Add(time.Hour).UTC().Truncate(time.Millisecond)
	end := func(status store.Status) *store.Outcome {
		return &store.Outcome{Status: status, Started: at(1), Ended: at(2), Error: []byte(`{}`), Trace: []byte(`{"steps":[]}`)}
	}

	first := s.accept(s.message("a"))
	nothing("before it replied", first)
	s.apply(&store.Change{Seq: first, Reply: &store.DeferredReply{Body: []byte("early")}})
	holds("early", first, []byte("early"), time.Time{})
	s.apply(&store.Change{Seq: first, Disposition: end(store.Completed), Reply: &store.DeferredReply{Until: soon}})
	holds("ended", first, []byte("early"), soon)

	large := bytes.Repeat([]byte("x"), 200<<10)
	for _, status := range []store.Status{store.Completed, store.Failed, store.Cancelled, store.Expired} {
		r := s.accept(s.message("a"))
		s.apply(&store.Change{Seq: r, Disposition: end(status), Reply: &store.DeferredReply{Until: soon, Body: large}})
		holds(string(status), r, large, soon)
		if err := s.Apply(ctx, &store.Change{Seq: r, Reply: &store.DeferredReply{Until: soon, Body: []byte("later")}}); !errors.Is(err, store.ErrEnded) {
			s.Errorf("a reply after the end: got %v, want ErrEnded", err)
		}
		holds("after a second one", r, large, soon)
	}

	over := s.accept(s.message("a"))
	s.apply(&store.Change{Seq: over, Disposition: end(store.Completed), Reply: &store.DeferredReply{Until: time.Now().Add(-time.Second), Body: []byte("over")}})
	nothing("expired", over)
	if x, err := s.Get(ctx, over, at(0)); err != nil || x.Outcome == nil {
		s.Errorf("its record: got %v, %v, want an outcome", x, err)
	}
	if n, err := s.CountDeferredReplies(ctx); err != nil || n < 5 {
		s.Errorf("got %d replies, %v, want at least 5", n, err)
	}
}

// settledClaims checks that repeats of a durable execution receive its reply,
// and that a failure frees the key.
func settledClaims(s *suite) {
	until := time.Now().Add(time.Hour)
	keyed := func(key string) *store.Message {
		a := s.message("a")
		a.Dedupe = &store.Dedupe{Key: key, Until: until}
		return a
	}
	end := &store.Outcome{Status: store.Completed, Started: at(1), Ended: at(2), Trace: []byte(`{"steps":[]}`)}
	first := s.accept(keyed("k1"))
	claim := func(key string) (bool, []byte) {
		s.Helper()
		taken, err := s.Claim(ctx, "a", &store.Dedupe{Key: key, Until: until}, s.Reserve())
		if err != nil {
			s.Error(err)
		}
		if taken == nil {
			return true, nil
		}
		return false, taken.Reply
	}
	if claimed, reply := claim("k1"); claimed || reply != nil {
		s.Errorf("while it runs: got claimed %v, reply %q, want neither", claimed, reply)
	}
	s.apply(&store.Change{Seq: first, ClaimResult: &store.ClaimResult{Key: "k1", Reply: []byte("done")}, Disposition: end})
	if claimed, reply := claim("k1"); claimed || string(reply) != "done" {
		s.Errorf("after the end: got claimed %v, reply %q, want the reply", claimed, reply)
	}
	second := s.accept(keyed("k2"))
	repeat := func() store.Receipt {
		s.Helper()
		r, err := s.Accept(ctx, keyed("k2"))
		if err != nil {
			s.Error(err)
		}
		return r
	}
	if r := repeat(); !r.Duplicate || r.Seq != second {
		s.Errorf("a repeat: got %+v, want a duplicate of %d", r, second)
	}
	failed := *end
	failed.Status = store.Failed
	s.apply(&store.Change{Seq: second, ClaimResult: &store.ClaimResult{Key: "k2"}, Disposition: &failed})
	if r := repeat(); r.Duplicate {
		s.Errorf("after the failure: got %+v, want a new receipt", r)
	}
}
