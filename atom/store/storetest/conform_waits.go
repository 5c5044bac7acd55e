package storetest

import (
	"fmt"
	"time"

	"valence/atom/store"
)

func entry(n int) store.Entry {
	return store.Entry{Kind: "wake", At: at(n), Body: fmt.Appendf(nil, "payload %d", n)}
}

// acceptWaiting accepts an execution, and suspends it with open waits.
func (s *suite) acceptWaiting(process string, due time.Time, waits ...store.Wait) int64 {
	s.Helper()
	seq := s.accept(s.message(process))
	ids := make([]int64, len(waits))
	for i, w := range waits {
		ids[i] = w.ID
	}
	s.apply(&store.Change{Seq: seq, Waits: waits, Entries: []store.Entry{{Path: "0", Kind: "wait", At: at(1)}},
		Disposition: &store.Suspension{State: store.Waiting, Due: due, Waits: ids, Reason: "wait paid"}})
	return seq
}

func (s *suite) signal(g *store.Signal, want store.SignalResult) {
	s.Helper()
	got, err := s.Signal(ctx, g)
	if err != nil || got != want {
		s.Errorf("signal: %s %v, want %s", got, err, want)
	}
}

// wantSignals checks the journal entries of signals.
func (s *suite) wantSignals(seq int64, want ...string) {
	s.Helper()
	list, err := s.Entries(ctx, seq)
	if err != nil {
		s.Fatal(err)
	}
	got := []string{}
	for _, e := range list {
		if e.Kind == "wake" {
			got = append(got, e.Path+" "+string(e.Body))
		}
	}
	s.equal("signals in the journal", got, append([]string{}, want...))
}

// wantDue checks which executions are due.
func (s *suite) wantDue(what, process string, until time.Time, want ...int64) {
	s.Helper()
	rs, _, err := s.Due(ctx, process, until, 100)
	if err != nil {
		s.Fatal(err)
	}
	s.equal(what, seqs(rs), append([]int64{}, want...))
}

func (s *suite) wantWoken(want ...int64) {
	s.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.equal("OnReady", s.woken, want)
	s.woken = nil
}

// resumed checks that a suspension as Accepted makes an execution ready at once,
// whatever it waits for.
func resumed(s *suite) {
	seq := s.acceptWaiting("resumed", time.Now().Add(time.Hour), store.Wait{Path: "3", ID: 1})
	packed := s.accept(s.message("resumed"))
	s.mu.Lock()
	s.woken = nil
	s.mu.Unlock()
	for _, seq := range []int64{seq, packed} {
		s.apply(&store.Change{Seq: seq, Entries: []store.Entry{entry(1)}, Disposition: &store.Suspension{State: store.Accepted}})
		s.wantWoken(seq)
	}
	s.wantDue("resumed", "resumed", time.Now(), seq, packed)
}

func waits(s *suite) {
	for _, due := range []time.Time{{}, time.Now().Add(time.Hour)} {
		s.n++
		process := fmt.Sprintf("waits-%d", s.n)
		seq := s.acceptWaiting(process, due, store.Wait{Path: "3.steps.0[1]", ID: -7})
		x, err := s.Get(ctx, seq, at(1))
		if err != nil || x.State != store.Waiting || !x.Due.Equal(due) || x.Reason != "wait paid" {
			s.Fatalf("got %+v, %v, want it waiting", x, err)
		}
		s.wantDue("before the signal", process, time.Now())
		s.equal("ready", seqs(s.ready(process, 0, 10)), "[]")
		s.wantWoken()
		s.signal(&store.Signal{Seq: seq, WaitID: -7, Entry: entry(3)}, store.SignalDelivered)
		s.wantWoken(seq)
		s.wantDue("after the signal", process, time.Now(), seq)
		s.wantSignals(seq, "3.steps.0[1] payload 3")
		s.signal(&store.Signal{Seq: seq, WaitID: -7, Entry: entry(4)}, store.SignalRepeated)
		s.wantSignals(seq, "3.steps.0[1] payload 3")
		s.wantWoken()
		if x, _ := s.Get(ctx, seq, at(1)); x.State != store.Accepted || x.Reason != "" {
			s.Errorf("after the signal: got %+v, want it accepted", x.Record)
		}
		s.apply(&store.Change{Seq: seq, Disposition: completed()})
		s.signal(&store.Signal{Seq: seq, WaitID: -7, Entry: entry(5)}, store.SignalRepeated)
		s.wantDue("ended", process, time.Now())
	}
}

func earlySignals(s *suite) {
	seq := s.accept(s.message("early"))
	s.signal(&store.Signal{Seq: seq, WaitID: 5, Entry: entry(1)}, store.SignalKept)
	s.signal(&store.Signal{Seq: seq, WaitID: 5, Entry: entry(2)}, store.SignalRepeated)
	s.wantWoken()
	s.wantSignals(seq)
	s.apply(&store.Change{Seq: seq, Waits: []store.Wait{{Path: "2", ID: 5}}, Disposition: &store.Suspension{State: store.Waiting, Waits: []int64{5}}})
	s.wantWoken(seq)
	s.wantSignals(seq, "2 payload 1")
	s.wantDue("due after the early signal", "early", time.Now(), seq)
	s.signal(&store.Signal{Seq: seq, WaitID: 5, Entry: entry(3)}, store.SignalRepeated)
	// Early signals of an execution that ends are discarded.
	other := s.accept(s.message("early"))
	s.signal(&store.Signal{Seq: other, WaitID: 5, Entry: entry(1)}, store.SignalKept)
	s.apply(&store.Change{Seq: other, Disposition: completed()})
	s.signal(&store.Signal{Seq: other, WaitID: 5, Entry: entry(1)}, store.SignalLate)
	s.signal(&store.Signal{Seq: other, WaitID: 6, Entry: entry(1)}, store.SignalLate)
}

func signalsByKey(s *suite) {
	match := []byte("approval of 4711")
	_, err := s.Signal(ctx, &store.Signal{Match: match, Entry: entry(1)})
	s.wantErr("no waiter", err, store.ErrNoWaiter)
	// Each signal wakes one execution, the oldest first.
	first := s.acceptWaiting("by-key", time.Time{}, store.Wait{Path: "1", ID: 1, Match: match})
	second := s.acceptWaiting("by-key", time.Time{}, store.Wait{Path: "1", ID: 1, Match: match})
	s.signal(&store.Signal{Match: match, Entry: entry(1), Origin: "resume-1"}, store.SignalDelivered)
	s.signal(&store.Signal{Match: match, Entry: entry(1), Origin: "resume-1"}, store.SignalRepeated)
	s.wantWoken(first)
	// With a change: both or neither.
	third := s.accept(s.message("resumes"))
	s.apply(&store.Change{Seq: third, Entries: []store.Entry{{Path: "0", Kind: "resume"}}, Require: []store.Condition{&store.Signal{Match: match, Entry: entry(2)}}})
	s.wantWoken(second)
	s.wantSignals(second, "1 payload 2")
	s.wantErr("no waiter left", s.Apply(ctx, &store.Change{Seq: third, Entries: []store.Entry{{Path: "1", Kind: "resume"}}, Require: []store.Condition{&store.Signal{Match: match, Entry: entry(2)}}}), store.ErrNoWaiter)
	if list, _ := s.Entries(ctx, third); len(list) != 1 {
		s.Errorf("after a refused change: got %v, want one entry", list)
	}
	// Kept signals are found in order, until they expire.
	s.signal(&store.Signal{Match: match, Entry: entry(7), Keep: time.Now().Add(-time.Second)}, store.SignalKept)
	s.signal(&store.Signal{Match: match, Entry: entry(8), Keep: time.Now().Add(time.Hour)}, store.SignalKept)
	s.signal(&store.Signal{Match: match, Entry: entry(9), Keep: time.Now().Add(time.Hour)}, store.SignalKept)
	for n, want := range []string{"1 payload 8", "1 payload 9"} {
		seq := s.acceptWaiting("by-key", time.Time{}, store.Wait{Path: "1", ID: int64(n), Match: match})
		s.wantWoken(seq)
		s.wantSignals(seq, want)
	}
	s.acceptWaiting("by-key", time.Time{}, store.Wait{Path: "1", ID: 1, Match: match})
	s.wantWoken()
}

func givingUp(s *suite) {
	late := s.acceptWaiting("gives-up", time.Now().Add(-time.Second), store.Wait{Path: "1", ID: 1, Match: []byte("m")})
	s.apply(&store.Change{Seq: late, Require: []store.Condition{store.GiveUp{WaitID: 1}}, Entries: []store.Entry{entry(1)}})
	s.signal(&store.Signal{Seq: late, WaitID: 1, Entry: entry(2)}, store.SignalLate)
	_, err := s.Signal(ctx, &store.Signal{Match: []byte("m"), Entry: entry(2)})
	s.wantErr("a signal for a wait that was given up", err, store.ErrNoWaiter)

	won := s.acceptWaiting("gives-up", time.Now().Add(-time.Second), store.Wait{Path: "1", ID: 1})
	s.signal(&store.Signal{Seq: won, WaitID: 1, Entry: entry(2)}, store.SignalDelivered)
	s.wantErr("giving up after the signal", s.Apply(ctx, &store.Change{Seq: won, Require: []store.Condition{store.GiveUp{WaitID: 1}}, Entries: []store.Entry{entry(3)}}), store.ErrSignaled)
	s.wantSignals(won, "1 payload 2")
}

func severalWaits(s *suite) {
	// A wait that is opened while other paths run is found before the execution
	// is suspended.
	seq := s.accept(s.message("several"))
	s.apply(&store.Change{Seq: seq, Waits: []store.Wait{{Path: "a", ID: 1, Match: []byte("a")}}})
	s.signal(&store.Signal{Match: []byte("a"), Entry: entry(1)}, store.SignalDelivered)
	s.mu.Lock()
	s.woken = nil // a store may report it before it is suspended
	s.mu.Unlock()
	s.apply(&store.Change{Seq: seq, Waits: []store.Wait{{Path: "a", ID: 1, Match: []byte("a")}, {Path: "b", ID: 2}}, Disposition: &store.Suspension{State: store.Waiting, Waits: []int64{1, 2}}})
	s.wantWoken(seq) // its run has not seen the signal
	s.wantSignals(seq, "a payload 1")
	s.wantDue("woken", "several", time.Now(), seq)
	s.apply(&store.Change{Seq: seq, Disposition: &store.Suspension{State: store.Waiting, Waits: []int64{2}}})
	s.wantWoken()
	s.wantDue("waits for the second", "several", time.Now())
	s.signal(&store.Signal{Seq: seq, WaitID: 2, Entry: entry(2)}, store.SignalDelivered)
	s.wantWoken(seq)
	s.wantSignals(seq, "a payload 1", "b payload 2")
	if counts, _ := s.Counts(ctx); counts["several"][store.Accepted] != 1 || counts["several"][store.Waiting] != 0 {
		s.Errorf("got counts %v, want one accepted", counts)
	}
}

func endedWaits(s *suite) {
	match := []byte("ended")
	for _, o := range []*store.Outcome{completed(), failed(), {Status: store.Cancelled, Started: at(1), Ended: at(2)}} {
		seq := s.acceptWaiting("ends", time.Time{}, store.Wait{Path: "1", ID: 1, Match: match})
		s.apply(&store.Change{Seq: seq, Disposition: o})
		s.signal(&store.Signal{Seq: seq, WaitID: 1, Entry: entry(2)}, store.SignalLate)
		_, err := s.Signal(ctx, &store.Signal{Match: match, Entry: entry(2)})
		s.wantErr("an execution that has ended", err, store.ErrNoWaiter)
	}
	s.wantWoken()
	s.signal(&store.Signal{Seq: 1 << 40, WaitID: 1, Entry: entry(2)}, store.SignalLate)
}

func expiry(s *suite) {
	timed := func(expires time.Duration) int64 {
		a := s.message("expires")
		a.Expires = time.Now().Add(expires)
		return s.accept(a)
	}
	overdue := func(what string, want ...int64) {
		s.Helper()
		list, next, err := s.Overdue(ctx, 10)
		if err != nil {
			s.Fatal(err)
		}
		got := []int64{}
		for _, o := range list {
			if got = append(got, o.Seq); o.Process != "expires" || o.Received.IsZero() {
				s.Errorf("got %+v, want the process and its time of receipt", o)
			}
		}
		s.equal(what, got, append([]int64{}, want...))
		if len(want) == 0 && next.IsZero() {
			s.Errorf("%s: got no next deadline", what)
		}
	}
	later, begun := timed(time.Hour), timed(time.Hour)
	s.accept(s.message("expires"))
	overdue("none is over")
	s.equal("ready", len(s.ready("expires", 0, 10)), 3)
	s.apply(&store.Change{Seq: begun, Require: []store.Condition{store.Begin{}}})
	s.apply(&store.Change{Seq: begun, Require: []store.Condition{store.Begin{}}}) // after a crash it begins again
	s.wantErr("expire after it has begun", s.Apply(ctx, &store.Change{Seq: begun, Require: []store.Condition{store.NotBegun{}}, Disposition: failed()}), store.ErrBegun)
	second, first := timed(-time.Second), timed(-2*time.Second)
	overdue("two are over", first, second)
	s.wantErr("begin after the deadline", s.Apply(ctx, &store.Change{Seq: first, Require: []store.Condition{store.Begin{}}}), store.ErrExpired)
	s.apply(&store.Change{Seq: first, Require: []store.Condition{store.NotBegun{}}, Disposition: &store.Outcome{Status: store.Expired, Started: at(1), Ended: at(2)}})
	overdue("one of them was ended", second)
	s.wantErr("begin after the end", s.Apply(ctx, &store.Change{Seq: first, Require: []store.Condition{store.Begin{}}}), store.ErrEnded)
	s.apply(&store.Change{Seq: later, Require: []store.Condition{store.Begin{}}})
	if x, err := s.Get(ctx, first, at(1)); err != nil || x.Outcome == nil || x.Outcome.Status != store.Expired {
		s.Errorf("got %+v, %v, want it expired", x, err)
	}
}
