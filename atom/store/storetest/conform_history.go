package storetest

import (
	"bytes"
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"valence/atom/store"
)

func failedStay(s *suite) {
	m := s.message("p")
	seq := s.accept(m)
	s.apply(&store.Change{Seq: seq, Entries: []store.Entry{{Path: "0", Kind: "call", At: at(1), Body: []byte("x")}}, Disposition: failed()})
	mem := s.Reserve()
	f := &store.Finished{Record: store.Record{Message: *s.message("p")}, Outcome: *failed()}
	f.Seq = mem
	s.Record(f)
	s.eventually(mem)
	for _, seq := range []int64{seq, mem} {
		x, err := s.Get(ctx, seq, at(0))
		if err != nil || x.Outcome == nil || x.Outcome.Status != store.Failed || string(x.Outcome.Error) != `{"code":"Timeout"}` ||
			string(x.Outcome.Trace) != `{"steps":[1]}` || x.Outcome.Fingerprint != "f" || len(x.Doc) == 0 {
			s.Errorf("got %+v, %v, want a failure with its documents", x, err)
		}
	}
	found, _, err := s.List(ctx, store.Filter{Statuses: []string{"failed"}}, "", 10)
	if err != nil || len(found) != 2 {
		s.Errorf("failed: got %d listed, %v, want 2", len(found), err)
	}
	s.equal("ready", seqs(s.ready("p", 0, 10)), []int64{})
	problems, err := s.Problems(ctx)
	if err != nil {
		s.Fatal(err)
	}
	s.equal("problems", problems, map[string]store.Problems{"p": {Failed: 2, KeptBytes: int64(f.Size())}})

	dropped := &store.Finished{Record: store.Record{Message: *s.message("p")}, Outcome: *failed()}
	dropped.Seq, dropped.Resolved = s.Reserve(), []byte(`{"how":"dropped"}`)
	s.Record(dropped)
	s.eventually(dropped.Seq)
	again, err := s.Problems(ctx)
	if err != nil {
		s.Fatal(err)
	}
	s.equal("problems after a dropped one", again, problems)
	x, err := s.Get(ctx, dropped.Seq, dropped.Received)
	if err != nil || x.Unresolved() || x.Outcome.Status != store.Failed {
		s.Errorf("got %+v, %v, want a resolved failure", x, err)
	}
}

func (s *suite) eventually(seq int64) {
	s.Helper()
	for end := time.Now().Add(20 * time.Second); time.Now().Before(end); {
		found, _, err := s.List(ctx, store.Filter{}, "", 1000)
		if err != nil {
			s.Fatal(err)
		}
		if slices.ContainsFunc(found, func(x *store.Execution) bool { return x.Seq == seq && x.Outcome != nil }) {
			return
		}
	}
	s.Fatalf("%d is not listed", seq)
}

func history(s *suite) {
	m := s.message("p")
	m.Data = []byte(`"view"`)
	seq := s.accept(m)
	s.apply(&store.Change{Seq: seq, Entries: []store.Entry{{Path: "0", Kind: "call", At: at(1), Body: []byte("one")}}})
	o := completed()
	s.apply(&store.Change{Seq: seq, Entries: []store.Entry{{Path: "1", Kind: "call", At: at(2), Body: []byte("two")}}, Disposition: o})
	mem := s.Reserve()
	f := &store.Finished{Record: store.Record{Message: *s.message("q")}, Outcome: *completed()}
	f.Seq = mem
	s.Record(f)
	s.eventually(mem)
	for range 3 { // before or after it is archived
		x, err := s.Get(ctx, seq, m.Received)
		if err != nil {
			s.Fatal(err)
		}
		s.sameMessage("ended", &x.Record, m)
		if len(x.Journal) != 2 || string(x.Journal[1].Body) != "two" || x.Outcome == nil || !x.Outcome.Ended.Equal(o.Ended) || string(x.Outcome.Trace) != string(o.Trace) {
			s.Errorf("got %+v, want the journal and the outcome", x)
		}
	}
	x, err := s.Get(ctx, mem, at(0))
	if err != nil {
		s.Fatal(err)
	}
	s.sameMessage("in memory", &x.Record, &f.Message)
	_, err = s.Get(ctx, 1<<40, at(0))
	s.wantErr("unknown", err, store.ErrUnknown)
	s.wantErr("a change", s.Apply(ctx, &store.Change{Seq: mem, Disposition: completed()}), store.ErrEnded)
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
			s.apply(&store.Change{Seq: seq, Disposition: completed()})
		case 2:
			status = "failed"
			s.apply(&store.Change{Seq: seq, Disposition: failed()})
		case 3:
			status = "waiting"
			s.apply(&store.Change{Seq: seq, Disposition: &store.Suspension{State: store.Waiting, Due: time.Now().Add(time.Hour)}})
		}
		want[status] = append(want[status], seq)
		want[m.Process] = append(want[m.Process], seq)
	}
	get := func(f store.Filter, limit int) []int64 {
		var got []int64
		cursor := ""
		for range 1000 {
			page, next, err := s.List(ctx, f, cursor, limit)
			if err != nil {
				s.Fatal(err)
			}
			if len(page) > limit {
				s.Errorf("got %d on a page, want at most %d", len(page), limit)
			}
			for _, x := range page {
				if x.Doc != nil || x.Data != nil || x.Journal != nil || x.Outcome != nil && x.Outcome.Trace != nil {
					s.Errorf("got %+v, want it without documents, journal and trace", x)
				}
				got = append(got, x.Seq)
			}
			if cursor = next; next == "" {
				slices.Reverse(got)
				return got
			}
		}
		s.Fatal("got 1000 pages, want an end of the list")
		return nil
	}
	for _, limit := range []int{1, 7, 60, 1000} {
		s.equal("all", get(store.Filter{}, limit), all)
		for status, seqs := range want {
			if strings.HasPrefix(status, "p") {
				s.equal(status, get(store.Filter{Process: status}, limit), seqs)
			} else {
				s.equal(status, get(store.Filter{Statuses: []string{status}}, limit), seqs)
			}
		}
	}
	s.equal("two statuses", len(get(store.Filter{Statuses: []string{"completed", "waiting"}}, 5)), 24)
	s.equal("unknown status", len(get(store.Filter{Statuses: []string{"happy"}}, 5)), 0)
	s.equal("tracked", len(get(store.Filter{Track: map[string]string{"order": "7"}}, 5)), 1)
	s.equal("one", get(store.Filter{Seq: all[30]}, 5), all[30:31])
	s.equal("one of another process", len(get(store.Filter{Seq: all[30], Process: "none"}, 5)), 0)
	s.equal("text of an error", len(get(store.Filter{Text: "timeout"}, 5)), 12)
	s.equal("text tracked", len(get(store.Filter{Text: "60"}, 5)), 1)
	s.equal("since", get(store.Filter{Since: at(31)}, 50), all[30:])
	s.equal("until", get(store.Filter{Until: at(31)}, 50), all[:30])
	if _, _, err := s.List(ctx, store.Filter{}, "not a cursor!", 5); err == nil {
		s.Error("got no error for an invalid cursor")
	}
}

func documentsDropped(s *suite) {
	seq := s.accept(s.message("p"))
	o := completed()
	o.DropDocuments = true
	s.apply(&store.Change{Seq: seq, Entries: []store.Entry{{Path: "0", Kind: "call", At: at(1), Body: []byte("x")}}, Disposition: o})
	for end := time.Now().Add(20 * time.Second); ; {
		x, err := s.Get(ctx, seq, at(0))
		if err != nil {
			s.Fatal(err)
		}
		if x.Doc == nil && x.Journal == nil && len(x.Track) == 1 && x.Outcome.Status == store.Completed {
			return
		}
		if time.Now().After(end) {
			s.Fatalf("got %+v, want it without documents", x)
		}
	}
}

// documentsShorter checks that documents with a shorter retention are there
// until it ends, and that the execution is listed once.
func documentsShorter(s *suite) {
	m := s.message("p")
	seq := s.accept(m)
	o := completed()
	o.Keep, o.Documents = 30*24*time.Hour, 24*time.Hour
	s.apply(&store.Change{Seq: seq, Entries: []store.Entry{{Path: "0", Kind: "call", At: at(1), Body: []byte("x")}}, Disposition: o})
	for end := time.Now().Add(200 * time.Millisecond); time.Now().Before(end); { // before and after it is archived
		x, err := s.Get(ctx, seq, at(0))
		if err != nil || !bytes.Equal(x.Doc, m.Doc) || len(x.Journal) != 1 || x.Outcome.Status != store.Completed {
			s.Fatalf("got %+v, %v, want its documents", x, err)
		}
		list, _, err := s.List(ctx, store.Filter{}, "", 5)
		if err != nil || len(list) != 1 {
			s.Fatalf("got %d listed, %v, want 1", len(list), err)
		}
	}
}

func largeDocuments(s *suite) {
	big := func(c byte) []byte { return bytes.Repeat([]byte{c}, 200<<10) }
	m := s.message("p")
	m.Doc, m.Data = big('a'), big('b')
	seq := s.accept(m)
	same := s.message("p")
	same.Doc = big('a')
	other := s.accept(same)
	rs := s.ready("p", 0, 10)
	s.equal("ready", seqs(rs), []int64{seq, other})
	s.sameMessage("ready", rs[0], m)
	s.apply(&store.Change{Seq: seq, Entries: []store.Entry{{Path: "0", Kind: "call", At: at(1), Body: big('c')}}, Disposition: &store.Suspension{State: store.Waiting, Due: at(1)}})
	rs, _, err := s.Due(ctx, "p", time.Now(), 10)
	if err != nil || len(rs) != 1 {
		s.Fatalf("due: got %v, %v, want one", seqs(rs), err)
	}
	s.sameMessage("due", rs[0], m)
	es, err := s.Entries(ctx, seq)
	if err != nil || len(es) != 1 || !bytes.Equal(es[0].Body, big('c')) {
		s.Errorf("journal: got %d entries, %v, want one with its body", len(es), err)
	}
	o := completed()
	o.Trace = big('d')
	s.apply(&store.Change{Seq: seq, Disposition: o})
	for range 3 {
		x, err := s.Get(ctx, seq, at(0))
		if err != nil {
			s.Fatal(err)
		}
		s.sameMessage("ended", &x.Record, m)
		if len(x.Journal) != 1 || !bytes.Equal(x.Journal[0].Body, big('c')) || !bytes.Equal(x.Outcome.Trace, big('d')) {
			s.Error("got an incomplete journal or trace")
		}
	}
	s.sameMessage("the other execution", s.ready("p", 0, 10)[0], same)
	s.wantErr("an outcome of the other", s.Apply(ctx, &store.Change{Seq: other, Handoffs: nil, Disposition: failed()}), nil)
	m.Meta = make([]byte, 65<<10)
	if _, err := s.Accept(ctx, m); err == nil {
		s.Error("got no error for metadata of 65 KiB")
	}
}

func claims(s *suite) {
	until := time.Now().Add(time.Hour)
	claim := func(key string, seq int64) (bool, string) {
		s.Helper()
		taken, err := s.Claim(ctx, "p", &store.Dedupe{Key: key, Until: until, Holder: []byte(key)}, seq)
		switch {
		case err != nil:
			s.Fatal(err)
		case taken == nil:
			return true, "none"
		case string(taken.Holder) != key:
			s.Errorf("%s: got the holder %q, want %q", key, taken.Holder, key)
		}
		if taken.Reply == nil {
			return false, "none"
		}
		return false, string(taken.Reply)
	}
	check := func(what, key string, seq int64, claimed bool, reply string) {
		s.Helper()
		ok, r := claim(key, seq)
		s.equal(what, fmt.Sprint(ok, " ", r), fmt.Sprint(claimed, " ", reply))
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
	m.Dedupe = &store.Dedupe{Key: "k", Until: until}
	if r, err := s.Accept(ctx, m); err != nil || !r.Duplicate || r.Seq != a || string(r.Holder) != "k" {
		s.Errorf("with a settled key: got %+v, %v, want a duplicate of %d", r, err, a)
	}
	m.Dedupe = &store.Dedupe{Key: "m", Until: until, Holder: []byte("m")}
	seq := s.accept(m)
	check("of an accepted message", "m", a, false, "none")
	settle("m", seq, []byte("late"))
	check("settled later", "m", a, false, "late")
	check("for an early reply", "e", a, true, "none")
	early := s.message("p")
	early.Seq, early.Dedupe = a, &store.Dedupe{Key: "e", Until: until, Holder: []byte("e")}
	s.equal("its number", s.accept(early), a)
	check("of the early reply", "e", b, false, "none")
	settle("e", a, []byte("early"))
	check("settled early", "e", b, false, "early")
	until = time.Now().Add(-time.Second)
	check("an expired claim", "o", a, true, "none")
	settle("o", a, []byte("x"))
	check("after it expired", "o", b, true, "none")
}

func numbers(s *suite) {
	var mu sync.Mutex
	given := map[int64]bool{}
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 200 {
				n := s.Reserve()
				r, err := s.Accept(ctx, &store.Message{Process: "p", Received: at(1)})
				if err != nil {
					s.Error(err)
				}
				mu.Lock()
				if given[n] || given[r.Seq] || n <= 0 {
					s.Errorf("got numbers %d and %d, want new ones", n, r.Seq)
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
	s.wantErr("none", err, store.ErrUnknown)
	for _, text := range []string{"one", "two", ""} {
		if err := s.PutContent(ctx, "name", []byte(text)); err != nil {
			s.Fatal(err)
		}
		got, err := s.Content(ctx, "name")
		if err != nil || string(got) != text {
			s.Errorf("got content %q, %v, want %q", got, err, text)
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
		s.equal("counts", c, want)
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
	s.apply(&store.Change{Seq: a, Disposition: &store.Suspension{State: store.Held}})
	counts("map[p:map[accepted:1 held:1] q:map[accepted:1]]")
	oldest(first.Received)
	s.apply(&store.Change{Seq: a, Disposition: &store.Suspension{State: store.Waiting, Due: at(1)}})
	counts("map[p:map[accepted:1 waiting:1] q:map[accepted:1]]")
	oldest(second.Received)
	s.apply(&store.Change{Seq: a, Disposition: completed()})
	counts("map[p:map[accepted:1] q:map[accepted:1]]")
	oldest(second.Received)
	s.apply(&store.Change{Seq: b, Disposition: failed()})
	counts("map[q:map[accepted:1]]")
	oldest(time.Time{})
	s.wantErr("err", s.Err(), nil)
}

func rejected(s *suite) {
	canceled, cancel := context.WithCancel(ctx)
	cancel()
	_, err := s.Accept(canceled, s.message("p"))
	s.wantErr("with a canceled context", err, store.ErrUnavailable)
	_, err = s.Accept(ctx, s.message("p"))
	s.wantErr("after that", err, nil)
	if _, err := s.Accept(ctx, s.message("")); err == nil {
		s.Error("got no error for a message without a process")
	}
}

// tails checks that a journal can be read from the end of the last read, in
// packs, in rows and after the end.
func tails(s *suite) {
	entry := func(path string) store.Entry {
		return store.Entry{Path: path, Kind: "call", At: at(1), Body: []byte(path)}
	}
	for _, suspended := range []bool{false, true} {
		m := s.message("a")
		seq := s.accept(m)
		var position store.JournalPosition
		read := func(what, want string, whole bool) *store.Tail {
			s.Helper()
			t, err := s.Tail(ctx, seq, m.Received, position)
			if err != nil {
				s.Fatalf("%s: %v", what, err)
			}
			var got []string
			for _, x := range t.Journal {
				got = append(got, x.Path)
			}
			s.equal(what, strings.Join(got, " "), want)
			s.equal(what+": whole", t.Whole, whole)
			position = t.Next
			return t
		}
		add := func(paths ...string) {
			s.Helper()
			c := &store.Change{Seq: seq}
			for _, p := range paths {
				c.Entries = append(c.Entries, entry(p))
			}
			s.apply(c)
		}
		read("nothing", "", true)
		add("0")
		read("the first entry", "0", true)
		read("no news", "", false)
		add("1", "2")
		add("3")
		read("two commits", "1 2 3", false)
		if suspended {
			s.apply(&store.Change{Seq: seq, Disposition: &store.Suspension{State: store.Accepted}})
		}
		add("4")
		read("after a suspension", "4", false)
		add("5.steps.0[1][0]")
		read("an element", "5.steps.0[1][0]", false)
		trim := []store.JournalTrim{{Scope: store.Scope{Within: "5.steps.", Iter: "[1]"}, Key: "5[1]"}}
		s.apply(&store.Change{Seq: seq, Trim: trim, Entries: []store.Entry{entry("6")}})
		read("after a trim", "0 1 2 3 4 6", true)
		add("7")
		read("after a trim and a commit", "7", false)
		before := position
		position = store.NoEntries
		if t := read("without entries", "", false); t.Process != "a" || t.Outcome != nil {
			s.Errorf("without entries: got %+v, want the execution", t.Execution)
		}
		position = before
		add("9.steps.0[1][0]")
		read("an element of another loop", "9.steps.0[1][0]", false)
		trim = []store.JournalTrim{{Scope: store.Scope{Within: "9.steps.", Iter: "[1]"}, Key: "9[1]"}}
		s.apply(&store.Change{Seq: seq, Trim: trim, Entries: []store.Entry{entry("10")}}) // not read before the end
		s.apply(&store.Change{Seq: seq, Entries: []store.Entry{entry("8")}, Disposition: completed()})
		if t := read("after a trim and the end", "0 1 2 3 4 6 7 10 8", true); t.Outcome == nil {
			s.Error("after the end: got no outcome, want one")
		}
	}
	_, err := s.Tail(ctx, 1<<40, at(0), store.JournalPosition{})
	s.wantErr("unknown", err, store.ErrUnknown)
}
