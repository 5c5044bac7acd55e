package atomtest

import (
	"bytes"
	"errors"
	"fmt"

	"valence/atom"
)

// states: what a commit keeps for executions to come, and who comes too late.
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
	set := func(version int64, pairs ...string) *atom.Memory {
		c := atom.StateChange{Process: "a", Version: version}
		for i := 0; i < len(pairs); i += 2 {
			v := []byte(pairs[i+1])
			if len(v) == 0 {
				v = nil
			}
			c.Set = append(c.Set, atom.Property{Name: pairs[i], Value: v})
		}
		return &atom.Memory{States: []atom.StateChange{c}}
	}
	s.is("nothing yet", shown("a"), "0")
	first := s.accept(s.message("a"))
	s.apply(&atom.Change{Seq: first, Outcome: completed(), Memory: set(-1, "x", "1", "y", `"two"`)})
	s.is("with the end", shown("a"), `1 x=1 y="two"`)
	s.is("of another", shown("b"), "0")

	second := s.accept(s.message("a"))
	s.fails("an old version", s.Apply(ctx, &atom.Change{Seq: second, Outcome: completed(), Memory: set(0, "x", "9"), Entries: []atom.Entry{{Path: "p", Kind: "call", At: at(1)}},
		Handoffs: []*atom.Acceptance{s.message("b")}}), atom.ErrConflict)
	s.is("nothing is changed", shown("a"), `1 x=1 y="two"`)
	x, err := s.Get(ctx, second, at(0))
	if err != nil || x.Outcome != nil || len(x.Journal) != 0 || len(s.ready("b", 0, 9)) != 0 {
		s.Errorf("the change that was refused did something: %+v, %v", x, err)
	}
	s.apply(&atom.Change{Seq: second, Outcome: completed(), Memory: set(1, "x", "2", "y", "")})
	s.is("the version of now", shown("a"), "2 x=2")
	s.fails("one that ended", s.Apply(ctx, &atom.Change{Seq: second, Memory: set(-1, "x", "3")}), atom.ErrEnded)

	if err := s.Remember(ctx, set(2, "z", "{}")); err != nil {
		s.Error(err)
	}
	s.fails("in memory, too late", s.Remember(ctx, set(2, "z", "1")), atom.ErrConflict)
	s.is("in memory", shown("a"), "3 x=2 z={}")
}

// snapshots: prints of records, page by page, in the order of keys.
func snapshots(s *suite) {
	change := func(version int64, prints ...atom.Print) error {
		return s.Remember(ctx, &atom.Memory{Snapshots: []atom.SnapshotChange{{Process: "a", Name: "n", Version: version, Prints: prints}}})
	}
	var many []atom.Print
	for i := range 25 {
		many = append(many, atom.Print{Key: fmt.Sprintf("k%02d", i), Hash: []byte{byte(i)}})
	}
	if err := change(0, many...); err != nil {
		s.Fatal(err)
	}
	if err := change(1, atom.Print{Key: "k03"}, atom.Print{Key: "k04", Hash: []byte("new")}, atom.Print{Key: "é", Hash: []byte("last")}); err != nil {
		s.Fatal(err)
	}
	s.fails("too late", change(1, atom.Print{Key: "k05"}), atom.ErrConflict)
	var got []string
	for after := ""; ; {
		prints, version, err := s.Snapshot(ctx, "a", "n", after, 10)
		if err != nil || version != 2 {
			s.Fatal(version, err)
		}
		for _, p := range prints {
			got = append(got, p.Key)
			after = p.Key
		}
		if len(prints) < 10 {
			break
		}
	}
	if len(got) != 25 || got[3] != "k04" || got[24] != "é" {
		s.Errorf("%d: %v", len(got), got)
	}
	if prints, version, err := s.Snapshot(ctx, "a", "other", "", 10); len(prints) != 0 || version != 0 || err != nil {
		s.Error(prints, version, err)
	}
}

// forgetting: entries of a loop's elements go, in every form in which a store
// may keep a journal, and nothing else.
func forgetting(s *suite) {
	large := bytes.Repeat([]byte("x"), 100<<10)
	for _, parked := range []bool{false, true} {
		seq := s.accept(s.message("a"))
		entry := func(path string, body []byte) atom.Entry {
			return atom.Entry{Path: path, Kind: "call", At: at(1), Body: body}
		}
		s.apply(&atom.Change{Seq: seq, Entries: []atom.Entry{entry("0", []byte("before")), entry("3[1]", []byte("page")), entry("3.steps.0[1][0]", large)}})
		if parked {
			s.apply(&atom.Change{Seq: seq, Park: &atom.Park{State: atom.Accepted}})
		}
		s.apply(&atom.Change{Seq: seq, Entries: []atom.Entry{entry("3.steps.0[2][0]", []byte("other occurrence")), entry("3.steps.2.then.0[1][7]", large), entry("30.steps.0[1][7]", []byte("another loop"))}})
		forget := []atom.Forget{{Scope: atom.Scope{Within: "3.steps.", Iter: "[1]"}, Key: "3[1]"}}
		s.apply(&atom.Change{Seq: seq, Forget: forget, Entries: []atom.Entry{entry("3[1]", large), entry("3.steps.0[1][8]", []byte("next page"))}})
		s.apply(&atom.Change{Seq: seq, Entries: []atom.Entry{entry("4", nil)}})
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
					s.Errorf("%s: its page is lost", what)
				}
			}
			s.is(what, got, want)
		}
		check("forgotten")
		s.apply(&atom.Change{Seq: seq, Park: &atom.Park{State: atom.Accepted}})
		check("parked")
		s.apply(&atom.Change{Seq: seq, Outcome: completed()})
		if x, err := s.Get(ctx, seq, at(0)); err != nil || x.Outcome == nil || len(x.Journal) != 6 {
			s.Errorf("after the end: %+v, %v", x, err)
		}
		if err := s.Apply(ctx, &atom.Change{Seq: seq, Forget: forget}); !errors.Is(err, atom.ErrEnded) {
			s.Error(err)
		}
	}
}
