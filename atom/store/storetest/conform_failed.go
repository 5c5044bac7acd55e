package storetest

import (
	"errors"
	"time"

	"valence/atom/store"
)

func failuresByCause(s *suite) {
	fail := func(process, fingerprint string, n int) (seqs []int64) {
		for range n {
			seq := s.accept(s.message(process))
			o := failed()
			o.Fingerprint = fingerprint
			s.apply(&store.Change{Seq: seq, Entries: []store.Entry{{Path: "0", Kind: "call", At: at(1), Body: []byte("x")}}, Disposition: o})
			seqs = append(seqs, seq)
		}
		return seqs
	}
	one, two := fail("p", "f1", 3), fail("p", "f2", 1)
	fail("q", "f1", 2)
	groups := func(process string) [][3]any {
		gs, err := s.Groups(ctx, process, 10)
		if err != nil {
			s.Fatal(err)
		}
		out := [][3]any{}
		for _, g := range gs {
			if g.Status != store.Failed || string(g.Error) != `{"code":"Timeout"}` || !g.Last.Equal(at(2)) || g.Newest == 0 || g.Received.IsZero() {
				s.Errorf("got group %+v, want its newest failure", g)
			}
			out = append(out, [3]any{g.Process, g.Fingerprint, g.Count})
		}
		return out
	}
	s.equal("groups", groups(""), [][3]any{{"q", "f1", int64(2)}, {"p", "f2", int64(1)}, {"p", "f1", int64(3)}})
	s.equal("groups of p", groups("p"), [][3]any{{"p", "f2", int64(1)}, {"p", "f1", int64(3)}})

	problems, err := s.Problems(ctx)
	if err != nil {
		s.Fatal(err)
	}
	s.equal("problems", problems, map[string]store.Problems{"p": {Failed: 4}, "q": {Failed: 2}})

	next := s.message("p")
	next.Seq, next.Due = s.Reserve(), time.Now()
	next.Entries = []store.Entry{{Path: "0", Kind: "call", At: at(1), Body: []byte("x")}}
	if err := s.Resolve(ctx, &store.Resolution{Seq: one[1], Note: []byte(`{"how":"resubmitted"}`), Next: next}); err != nil {
		s.Fatal(err)
	}
	due, _, err := s.Due(ctx, "p", time.Now().Add(time.Second), 10)
	if err != nil || len(due) != 1 || due[0].Seq != next.Seq {
		s.Errorf("due: got %v, %v, want the replacement %d", due, err, next.Seq)
	}
	if entries, err := s.Entries(ctx, next.Seq); err != nil || len(entries) != 1 {
		s.Errorf("journal of the replacement: got %v, %v, want one entry", entries, err)
	}
	second := *next
	second.Seq = s.Reserve()
	if err := s.Resolve(ctx, &store.Resolution{Seq: one[1], Note: []byte(`{}`), Next: &second}); !errors.Is(err, store.ErrResolved) {
		s.Errorf("a second resolution: got %v, want ErrResolved", err)
	}
	if _, err := s.Get(ctx, second.Seq, at(0)); !errors.Is(err, store.ErrUnknown) {
		s.Errorf("the second replacement: got %v, want ErrUnknown", err)
	}
	for what, seq := range map[string]int64{"alive": next.Seq, "nothing": 1 << 40} {
		if err := s.Resolve(ctx, &store.Resolution{Seq: seq, Note: []byte(`{}`)}); !errors.Is(err, store.ErrUnknown) {
			s.Errorf("%s: got %v, want ErrUnknown", what, err)
		}
	}
	if err := s.Resolve(ctx, &store.Resolution{Seq: two[0], Note: []byte(`{"how":"deleted"}`), DropDocuments: true}); err != nil {
		s.Fatal(err)
	}
	s.equal("groups left", groups("p"), [][3]any{{"p", "f1", int64(2)}})

	list := func(f store.Filter) (seqs []int64) {
		found, _, err := s.List(ctx, f, "", 100)
		if err != nil {
			s.Fatal(err)
		}
		for _, x := range found {
			seqs = append(seqs, x.Seq)
		}
		return seqs
	}
	both := []string{string(store.Failed), string(store.Expired)}
	s.equal("unresolved of p", list(store.Filter{Process: "p", Statuses: both, Unresolved: true}), []int64{one[2], one[0]})
	s.equal("of one cause", list(store.Filter{Process: "p", Statuses: both, Unresolved: true, Fingerprint: "f1"}), []int64{one[2], one[0]})
	s.equal("all failures of p", list(store.Filter{Process: "p", Statuses: both}), []int64{two[0], one[2], one[1], one[0]})

	x, err := s.Get(ctx, one[1], at(0))
	if err != nil || x.Outcome == nil || string(x.Outcome.Resolved) != `{"how":"resubmitted"}` || len(x.Doc) == 0 || len(x.Journal) != 1 {
		s.Errorf("got %+v, %v, want it resolved, with its documents", x, err)
	}
	s.eventually(two[0])
	for end := time.Now().Add(20 * time.Second); time.Now().Before(end); {
		if x, err = s.Get(ctx, two[0], at(0)); err != nil || len(x.Doc) == 0 {
			break
		}
	}
	if err != nil || string(x.Outcome.Resolved) != `{"how":"deleted"}` || len(x.Doc) != 0 {
		s.Errorf("got %+v, %v, want it resolved, without documents", x, err)
	}
}
