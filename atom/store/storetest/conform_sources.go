package storetest

import (
	"slices"
	"sync"
	"time"

	"valence/atom/store"
)

func (s *suite) arrival(from, to string) *store.Arrival {
	var before []byte
	if from != "" {
		before = []byte(from)
	}
	return &store.Arrival{Message: s.message("p"), Cursor: &store.Cursor{Source: "topic/0", From: before, To: []byte(to)}}
}

func (s *suite) arrive(as ...*store.Arrival) {
	s.Helper()
	if err := s.AcceptAll(ctx, as); err != nil {
		s.Fatal(err)
	}
}

func (s *suite) cursor(want string) {
	s.Helper()
	got, err := s.Cursor(ctx, "topic/0")
	if err != nil || string(got) != want {
		s.Errorf("cursor: got %q, %v, want %q", got, err, want)
	}
}

// sources checks that a batch is stored in order and together with its cursor.
func sources(s *suite) {
	s.cursor("")
	a, b, c := s.arrival("", "1"), s.arrival("1", "2"), s.arrival("2", "3")
	b.Message = nil
	s.arrive(a, b, c)
	s.cursor("3")
	s.equal("errors", []error{a.Err, b.Err, c.Err}, []error{nil, nil, nil})
	s.equal("order", seqs(s.ready("p", 0, 10)), []int64{a.Receipt.Seq, c.Receipt.Seq})
	if a.Receipt.Seq >= c.Receipt.Seq {
		s.Errorf("got %d and %d, want numbers in order", a.Receipt.Seq, c.Receipt.Seq)
	}
	again, next, other := s.arrival("2", "3"), s.arrival("3", "4"), s.arrival("", "9")
	other.Cursor.Source = "topic/1"
	s.arrive(again, next, other)
	s.wantErr("a stale cursor", again.Err, store.ErrCursorMoved)
	s.wantErr("after a stale cursor", next.Err, store.ErrCursorMoved)
	s.equal("another source", other.Err, nil)
	s.equal("stored", len(s.ready("p", 0, 10)), 3)
	s.cursor("3")
	s.arrive(s.arrival("3", "4"))
	s.cursor("4")
}

// sourcesAtOnce checks that of two arrivals that continue from one cursor, one
// is stored.
func sourcesAtOnce(s *suite) {
	as := make([]*store.Arrival, 8)
	var group sync.WaitGroup
	for i := range as {
		as[i] = s.arrival("", "1")
	}
	for _, a := range as {
		group.Go(func() {
			if err := s.AcceptAll(ctx, []*store.Arrival{a}); err != nil {
				s.Error(err)
			}
		})
	}
	group.Wait()
	stored := slices.DeleteFunc(as, func(a *store.Arrival) bool { return a.Err != nil })
	s.equal("stored", len(stored), 1)
	s.equal("ready", len(s.ready("p", 0, 10)), 1)
}

// sourceLimits checks that a full lane stops its source, and not its cursor.
func sourceLimits(s *suite) {
	lane := &store.Lane{Scope: "p", Key: "k", Limit: 1}
	a, b, c, d := s.arrival("", "1"), s.arrival("1", "2"), s.arrival("2", "3"), s.arrival("3", "4")
	a.Message.Lane, b.Message.Lane, c.Message.Lane = lane, lane, lane
	free := &store.Arrival{Message: s.message("p")}
	s.arrive(a, b, c, d, free)
	s.equal("the first", a.Err, nil)
	s.equal("the one that waits", b.Err, nil)
	s.wantErr("in the full lane", c.Err, store.ErrLaneFull)
	s.wantErr("after it", d.Err, store.ErrLaneFull)
	s.equal("of no source", free.Err, nil)
	s.cursor("2")
}

// remembered checks that an origin is remembered for the time that its message
// asks for, and that one batch holds it once.
func remembered(s *suite) {
	m := func(until time.Time) *store.Arrival {
		a := &store.Arrival{Message: s.message("p")}
		a.Message.Origin, a.Message.Remember = "tag-1", until
		return a
	}
	past, future := time.Now().Add(-time.Second), time.Now().Add(time.Hour)
	first := m(past)
	s.arrive(first)
	second, third := m(future), m(future)
	s.arrive(second, third)
	s.equal("after its time", second.Receipt.Duplicate, false)
	s.equal("in one batch", third.Receipt.Duplicate, true)
	s.equal("the first of the batch", third.Receipt.Seq, second.Receipt.Seq)
	fourth := m(future)
	s.arrive(fourth)
	s.equal("within its time", fourth.Receipt.Duplicate, true)
	r, err := s.Origin(ctx, "tag-1")
	s.equal("origin", r.Seq, second.Receipt.Seq)
	s.equal("error", err, nil)
}

// reusedKeys checks that a message whose dedupe key belongs to another message is
// not stored, and that its cursor does not move.
func reusedKeys(s *suite) {
	m := func(from, to, holder string) *store.Arrival {
		a := s.arrival(from, to)
		a.Message.Dedupe = &store.Dedupe{Key: "k", Until: time.Now().Add(time.Hour), Holder: []byte(holder)}
		a.Repeats = func(other []byte) bool { return string(other) == holder }
		return a
	}
	first, repeat, other, after := m("", "1", "a"), m("1", "2", "a"), m("2", "3", "b"), s.arrival("3", "4")
	free, fine := m("", "", "b"), &store.Arrival{Message: s.message("p")}
	free.Cursor = nil
	s.arrive(first, repeat, other, after, free, fine)
	s.equal("errors", []error{first.Err, repeat.Err, other.Err, after.Err, free.Err, fine.Err}, []error{nil, nil, store.ErrKeyReused, store.ErrKeyReused, store.ErrKeyReused, nil})
	s.equal("the repeat", repeat.Receipt.Duplicate, true)
	s.equal("which of them conflict", []error{other.Conflict(other.Receipt), after.Conflict(after.Receipt)}, []error{store.ErrKeyReused, nil})
	s.equal("stored", len(s.ready("p", 0, 10)), 2)
	s.cursor("2")
	again := m("2", "3", "b")
	s.arrive(again)
	s.equal("in a later commit", again.Err, store.ErrKeyReused)
	again.Message.Dedupe = nil
	s.arrive(again, after)
	s.equal("without the key", []error{again.Err, after.Err}, []error{nil, nil})
	s.cursor("4")
}

// endedArrivals checks that a store which stores outcomes with their messages
// ends these executions in the commit, and announces only the others.
func endedArrivals(s *suite) {
	stored, _ := s.Outcomes()
	m := func(from, to, origin string) *store.Arrival {
		a := s.arrival(from, to)
		a.Message.Origin, a.Message.Remember = origin, time.Now().Add(time.Hour)
		a.Outcome = &store.Outcome{Status: store.Completed, Started: at(1), Ended: at(2), Trace: []byte(`{"steps":[]}`)}
		return a
	}
	first, second, repeat, third := m("", "1", "a"), s.arrival("1", "2"), m("2", "3", "a"), m("3", "4", "b")
	third.Outcome.Status, third.Outcome.DropDocuments = store.CompletedWithWarnings, true
	s.arrive(first, second, repeat, third)
	s.cursor("4")
	s.equal("errors", []error{first.Err, second.Err, repeat.Err, third.Err}, make([]error, 4))
	s.equal("ended", []bool{first.Receipt.Ended, second.Receipt.Ended, repeat.Receipt.Ended, third.Receipt.Ended}, []bool{stored, false, false, stored})
	s.equal("the repeat", repeat.Receipt.Duplicate, true)
	s.equal("of", repeat.Receipt.Seq, first.Receipt.Seq)
	if !stored {
		s.equal("to run", len(s.ready("p", 0, 10)), 3)
		return
	}
	s.equal("to run", seqs(s.ready("p", 0, 10)), []int64{second.Receipt.Seq})
	s.mu.Lock()
	s.equal("announced", seqs(s.accepted), []int64{second.Receipt.Seq})
	s.mu.Unlock()
	counts, err := s.Counts(ctx)
	s.equal("error", err, nil)
	s.equal("live", counts["p"], map[store.State]int64{store.Accepted: 1})
	for _, a := range []*store.Arrival{first, third} {
		x, err := s.Get(ctx, a.Receipt.Seq, a.Receipt.Received)
		if err != nil {
			s.Fatal(err)
		}
		if x.Outcome == nil || x.Outcome.Status != a.Outcome.Status || string(x.Outcome.Trace) != `{"steps":[]}` {
			s.Errorf("got outcome %+v, want %s with its trace", x.Outcome, a.Outcome.Status)
		}
	}
	s.wantErr("a change after the end", s.Apply(ctx, &store.Change{Seq: first.Receipt.Seq, Disposition: &store.Outcome{Status: store.Completed, Ended: at(3)}}), store.ErrEnded)
	again := m("4", "5", "b")
	s.arrive(again)
	s.equal("later", again.Receipt.Duplicate, true)
	list, _, err := s.List(ctx, store.Filter{Process: "p"}, "", 10)
	s.equal("error", err, nil)
	s.equal("listed", len(list), 3)
	failed := m("5", "6", "c")
	failed.Outcome.Status = store.Failed
	if err := s.AcceptAll(ctx, []*store.Arrival{failed}); err == nil {
		s.Error("a failure: got nil, want an error")
	}
	s.cursor("5")
}
