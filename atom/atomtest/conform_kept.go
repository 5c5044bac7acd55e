package atomtest

import (
	"bytes"
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"valence/atom"
)

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
	s.is("one", get(atom.Filter{Seq: all[30]}, 5), all[30:31])
	s.is("one of another process", len(get(atom.Filter{Seq: all[30], Process: "none"}, 5)), 0)
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

// shorter is about documents before their time: they are there, and the
// execution is listed once.
func shorter(s *suite) {
	m := s.message("p")
	seq := s.accept(m)
	o := completed()
	o.Keep, o.Documents = 30*24*time.Hour, 24*time.Hour
	s.apply(&atom.Change{Seq: seq, Entries: []atom.Entry{{Path: "0", Kind: "call", At: at(1), Body: []byte("x")}}, Outcome: o})
	for end := time.Now().Add(200 * time.Millisecond); time.Now().Before(end); { // before and after it moves
		x, err := s.Get(ctx, seq, at(0))
		if err != nil || !bytes.Equal(x.Doc, m.Doc) || len(x.Journal) != 1 || x.Outcome.Status != atom.Completed {
			s.Fatalf("%+v, %v", x, err)
		}
		list, _, err := s.List(ctx, atom.Filter{}, "", 5)
		if err != nil || len(list) != 1 {
			s.Fatalf("%d in the list, %v", len(list), err)
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
