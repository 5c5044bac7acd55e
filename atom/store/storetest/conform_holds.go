package storetest

import (
	"fmt"
	"time"

	"valence/atom/store"
)

func holds(s *suite) {
	var all []int64
	for range 5 {
		seq := s.accept(s.message("p"))
		all = append(all, seq)
		s.apply(&store.Change{Seq: seq, Disposition: &store.Suspension{State: store.Held, Reason: "it is down", For: []string{"connection erp"}}})
	}
	other := s.accept(s.message("p"))
	s.apply(&store.Change{Seq: other, Disposition: &store.Suspension{State: store.Held, For: []string{"connection crm", "connection erp"}}})
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
	s.equal("held", count(), "map[connection crm:1 connection erp:6]")
	s.equal("due", due(), []int64{})
	s.apply(&store.Change{Seq: all[1], Disposition: &store.Outcome{Status: store.Cancelled, Started: at(1), Ended: at(2)}})
	s.equal("one released", release("connection erp", all[0], 1), fmt.Sprint(all[2], 1))
	s.equal("due", due(), []int64{all[2]})
	s.apply(&store.Change{Seq: all[2], Disposition: &store.Suspension{State: store.Held, For: []string{"connection erp"}}})
	s.equal("due", due(), []int64{})
	s.equal("all released", release("connection erp", 0, 10), fmt.Sprint(other, 5))
	s.equal("due in order", due(), []int64{all[0], all[2], all[3], all[4], other})
	s.equal("none released", release("connection crm", 0, 10)[1:], " 0")
	s.equal("held", count(), "map[]")
}

// releasing checks that Release releases only executions held for its cause,
// page by page.
func releasing(s *suite) {
	hold := func(seq int64, what ...string) {
		s.apply(&store.Change{Seq: seq, Disposition: &store.Suspension{State: store.Held, Reason: "it is down", For: what}})
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
	s.apply(&store.Change{Seq: all[2], Disposition: &store.Suspension{State: store.Waiting, Due: until}})
	s.equal("released for an unknown cause", release("connection shop", 0, 10), "0 0")
	s.equal("a page of releases", release("connection erp", 0, 2), fmt.Sprint(all[3], 2))
	s.equal("the next page", release("connection erp", all[3], 2), fmt.Sprint(all[4], 1))
	s.equal("after the last page", release("connection erp", all[4], 2), "0 0")
	rs, next, err := s.Due(ctx, "p", time.Now(), 10)
	if err != nil {
		s.Fatal(err)
	}
	s.equal("due", seqs(rs), []int64{all[0], all[3], all[4]})
	s.equal("next due", next.Unix(), until.Unix())
	hold(all[0], "connection crm", "connection erp")
	s.equal("released for one of two", release("connection crm", 0, 10), fmt.Sprint(all[1], 2))
	s.equal("released again for the other", release("connection erp", 0, 10)[1:], " 0")
	for _, seq := range []int64{all[0], all[1]} {
		x, err := s.Get(ctx, seq, time.Time{})
		if err != nil {
			s.Fatal(err)
		}
		s.equal("state and reason after the release", fmt.Sprint(x.State, x.Reason), fmt.Sprint(store.Accepted))
	}
}
