package sqlite_test

import (
	"testing"

	"valence/atom/store"
	"valence/atom/store/sqlite"
)

// TestFailuresOfAnOlderVersion checks that unresolved failures of a database
// without the table of failures are counted after a start.
func TestFailuresOfAnOlderVersion(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir, sqlite.Options{})
	stop := startStore(t, s)
	fail := func() int64 {
		o := outcome()
		o.Status, o.Fingerprint, o.Error = store.Failed, "cause", []byte(`{}`)
		seq := accept(t, s, message([]byte("x")))
		apply(t, s, &store.Change{Seq: seq, Disposition: o})
		return seq
	}
	first := fail()
	fail()
	fail()
	if err := s.Resolve(ctx, &store.Resolution{Seq: first, Note: []byte("done")}); err != nil {
		t.Fatal(err)
	}
	if err := s.Exec("DELETE FROM failure"); err != nil {
		t.Fatal(err)
	}
	stop()
	for range 2 {
		s = open(t, dir, sqlite.Options{})
		stop = startStore(t, s)
		groups, err := s.Groups(ctx, "", 10)
		if err != nil || len(groups) != 1 || groups[0].Count != 2 || groups[0].Fingerprint != "cause" {
			t.Errorf("got %+v, %v, want one group of 2", groups, err)
		}
		stop()
	}
}
