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
		{"history", historyOf},
		{"list", list},
		{"documents dropped", dropped},
		{"large documents", large},
		{"claims", claimsOf},
		{"numbers", numbers},
		{"contents", contents},
		{"backlog", backlog},
		{"refused", refused},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := &suite{T: t, Store: open(t)}
			s.OnAccepted(func(rs []*atom.Record) {
				s.mu.Lock()
				defer s.mu.Unlock()
				s.told = append(s.told, rs...)
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
	mu   sync.Mutex
	told []*atom.Record
	n    int
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

func failedStay(s *suite) {
	m := s.message("p")
	seq := s.accept(m)
	s.apply(&atom.Change{Seq: seq, Entries: []atom.Entry{{Path: "0", Kind: "call", At: at(1), Body: []byte("x")}}, Outcome: failed()})
	mem := s.Reserve()
	f := &atom.Finished{Record: atom.Record{Acceptance: *s.message("p")}, Outcome: *failed()}
	f.Seq = mem
	s.Record(f)
	s.eventually(mem)
	for _, seq := range []int64{seq, mem} {
		x, err := s.Get(ctx, seq, at(0))
		if err != nil || x.Outcome == nil || x.Outcome.Status != atom.Failed || string(x.Outcome.Error) != `{"code":"Timeout"}` ||
			string(x.Outcome.Trace) != `{"steps":[1]}` || x.Outcome.Fingerprint != "f" || len(x.Doc) == 0 {
			s.Errorf("%+v, %v", x, err)
		}
	}
	found, _, err := s.List(ctx, atom.Filter{Statuses: []string{"failed"}}, "", 10)
	if err != nil || len(found) != 2 {
		s.Errorf("listed %d, %v", len(found), err)
	}
	s.is("ready", seqs(s.ready("p", 0, 10)), []int64{})
}

// eventually waits until what was recorded can be listed.
func (s *suite) eventually(seq int64) {
	s.Helper()
	for end := time.Now().Add(20 * time.Second); time.Now().Before(end); {
		found, _, err := s.List(ctx, atom.Filter{}, "", 1000)
		if err != nil {
			s.Fatal(err)
		}
		if slices.ContainsFunc(found, func(x *atom.Execution) bool { return x.Seq == seq && x.Outcome != nil }) {
			return
		}
	}
	s.Fatalf("%d is not listed", seq)
}

func historyOf(s *suite) {
	m := s.message("p")
	m.Data = []byte(`"view"`)
	seq := s.accept(m)
	s.apply(&atom.Change{Seq: seq, Entries: []atom.Entry{{Path: "0", Kind: "call", At: at(1), Body: []byte("one")}}})
	o := completed()
	s.apply(&atom.Change{Seq: seq, Entries: []atom.Entry{{Path: "1", Kind: "call", At: at(2), Body: []byte("two")}}, Outcome: o})
	mem := s.Reserve()
	f := &atom.Finished{Record: atom.Record{Acceptance: *s.message("q")}, Outcome: *completed()}
	f.Seq = mem
	s.Record(f)
	s.eventually(mem)
	for range 3 { // wherever it is meanwhile
		x, err := s.Get(ctx, seq, m.Received)
		if err != nil {
			s.Fatal(err)
		}
		s.same("ended", &x.Record, m)
		if len(x.Journal) != 2 || string(x.Journal[1].Body) != "two" || x.Outcome == nil || !x.Outcome.Ended.Equal(o.Ended) || string(x.Outcome.Trace) != string(o.Trace) {
			s.Errorf("%+v", x)
		}
	}
	x, err := s.Get(ctx, mem, at(0))
	if err != nil {
		s.Fatal(err)
	}
	s.same("in memory", &x.Record, &f.Acceptance)
	_, err = s.Get(ctx, 1<<40, at(0))
	s.fails("unknown", err, atom.ErrUnknown)
	s.fails("a change", s.Apply(ctx, &atom.Change{Seq: mem, Outcome: completed()}), atom.ErrEnded)
}

func list(s *suite) {
	var all []int64
	want := map[string][]int64{}
	for i := range 60 {
		m := s.message(fmt.Sprint("p", i%2))
		seq := s.accept(m)
		all = append(all, seq)
		status := "accepted"
		switch i % 5 {
		case 1:
			status = "completed"
			s.apply(&atom.Change{Seq: seq, Outcome: completed()})
		case 2:
			status = "failed"
			s.apply(&atom.Change{Seq: seq, Outcome: failed()})
		case 3:
			status = "waiting"
			s.apply(&atom.Change{Seq: seq, Park: &atom.Park{State: atom.Waiting, Due: time.Now().Add(time.Hour)}})
		}
		want[status] = append(want[status], seq)
		want[m.Process] = append(want[m.Process], seq)
	}
	get := func(f atom.Filter, limit int) []int64 {
		var got []int64
		cursor := ""
		for range 1000 {
			page, next, err := s.List(ctx, f, cursor, limit)
			if err != nil {
				s.Fatal(err)
			}
			if len(page) > limit {
				s.Errorf("%d on a page of %d", len(page), limit)
			}
			for _, x := range page {
				if x.Doc != nil || x.Data != nil || x.Journal != nil || x.Outcome != nil && x.Outcome.Trace != nil {
					s.Error("more than a list gives")
				}
				got = append(got, x.Seq)
			}
			if cursor = next; next == "" {
				slices.Reverse(got)
				return got
			}
		}
		s.Fatal("the list has no end")
		return nil
	}
	for _, limit := range []int{1, 7, 60, 1000} {
		s.is("all", get(atom.Filter{}, limit), all)
		for status, seqs := range want {
			if strings.HasPrefix(status, "p") {
				s.is(status, get(atom.Filter{Process: status}, limit), seqs)
			} else {
				s.is(status, get(atom.Filter{Statuses: []string{status}}, limit), seqs)
			}
		}
	}
	s.is("two statuses", len(get(atom.Filter{Statuses: []string{"completed", "waiting"}}, 5)), 24)
	s.is("unknown status", len(get(atom.Filter{Statuses: []string{"happy"}}, 5)), 0)
	s.is("tracked", len(get(atom.Filter{Track: map[string]string{"order": "7"}}, 5)), 1)
	s.is("text of an error", len(get(atom.Filter{Text: "timeout"}, 5)), 12)
	s.is("text tracked", len(get(atom.Filter{Text: "60"}, 5)), 1)
	s.is("since", get(atom.Filter{Since: at(31)}, 50), all[30:])
	s.is("until", get(atom.Filter{Until: at(31)}, 50), all[:30])
	if _, _, err := s.List(ctx, atom.Filter{}, "not a cursor!", 5); err == nil {
		s.Error("a cursor that is none")
	}
}

func dropped(s *suite) {
	seq := s.accept(s.message("p"))
	o := completed()
	o.DropDocuments = true
	s.apply(&atom.Change{Seq: seq, Entries: []atom.Entry{{Path: "0", Kind: "call", At: at(1), Body: []byte("x")}}, Outcome: o})
	for end := time.Now().Add(20 * time.Second); ; {
		x, err := s.Get(ctx, seq, at(0))
		if err != nil {
			s.Fatal(err)
		}
		if x.Doc == nil && x.Journal == nil && len(x.Track) == 1 && x.Outcome.Status == atom.Completed {
			return
		}
		if time.Now().After(end) {
			s.Fatalf("%+v", x)
		}
	}
}

func large(s *suite) {
	big := func(c byte) []byte { return bytes.Repeat([]byte{c}, 200<<10) }
	m := s.message("p")
	m.Doc, m.Data = big('a'), big('b')
	seq := s.accept(m)
	same := s.message("p")
	same.Doc = big('a')
	other := s.accept(same)
	rs := s.ready("p", 0, 10)
	s.is("ready", seqs(rs), []int64{seq, other})
	s.same("ready", rs[0], m)
	s.apply(&atom.Change{Seq: seq, Entries: []atom.Entry{{Path: "0", Kind: "call", At: at(1), Body: big('c')}}, Park: &atom.Park{State: atom.Waiting, Due: at(1)}})
	rs, _, err := s.Due(ctx, "p", time.Now(), 10)
	if err != nil || len(rs) != 1 {
		s.Fatal(seqs(rs), err)
	}
	s.same("due", rs[0], m)
	es, err := s.Entries(ctx, seq)
	if err != nil || len(es) != 1 || !bytes.Equal(es[0].Body, big('c')) {
		s.Errorf("journal of %d, %v", len(es), err)
	}
	o := completed()
	o.Trace = big('d')
	s.apply(&atom.Change{Seq: seq, Outcome: o})
	for range 3 {
		x, err := s.Get(ctx, seq, at(0))
		if err != nil {
			s.Fatal(err)
		}
		s.same("ended", &x.Record, m)
		if len(x.Journal) != 1 || !bytes.Equal(x.Journal[0].Body, big('c')) || !bytes.Equal(x.Outcome.Trace, big('d')) {
			s.Error("what was done is not whole")
		}
	}
	s.same("the other one", s.ready("p", 0, 10)[0], same)
	s.fails("own data", s.Apply(ctx, &atom.Change{Seq: other, Handoffs: nil, Outcome: failed()}), nil)
	m.Meta = make([]byte, 65<<10)
	if _, err := s.Accept(ctx, m); err == nil {
		s.Error("65 KiB of its own data")
	}
}

func claimsOf(s *suite) {
	until := time.Now().Add(time.Hour)
	claim := func(key string, seq int64) (bool, string) {
		s.Helper()
		ok, reply, err := s.Claim(ctx, "p", key, seq, until)
		if err != nil {
			s.Fatal(err)
		}
		if reply == nil {
			return ok, "none"
		}
		return ok, string(reply)
	}
	check := func(what, key string, seq int64, claimed bool, reply string) {
		s.Helper()
		ok, r := claim(key, seq)
		s.is(what, fmt.Sprint(ok, " ", r), fmt.Sprint(claimed, " ", reply))
	}
	settle := func(key string, seq int64, reply []byte) {
		s.Helper()
		if err := s.Settle(ctx, "p", key, seq, reply); err != nil {
			s.Fatal(err)
		}
	}
	a, b := s.Reserve(), s.Reserve()
	check("free", "k", a, true, "none")
	check("held", "k", b, false, "none")
	settle("k", b, []byte("not its own"))
	check("still held", "k", b, false, "none")
	settle("k", a, []byte("reply"))
	check("settled", "k", b, false, "reply")
	check("freed at first", "j", a, true, "none")
	settle("j", a, nil)
	check("free again", "j", b, true, "none")
	settle("j", b, []byte{})
	check("an empty reply", "j", a, false, "")
	m := s.message("p")
	m.Dedupe = &atom.Dedupe{Key: "k", Until: until}
	if r, err := s.Accept(ctx, m); err != nil || !r.Duplicate || r.Seq != a {
		s.Errorf("accepted with a settled key: %+v, %v", r, err)
	}
	m.Dedupe = &atom.Dedupe{Key: "m", Until: until}
	seq := s.accept(m)
	check("of an accepted one", "m", a, false, "none")
	settle("m", seq, []byte("late"))
	check("settled later", "m", a, false, "late")
	check("for an early reply", "e", a, true, "none")
	early := s.message("p")
	early.Seq, early.Dedupe = a, &atom.Dedupe{Key: "e", Until: until}
	s.is("its number", s.accept(early), a)
	check("of the early reply", "e", b, false, "none")
	settle("e", a, []byte("early"))
	check("settled early", "e", b, false, "early")
	until = time.Now().Add(-time.Second)
	check("over at once", "o", a, true, "none")
	settle("o", a, []byte("x"))
	check("over", "o", b, true, "none")
}

func numbers(s *suite) {
	var mu sync.Mutex
	given := map[int64]bool{}
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 200 {
				n := s.Reserve()
				r, err := s.Accept(ctx, &atom.Acceptance{Process: "p", Received: at(1)})
				if err != nil {
					s.Error(err)
				}
				mu.Lock()
				if given[n] || given[r.Seq] || n <= 0 {
					s.Errorf("%d or %d was given before", n, r.Seq)
				}
				given[n], given[r.Seq] = true, true
				mu.Unlock()
			}
		})
	}
	wg.Wait()
}

func contents(s *suite) {
	_, err := s.Content(ctx, "none")
	s.fails("none", err, atom.ErrUnknown)
	for _, text := range []string{"one", "two", ""} {
		if err := s.PutContent(ctx, "name", []byte(text)); err != nil {
			s.Fatal(err)
		}
		got, err := s.Content(ctx, "name")
		if err != nil || string(got) != text {
			s.Errorf("%q, %v", got, err)
		}
	}
}

func backlog(s *suite) {
	counts := func(want string) {
		s.Helper()
		c, err := s.Counts(ctx)
		if err != nil {
			s.Fatal(err)
		}
		s.is("counts", c, want)
	}
	oldest := func(want time.Time) {
		s.Helper()
		got, err := s.Oldest(ctx, "p")
		if err != nil || !got.Equal(want) {
			s.Errorf("oldest %v, %v, want %v", got, err, want)
		}
	}
	counts("map[]")
	oldest(time.Time{})
	first, second := s.message("p"), s.message("p")
	a, b := s.accept(first), s.accept(second)
	s.accept(s.message("q"))
	counts("map[p:map[accepted:2] q:map[accepted:1]]")
	oldest(first.Received)
	s.apply(&atom.Change{Seq: a, Park: &atom.Park{State: atom.Held}})
	counts("map[p:map[accepted:1 held:1] q:map[accepted:1]]")
	oldest(first.Received)
	s.apply(&atom.Change{Seq: a, Park: &atom.Park{State: atom.Waiting, Due: at(1)}})
	counts("map[p:map[accepted:1 waiting:1] q:map[accepted:1]]")
	s.apply(&atom.Change{Seq: a, Outcome: completed()})
	counts("map[p:map[accepted:1] q:map[accepted:1]]")
	oldest(second.Received)
	s.apply(&atom.Change{Seq: b, Outcome: failed()})
	counts("map[q:map[accepted:1]]")
	oldest(time.Time{})
	s.fails("err", s.Err(), nil)
}

func refused(s *suite) {
	gone, cancel := context.WithCancel(ctx)
	cancel()
	_, err := s.Accept(gone, s.message("p"))
	s.fails("with an ended context", err, atom.ErrUnavailable)
	_, err = s.Accept(ctx, s.message("p"))
	s.fails("after it", err, nil)
	if _, err := s.Accept(ctx, s.message("")); err == nil {
		s.Error("without a process")
	}
}
