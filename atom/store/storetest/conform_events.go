package storetest

import (
	"fmt"
	"time"

	"valence/atom/store"
)

func coalescing(s *suite) {
	due := time.Now().Add(time.Hour).UTC().Truncate(time.Millisecond)
	message := func(process, key string, due time.Time) *store.Message {
		a := s.message(process)
		a.Seq, a.Due = s.Reserve(), due
		a.Lane = &store.Lane{Scope: process, Key: key}
		a.Coalesce = &store.Coalesce{Key: key, Superseded: store.Outcome{Status: store.Superseded, Started: at(1), Ended: at(2), Resolved: []byte(`{"how":"superseded"}`)}}
		return a
	}
	reported := func() string {
		s.mu.Lock()
		defer s.mu.Unlock()
		out := ""
		for _, r := range s.accepted {
			out += fmt.Sprintf("%d at %v;", r.Seq, r.Due.Equal(due))
		}
		for _, r := range s.wakeups {
			out += fmt.Sprintf("%d superseded %v;", r.Seq, r.Superseded)
		}
		s.accepted, s.wakeups = nil, nil
		return out
	}
	state := func(seq int64) string {
		x, err := s.Get(ctx, seq, at(0))
		if err != nil {
			s.Fatal(err)
		}
		if x.Outcome != nil {
			return string(x.Outcome.Status) + " " + string(x.Outcome.Resolved)
		}
		return fmt.Sprint(x.State, x.Due.Equal(due))
	}
	a := s.accept(message("p", "k", due))
	s.equal("announced", reported(), fmt.Sprintf("%d at true;", a))
	b := s.accept(message("p", "k", due.Add(time.Minute)))
	s.equal("announced", reported(), fmt.Sprintf("%d at true;%d superseded true;", b, a))
	s.equal("the older", state(a), `superseded {"how":"superseded"}`)
	s.equal("the newer", state(b), "waitingtrue")
	s.equal("position of the newer", s.position(b), fmt.Sprintf("0 after %d", b))
	other := s.accept(message("q", "k", due))
	s.equal("the newer, after one of another process", state(b)+reported(), fmt.Sprintf("waitingtrue%d at true;", other))
	// An execution that has begun is not superseded.
	s.apply(&store.Change{Seq: b, Require: []store.Condition{store.Begin{}}})
	c := s.accept(message("p", "k", due))
	s.equal("one that has begun", state(b), "waitingtrue")
	s.apply(&store.Change{Seq: b, Disposition: completed()})
	d := s.accept(message("p", "k", due))
	s.equal("the one after it", state(c), `superseded {"how":"superseded"}`)
	_, err := s.Get(ctx, d, at(0))
	s.wantErr("the newest", err, nil)
	s.wantErr("a superseded execution begins", s.Apply(ctx, &store.Change{Seq: c, Require: []store.Condition{store.Begin{}}}), store.ErrEnded)
}

func echoes(s *suite) {
	until := time.Now().Add(time.Hour).UTC().Truncate(time.Millisecond)
	marked := func(version string) bool {
		ok, err := s.Marked(ctx, "shop", "1", version)
		if err != nil {
			s.Fatal(err)
		}
		return ok
	}
	writes := func() string {
		list, err := s.Writes(ctx)
		if err != nil {
			s.Fatal(err)
		}
		out := ""
		for _, w := range list {
			out += fmt.Sprintf("%d %s %s/%s %v;", w.Seq, w.Path, w.System, w.Record, w.Until.Equal(until))
		}
		return out
	}
	seq := s.accept(s.message("p"))
	s.apply(&store.Change{Seq: seq, Writes: []store.Write{{Path: "0", System: "shop", Record: "1", Until: until}}})
	s.equal("pending writes", writes(), fmt.Sprintf("%d 0 shop/1 true;", seq))
	s.equal("marked before the write", marked("v2"), false)
	s.apply(&store.Change{Seq: seq, Marks: []store.Mark{{Path: "0", System: "shop", Record: "1", Version: "v2", Until: until}}})
	s.equal("pending writes after the mark", writes(), "")
	s.equal("marked", fmt.Sprint(marked("v2"), marked("v3")), "true false")
	if err := s.Mark(ctx, store.Mark{System: "shop", Record: "1", Version: "v3", Until: until}, store.Mark{System: "shop", Record: "1", Version: "old", Until: time.Now().Add(-time.Minute)}); err != nil {
		s.Fatal(err)
	}
	s.equal("marked", fmt.Sprint(marked("v3"), marked("old")), "true false")
}
