package sqlite_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"valence/atom/store"
	"valence/atom/store/sqlite"
)

// TestUnreferencedContentsAreDeleted checks that a content is deleted when
// nothing can refer to it any more, and not while an execution that uses it is
// live, unresolved or in the history.
func TestUnreferencedContentsAreDeleted(t *testing.T) {
	name := func(c string) string { return strings.Repeat(c, 32) }
	dir := t.TempDir()
	s := open(t, dir, sqlite.Options{})
	stop := startStore(t, s)
	put := func(names ...string) {
		t.Helper()
		for _, n := range names {
			if err := s.PutContent(ctx, n, []byte("content "+n)); err != nil {
				t.Fatal(err)
			}
		}
	}
	on := func(plan, env string) *store.Message {
		m := message([]byte(`{"n":1}`))
		m.Plan, m.Env = "process@"+plan, env
		return m
	}
	waiting, failing, ended, unused, env, next := name("a"), name("b"), name("c"), name("d"), name("e"), name("f")
	put(waiting, failing, ended, unused, env, next, "paused-triggers")
	live := accept(t, s, on(waiting, env))
	failed := accept(t, s, on(failing, env))
	o := outcome()
	o.Status, o.Fingerprint = store.Failed, "f"
	apply(t, s, &store.Change{Seq: failed, Disposition: o})
	apply(t, s, &store.Change{Seq: accept(t, s, on(ended, env)), Disposition: outcome()})
	if err := s.Archive(); err != nil {
		t.Fatal(err)
	}
	now := time.Now()
	sweep := func(days time.Duration) {
		t.Helper()
		if err := s.SweepContents(now.Add(days * anyDay)); err != nil {
			t.Fatal(err)
		}
	}
	there := func(when string, want ...string) {
		t.Helper()
		for _, n := range []string{waiting, failing, ended, unused, env, next, "paused-triggers"} {
			_, err := s.Content(ctx, n)
			if err != nil && !errors.Is(err, store.ErrUnknown) {
				t.Fatal(err)
			}
			if got, wanted := err == nil, strings.Contains(strings.Join(want, " "), n); got != wanted {
				t.Errorf("%s: %s is there: %v, want %v", when, n, got, wanted)
			}
		}
	}
	all := []string{waiting, failing, ended, unused, env, next, "paused-triggers"}
	sweep(0)
	sweep(100)
	there("in the run that deployed them", all...)

	stop()
	s = open(t, dir, sqlite.Options{})
	stop = startStore(t, s)
	put(next)
	sweep(0)
	sweep(2)
	there("while the history is there", all...)
	if err := s.PurgeAt(now.Add(40 * anyDay)); err != nil {
		t.Fatal(err)
	}
	sweep(40)
	there("without the history", waiting, failing, env, next, "paused-triggers")

	// One is needed again before it is deleted.
	apply(t, s, &store.Change{Seq: live, Disposition: outcome()})
	if err := s.Archive(); err != nil {
		t.Fatal(err)
	}
	sweep(40)
	again := accept(t, s, on(waiting, env))
	if err := s.PurgeAt(now.Add(80 * anyDay)); err != nil {
		t.Fatal(err)
	}
	sweep(80)
	there("needed again", waiting, failing, env, next, "paused-triggers")
	apply(t, s, &store.Change{Seq: again, Disposition: outcome()})

	// An idle one is deployed again.
	if err := s.Archive(); err != nil {
		t.Fatal(err)
	}
	sweep(80)
	put(waiting)
	if err := s.PurgeAt(now.Add(200 * anyDay)); err != nil {
		t.Fatal(err)
	}
	sweep(200)
	there("deployed again", waiting, failing, env, next, "paused-triggers")
	stop()
	s = open(t, dir, sqlite.Options{})
	defer startStore(t, s)()
	sweep(200)
	there("its time begins anew", waiting, failing, env, next, "paused-triggers")
	sweep(202)
	there("and is over", failing, env, "paused-triggers")
}
