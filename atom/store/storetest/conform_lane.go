package storetest

import (
	"fmt"
	"time"

	"valence/atom/store"
)

func (s *suite) messageInLane(process, scope, key string) *store.Message {
	a := s.message(process)
	a.Lane = &store.Lane{Scope: scope, Key: key, Block: true}
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
			s.Errorf("got head %+v, want its message and position", r)
		}
	}
	return seqs(rs)
}

// takeWoken returns the executions that became heads since the last call.
func (s *suite) takeWoken() []int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := []int64{}
	for _, r := range s.wakeups {
		if r.HeadOfLane {
			out = append(out, r.Seq)
		}
	}
	s.wakeups = nil
	return out
}

func (s *suite) lanes() string {
	s.Helper()
	list, next, err := s.Blocked(ctx, "", 10)
	if err != nil || next != "" {
		s.Fatalf("Blocked: got %v and another page %q", err, next)
	}
	out := ""
	for _, l := range list {
		if l.Since.IsZero() {
			s.Errorf("got blocked lane %+v, want the time of the failure", l)
		}
		out += fmt.Sprintf("%s/%s by %s %d, %d wait;", l.Scope, l.Key, l.Process, l.Head, l.Waiting)
	}
	return out
}

func (s *suite) position(seq int64) string {
	s.Helper()
	x, err := s.Get(ctx, seq, at(0))
	if err != nil {
		s.Fatal(err)
	}
	p, err := s.Position(ctx, seq, x.Lane)
	if err != nil {
		s.Fatal(err)
	}
	if p == nil {
		return "none"
	}
	return fmt.Sprintf("%d after %d", p.Ahead, p.Head)
}

func laneOrder(s *suite) {
	a, b, c := s.accept(s.messageInLane("p", "p", "1")), s.accept(s.messageInLane("p", "p", "2")), s.accept(s.messageInLane("p", "p", "1"))
	d := s.accept(s.messageInLane("q", "p", "1")) // another process in the same lane
	e := s.accept(s.message("p"))                 // in no lane
	s.equal("heads", s.heads("p"), []int64{a, b})
	s.equal("ready", seqs(s.ready("p", 0, 10)), []int64{e})
	behind := []int64{}
	for _, r := range s.accepted {
		if r.WaitsInLane {
			behind = append(behind, r.Seq)
		}
	}
	s.equal("reported as waiting", behind, []int64{c, d})
	s.equal("position", s.position(d), fmt.Sprintf("2 after %d", a))
	s.equal("position of the head", s.position(a), fmt.Sprintf("0 after %d", a))
	s.apply(&store.Change{Seq: a, Entries: []store.Entry{{Path: "0", Kind: "call", At: at(1)}}})
	s.equal("new heads", s.takeWoken(), []int64{})
	s.apply(&store.Change{Seq: a, Disposition: completed()})
	s.equal("new heads", s.takeWoken(), []int64{c})
	s.equal("heads", s.heads("p"), []int64{b, c})
	s.apply(&store.Change{Seq: c, Disposition: &store.Suspension{State: store.Waiting, Due: time.Now().Add(time.Hour)}})
	s.equal("heads without the suspended one", s.heads("p"), []int64{b})
	s.equal("position after it", s.position(d), fmt.Sprintf("1 after %d", c))
	s.apply(&store.Change{Seq: d, Disposition: &store.Outcome{Status: store.Cancelled, Started: at(1), Ended: at(2)}})
	f := s.accept(s.messageInLane("p", "p", "1"))
	s.apply(&store.Change{Seq: c, Disposition: &store.Outcome{Status: store.Expired, Started: at(1), Ended: at(2)}})
	s.equal("the head after one that left", s.takeWoken(), []int64{f})
	s.apply(&store.Change{Seq: f, Disposition: completed()})
	s.apply(&store.Change{Seq: b, Disposition: completed()})
	s.equal("empty", s.heads("p"), []int64{})
	g := s.accept(s.messageInLane("p", "p", "1"))
	s.equal("a lane that was empty", s.heads("p"), []int64{g})
}

func blockedLanes(s *suite) {
	a, b, c, d := s.accept(s.messageInLane("p", "/s", "k")), s.accept(s.messageInLane("p", "/s", "k")), s.accept(s.messageInLane("q", "/s", "k")), s.accept(s.messageInLane("p", "/s", "k"))
	s.apply(&store.Change{Seq: a, Disposition: failed()})
	s.equal("new heads", s.takeWoken(), []int64{})
	s.equal("blocked", s.lanes(), fmt.Sprintf("/s/k by p %d, 3 wait;", a))
	held, _, err := s.List(ctx, store.Filter{Statuses: []string{"held"}, Process: "p"}, "", 10)
	if err != nil || len(held) != 2 || held[0].Seq != d || held[1].Seq != b || held[0].State != store.Held {
		s.Errorf("held: got %v, %v, want %d and %d", held, err, d, b)
	}
	_, err = s.Unblock(ctx, "q", "k", false)
	s.wantErr("another process", err, store.ErrUnknown)
	head, err := s.Unblock(ctx, "p", "k", false)
	s.equal("skipped", fmt.Sprint(head, err), fmt.Sprint(a, nil))
	s.equal("new heads", s.takeWoken(), []int64{b})
	s.equal("blocked", s.lanes(), "")
	s.apply(&store.Change{Seq: b, Disposition: failed()})
	// A replacement becomes the head.
	next := s.messageInLane("p", "/s", "k")
	next.Seq, next.Due = s.Reserve(), time.Now()
	if err := s.Resolve(ctx, &store.Resolution{Seq: b, Note: []byte("again"), Next: next}); err != nil {
		s.Fatal(err)
	}
	s.equal("blocked", s.lanes(), "")
	s.equal("position", s.position(c), fmt.Sprintf("1 after %d", next.Seq))
	announced := s.accepted[len(s.accepted)-1]
	s.equal("OnAccepted, replacement", fmt.Sprint(announced.Seq, announced.WaitsInLane), fmt.Sprint(next.Seq, false))
	due, _, err := s.Due(ctx, "p", time.Now(), 10)
	if err != nil {
		s.Fatal(err)
	}
	s.equal("due", seqs(due), []int64{next.Seq})
	s.apply(&store.Change{Seq: next.Seq, Disposition: failed()})
	s.equal("blocked again", s.lanes(), fmt.Sprintf("/s/k by p %d, 2 wait;", next.Seq))
	if err := s.Resolve(ctx, &store.Resolution{Seq: next.Seq, Note: []byte("deleted")}); err != nil {
		s.Fatal(err)
	}
	s.equal("new heads", s.takeWoken(), []int64{c})
	s.apply(&store.Change{Seq: c, Disposition: failed()})
	e := s.accept(s.messageInLane("p", "/s", "k"))
	if _, err := s.Unblock(ctx, "q", "k", true); err != nil {
		s.Fatal(err)
	}
	f := s.accept(s.messageInLane("p", "/s", "k"))
	s.apply(&store.Change{Seq: d, Disposition: failed()})
	s.apply(&store.Change{Seq: e, Disposition: failed()})
	s.equal("heads after an unblock of all", s.takeWoken(), []int64{d, e, f})
	s.apply(&store.Change{Seq: f, Disposition: failed()})
	s.equal("a later failure", s.lanes(), fmt.Sprintf("/s/k by p %d, 0 wait;", f))
	skips := s.messageInLane("p", "p", "x")
	skips.Lane.Block = false
	g, h := s.accept(skips), s.accept(s.messageInLane("p", "p", "x"))
	s.takeWoken()
	s.apply(&store.Change{Seq: g, Disposition: failed()})
	s.equal("skipped", s.takeWoken(), []int64{h})
}

func laneLimits(s *suite) {
	full := func() *store.Message {
		a := s.messageInLane("p", "p", "k")
		a.Lane.Limit = 2
		return a
	}
	a := s.accept(full())
	s.accept(full())
	s.accept(full())
	_, err := s.Accept(ctx, full())
	s.wantErr("a full lane", err, store.ErrLaneFull)
	s.apply(&store.Change{Seq: a, Disposition: completed()})
	s.accept(full())
	// A message with a reserved number and a Due waits in its lane, too.
	own := s.messageInLane("p", "p", "k")
	own.Seq, own.Due = s.Reserve(), time.Now().Add(-time.Second)
	r, err := s.Accept(ctx, own)
	s.equal("receipt", fmt.Sprint(r.WaitsInLane, err), "true <nil>")
	s.equal("OnAccepted", s.accepted[len(s.accepted)-1].WaitsInLane, true)
	due := func() []int64 {
		rs, _, err := s.Due(ctx, "p", time.Now(), 10)
		if err != nil {
			s.Fatal(err)
		}
		return seqs(rs)
	}
	s.equal("due before it is the head", due(), []int64{})
	for _, seq := range s.heads("p") {
		for seq != own.Seq {
			s.apply(&store.Change{Seq: seq, Disposition: completed()})
			next := s.heads("p")
			if len(next) == 0 {
				break
			}
			seq = next[0]
		}
	}
	s.equal("due as the head", due(), []int64{own.Seq})
}
