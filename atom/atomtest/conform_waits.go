package atomtest

import (
	"fmt"
	"time"

	"valence/atom"
)

func entry(n int) atom.Entry {
	return atom.Entry{Kind: "wake", At: at(n), Body: fmt.Appendf(nil, "payload %d", n)}
}

// waiting accepts an execution that waits for a place, and for a match if there is one.
func (s *suite) waiting(process string, due time.Time, waits ...atom.Wait) int64 {
	s.Helper()
	seq := s.accept(s.message(process))
	s.apply(&atom.Change{Seq: seq, Waits: waits, Entries: []atom.Entry{{Path: "0", Kind: "wait", At: at(1)}},
		Park: &atom.Park{State: atom.Waiting, Due: due, Signal: true, Why: "wait paid"}})
	return seq
}

func (s *suite) signal(g *atom.Signal, want atom.Landing) {
	s.Helper()
	got, err := s.Signal(ctx, g)
	if err != nil || got != want {
		s.Errorf("signal: %s %v, want %s", got, err, want)
	}
}

// wakes checks the entries that signals have put into a journal.
func (s *suite) wakes(seq int64, want ...string) {
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
	s.is("wakes", got, append([]string{}, want...))
}

// due checks what is to be run, and takes what was told of as ready again.
func (s *suite) due(what, process string, until time.Time, want ...int64) {
	s.Helper()
	rs, _, err := s.Due(ctx, process, until, 100)
	if err != nil {
		s.Fatal(err)
	}
	s.is(what, seqs(rs), append([]int64{}, want...))
}

func (s *suite) toldReady(want ...int64) {
	s.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.is("told of as ready again", s.woke, want)
	s.woke = nil
}

func waitsOf(s *suite) {
	for _, due := range []time.Time{{}, time.Now().Add(time.Hour)} {
		s.n++
		process := fmt.Sprintf("waits-%d", s.n)
		seq := s.waiting(process, due, atom.Wait{Path: "3.steps.0[1]", Place: -7})
		x, err := s.Get(ctx, seq, at(1))
		if err != nil || x.State != atom.Waiting || !x.Due.Equal(due) || x.Why != "wait paid" {
			s.Fatalf("it waits: %+v %v", x, err)
		}
		s.due("before the signal", process, time.Now())
		s.is("ready", seqs(s.ready(process, 0, 10)), "[]")
		s.toldReady()
		s.signal(&atom.Signal{Seq: seq, Place: -7, Entry: entry(3)}, atom.Woke)
		s.toldReady(seq)
		s.due("after the signal", process, time.Now(), seq)
		s.wakes(seq, "3.steps.0[1] payload 3")
		s.signal(&atom.Signal{Seq: seq, Place: -7, Entry: entry(4)}, atom.Repeated)
		s.wakes(seq, "3.steps.0[1] payload 3")
		s.toldReady()
		if x, _ := s.Get(ctx, seq, at(1)); x.State != atom.Accepted || x.Why != "" {
			s.Errorf("woken: %+v", x.Record)
		}
		s.apply(&atom.Change{Seq: seq, Outcome: completed()})
		s.signal(&atom.Signal{Seq: seq, Place: -7, Entry: entry(5)}, atom.Repeated)
		s.due("ended", process, time.Now())
	}
}

func earlySignals(s *suite) {
	seq := s.accept(s.message("early"))
	s.signal(&atom.Signal{Seq: seq, Place: 5, Entry: entry(1)}, atom.Kept)
	s.signal(&atom.Signal{Seq: seq, Place: 5, Entry: entry(2)}, atom.Repeated)
	s.toldReady()
	s.wakes(seq)
	s.apply(&atom.Change{Seq: seq, Waits: []atom.Wait{{Path: "2", Place: 5}}, Park: &atom.Park{State: atom.Waiting, Signal: true}})
	s.toldReady(seq)
	s.wakes(seq, "2 payload 1")
	s.due("found by its wait", "early", time.Now(), seq)
	s.signal(&atom.Signal{Seq: seq, Place: 5, Entry: entry(3)}, atom.Repeated)
	// One that ends without waiting leaves nothing behind.
	other := s.accept(s.message("early"))
	s.signal(&atom.Signal{Seq: other, Place: 5, Entry: entry(1)}, atom.Kept)
	s.apply(&atom.Change{Seq: other, Outcome: completed()})
	s.signal(&atom.Signal{Seq: other, Place: 5, Entry: entry(1)}, atom.Over)
	s.signal(&atom.Signal{Seq: other, Place: 6, Entry: entry(1)}, atom.Over)
}

func signalsByKey(s *suite) {
	match := []byte("approval of 4711")
	_, err := s.Signal(ctx, &atom.Signal{Match: match, Entry: entry(1)})
	s.fails("nobody waits", err, atom.ErrNobody)
	// The oldest gets it, and each signal wakes one.
	first := s.waiting("by-key", time.Time{}, atom.Wait{Path: "1", Place: 1, Match: match})
	second := s.waiting("by-key", time.Time{}, atom.Wait{Path: "1", Place: 1, Match: match})
	s.signal(&atom.Signal{Match: match, Entry: entry(1), Origin: "resume-1"}, atom.Woke)
	s.signal(&atom.Signal{Match: match, Entry: entry(1), Origin: "resume-1"}, atom.Repeated)
	s.toldReady(first)
	// With a change: both or neither.
	third := s.accept(s.message("resumes"))
	s.apply(&atom.Change{Seq: third, Entries: []atom.Entry{{Path: "0", Kind: "resume"}}, Signal: &atom.Signal{Match: match, Entry: entry(2)}})
	s.toldReady(second)
	s.wakes(second, "1 payload 2")
	s.fails("nobody waits any more", s.Apply(ctx, &atom.Change{Seq: third, Entries: []atom.Entry{{Path: "1", Kind: "resume"}}, Signal: &atom.Signal{Match: match, Entry: entry(2)}}), atom.ErrNobody)
	if list, _ := s.Entries(ctx, third); len(list) != 1 {
		s.Errorf("a refused change left %v", list)
	}
	// Kept, in order, until their time.
	s.signal(&atom.Signal{Match: match, Entry: entry(7), Keep: time.Now().Add(-time.Second)}, atom.Kept)
	s.signal(&atom.Signal{Match: match, Entry: entry(8), Keep: time.Now().Add(time.Hour)}, atom.Kept)
	s.signal(&atom.Signal{Match: match, Entry: entry(9), Keep: time.Now().Add(time.Hour)}, atom.Kept)
	for n, want := range []string{"1 payload 8", "1 payload 9"} {
		seq := s.waiting("by-key", time.Time{}, atom.Wait{Path: "1", Place: int64(n), Match: match})
		s.toldReady(seq)
		s.wakes(seq, want)
	}
	s.waiting("by-key", time.Time{}, atom.Wait{Path: "1", Place: 1, Match: match})
	s.toldReady()
}

func givingUp(s *suite) {
	late := s.waiting("gives-up", time.Now().Add(-time.Second), atom.Wait{Path: "1", Place: 1, Match: []byte("m")})
	s.apply(&atom.Change{Seq: late, GaveUp: []int64{1}, Entries: []atom.Entry{entry(1)}})
	s.signal(&atom.Signal{Seq: late, Place: 1, Entry: entry(2)}, atom.Over)
	_, err := s.Signal(ctx, &atom.Signal{Match: []byte("m"), Entry: entry(2)})
	s.fails("it is not found by its key any more", err, atom.ErrNobody)

	won := s.waiting("gives-up", time.Now().Add(-time.Second), atom.Wait{Path: "1", Place: 1})
	s.signal(&atom.Signal{Seq: won, Place: 1, Entry: entry(2)}, atom.Woke)
	s.fails("the signal was first", s.Apply(ctx, &atom.Change{Seq: won, GaveUp: []int64{1}, Entries: []atom.Entry{entry(3)}}), atom.ErrSignalled)
	s.wakes(won, "1 payload 2")
}

func severalWaits(s *suite) {
	// A wait that is entered while other paths run is found before the park.
	seq := s.accept(s.message("several"))
	s.apply(&atom.Change{Seq: seq, Waits: []atom.Wait{{Path: "a", Place: 1, Match: []byte("a")}}})
	s.signal(&atom.Signal{Match: []byte("a"), Entry: entry(1)}, atom.Woke)
	s.mu.Lock()
	s.woke = nil // whether it is told of before it is parked is the store's to say
	s.mu.Unlock()
	s.apply(&atom.Change{Seq: seq, Waits: []atom.Wait{{Path: "a", Place: 1, Match: []byte("a")}, {Path: "b", Place: 2}}, Park: &atom.Park{State: atom.Waiting, Signal: true}})
	s.toldReady(seq) // its run did not know of the signal
	s.wakes(seq, "a payload 1")
	s.due("woken", "several", time.Now(), seq)
	s.apply(&atom.Change{Seq: seq, Park: &atom.Park{State: atom.Waiting, Signal: true, Signals: 1}})
	s.toldReady()
	s.due("waits for the second", "several", time.Now())
	s.signal(&atom.Signal{Seq: seq, Place: 2, Entry: entry(2)}, atom.Woke)
	s.toldReady(seq)
	s.wakes(seq, "a payload 1", "b payload 2")
	if counts, _ := s.Counts(ctx); counts["several"][atom.Accepted] != 1 || counts["several"][atom.Waiting] != 0 {
		s.Errorf("counts: %v", counts)
	}
}

func endedWaits(s *suite) {
	match := []byte("ended")
	for _, o := range []*atom.Outcome{completed(), failed(), {Status: atom.Cancelled, Started: at(1), Ended: at(2)}} {
		seq := s.waiting("ends", time.Time{}, atom.Wait{Path: "1", Place: 1, Match: match})
		s.apply(&atom.Change{Seq: seq, Outcome: o})
		s.signal(&atom.Signal{Seq: seq, Place: 1, Entry: entry(2)}, atom.Over)
		_, err := s.Signal(ctx, &atom.Signal{Match: match, Entry: entry(2)})
		s.fails("an execution that has ended", err, atom.ErrNobody)
	}
	s.toldReady()
	s.signal(&atom.Signal{Seq: 1 << 40, Place: 1, Entry: entry(2)}, atom.Over)
}

func expiryOf(s *suite) {
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
				s.Errorf("%+v", o)
			}
		}
		s.is(what, got, append([]int64{}, want...))
		if len(want) == 0 && next.IsZero() {
			s.Errorf("%s: when to look again is not told", what)
		}
	}
	later, begun := timed(time.Hour), timed(time.Hour)
	s.accept(s.message("expires"))
	overdue("none is over")
	s.is("they are ready like others", len(s.ready("expires", 0, 10)), 3)
	s.apply(&atom.Change{Seq: begun, Begins: true})
	s.apply(&atom.Change{Seq: begun, Begins: true}) // after a crash it begins again
	s.fails("it has begun", s.Apply(ctx, &atom.Change{Seq: begun, Unbegun: true, Outcome: failed()}), atom.ErrBegun)
	second, first := timed(-time.Second), timed(-2*time.Second)
	overdue("two are over", first, second)
	s.fails("too late", s.Apply(ctx, &atom.Change{Seq: first, Begins: true}), atom.ErrExpired)
	s.apply(&atom.Change{Seq: first, Unbegun: true, Outcome: &atom.Outcome{Status: atom.Expired, Started: at(1), Ended: at(2)}})
	overdue("one of them was ended", second)
	s.fails("it has ended", s.Apply(ctx, &atom.Change{Seq: first, Begins: true}), atom.ErrEnded)
	s.apply(&atom.Change{Seq: later, Begins: true})
	if x, err := s.Get(ctx, first, at(1)); err != nil || x.Outcome == nil || x.Outcome.Status != atom.Expired {
		s.Errorf("%+v %v", x, err)
	}
}
