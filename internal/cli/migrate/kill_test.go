package migrate_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"valence/atom/store"
)

// killUntilDone runs the program and kills it, later each time, until it ends by
// itself. It returns how often it was killed.
func killUntilDone(t *testing.T, args ...string) (kills int) {
	t.Helper()
	for wait := 30 * time.Millisecond; ; wait += time.Duration(rand.IntN(60)) * time.Millisecond {
		cmd := exec.Command(binary, args...)
		var out, errs writer
		cmd.Stdout, cmd.Stderr = &out, &errs
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		killed := time.AfterFunc(wait, func() { _ = cmd.Process.Kill() })
		err := cmd.Wait()
		if killed.Stop(); err == nil {
			return kills
		}
		if e := (*exec.ExitError)(nil); !errors.As(err, &e) || e.ExitCode() != -1 {
			t.Fatalf("after %d kills: %v\n%s", kills, err, errs)
		}
		kills++
	}
}

type writer []byte

func (w *writer) Write(b []byte) (int, error) { *w = append(*w, b...); return len(b), nil }

// many adds executions, live and ended, with journals.
func (f *filler) many(n int) {
	var all []*store.Arrival
	for range n {
		m := f.message("many")
		m.Lane = &store.Lane{Scope: "many", Key: fmt.Sprint(rand.IntN(50))}
		all = append(all, &store.Arrival{Message: m})
	}
	f.check("accept", f.AcceptAll(f.Context(), all))
	for i, a := range all {
		if i%3 == 0 {
			f.apply(&store.Change{Seq: a.Receipt.Seq, Entries: entries(i), Disposition: f.outcome(store.Completed)})
		}
	}
}

// A migration that is killed again and again ends with the same result, in both
// directions. Another run adds nothing.
func TestKilled(t *testing.T) {
	dir, back, database := filepath.Join(t.TempDir(), "data"), filepath.Join(t.TempDir(), "back"), pg.Database(t)
	f := &filler{TB: t}
	s := openFolder(t, dir)
	f.Store = s
	use(t, s, func() { f.fill(); f.many(3000) })
	want := folderSummary(t, dir)
	there := []string{"migrate", "--from", dir, "--to", address(t, database), "--group", "shop"}
	again := []string{"migrate", "--from", address(t, database), "--to", back, "--group", "shop"}
	t.Logf("killed %d times", killUntilDone(t, there...))
	wantEqual(t, "group", want, groupSummary(t, database))
	t.Logf("killed %d times", killUntilDone(t, again...))
	wantEqual(t, "folder", want, folderSummary(t, back))
	for _, args := range [][]string{there, again} {
		if out := mustRun(t, append(args, "--json")...); !contains(out, `"already": true`) {
			t.Errorf("another run: got %s, want that nothing was added", out)
		}
	}
	wantEqual(t, "group", want, groupSummary(t, database))
	wantEqual(t, "folder", want, folderSummary(t, back))
}

// A source that was used after an interruption is copied from the start.
func TestUsedBetween(t *testing.T) {
	dir, database := filepath.Join(t.TempDir(), "data"), pg.Database(t)
	f := &filler{TB: t}
	s := openFolder(t, dir)
	f.Store = s
	use(t, s, f.fill)
	args := []string{"migrate", "--from", dir, "--to", address(t, database), "--group", "shop"}
	mustRun(t, args...)
	// As if it had been killed before it marked the folder and ended.
	pg.Exec(t, database, "UPDATE atom_migration SET done = false")
	if err := os.Remove(filepath.Join(dir, "moved.json")); err != nil {
		t.Fatal(err)
	}
	s = openFolder(t, dir)
	f.Store = s
	use(t, s, func() {
		f.apply(&store.Change{Seq: f.first, Disposition: f.outcome(store.Completed)})
		f.accept(f.message("plain"))
	})
	want := folderSummary(t, dir)
	mustRun(t, args...)
	wantEqual(t, "group", want, groupSummary(t, database))
}

// An atom that was killed counts a crash for the executions that it ran, at its
// next start or at the first start of the group.
func TestUncleanFolder(t *testing.T) {
	dir, database := filepath.Join(t.TempDir(), "data"), pg.Database(t)
	f := &filler{TB: t}
	s := openFolder(t, dir)
	f.Store = s
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	f.fill()
	waiting := f.accept(f.message("crash"))
	f.apply(&store.Change{Seq: waiting, Disposition: &store.Suspension{State: store.Waiting, Due: now.Add(time.Hour)}})
	ran := []int64{f.accept(f.message("crash")), f.accept(f.message("crash")), waiting}
	f.apply(&store.Change{Seq: ran[1], Entries: entries(1), Disposition: &store.Suspension{State: store.Accepted}})
	for _, seq := range ran[:2] {
		s.Started(seq)
	}
	stop()
	if err := errors.Join(<-done, s.Abandon()); err != nil {
		t.Fatal(err)
	}
	want := crashes(t, openFolder(t, copyOf(t, dir)), ran)
	if !slices.Equal(want, []int{1, 1, 0}) {
		t.Fatalf("at the next start: got %v crashes, want 1, 1 and 0", want)
	}
	mustRun(t, "migrate", "--from", dir, "--to", address(t, database), "--group", "shop")
	if got := crashes(t, openMember(t, database), ran); !slices.Equal(got, want) {
		t.Errorf("in the group: got %v crashes, want %v", got, want)
	}
}

func crashes(t *testing.T, s store.Store, seqs []int64) (all []int) {
	use(t, s, func() {
		for _, seq := range seqs {
			x, err := s.Get(t.Context(), seq, now)
			if err != nil {
				t.Fatal(err)
			}
			all = append(all, x.Crashes)
		}
	})
	return all
}
