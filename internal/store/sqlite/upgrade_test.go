package sqlite_test

import (
	"testing"

	"valence/atom"
	"valence/internal/store/sqlite"
)

// Failures from before they were counted by cause are counted after a start;
// those that were dealt with are not.
func TestFailuresOfAnOlderVersion(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir, sqlite.Options{})
	stop := running(t, s)
	fail := func() int64 {
		o := outcome()
		o.Status, o.Fingerprint, o.Error = atom.Failed, "cause", []byte(`{}`)
		seq := accept(t, s, message([]byte("x")))
		apply(t, s, &atom.Change{Seq: seq, Outcome: o})
		return seq
	}
	first := fail()
	fail()
	fail()
	if err := s.Resolve(ctx, &atom.Resolution{Seq: first, Note: []byte("done")}); err != nil {
		t.Fatal(err)
	}
	if err := s.Exec("DELETE FROM failure"); err != nil {
		t.Fatal(err)
	}
	stop()
	for range 2 {
		s = open(t, dir, sqlite.Options{})
		stop = running(t, s)
		groups, err := s.Groups(ctx, "", 10)
		if err != nil || len(groups) != 1 || groups[0].Count != 2 || groups[0].Fingerprint != "cause" {
			t.Errorf("%+v, %v", groups, err)
		}
		stop()
	}
}
