package atomtest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"valence/atom"
)

// Conform runs the suite. Open gives an empty store that does not run yet; the
// suite runs and closes it.
func Conform(t *testing.T, open func(t *testing.T) atom.Store) {
	for _, c := range []struct {
		name string
		run  func(s *suite)
	}{
		{"accept and ready", acceptAndReady},
		{"order of commit", orderOfCommit},
		{"dedupe", dedupe},
		{"origin", origin},
		{"a number of its own", ownNumber},
		{"journal", journal},
		{"first outcome wins", firstOutcome},
		{"hand-offs", handoffs},
		{"park and due", parkAndDue},
		{"failed stay", failedStay},
		{"failures by cause", failuresOf},
		{"history", historyOf},
		{"list", list},
		{"documents dropped", dropped},
		{"documents kept for a shorter time", shorter},
		{"large documents", large},
		{"claims", claimsOf},
		{"numbers", numbers},
		{"contents", contents},
		{"backlog", backlog},
		{"refused", refused},
		{"lanes", lanes},
		{"holds", holds},
		{"what is released is what is held for it", releases},
		{"coalescing", coalescing},
		{"echoes", echoes},
		{"blocked lanes", blockedLanes},
		{"limits of lanes", laneLimits},
		{"replies", keptReplies},
		{"state", states},
		{"snapshots", snapshots},
		{"journals that forget", forgetting},
		{"settled keys", settledKeys},
		{"expiry", expiryOf},
		{"waits", waitsOf},
		{"early signals", earlySignals},
		{"signals by key", signalsByKey},
		{"giving up", givingUp},
		{"several waits", severalWaits},
		{"ended waits", endedWaits},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := &suite{T: t, Store: open(t)}
			s.OnAccepted(func(rs []*atom.Record) {
				s.mu.Lock()
				defer s.mu.Unlock()
				s.told = append(s.told, rs...)
			})
			s.OnReady(func(rs []atom.Ready) {
				s.mu.Lock()
				defer s.mu.Unlock()
				for _, r := range rs {
					s.woke = append(s.woke, r.Seq)
				}
				s.again = append(s.again, rs...)
			})
			ctx, cancel := context.WithCancel(context.Background())
			done := make(chan error, 1)
			go func() { done <- s.Store.Run(ctx) }()
			c.run(s)
			cancel()
			if err := errors.Join(<-done, s.Close()); err != nil {
				t.Error(err)
			}
		})
	}
}

type suite struct {
	*testing.T
	atom.Store
	mu    sync.Mutex
	told  []*atom.Record
	woke  []int64
	again []atom.Ready
	n     int
}

var ctx = context.Background()

// at is the time that the suite's messages are received at: today.
func at(n int) time.Time {
	return time.Now().UTC().Truncate(24 * time.Hour).Add(time.Duration(n) * time.Millisecond)
}

func (s *suite) message(process string) *atom.Acceptance {
	s.n++
	return &atom.Acceptance{Process: process, Plan: "plan-" + process, Env: "env", Received: at(s.n), Meta: []byte(`{"n":1}`),
		Track: map[string]string{"order": fmt.Sprint(s.n)}, DocType: "application/json", Doc: fmt.Appendf(nil, `{"order":%d}`, s.n)}
}

func (s *suite) accept(a *atom.Acceptance) int64 {
	s.Helper()
	r, err := s.Accept(ctx, a)
	if err != nil {
		s.Fatal(err)
	}
	if r.Duplicate || r.Seq == 0 || !r.Received.Equal(a.Received) {
		s.Fatalf("receipt %+v", r)
	}
	return r.Seq
}

func (s *suite) apply(c *atom.Change) {
	s.Helper()
	if err := s.Apply(ctx, c); err != nil {
		s.Fatal(err)
	}
}

func (s *suite) ready(process string, after int64, limit int) []*atom.Record {
	s.Helper()
	rs, err := s.Ready(ctx, process, after, limit)
	if err != nil {
		s.Fatal(err)
	}
	return rs
}

func seqs(rs []*atom.Record) []int64 {
	out := []int64{}
	for _, r := range rs {
		out = append(out, r.Seq)
	}
	return out
}

func (s *suite) is(what string, got, want any) {
	s.Helper()
	if g, w := fmt.Sprint(got), fmt.Sprint(want); g != w {
		s.Errorf("%s: %s, want %s", what, g, w)
	}
}

func (s *suite) fails(what string, got, want error) {
	s.Helper()
	if !errors.Is(got, want) {
		s.Errorf("%s: %v, want %v", what, got, want)
	}
}

func completed() *atom.Outcome {
	return &atom.Outcome{Status: atom.Completed, Started: at(1), Ended: at(2), Trace: []byte(`{"steps":[]}`)}
}

func failed() *atom.Outcome {
	return &atom.Outcome{Status: atom.Failed, Started: at(1), Ended: at(2), Fingerprint: "f", Error: []byte(`{"code":"Timeout"}`), Trace: []byte(`{"steps":[1]}`)}
}

func (s *suite) same(what string, got *atom.Record, want *atom.Acceptance) {
	s.Helper()
	g := got.Acceptance
	if g.Process != want.Process || g.Plan != want.Plan || g.Env != want.Env || !g.Received.Equal(want.Received) || !bytes.Equal(g.Meta, want.Meta) ||
		fmt.Sprint(g.Track) != fmt.Sprint(want.Track) || g.DocType != want.DocType || !bytes.Equal(g.Doc, want.Doc) || !bytes.Equal(g.Data, want.Data) {
		s.Errorf("%s: %+v, want %+v", what, g, *want)
	}
}

func acceptAndReady(s *suite) {
	a, b, c := s.message("p"), s.message("q"), s.message("p")
	c.Data = []byte(`{"data":"view"}`)
	x, y, z := s.accept(a), s.accept(b), s.accept(c)
	if !(x < y && y < z) {
		s.Errorf("numbers %d %d %d do not rise", x, y, z)
	}
	rs := s.ready("p", 0, 10)
	s.is("ready", seqs(rs), []int64{x, z})
	s.same("first", rs[0], a)
	s.same("second", rs[1], c)
	s.is("state", rs[0].State, atom.Accepted)
	s.is("ready after the first", seqs(s.ready("p", x, 10)), []int64{z})
	s.is("one of them", seqs(s.ready("p", 0, 1)), []int64{x})
	s.is("none", seqs(s.ready("other", 0, 10)), []int64{})
	s.is("told of", seqs(s.told), []int64{x, y, z})
	s.same("told of the second", s.told[1], b)
	s.apply(&atom.Change{Seq: x, Entries: []atom.Entry{{Path: "0", Kind: "call", At: at(1)}}})
	s.is("in hand", seqs(s.ready("p", 0, 10)), []int64{x, z})
	s.apply(&atom.Change{Seq: x, Outcome: completed()})
	s.is("after its end", seqs(s.ready("p", 0, 10)), []int64{z})
}

func orderOfCommit(s *suite) {
	var wg sync.WaitGroup
	var mu sync.Mutex
	got := map[int64]string{}
	for g := range 20 {
		wg.Go(func() {
			for i := range 20 {
				doc := fmt.Sprintf("%d-%d", g, i)
				r, err := s.Accept(ctx, &atom.Acceptance{Process: fmt.Sprint("p", g%3), Received: at(1), Doc: []byte(doc)})
				if err != nil {
					s.Error(err)
				}
				s.mu.Lock()
				if !slices.ContainsFunc(s.told, func(r2 *atom.Record) bool { return r2.Seq == r.Seq }) {
					s.Error("it was not told before the commit returned")
				}
				s.mu.Unlock()
				mu.Lock()
				got[r.Seq] = doc
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	s.is("told of", len(s.told), 400)
	if !slices.IsSorted(seqs(s.told)) {
		s.Error("not told in order")
	}
	for _, r := range s.told {
		s.is("document", string(r.Doc), got[r.Seq])
	}
	all := 0
	for _, p := range []string{"p0", "p1", "p2"} {
		after := int64(0)
		for {
			rs := s.ready(p, after, 7)
			for _, r := range rs {
				if r.Seq <= after {
					s.Error("not in order")
				}
				after = r.Seq
				all++
				s.is("document read", string(r.Doc), got[r.Seq])
			}
			if len(rs) < 7 {
				break
			}
		}
	}
	s.is("ready", all, 400)
}

func dedupe(s *suite) {
	first := s.message("p")
	first.Dedupe = &atom.Dedupe{Key: "k", Until: time.Now().Add(time.Hour)}
	seq := s.accept(first)
	again := s.message("p")
	again.Dedupe = first.Dedupe
	r, err := s.Accept(ctx, again)
	if err != nil || !r.Duplicate || r.Seq != seq || !r.Received.Equal(first.Received) {
		s.Errorf("again: %+v, %v", r, err)
	}
	other := s.message("q")
	other.Dedupe = first.Dedupe
	s.accept(other)
	over := s.message("p")
	over.Dedupe = &atom.Dedupe{Key: "over", Until: time.Now().Add(-time.Second)}
	s.accept(over)
	s.accept(over)
	long := s.message("p")
	long.Dedupe = &atom.Dedupe{Key: strings.Repeat("long", 100), Until: time.Now().Add(time.Hour)}
	s.accept(long)
	if r, err := s.Accept(ctx, long); err != nil || !r.Duplicate {
		s.Errorf("long key again: %+v, %v", r, err)
	}
	s.apply(&atom.Change{Seq: seq, Outcome: completed()})
	if r, err := s.Accept(ctx, again); err != nil || !r.Duplicate {
		s.Errorf("after the first ended: %+v, %v", r, err)
	}
	// At once, one is taken.
	var wg sync.WaitGroup
	taken := make(chan atom.Receipt, 30)
	for range 30 {
		m := s.message("p")
		m.Dedupe = &atom.Dedupe{Key: "race", Until: time.Now().Add(time.Hour)}
		wg.Go(func() {
			r, err := s.Accept(ctx, m)
			if err != nil {
				s.Error(err)
			}
			taken <- r
		})
	}
	wg.Wait()
	close(taken)
	n, numbers := 0, map[int64]bool{}
	for r := range taken {
		if numbers[r.Seq] = true; !r.Duplicate {
			n++
		}
	}
	s.is("taken of thirty", n, 1)
	s.is("numbers given", len(numbers), 1)
}

func origin(s *suite) {
	a := s.message("p")
	a.Origin = "parent/3"
	seq := s.accept(a)
	r, err := s.Accept(ctx, a)
	if err != nil || !r.Duplicate || r.Seq != seq {
		s.Errorf("again: %+v, %v", r, err)
	}
	if r, err := s.Origin(ctx, a.Origin); err != nil || !r.Duplicate || r.Seq != seq || !r.Received.Equal(a.Received) {
		s.Errorf("found: %+v, %v", r, err)
	}
	if _, err := s.Origin(ctx, "another"); !errors.Is(err, atom.ErrUnknown) {
		s.Errorf("an unknown origin: %v", err)
	}
	parent := s.accept(s.message("p"))
	s.apply(&atom.Change{Seq: parent, Handoffs: []*atom.Acceptance{a}, Outcome: completed()})
	s.is("ready", seqs(s.ready("p", 0, 10)), []int64{seq})
}

func ownNumber(s *suite) {
	a := s.message("p")
	a.Seq = s.Reserve()
	a.Entries = []atom.Entry{{Path: "0", Kind: "reply", At: at(3), Body: []byte("said")}}
	seq := s.accept(a)
	s.is("number", seq, a.Seq)
	later := s.message("p")
	later.Due = time.Now().Add(time.Hour).UTC()
	due := s.accept(later)
	s.is("told of", len(s.told), 0)
	s.is("ready", seqs(s.ready("p", 0, 10)), []int64{seq})
	es, err := s.Entries(ctx, seq)
	if err != nil || len(es) != 1 || string(es[0].Body) != "said" || !es[0].At.Equal(at(3)) {
		s.Errorf("journal %+v, %v", es, err)
	}
	rs, next, err := s.Due(ctx, "p", time.Now(), 10)
	if err != nil || len(rs) != 0 || !next.Equal(later.Due) {
		s.Errorf("due %v, next %v, %v", seqs(rs), next, err)
	}
	rs, next, err = s.Due(ctx, "p", time.Now().Add(2*time.Hour), 10)
	if err != nil || len(rs) != 1 || rs[0].Seq != due || !next.IsZero() || rs[0].State != atom.Waiting || !rs[0].Due.Equal(later.Due) {
		s.Errorf("due later %v, next %v, %v", seqs(rs), next, err)
	}
	s.same("due", rs[0], later)
	if r, err := s.Accept(ctx, a); err != nil || !r.Duplicate || r.Seq != seq {
		s.Errorf("the same again: %+v, %v", r, err)
	}
}

func journal(s *suite) {
	seq := s.accept(s.message("p"))
	if es, err := s.Entries(ctx, seq); err != nil || len(es) != 0 {
		s.Errorf("at first: %v, %v", es, err)
	}
	want := ""
	for i := range 5 {
		e := []atom.Entry{{Path: fmt.Sprint(i), Kind: "call", At: at(i), Body: fmt.Appendf(nil, "answer %d", i)}, {Path: fmt.Sprint(i), Kind: "attempt", At: at(i)}}
		want += fmt.Sprint(i, " call answer ", i, ";", i, " attempt ;")
		s.apply(&atom.Change{Seq: seq, Entries: e})
		if i == 2 { // goes on from a row
			s.apply(&atom.Change{Seq: seq, Park: &atom.Park{State: atom.Waiting, Due: at(1)}})
		}
	}
	es, err := s.Entries(ctx, seq)
	if err != nil {
		s.Fatal(err)
	}
	got := ""
	for _, e := range es {
		got += fmt.Sprint(e.Path, " ", e.Kind, " ", string(e.Body), ";")
	}
	s.is("journal", got, want)
	s.fails("unknown", s.Apply(ctx, &atom.Change{Seq: 1 << 40}), atom.ErrUnknown)
}

func firstOutcome(s *suite) {
	for _, status := range []atom.Status{atom.Completed, atom.CompletedWithWarnings, atom.Failed, atom.Expired, atom.Superseded, atom.Cancelled} {
		seq := s.accept(s.message("p"))
		o := completed()
		o.Status = status
		s.apply(&atom.Change{Seq: seq, Outcome: o})
		s.fails(string(status)+" twice", s.Apply(ctx, &atom.Change{Seq: seq, Outcome: failed()}), atom.ErrEnded)
		h := s.message("child")
		s.fails("a hand-off after "+string(status), s.Apply(ctx, &atom.Change{Seq: seq, Handoffs: []*atom.Acceptance{h}}), atom.ErrEnded)
		x, err := s.Get(ctx, seq, at(0))
		if err != nil || x.Outcome == nil || x.Outcome.Status != status {
			s.Errorf("%s: %+v, %v", status, x, err)
		}
	}
	s.is("children", len(s.ready("child", 0, 10)), 0)
	seq := s.accept(s.message("p"))
	var wg sync.WaitGroup
	won := make(chan bool, 10)
	for range 10 {
		wg.Go(func() {
			err := s.Apply(ctx, &atom.Change{Seq: seq, Outcome: completed()})
			if err != nil && !errors.Is(err, atom.ErrEnded) {
				s.Error(err)
			}
			if err == nil {
				won <- true
			}
		})
	}
	wg.Wait()
	s.is("winners", len(won), 1)
}

func handoffs(s *suite) {
	parent := s.accept(s.message("p"))
	one, two := s.message("child"), s.message("child")
	one.Origin, two.Origin = "a", "b"
	two.Due = time.Now().Add(time.Hour)
	s.apply(&atom.Change{Seq: parent, Entries: []atom.Entry{{Path: "0", Kind: "handoff", At: at(1)}}, Handoffs: []*atom.Acceptance{one, two}})
	rs := s.ready("child", 0, 10)
	s.is("children", len(rs), 1)
	s.same("child", rs[0], one)
	s.is("told of", len(s.told), 2)
	s.is("told of the child", s.told[1].Seq, rs[0].Seq)
	if es, err := s.Entries(ctx, parent); err != nil || len(es) != 1 {
		s.Errorf("journal %v, %v", es, err)
	}
	// The change is committed with a hand-off that cannot be, or not at all.
	bad := s.message("")
	if err := s.Apply(ctx, &atom.Change{Seq: parent, Handoffs: []*atom.Acceptance{bad}, Outcome: completed()}); err == nil {
		s.Error("a hand-off to nobody")
	}
	s.is("still there", len(s.ready("p", 0, 10)), 1)
}

func parkAndDue(s *suite) {
	a := s.accept(s.message("p"))
	b := s.accept(s.message("p"))
	c := s.accept(s.message("p"))
	now := time.Now().UTC()
	s.apply(&atom.Change{Seq: b, Entries: []atom.Entry{{Path: "0", Kind: "attempt", At: at(1)}}, Park: &atom.Park{State: atom.Waiting, Due: now.Add(-time.Second)}})
	s.apply(&atom.Change{Seq: a, Park: &atom.Park{State: atom.Waiting, Due: now.Add(time.Hour)}})
	s.apply(&atom.Change{Seq: c, Park: &atom.Park{State: atom.Held}})
	s.is("ready", seqs(s.ready("p", 0, 10)), []int64{})
	rs, next, err := s.Due(ctx, "p", now, 10)
	if err != nil || len(rs) != 1 || rs[0].Seq != b || rs[0].Attempt != 1 || rs[0].State != atom.Waiting || !next.Equal(now.Add(time.Hour)) {
		s.Errorf("due %v, next %v, %v", seqs(rs), next, err)
	}
	s.apply(&atom.Change{Seq: b, Park: &atom.Park{State: atom.Waiting, Due: now.Add(2 * time.Hour)}})
	s.apply(&atom.Change{Seq: c, Park: &atom.Park{State: atom.Accepted}})
	rs, next, err = s.Due(ctx, "p", now.Add(3*time.Hour), 10)
	if err != nil || fmt.Sprint(seqs(rs)) != fmt.Sprint([]int64{c, a, b}) || !next.IsZero() {
		s.Errorf("all due %v, next %v, %v", seqs(rs), next, err)
	}
	s.is("attempts", rs[2].Attempt, 2)
	rs, _, err = s.Due(ctx, "p", now.Add(3*time.Hour), 2)
	if err != nil || len(rs) != 2 {
		s.Errorf("two of them: %v, %v", seqs(rs), err)
	}
	s.apply(&atom.Change{Seq: a, Outcome: completed()})
	if rs, _, _ = s.Due(ctx, "p", now.Add(3*time.Hour), 10); len(rs) != 2 {
		s.Errorf("after one ended: %v", seqs(rs))
	}
	x, err := s.Get(ctx, b, at(0))
	if err != nil || x.State != atom.Waiting || x.Attempt != 2 || len(x.Journal) != 1 {
		s.Errorf("%+v, %v", x, err)
	}
}

// eventually waits until what was recorded can be listed.
