package storetest

import (
	"bytes"
	"errors"
	"fmt"

	"valence/atom/store"
)

// states checks property updates, and conflicts between them.
func states(s *suite) {
	shown := func(process string) string {
		s.Helper()
		p, err := s.State(ctx, process)
		if err != nil {
			s.Fatal(err)
		}
		text := fmt.Sprint(p.Version)
		for _, v := range p.Properties {
			text += fmt.Sprintf(" %s=%s", v.Name, v.Value)
		}
		return text
	}
	set := func(version int64, pairs ...string) *store.StateUpdate {
		c := store.StateChange{Process: "a", Version: version}
		for i := 0; i < len(pairs); i += 2 {
			v := []byte(pairs[i+1])
			if len(v) == 0 {
				v = nil
			}
			c.Set = append(c.Set, store.Property{Name: pairs[i], Value: v})
		}
		return &store.StateUpdate{States: []store.StateChange{c}}
	}
	s.equal("a new process", shown("a"), "0")
	first := s.accept(s.message("a"))
	s.apply(&store.Change{Seq: first, Disposition: completed(), Require: []store.Condition{set(-1, "x", "1", "y", `"two"`)}})
	s.equal("with the end", shown("a"), `1 x=1 y="two"`)
	s.equal("of another process", shown("b"), "0")

	second := s.accept(s.message("a"))
	s.wantErr("an old version", s.Apply(ctx, &store.Change{Seq: second, Disposition: completed(), Require: []store.Condition{set(0, "x", "9")}, Entries: []store.Entry{{Path: "p", Kind: "call", At: at(1)}},
		Handoffs: []*store.Message{s.message("b")}}), store.ErrConflict)
	s.equal("after a refused change", shown("a"), `1 x=1 y="two"`)
	x, err := s.Get(ctx, second, at(0))
	if err != nil || x.Outcome != nil || len(x.Journal) != 0 || len(s.ready("b", 0, 9)) != 0 {
		s.Errorf("after a refused change: got %+v, %v, want no effect", x, err)
	}
	s.apply(&store.Change{Seq: second, Disposition: completed(), Require: []store.Condition{set(1, "x", "2", "y", "")}})
	s.equal("the current version", shown("a"), "2 x=2")
	s.wantErr("an ended execution", s.Apply(ctx, &store.Change{Seq: second, Require: []store.Condition{set(-1, "x", "3")}}), store.ErrEnded)

	if err := s.UpdateState(ctx, set(2, "z", "{}")); err != nil {
		s.Error(err)
	}
	s.wantErr("in memory, an old version", s.UpdateState(ctx, set(2, "z", "1")), store.ErrConflict)
	s.equal("in memory", shown("a"), "3 x=2 z={}")
}

// snapshots checks the digests of a snapshot, page by page, in order of key.
func snapshots(s *suite) {
	change := func(version int64, digests ...store.Digest) error {
		return s.UpdateState(ctx, &store.StateUpdate{Snapshots: []store.SnapshotChange{{Process: "a", Name: "n", Version: version, Digests: digests}}})
	}
	var many []store.Digest
	for i := range 25 {
		many = append(many, store.Digest{Key: fmt.Sprintf("k%02d", i), Hash: []byte{byte(i)}})
	}
	if err := change(0, many...); err != nil {
		s.Fatal(err)
	}
	if err := change(1, store.Digest{Key: "k03"}, store.Digest{Key: "k04", Hash: []byte("new")}, store.Digest{Key: "é", Hash: []byte("last")}); err != nil {
		s.Fatal(err)
	}
	s.wantErr("an old version", change(1, store.Digest{Key: "k05"}), store.ErrConflict)
	var got []string
	for after := ""; ; {
		digests, version, err := s.Snapshot(ctx, "a", "n", after, 10)
		if err != nil || version != 2 {
			s.Fatalf("got version %d, %v, want 2", version, err)
		}
		for _, p := range digests {
			got = append(got, p.Key)
			after = p.Key
		}
		if len(digests) < 10 {
			break
		}
	}
	if len(got) != 25 || got[3] != "k04" || got[24] != "é" {
		s.Errorf("got %d keys %v, want 25 in order", len(got), got)
	}
	if digests, version, err := s.Snapshot(ctx, "a", "other", "", 10); len(digests) != 0 || version != 0 || err != nil {
		s.Errorf("an unknown snapshot: got %v, version %d, %v, want none", digests, version, err)
	}
}

// trimming checks that only the entries of a loop's elements are deleted from a
// journal, in packs and in rows.
func trimming(s *suite) {
	large := bytes.Repeat([]byte("x"), 100<<10)
	for _, suspended := range []bool{false, true} {
		seq := s.accept(s.message("a"))
		entry := func(path string, body []byte) store.Entry {
			return store.Entry{Path: path, Kind: "call", At: at(1), Body: body}
		}
		s.apply(&store.Change{Seq: seq, Entries: []store.Entry{entry("0", []byte("before")), entry("3[1]", []byte("page")), entry("3.steps.0[1][0]", large)}})
		if suspended {
			s.apply(&store.Change{Seq: seq, Disposition: &store.Suspension{State: store.Accepted}})
		}
		s.apply(&store.Change{Seq: seq, Entries: []store.Entry{entry("3.steps.0[2][0]", []byte("other occurrence")), entry("3.steps.2.then.0[1][7]", large), entry("30.steps.0[1][7]", []byte("another loop"))}})
		forget := []store.JournalTrim{{Scope: store.Scope{Within: "3.steps.", Iter: "[1]"}, Key: "3[1]"}}
		s.apply(&store.Change{Seq: seq, Trim: forget, Entries: []store.Entry{entry("3[1]", large), entry("3.steps.0[1][8]", []byte("next page"))}})
		s.apply(&store.Change{Seq: seq, Entries: []store.Entry{entry("4", nil)}})
		want := "0 3.steps.0[2][0] 30.steps.0[1][7] 3[1] 3.steps.0[1][8] 4"
		check := func(what string) {
			s.Helper()
			journal, err := s.Entries(ctx, seq)
			if err != nil {
				s.Fatal(err)
			}
			got := ""
			for i, x := range journal {
				if i > 0 {
					got += " "
				}
				got += x.Path
				if x.Path == "3[1]" && !bytes.Equal(x.Body, large) {
					s.Errorf("%s: the page entry has lost its body", what)
				}
			}
			s.equal(what, got, want)
		}
		check("trimmed")
		s.apply(&store.Change{Seq: seq, Disposition: &store.Suspension{State: store.Accepted}})
		check("suspended")
		s.apply(&store.Change{Seq: seq, Disposition: completed()})
		if x, err := s.Get(ctx, seq, at(0)); err != nil || x.Outcome == nil || len(x.Journal) != 6 {
			s.Errorf("after the end: got %+v, %v, want 6 entries", x, err)
		}
		if err := s.Apply(ctx, &store.Change{Seq: seq, Trim: forget}); !errors.Is(err, store.ErrEnded) {
			s.Errorf("got %v, want store.ErrEnded", err)
		}
	}
}
