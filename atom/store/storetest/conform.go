package storetest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"valence/atom/store"
)

// Conform runs the conformance suite. open returns an empty store that is not
// running; the suite runs and closes it.
func Conform(t *testing.T, open func(t *testing.T) store.Store) {
	for _, c := range []struct {
		name string
		run  func(s *suite)
	}{
		{"accept and ready", acceptAndReady},
		{"order of commit", orderOfCommit},
		{"dedupe", dedupe},
		{"origin", origin},
		{"sources", sources},
		{"sources at once", sourcesAtOnce},
		{"limits of sources", sourceLimits},
		{"remembered origins", remembered},
		{"reused keys of sources", reusedKeys},
		{"ended arrivals", endedArrivals},
		{"reserved numbers", ownNumber},
		{"journal", journal},
		{"first outcome wins", firstOutcome},
		{"hand-offs", handoffs},
		{"suspend and due", suspendAndDue},
		{"failures stay", failedStay},
		{"failures by cause", failuresByCause},
		{"history", history},
		{"list", list},
		{"documents dropped", documentsDropped},
		{"documents with a shorter retention", documentsShorter},
		{"large documents", largeDocuments},
		{"claims", claims},
		{"numbers", numbers},
		{"contents", contents},
		{"backlog", backlog},
		{"rejected messages", rejected},
		{"lanes", laneOrder},
		{"holds", holds},
		{"releases", releasing},
		{"coalescing", coalescing},
		{"announcements", announcements},
		{"echoes", echoes},
		{"blocked lanes", blockedLanes},
		{"limits of lanes", laneLimits},
		{"replies", deferredReplies},
		{"state", states},
		{"snapshots", snapshots},
		{"trimmed journals", trimming},
		{"ends of journals", tails},
		{"settled claims", settledClaims},
		{"expiry", expiry},
		{"waits", waits},
		{"early signals", earlySignals},
		{"signals by key", signalsByKey},
		{"giving up", givingUp},
		{"several waits", severalWaits},
		{"ended waits", endedWaits},
		{"resumed", resumed},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := &suite{T: t, Store: open(t)}
			s.listen()
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
	store.Store
	mu       sync.Mutex
	accepted []*store.Record
	woken    []int64
	wakeups  []store.Wakeup
	n        int
	slow     atomic.Bool // the announcements take a while
}

// listen notes the announcements of the store.
func (s *suite) listen() {
	s.OnAccepted(func(rs []*store.Record) {
		s.delay()
		s.mu.Lock()
		defer s.mu.Unlock()
		s.accepted = append(s.accepted, rs...)
	})
	s.OnReady(func(rs []store.Wakeup) {
		s.delay()
		s.mu.Lock()
		defer s.mu.Unlock()
		for _, r := range rs {
			s.woken = append(s.woken, r.Seq)
		}
		s.wakeups = append(s.wakeups, rs...)
	})
}

// delay lets other goroutines run before an announcement is received.
func (s *suite) delay() {
	for n := 0; s.slow.Load() && n < 1000; n++ {
		runtime.Gosched()
	}
}

var ctx = context.Background()

// at returns the n-th millisecond of today.
func at(n int) time.Time {
	return time.Now().UTC().Truncate(24 * time.Hour).Add(time.Duration(n) * time.Millisecond)
}

func (s *suite) message(process string) *store.Message {
	s.n++
	return &store.Message{Process: process, Plan: "plan-" + process, Env: "env", Received: at(s.n), Meta: []byte(`{"n":1}`),
		Track: map[string]string{"order": fmt.Sprint(s.n)}, DocType: "application/json", Doc: fmt.Appendf(nil, `{"order":%d}`, s.n)}
}

func (s *suite) accept(a *store.Message) int64 {
	s.Helper()
	r, err := s.Accept(ctx, a)
	if err != nil {
		s.Fatal(err)
	}
	if r.Duplicate || r.Seq == 0 || !r.Received.Equal(a.Received) {
		s.Fatalf("got receipt %+v, want a new one", r)
	}
	return r.Seq
}

func (s *suite) apply(c *store.Change) {
	s.Helper()
	if err := s.Apply(ctx, c); err != nil {
		s.Fatal(err)
	}
}

func (s *suite) ready(process string, after int64, limit int) []*store.Record {
	s.Helper()
	rs, err := s.Ready(ctx, process, after, limit)
	if err != nil {
		s.Fatal(err)
	}
	return rs
}

func seqs(rs []*store.Record) []int64 {
	out := []int64{}
	for _, r := range rs {
		out = append(out, r.Seq)
	}
	return out
}

func (s *suite) equal(what string, got, want any) {
	s.Helper()
	if g, w := fmt.Sprint(got), fmt.Sprint(want); g != w {
		s.Errorf("%s: %s, want %s", what, g, w)
	}
}

func (s *suite) wantErr(what string, got, want error) {
	s.Helper()
	if !errors.Is(got, want) {
		s.Errorf("%s: %v, want %v", what, got, want)
	}
}

func completed() *store.Outcome {
	return &store.Outcome{Status: store.Completed, Started: at(1), Ended: at(2), Trace: []byte(`{"steps":[]}`)}
}

func failed() *store.Outcome {
	return &store.Outcome{Status: store.Failed, Started: at(1), Ended: at(2), Fingerprint: "f", Error: []byte(`{"code":"Timeout"}`), Trace: []byte(`{"steps":[1]}`)}
}

func (s *suite) sameMessage(what string, got *store.Record, want *store.Message) {
	s.Helper()
	g := got.Message
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
		s.Errorf("got numbers %d %d %d, want them to rise", x, y, z)
	}
	rs := s.ready("p", 0, 10)
	s.equal("ready", seqs(rs), []int64{x, z})
	s.sameMessage("first", rs[0], a)
	s.sameMessage("second", rs[1], c)
	s.equal("state", rs[0].State, store.Accepted)
	s.equal("ready after the first", seqs(s.ready("p", x, 10)), []int64{z})
	s.equal("ready with a limit", seqs(s.ready("p", 0, 1)), []int64{x})
	s.equal("ready of another process", seqs(s.ready("other", 0, 10)), []int64{})
	s.equal("OnAccepted", seqs(s.accepted), []int64{x, y, z})
	s.sameMessage("OnAccepted, second", s.accepted[1], b)
	s.apply(&store.Change{Seq: x, Entries: []store.Entry{{Path: "0", Kind: "call", At: at(1)}}})
	s.equal("ready while it runs", seqs(s.ready("p", 0, 10)), []int64{x, z})
	s.apply(&store.Change{Seq: x, Disposition: completed()})
	s.equal("ready after its end", seqs(s.ready("p", 0, 10)), []int64{z})
}

func orderOfCommit(s *suite) {
	var wg sync.WaitGroup
	var mu sync.Mutex
	got := map[int64]string{}
	for g := range 20 {
		wg.Go(func() {
			for i := range 20 {
				doc := fmt.Sprintf("%d-%d", g, i)
				r, err := s.Accept(ctx, &store.Message{Process: fmt.Sprint("p", g%3), Received: at(1), Doc: []byte(doc)})
				if err != nil {
					s.Error(err)
				}
				s.mu.Lock()
				if !slices.ContainsFunc(s.accepted, func(r2 *store.Record) bool { return r2.Seq == r.Seq }) {
					s.Error("OnAccepted: not called before Accept returned")
				}
				s.mu.Unlock()
				mu.Lock()
				got[r.Seq] = doc
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	s.equal("OnAccepted", len(s.accepted), 400)
	if !slices.IsSorted(seqs(s.accepted)) {
		s.Errorf("OnAccepted: got %v, want them in order", seqs(s.accepted))
	}
	for _, r := range s.accepted {
		s.equal("document", string(r.Doc), got[r.Seq])
	}
	all := 0
	for _, p := range []string{"p0", "p1", "p2"} {
		after := int64(0)
		for {
			rs := s.ready(p, after, 7)
			for _, r := range rs {
				if r.Seq <= after {
					s.Errorf("Ready: got %d after %d, want them in order", r.Seq, after)
				}
				after = r.Seq
				all++
				s.equal("document read", string(r.Doc), got[r.Seq])
			}
			if len(rs) < 7 {
				break
			}
		}
	}
	s.equal("ready", all, 400)
}

func dedupe(s *suite) {
	first := s.message("p")
	first.Dedupe = &store.Dedupe{Key: "k", Until: time.Now().Add(time.Hour), Holder: []byte("holder")}
	seq := s.accept(first)
	again := s.message("p")
	again.Dedupe = &store.Dedupe{Key: "k", Until: first.Dedupe.Until, Holder: []byte("another")}
	r, err := s.Accept(ctx, again)
	if err != nil || !r.Duplicate || r.Seq != seq || !r.Received.Equal(first.Received) || string(r.Holder) != "holder" {
		s.Errorf("a repeat: got %+v, %v, want a duplicate of %d", r, err, seq)
	}
	other := s.message("q")
	other.Dedupe = first.Dedupe
	s.accept(other)
	over := s.message("p")
	over.Dedupe = &store.Dedupe{Key: "over", Until: time.Now().Add(-time.Second)}
	s.accept(over)
	s.accept(over)
	long := s.message("p")
	long.Dedupe = &store.Dedupe{Key: strings.Repeat("long", 100), Until: time.Now().Add(time.Hour)}
	s.accept(long)
	if r, err := s.Accept(ctx, long); err != nil || !r.Duplicate {
		s.Errorf("a repeat with a long key: got %+v, %v, want a duplicate", r, err)
	}
	s.apply(&store.Change{Seq: seq, Disposition: completed()})
	if r, err := s.Accept(ctx, again); err != nil || !r.Duplicate {
		s.Errorf("a repeat after the first ended: got %+v, %v, want a duplicate", r, err)
	}
	// Of concurrent messages one is accepted.
	var wg sync.WaitGroup
	taken := make(chan store.Receipt, 30)
	for range 30 {
		m := s.message("p")
		m.Dedupe = &store.Dedupe{Key: "race", Until: time.Now().Add(time.Hour), Holder: []byte("race")}
		wg.Go(func() {
			r, err := s.Accept(ctx, m)
			if err != nil {
				s.Error(err)
			}
			if r.Duplicate && string(r.Holder) != "race" {
				s.Errorf("a concurrent repeat: got the holder %q, want %q", r.Holder, "race")
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
	s.equal("accepted of thirty", n, 1)
	s.equal("numbers in receipts", len(numbers), 1)
}

func origin(s *suite) {
	a := s.message("p")
	a.Origin = "parent/3"
	seq := s.accept(a)
	r, err := s.Accept(ctx, a)
	if err != nil || !r.Duplicate || r.Seq != seq {
		s.Errorf("a repeat: got %+v, %v, want a duplicate of %d", r, err, seq)
	}
	if r, err := s.Origin(ctx, a.Origin); err != nil || !r.Duplicate || r.Seq != seq || !r.Received.Equal(a.Received) {
		s.Errorf("Origin: got %+v, %v, want %d", r, err, seq)
	}
	if _, err := s.Origin(ctx, "another"); !errors.Is(err, store.ErrUnknown) {
		s.Errorf("an unknown origin: got %v, want ErrUnknown", err)
	}
	parent := s.accept(s.message("p"))
	s.apply(&store.Change{Seq: parent, Handoffs: []*store.Message{a}, Disposition: completed()})
	s.equal("ready", seqs(s.ready("p", 0, 10)), []int64{seq})
}

func ownNumber(s *suite) {
	a := s.message("p")
	a.Seq = s.Reserve()
	a.Entries = []store.Entry{{Path: "0", Kind: "reply", At: at(3), Body: []byte("said")}}
	seq := s.accept(a)
	s.equal("number", seq, a.Seq)
	later := s.message("p")
	later.Due = time.Now().Add(time.Hour).UTC()
	due := s.accept(later)
	s.equal("OnAccepted", seqs(s.accepted), []int64{seq, due})
	s.equal("OnAccepted, Due", s.accepted[1].Due.Equal(later.Due), true)
	s.equal("ready", seqs(s.ready("p", 0, 10)), []int64{seq})
	es, err := s.Entries(ctx, seq)
	if err != nil || len(es) != 1 || string(es[0].Body) != "said" || !es[0].At.Equal(at(3)) {
		s.Errorf("journal: got %+v, %v, want one entry", es, err)
	}
	rs, next, err := s.Due(ctx, "p", time.Now(), 10)
	if err != nil || len(rs) != 0 || !next.Equal(later.Due) {
		s.Errorf("due now: got %v, next %v, %v, want none, next %v", seqs(rs), next, err, later.Due)
	}
	rs, next, err = s.Due(ctx, "p", time.Now().Add(2*time.Hour), 10)
	if err != nil || len(rs) != 1 || rs[0].Seq != due || !next.IsZero() || rs[0].State != store.Waiting || !rs[0].Due.Equal(later.Due) {
		s.Errorf("due later: got %v, next %v, %v, want %d, no next", seqs(rs), next, err, due)
	}
	s.sameMessage("due", rs[0], later)
	if r, err := s.Accept(ctx, a); err != nil || !r.Duplicate || r.Seq != seq {
		s.Errorf("a repeat: got %+v, %v, want a duplicate of %d", r, err, seq)
	}
}

func journal(s *suite) {
	seq := s.accept(s.message("p"))
	if es, err := s.Entries(ctx, seq); err != nil || len(es) != 0 {
		s.Errorf("a new journal: got %v, %v, want no entries", es, err)
	}
	want := ""
	for i := range 5 {
		e := []store.Entry{{Path: fmt.Sprint(i), Kind: "call", At: at(i), Body: fmt.Appendf(nil, "answer %d", i)}, {Path: fmt.Sprint(i), Kind: "attempt", At: at(i)}}
		want += fmt.Sprint(i, " call answer ", i, ";", i, " attempt ;")
		s.apply(&store.Change{Seq: seq, Entries: e})
		if i == 2 { // from now on it has a row
			s.apply(&store.Change{Seq: seq, Disposition: &store.Suspension{State: store.Waiting, Due: at(1)}})
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
	s.equal("journal", got, want)
	s.wantErr("unknown", s.Apply(ctx, &store.Change{Seq: 1 << 40}), store.ErrUnknown)
}

func firstOutcome(s *suite) {
	for _, status := range []store.Status{store.Completed, store.CompletedWithWarnings, store.Failed, store.Expired, store.Superseded, store.Cancelled, store.Rejected} {
		seq := s.accept(s.message("p"))
		o := completed()
		o.Status = status
		s.apply(&store.Change{Seq: seq, Disposition: o})
		s.wantErr(string(status)+" twice", s.Apply(ctx, &store.Change{Seq: seq, Disposition: failed()}), store.ErrEnded)
		h := s.message("child")
		s.wantErr("a hand-off after "+string(status), s.Apply(ctx, &store.Change{Seq: seq, Handoffs: []*store.Message{h}}), store.ErrEnded)
		x, err := s.Get(ctx, seq, at(0))
		if err != nil || x.Outcome == nil || x.Outcome.Status != status {
			s.Errorf("got %+v, %v, want %s", x, err, status)
		}
	}
	s.equal("children", len(s.ready("child", 0, 10)), 0)
	seq := s.accept(s.message("p"))
	var wg sync.WaitGroup
	won := make(chan bool, 10)
	for range 10 {
		wg.Go(func() {
			err := s.Apply(ctx, &store.Change{Seq: seq, Disposition: completed()})
			if err != nil && !errors.Is(err, store.ErrEnded) {
				s.Error(err)
			}
			if err == nil {
				won <- true
			}
		})
	}
	wg.Wait()
	s.equal("winners", len(won), 1)
}

func handoffs(s *suite) {
	parent := s.accept(s.message("p"))
	one, two := s.message("child"), s.message("child")
	one.Origin, two.Origin = "a", "b"
	two.Due = time.Now().Add(time.Hour)
	s.apply(&store.Change{Seq: parent, Entries: []store.Entry{{Path: "0", Kind: "handoff", At: at(1)}}, Handoffs: []*store.Message{one, two}})
	rs := s.ready("child", 0, 10)
	s.equal("children", len(rs), 1)
	s.sameMessage("child", rs[0], one)
	s.equal("OnAccepted", len(s.accepted), 3)
	children := map[bool]int64{}
	for _, r := range s.accepted[1:] {
		children[r.Due.IsZero()] = r.Seq
	}
	s.equal("OnAccepted, child", children[true], rs[0].Seq)
	s.equal("OnAccepted, children", children[false] != 0, true)
	if es, err := s.Entries(ctx, parent); err != nil || len(es) != 1 {
		s.Errorf("journal: got %v, %v, want one entry", es, err)
	}
	// A change is not committed if one of its hand-offs is invalid.
	bad := s.message("")
	if err := s.Apply(ctx, &store.Change{Seq: parent, Handoffs: []*store.Message{bad}, Disposition: completed()}); err == nil {
		s.Error("got no error for a hand-off without a process")
	}
	s.equal("ready after a refused change", len(s.ready("p", 0, 10)), 1)
}
