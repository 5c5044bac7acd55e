package atomtest

import (
	"fmt"
	"time"

	"valence/atom"
)

func holds(s *suite) {
	var all []int64
	for range 5 {
		seq := s.accept(s.message("p"))
		all = append(all, seq)
		s.apply(&atom.Change{Seq: seq, Park: &atom.Park{State: atom.Held, Why: "it is down", For: []string{"connection erp"}}})
	}
	other := s.accept(s.message("p"))
	s.apply(&atom.Change{Seq: other, Park: &atom.Park{State: atom.Held, For: []string{"connection crm", "connection erp"}}})
	count := func() string {
		n, err := s.HeldFor(ctx)
		if err != nil {
			s.Fatal(err)
		}
		return fmt.Sprint(n)
	}
	due := func() []int64 {
		rs, _, err := s.Due(ctx, "p", time.Now(), 10)
		if err != nil {
			s.Fatal(err)
		}
		return seqs(rs)
	}
	release := func(what string, after int64, limit int) string {
		last, n, err := s.Release(ctx, what, after, limit)
		if err != nil {
			s.Fatal(err)
		}
		return fmt.Sprint(last, n)
	}
	s.is("held", count(), "map[connection crm:1 connection erp:6]")
	s.is("due", due(), []int64{})
	s.apply(&atom.Change{Seq: all[1], Outcome: &atom.Outcome{Status: atom.Cancelled, Started: at(1), Ended: at(2)}})
	s.is("one", release("connection erp", all[0], 1), fmt.Sprint(all[2], 1))
	s.is("due", due(), []int64{all[2]})
	s.apply(&atom.Change{Seq: all[2], Park: &atom.Park{State: atom.Held, For: []string{"connection erp"}}})
	s.is("due", due(), []int64{})
	s.is("all", release("connection erp", 0, 10), fmt.Sprint(other, 5))
	s.is("in order", due(), []int64{all[0], all[2], all[3], all[4], other})
	s.is("none", release("connection crm", 0, 10)[1:], " 0")
	s.is("held", count(), "map[]")
}

// releases: what is released is what is held for it now, a page at a time, and
// nothing else.
func releases(s *suite) {
	hold := func(seq int64, what ...string) {
		s.apply(&atom.Change{Seq: seq, Park: &atom.Park{State: atom.Held, Why: "it is down", For: what}})
	}
	var all []int64
	for range 5 {
		all = append(all, s.accept(s.message("p")))
		hold(all[len(all)-1], "connection erp")
	}
	release := func(what string, after int64, limit int) string {
		last, n, err := s.Release(ctx, what, after, limit)
		if err != nil {
			s.Fatal(err)
		}
		return fmt.Sprint(last, n)
	}
	until := time.Now().Add(time.Hour)
	hold(all[1], "connection crm")
	s.apply(&atom.Change{Seq: all[2], Park: &atom.Park{State: atom.Waiting, Due: until}})
	s.is("for nothing", release("connection shop", 0, 10), "0 0")
	s.is("a page", release("connection erp", 0, 2), fmt.Sprint(all[3], 2))
	s.is("the next one", release("connection erp", all[3], 2), fmt.Sprint(all[4], 1))
	s.is("the end", release("connection erp", all[4], 2), "0 0")
	rs, next, err := s.Due(ctx, "p", time.Now(), 10)
	if err != nil {
		s.Fatal(err)
	}
	s.is("what is held for another, and what waits for a time, stay", seqs(rs), []int64{all[0], all[3], all[4]})
	s.is("the time", next.Unix(), until.Unix())
	hold(all[0], "connection crm", "connection erp")
	s.is("released for one of two", release("connection crm", 0, 10), fmt.Sprint(all[1], 2))
	s.is("and not again for the other", release("connection erp", 0, 10)[1:], " 0")
	for _, seq := range []int64{all[0], all[1]} {
		x, err := s.Get(ctx, seq, time.Time{})
		if err != nil {
			s.Fatal(err)
		}
		s.is("no reason is left", fmt.Sprint(x.State, x.Why), fmt.Sprint(atom.Accepted))
	}
}
