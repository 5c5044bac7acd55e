package atomtest

import (
	"bytes"
	"errors"
	"time"

	"valence/atom"
)

// keptReplies: a reply commits with its change, early or with the end, and
// goes at its time, whatever becomes of the execution's record.
func keptReplies(s *suite) {
	nothing := func(what string, seq int64) {
		s.Helper()
		if r, err := s.KeptReply(ctx, seq); !errors.Is(err, atom.ErrUnknown) {
			s.Errorf("%s: %v, %v", what, r != nil, err)
		}
	}
	holds := func(what string, seq int64, body []byte, until time.Time) {
		s.Helper()
		r, err := s.KeptReply(ctx, seq)
		if err != nil || !bytes.Equal(r.Body, body) || !r.Until.Equal(until) {
			s.Errorf("%s: %v, %v", what, r != nil, err)
		}
	}
	soon := time.Now().Add(time.Hour).UTC().Truncate(time.Millisecond)
	end := func(status atom.Status) *atom.Outcome {
		return &atom.Outcome{Status: status, Started: at(1), Ended: at(2), Error: []byte(`{}`), Trace: []byte(`{"steps":[]}`)}
	}

	first := s.accept(s.message("a"))
	nothing("before it replied", first)
	s.apply(&atom.Change{Seq: first, Reply: &atom.KeptReply{Body: []byte("early")}})
	holds("early", first, []byte("early"), time.Time{})
	s.apply(&atom.Change{Seq: first, Outcome: end(atom.Completed), Reply: &atom.KeptReply{Until: soon}})
	holds("ended", first, []byte("early"), soon)

	large := bytes.Repeat([]byte("x"), 200<<10)
	for _, status := range []atom.Status{atom.Completed, atom.Failed, atom.Cancelled, atom.Expired} {
		r := s.accept(s.message("a"))
		s.apply(&atom.Change{Seq: r, Outcome: end(status), Reply: &atom.KeptReply{Until: soon, Body: large}})
		holds(string(status), r, large, soon)
		if err := s.Apply(ctx, &atom.Change{Seq: r, Reply: &atom.KeptReply{Until: soon, Body: []byte("later")}}); !errors.Is(err, atom.ErrEnded) {
			s.Errorf("a reply after the end: %v", err)
		}
		holds("after a second one", r, large, soon)
	}

	over := s.accept(s.message("a"))
	s.apply(&atom.Change{Seq: over, Outcome: end(atom.Completed), Reply: &atom.KeptReply{Until: time.Now().Add(-time.Second), Body: []byte("over")}})
	nothing("over", over)
	if x, err := s.Get(ctx, over, at(0)); err != nil || x.Outcome == nil {
		s.Errorf("its record: %v, %v", x, err)
	}
	if n, err := s.RepliesKept(ctx); err != nil || n < 5 {
		s.Errorf("kept: %d, %v", n, err)
	}
}

// settledKeys: what a durable execution answered is what repeats of it get;
// where it failed, its key is free.
func settledKeys(s *suite) {
	until := time.Now().Add(time.Hour)
	keyed := func(key string) *atom.Acceptance {
		a := s.message("a")
		a.Dedupe = &atom.Dedupe{Key: key, Until: until}
		return a
	}
	end := &atom.Outcome{Status: atom.Completed, Started: at(1), Ended: at(2), Trace: []byte(`{"steps":[]}`)}
	first := s.accept(keyed("k1"))
	claim := func(key string) (bool, []byte) {
		s.Helper()
		claimed, reply, err := s.Claim(ctx, "a", key, s.Reserve(), until)
		if err != nil {
			s.Error(err)
		}
		return claimed, reply
	}
	if claimed, reply := claim("k1"); claimed || reply != nil {
		s.Errorf("while it runs: %v, %q", claimed, reply)
	}
	s.apply(&atom.Change{Seq: first, Settled: &atom.Settled{Key: "k1", Reply: []byte("done")}, Outcome: end})
	if claimed, reply := claim("k1"); claimed || string(reply) != "done" {
		s.Errorf("when it is done: %v, %q", claimed, reply)
	}
	second := s.accept(keyed("k2"))
	repeat := func() atom.Receipt {
		s.Helper()
		r, err := s.Accept(ctx, keyed("k2"))
		if err != nil {
			s.Error(err)
		}
		return r
	}
	if r := repeat(); !r.Duplicate || r.Seq != second {
		s.Errorf("a repeat: %+v", r)
	}
	failed := *end
	failed.Status = atom.Failed
	s.apply(&atom.Change{Seq: second, Settled: &atom.Settled{Key: "k2"}, Outcome: &failed})
	if r := repeat(); r.Duplicate {
		s.Errorf("after the failure: %+v", r)
	}
}
