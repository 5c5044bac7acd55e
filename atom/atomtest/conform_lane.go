package atomtest

import (
	"fmt"
	"time"

	"valence/atom"
)

func (s *suite) laned(process, scope, key string) *atom.Acceptance {
	a := s.message(process)
	a.Lane = &atom.Lane{Scope: scope, Key: key, Block: true}
	return a
}

func (s *suite) heads(process string) []int64 {
	s.Helper()
	rs, err := s.Heads(ctx, process, 100, func(int64) bool { return false })
	if err != nil {
		s.Fatal(err)
	}
	for _, r := range rs {
		if len(r.Doc) == 0 || r.Lane == nil || r.Lane.Pos == 0 {
			s.Errorf("a first one without its message or place: %+v", r)
		}
	}
	return seqs(rs)
}

// turns gives whose turn came since the last look.
func (s *suite) turns() []int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := []int64{}
	for _, r := range s.again {
		if r.Turn {
			out = append(out, r.Seq)
		}
	}
	s.again = nil
	return out
}

func (s *suite) lanes() string {
	s.Helper()
	list, next, err := s.Blocked(ctx, "", 10)
	if err != nil || next != "" {
		s.Fatal(err, next)
	}
	out := ""
	for _, l := range list {
		if l.Since.IsZero() {
			s.Error("blocked since never")
		}
		out += fmt.Sprintf("%s/%s by %s %d, %d wait;", l.Scope, l.Key, l.Process, l.Head, l.Waiting)
	}
	return out
}

func (s *suite) place(seq int64) string {
	s.Helper()
	x, err := s.Get(ctx, seq, at(0))
	if err != nil {
		s.Fatal(err)
	}
	p, err := s.Place(ctx, seq, x.Lane)
	if err != nil {
		s.Fatal(err)
	}
	if p == nil {
		return "none"
	}
	return fmt.Sprintf("%d after %d", p.Ahead, p.Head)
}

func lanes(s *suite) {
	a, b, c := s.accept(s.laned("p", "p", "1")), s.accept(s.laned("p", "p", "2")), s.accept(s.laned("p", "p", "1"))
	d := s.accept(s.laned("q", "p", "1")) // another process in the same lane
	e := s.accept(s.message("p"))         // in none
	s.is("first ones", s.heads("p"), []int64{a, b})
	s.is("ready", seqs(s.ready("p", 0, 10)), []int64{e})
	behind := []int64{}
	for _, r := range s.told {
		if r.Behind {
			behind = append(behind, r.Seq)
		}
	}
	s.is("told as behind", behind, []int64{c, d})
	s.is("place", s.place(d), fmt.Sprintf("2 after %d", a))
	s.is("of the first", s.place(a), fmt.Sprintf("0 after %d", a))
	s.apply(&atom.Change{Seq: a, Entries: []atom.Entry{{Path: "0", Kind: "call", At: at(1)}}})
	s.is("turns", s.turns(), []int64{})
	s.apply(&atom.Change{Seq: a, Outcome: completed()})
	s.is("turns", s.turns(), []int64{c})
	s.is("first ones", s.heads("p"), []int64{b, c})
	s.apply(&atom.Change{Seq: c, Park: &atom.Park{State: atom.Waiting, Due: time.Now().Add(time.Hour)}})
	s.is("a parked one is told when its time comes", s.heads("p"), []int64{b})
	s.is("and keeps its place", s.place(d), fmt.Sprintf("1 after %d", c))
	s.apply(&atom.Change{Seq: d, Outcome: &atom.Outcome{Status: atom.Cancelled, Started: at(1), Ended: at(2)}})
	f := s.accept(s.laned("p", "p", "1"))
	s.apply(&atom.Change{Seq: c, Outcome: &atom.Outcome{Status: atom.Expired, Started: at(1), Ended: at(2)}})
	s.is("turns past one that left", s.turns(), []int64{f})
	s.apply(&atom.Change{Seq: f, Outcome: completed()})
	s.apply(&atom.Change{Seq: b, Outcome: completed()})
	s.is("empty", s.heads("p"), []int64{})
	g := s.accept(s.laned("p", "p", "1"))
	s.is("a lane that was empty", s.heads("p"), []int64{g})
}

func blockedLanes(s *suite) {
	a, b, c, d := s.accept(s.laned("p", "/s", "k")), s.accept(s.laned("p", "/s", "k")), s.accept(s.laned("q", "/s", "k")), s.accept(s.laned("p", "/s", "k"))
	s.apply(&atom.Change{Seq: a, Outcome: failed()})
	s.is("turns", s.turns(), []int64{})
	s.is("blocked", s.lanes(), fmt.Sprintf("/s/k by p %d, 3 wait;", a))
	held, _, err := s.List(ctx, atom.Filter{Statuses: []string{"held"}, Process: "p"}, "", 10)
	if err != nil || len(held) != 2 || held[0].Seq != d || held[1].Seq != b || held[0].State != atom.Held {
		s.Errorf("held: %v %v", held, err)
	}
	_, err = s.Unblock(ctx, "q", "k", false)
	s.fails("another process", err, atom.ErrUnknown)
	head, err := s.Unblock(ctx, "p", "k", false)
	s.is("skipped", fmt.Sprint(head, err), fmt.Sprint(a, nil))
	s.is("turns", s.turns(), []int64{b})
	s.is("blocked", s.lanes(), "")
	s.apply(&atom.Change{Seq: b, Outcome: failed()})
	// What takes the failed one's place is first.
	next := s.laned("p", "/s", "k")
	next.Seq, next.Due = s.Reserve(), time.Now()
	if err := s.Resolve(ctx, &atom.Resolution{Seq: b, Note: []byte("again"), Next: next}); err != nil {
		s.Fatal(err)
	}
	s.is("blocked", s.lanes(), "")
	s.is("place", s.place(c), fmt.Sprintf("1 after %d", next.Seq))
	due, _, err := s.Due(ctx, "p", time.Now(), 10)
	if err != nil {
		s.Fatal(err)
	}
	s.is("due", seqs(due), []int64{next.Seq})
	s.apply(&atom.Change{Seq: next.Seq, Outcome: failed()})
	s.is("blocked again", s.lanes(), fmt.Sprintf("/s/k by p %d, 2 wait;", next.Seq))
	if err := s.Resolve(ctx, &atom.Resolution{Seq: next.Seq, Note: []byte("deleted")}); err != nil {
		s.Fatal(err)
	}
	s.is("turns", s.turns(), []int64{c})
	s.apply(&atom.Change{Seq: c, Outcome: failed()})
	e := s.accept(s.laned("p", "/s", "k"))
	if _, err := s.Unblock(ctx, "q", "k", true); err != nil {
		s.Fatal(err)
	}
	f := s.accept(s.laned("p", "/s", "k"))
	s.apply(&atom.Change{Seq: d, Outcome: failed()})
	s.apply(&atom.Change{Seq: e, Outcome: failed()})
	s.is("released ones do not block", s.turns(), []int64{d, e, f})
	s.apply(&atom.Change{Seq: f, Outcome: failed()})
	s.is("later ones do", s.lanes(), fmt.Sprintf("/s/k by p %d, 0 wait;", f))
	skips := s.laned("p", "p", "x")
	skips.Lane.Block = false
	g, h := s.accept(skips), s.accept(s.laned("p", "p", "x"))
	s.turns()
	s.apply(&atom.Change{Seq: g, Outcome: failed()})
	s.is("skipped", s.turns(), []int64{h})
}

func laneLimits(s *suite) {
	full := func() *atom.Acceptance {
		a := s.laned("p", "p", "k")
		a.Lane.Limit = 2
		return a
	}
	a := s.accept(full())
	s.accept(full())
	s.accept(full())
	_, err := s.Accept(ctx, full())
	s.fails("a full lane", err, atom.ErrLaneFull)
	s.apply(&atom.Change{Seq: a, Outcome: completed()})
	s.accept(full())
	// One with a number of its own and a Due waits for its turn as well.
	own := s.laned("p", "p", "k")
	own.Seq, own.Due = s.Reserve(), time.Now().Add(-time.Second)
	r, err := s.Accept(ctx, own)
	s.is("receipt", fmt.Sprint(r.Behind, err), "true <nil>")
	due := func() []int64 {
		rs, _, err := s.Due(ctx, "p", time.Now(), 10)
		if err != nil {
			s.Fatal(err)
		}
		return seqs(rs)
	}
	s.is("due before its turn", due(), []int64{})
	for _, seq := range s.heads("p") {
		for seq != own.Seq {
			s.apply(&atom.Change{Seq: seq, Outcome: completed()})
			next := s.heads("p")
			if len(next) == 0 {
				break
			}
			seq = next[0]
		}
	}
	s.is("due when its turn came", due(), []int64{own.Seq})
}
