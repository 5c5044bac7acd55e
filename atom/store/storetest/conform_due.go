package storetest

import (
	"fmt"
	"time"

	"valence/atom/store"
)

func suspendAndDue(s *suite) {
	a := s.accept(s.message("p"))
	b := s.accept(s.message("p"))
	c := s.accept(s.message("p"))
	now := time.Now().UTC()
	s.apply(&store.Change{Seq: b, Entries: []store.Entry{{Path: "0", Kind: "attempt", At: at(1)}}, Disposition: &store.Suspension{State: store.Waiting, Due: now.Add(-time.Second)}})
	s.apply(&store.Change{Seq: a, Disposition: &store.Suspension{State: store.Waiting, Due: now.Add(time.Hour)}})
	s.apply(&store.Change{Seq: c, Disposition: &store.Suspension{State: store.Held}})
	s.equal("ready", seqs(s.ready("p", 0, 10)), []int64{})
	rs, next, err := s.Due(ctx, "p", now, 10)
	if err != nil || len(rs) != 1 || rs[0].Seq != b || rs[0].Attempt != 1 || rs[0].State != store.Waiting || !next.Equal(now.Add(time.Hour)) {
		s.Errorf("due: got %v, next %v, %v, want %d", seqs(rs), next, err, b)
	}
	s.apply(&store.Change{Seq: b, Disposition: &store.Suspension{State: store.Waiting, Due: now.Add(2 * time.Hour)}})
	s.apply(&store.Change{Seq: c, Disposition: &store.Suspension{State: store.Accepted}})
	rs, next, err = s.Due(ctx, "p", now.Add(3*time.Hour), 10)
	if err != nil || fmt.Sprint(seqs(rs)) != fmt.Sprint([]int64{c, a, b}) || !next.IsZero() {
		s.Errorf("all due: got %v, next %v, %v, want %v, no next", seqs(rs), next, err, []int64{c, a, b})
	}
	s.equal("attempts", rs[2].Attempt, 2)
	rs, _, err = s.Due(ctx, "p", now.Add(3*time.Hour), 2)
	if err != nil || len(rs) != 2 {
		s.Errorf("due with a limit: got %v, %v, want 2", seqs(rs), err)
	}
	s.apply(&store.Change{Seq: a, Disposition: completed()})
	if rs, _, _ = s.Due(ctx, "p", now.Add(3*time.Hour), 10); len(rs) != 2 {
		s.Errorf("due after one ended: got %v, want 2", seqs(rs))
	}
	x, err := s.Get(ctx, b, at(0))
	if err != nil || x.State != store.Waiting || x.Attempt != 2 || len(x.Journal) != 1 {
		s.Errorf("got %+v, %v, want it waiting after two attempts", x, err)
	}
}
