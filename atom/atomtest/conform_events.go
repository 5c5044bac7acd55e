package atomtest

import (
	"fmt"
	"time"

	"valence/atom"
)

func coalescing(s *suite) {
	due := time.Now().Add(time.Hour).UTC().Truncate(time.Millisecond)
	message := func(process, key string, due time.Time) *atom.Acceptance {
		a := s.message(process)
		a.Seq, a.Due = s.Reserve(), due
		a.Lane = &atom.Lane{Scope: process, Key: key}
		a.Coalesce = &atom.Coalesce{Key: key, Superseded: atom.Outcome{Status: atom.Superseded, Started: at(1), Ended: at(2), Resolved: []byte(`{"how":"superseded"}`)}}
		return a
	}
	told := func() string {
		s.mu.Lock()
		defer s.mu.Unlock()
		out := ""
		for _, r := range s.again {
			if r.Superseded {
				out += fmt.Sprintf("%d over;", r.Seq)
			} else {
				out += fmt.Sprintf("%d at %v;", r.Seq, r.Later.Equal(due))
			}
		}
		s.again = nil
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
	s.is("told", told(), fmt.Sprintf("%d at true;", a))
	b := s.accept(message("p", "k", due.Add(time.Minute)))
	s.is("told", told(), fmt.Sprintf("%d over;%d at true;", a, b))
	s.is("the older", state(a), `superseded {"how":"superseded"}`)
	s.is("the newer", state(b), "waitingtrue")
	s.is("of the lane", s.place(b), fmt.Sprintf("0 after %d", b))
	other := s.accept(message("q", "k", due))
	s.is("of another process", state(b)+told(), fmt.Sprintf("waitingtrue%d at true;", other))
	// One that has begun is not superseded.
	s.apply(&atom.Change{Seq: b, Begins: true})
	c := s.accept(message("p", "k", due))
	s.is("begun", state(b), "waitingtrue")
	s.apply(&atom.Change{Seq: b, Outcome: completed()})
	d := s.accept(message("p", "k", due))
	s.is("after it", state(c), `superseded {"how":"superseded"}`)
	_, err := s.Get(ctx, d, at(0))
	s.fails("there", err, nil)
	s.fails("what was superseded does not begin", s.Apply(ctx, &atom.Change{Seq: c, Begins: true}), atom.ErrEnded)
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
	s.apply(&atom.Change{Seq: seq, Writes: []atom.Write{{Path: "0", System: "shop", Record: "1", Until: until}}})
	s.is("being written", writes(), fmt.Sprintf("%d 0 shop/1 true;", seq))
	s.is("not marked", marked("v2"), false)
	s.apply(&atom.Change{Seq: seq, Marks: []atom.Mark{{Path: "0", System: "shop", Record: "1", Version: "v2", Until: until}}})
	s.is("written", writes(), "")
	s.is("marked", fmt.Sprint(marked("v2"), marked("v3")), "true false")
	if err := s.Mark(ctx, atom.Mark{System: "shop", Record: "1", Version: "v3", Until: until}, atom.Mark{System: "shop", Record: "1", Version: "old", Until: time.Now()}); err != nil {
		s.Fatal(err)
	}
	s.is("marked", fmt.Sprint(marked("v3"), marked("old")), "true false")
}
