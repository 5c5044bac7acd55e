package sqlite_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"valence/atom/store"
	"valence/atom/store/sqlite"
	"valence/internal/sqlitedb"
	"valence/internal/sqlitedb/faultdisk"
)

// runChild runs a store in dir until it is killed, and prints acknowledgements.
func runChild(dir string) error {
	s, err := sqlite.Open(dir, sqlite.Options{})
	if err != nil {
		return err
	}
	s.SetArchiveTimes(2*time.Millisecond, 30*time.Millisecond)
	go s.Run(ctx)
	var mu sync.Mutex
	say := func(format string, args ...any) {
		mu.Lock()
		defer mu.Unlock()
		fmt.Printf(format+"\n", args...)
	}
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for {
				r, err := s.Accept(ctx, message(bytes.Repeat([]byte("x"), 900)))
				if err != nil {
					return
				}
				say("accepted %d", r.Seq)
				s.Started(r.Seq)
				if r.Seq%3 == 0 {
					continue // it stays running
				}
				h := message([]byte("child"))
				h.Process, h.Origin = "child", fmt.Sprint(r.Seq)
				if err := s.Apply(ctx, &store.Change{Seq: r.Seq, Handoffs: []*store.Message{h}, Disposition: outcome()}); err != nil {
					return
				}
				say("ended %d", r.Seq)
			}
		})
	}
	wg.Wait()
	return nil
}

func TestMain(m *testing.M) {
	if dir := os.Getenv("VALENCE_STORE_CHILD"); dir != "" {
		if err := runChild(dir); err != nil {
			fmt.Fprintln(os.Stderr, err)
		}
		os.Exit(1)
	}
	os.Exit(m.Run())
}

// TestKilled checks that a process that is killed repeatedly loses nothing that
// it acknowledged, and counts crashes of running executions.
func TestKilled(t *testing.T) {
	dir := t.TempDir()
	said := map[int64]string{}
	for round := range rounds(t, 4) {
		cmd := exec.Command(os.Args[0])
		cmd.Env = append(os.Environ(), "VALENCE_STORE_CHILD="+dir)
		cmd.Stderr = os.Stderr
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		for range 200 + 371*round%1500 {
			var what string
			var seq int64
			if _, err := fmt.Fscanln(out, &what, &seq); err != nil {
				t.Fatal(err)
			}
			said[seq] = what
		}
		cmd.Process.Signal(syscall.SIGKILL)
		cmd.Wait()
	}
	s := open(t, dir, sqlite.Options{})
	defer startStore(t, s)()
	if !s.Stats().Unclean {
		t.Error("got a clean stop, want an unclean one")
	}
	suspects := 0
	for seq, what := range said {
		x, err := s.Get(ctx, seq, time.Now())
		if err != nil {
			t.Fatalf("%s %d: %v", what, seq, err)
		}
		if what == "ended" && (x.Outcome == nil || x.Outcome.Status != store.Completed) {
			t.Errorf("execution %d: got state %q, want it completed", seq, x.State)
		}
		if x.Outcome == nil && x.Crashes > 0 {
			suspects++
		}
		if seq%3 == 0 && x.Outcome != nil {
			t.Errorf("execution %d: got outcome %v, want it live", seq, x.Outcome)
		}
	}
	if suspects == 0 {
		t.Error("got no crashes, want some of executions that were running")
	}
	children := map[string]int{}
	for cursor := ""; ; {
		page, next, err := s.List(ctx, store.Filter{Process: "child"}, cursor, 500)
		if err != nil {
			t.Fatal(err)
		}
		for _, x := range page {
			children[x.Origin]++
		}
		if cursor = next; cursor == "" {
			break
		}
	}
	for seq, what := range said {
		if n := children[fmt.Sprint(seq)]; n > 1 || what == "ended" && n != 1 {
			t.Errorf("%s %d: got %d hand-offs, want at most one, and one if it ended", what, seq, n)
		}
	}
}

// TestUncleanStops checks that unclean stops increment the crash count of a
// running execution. Progress resets it: journal entries, a suspension or a
// trim. An unclean stop that interrupted only others, for the first time,
// decrements the count of a suspect.
func TestUncleanStops(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir, sqlite.Options{})
	stop := startStore(t, s)
	a, b, idle := accept(t, s, message([]byte("a"))), accept(t, s, message([]byte("b"))), accept(t, s, message([]byte("c")))
	stop()
	crash := func(run func(s *sqlite.Store)) {
		t.Helper()
		disk, err := faultdisk.New(dir)
		if err != nil {
			t.Fatal(err)
		}
		s := open(t, dir, sqlite.Options{VFS: disk.VFS(), FS: faultFS{disk}})
		stop := startStore(t, s)
		run(s)
		next := t.TempDir()
		if err := disk.CutAt(disk.OpCount(), nil, next); err != nil {
			t.Fatal(err)
		}
		notes, err := os.ReadFile(filepath.Join(dir, "running"))
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(next, "running"), notes, 0o600); err != nil {
			t.Fatal(err)
		}
		stop()
		dir = next
	}
	unclean := func(s *sqlite.Store, want ...int) {
		t.Helper()
		var got []int
		for _, seq := range []int64{a, b, idle} {
			x, err := s.Get(ctx, seq, time.Now())
			if err != nil {
				t.Fatal(err)
			}
			got = append(got, x.Crashes)
		}
		if fmt.Sprint(got) != fmt.Sprint(want) {
			t.Errorf("unclean stops %v, want %v", got, want)
		}
	}
	crash(func(s *sqlite.Store) { unclean(s, 0, 0, 0); s.Started(a); s.Started(b) })
	crash(func(s *sqlite.Store) {
		unclean(s, 1, 1, 0)
		s.Started(a)
		s.Started(b)
		apply(t, s, &store.Change{Seq: b, Disposition: &store.Suspension{State: store.Waiting, Due: time.Now()}})
	})
	crash(func(s *sqlite.Store) { unclean(s, 2, 0, 0); s.Started(b) })
	crash(func(s *sqlite.Store) {
		unclean(s, 1, 1, 0)
		s.Started(a)
		apply(t, s, &store.Change{Seq: a, Trim: []store.JournalTrim{{Scope: store.Scope{Within: "0.steps."}, Key: "0"}}})
	})
	crash(func(s *sqlite.Store) { // one crash since its journal was trimmed
		unclean(s, 1, 1, 0)
		s.Started(a)
		s.Started(b)
		apply(t, s, &store.Change{Seq: a, Entries: []store.Entry{{Path: "7", Kind: "call", At: time.Now()}}})
	})
	crash(func(s *sqlite.Store) { unclean(s, 1, 2, 0) }) // one crash since it last made progress
}

// TestSuspectsWait checks that an execution that two unclean stops interrupted
// becomes ready only after a while, and is not counted meanwhile. A stop that
// interrupts nothing makes it ready at once.
func TestSuspectsWait(t *testing.T) {
	dir := t.TempDir()
	var seq int64
	life := func(run func(*sqlite.Store)) {
		t.Helper()
		s := open(t, dir, sqlite.Options{})
		runCtx, cancel := context.WithCancel(ctx)
		done := make(chan error, 1)
		go func() { done <- s.Run(runCtx) }()
		run(s)
		if err := s.Exec("UPDATE setting SET value = value - 4000000000 WHERE name = 'started'"); err != nil { // it took 4 s
			t.Error(err)
		}
		cancel()
		if err := errors.Join(<-done, s.Abandon()); err != nil {
			t.Fatal(err)
		}
	}
	check := func(s *sqlite.Store, crashes int, after time.Duration, ready int) {
		t.Helper()
		x, err := s.Get(ctx, seq, time.Now())
		if err != nil {
			t.Fatal(err)
		}
		now, err := s.Ready(ctx, "order-sync", 0, 10)
		if err != nil {
			t.Fatal(err)
		}
		due, _, err := s.Due(ctx, "order-sync", time.Now().Add(after), 10)
		if err != nil {
			t.Fatal(err)
		}
		if n := len(now) + len(due); x.Crashes != crashes || n != ready {
			t.Errorf("got %d crashes and %d ready after %v, want %d and %d", x.Crashes, n, after, crashes, ready)
		}
	}
	life(func(s *sqlite.Store) { seq = accept(t, s, message([]byte("x"))); s.Started(seq) })
	life(func(s *sqlite.Store) { check(s, 1, 0, 1); s.Started(seq) })
	life(func(s *sqlite.Store) { // it waits for twice 4 s
		check(s, 2, 5*time.Second, 0)
		check(s, 2, 21*time.Second, 1)
	})
	life(func(s *sqlite.Store) { check(s, 1, 0, 1); s.Started(seq) }) // the stop before interrupted nothing
	life(func(s *sqlite.Store) { check(s, 2, 5*time.Second, 0); s.Started(seq) })
	life(func(s *sqlite.Store) { check(s, 1, 0, 1) }) // a suspended execution does not run
}

// TestSlowReadsAreUnavailable checks that a read beyond its time is an error after
// which the caller may try again.
func TestSlowReadsAreUnavailable(t *testing.T) {
	s := open(t, t.TempDir(), sqlite.Options{})
	defer startStore(t, s)()
	const want = "the store is unavailable: reading took longer than 2s: try again, or ask for less"
	if err := s.ReadForever(); !errors.Is(err, store.ErrUnavailable) || err.Error() != want {
		t.Errorf("got %v, want %s", err, want)
	}
}

// TestWriteFails checks that a failed write returns ErrUnavailable and has no
// effect, and the store goes on. Three consecutive failures end Run.
func TestWriteFails(t *testing.T) {
	dir := t.TempDir()
	disk, err := faultdisk.New(dir)
	if err != nil {
		t.Fatal(err)
	}
	s := open(t, dir, sqlite.Options{VFS: disk.VFS(), FS: faultFS{disk}})
	runCtx, cancel := context.WithCancel(ctx)
	defer cancel()
	done := make(chan error, 1)
	go func() { done <- s.Run(runCtx) }()
	first := accept(t, s, message([]byte("first")))
	fail := func(kind faultdisk.Kind, in string, times int) {
		disk.Fail(func(op faultdisk.Op) error {
			if op.Kind == kind && strings.Contains(op.Path, in) && times > 0 {
				times--
				return syscall.EIO
			}
			return nil
		})
	}
	for _, kind := range []faultdisk.Kind{faultdisk.Write, faultdisk.Sync} {
		fail(kind, "hot.db-wal", 1)
		if _, err := s.Accept(ctx, message([]byte("refused"))); !errors.Is(err, store.ErrUnavailable) {
			t.Errorf("a failed %s of the database: got %v, want ErrUnavailable", kind, err)
		}
		if err := s.Apply(ctx, &store.Change{Seq: first, Entries: []store.Entry{{Path: "0", Kind: "call", At: time.Now()}}}); err != nil {
			t.Errorf("a change after the failure: got %v, want none", err)
		}
		fail(kind, "documents", 1)
		if _, err := s.Accept(ctx, message(bytes.Repeat([]byte("refused"), 20_000))); !errors.Is(err, store.ErrUnavailable) {
			t.Errorf("a failed %s of a document: got %v, want ErrUnavailable", kind, err)
		}
	}
	disk.Fail(nil)
	rs, err := s.Ready(ctx, "order-sync", 0, 10)
	if err != nil || len(rs) != 1 || rs[0].Seq != first {
		t.Errorf("got %d ready executions, %v, want the first one", len(rs), err)
	}
	fail(faultdisk.Sync, "hot.db-wal", math.MaxInt)
	if _, err := s.Accept(ctx, message([]byte("last"))); !errors.Is(err, store.ErrUnavailable) {
		t.Errorf("got %v, want store.ErrUnavailable", err)
	}
	if err := s.Err(); !errors.Is(err, store.ErrUnavailable) {
		t.Errorf("Err: got %v, want ErrUnavailable", err)
	}
	if err := <-done; !errors.Is(err, store.ErrUnavailable) {
		t.Errorf("Run: got %v, want ErrUnavailable", err)
	}
	disk.Fail(nil)
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	s = open(t, dir, sqlite.Options{})
	defer startStore(t, s)()
	if !s.Stats().Unclean {
		t.Error("got a clean stop after a failed one, want an unclean one")
	}
}

// TestHistoryFails checks that while the history cannot be written, ended
// executions stay in the database. They are archived later.
func TestHistoryFails(t *testing.T) {
	dir := t.TempDir()
	disk, err := faultdisk.New(dir)
	if err != nil {
		t.Fatal(err)
	}
	s := open(t, dir, sqlite.Options{VFS: disk.VFS(), FS: faultFS{disk}})
	defer startStore(t, s)()
	disk.Fail(func(op faultdisk.Op) error {
		if strings.Contains(op.Path, "history") {
			return syscall.EIO
		}
		return nil
	})
	seq := accept(t, s, message([]byte("x")))
	apply(t, s, &store.Change{Seq: seq, Disposition: outcome()})
	ran := &store.Finished{Record: store.Record{Message: *message([]byte("y"))}, Outcome: *outcome()}
	ran.Seq = s.Reserve()
	s.Record(ran)
	for s.Stats().Dropped == 0 {
		s.Archive()
	}
	if x, err := s.Get(ctx, seq, time.Now()); err != nil || x.Outcome == nil {
		t.Errorf("got %+v, %v, want an outcome", x, err)
	}
	disk.Fail(nil)
	for n := int64(1); n > 0; {
		if n, err = s.CountRows("intake"); err != nil {
			t.Fatal(err)
		}
	}
	if x, err := s.Get(ctx, seq, time.Now()); err != nil || x.Outcome == nil {
		t.Errorf("after archiving: got %+v, %v, want an outcome", x, err)
	}
	if _, err := s.Get(ctx, ran.Seq, time.Now()); !errors.Is(err, store.ErrUnknown) {
		t.Errorf("a dropped execution: got %v, want ErrUnknown", err)
	}
}

// TestDiskFillsUp checks that accepting stops first, then starting. Running
// executions can always end.
func TestDiskFillsUp(t *testing.T) {
	var mu sync.Mutex
	free := int64(50 << 30)
	set := func(n int64) { mu.Lock(); free = n; mu.Unlock() }
	s := open(t, t.TempDir(), sqlite.Options{Free: func(string) (int64, int64, error) {
		mu.Lock()
		defer mu.Unlock()
		return free, 100 << 30, nil
	}})
	defer startStore(t, s)()
	a, b := accept(t, s, message([]byte("a"))), accept(t, s, message([]byte("b")))
	until := func(level sqlitedb.Level) {
		t.Helper()
		if err := s.CheckSpace(); err != nil || s.Stats().Space != level {
			t.Fatalf("level %d, %v, want %d", s.Stats().Space, err, level)
		}
	}
	set(4 << 30)
	until(sqlitedb.Low)
	if _, err := s.Accept(ctx, message([]byte("c"))); !errors.Is(err, store.ErrFull) {
		t.Errorf("got %v, want store.ErrFull", err)
	}
	if err := s.Err(); !errors.Is(err, store.ErrFull) {
		t.Errorf("got %v, want store.ErrFull", err)
	}
	if rs, err := s.Ready(ctx, "order-sync", 0, 10); err != nil || len(rs) != 2 {
		t.Errorf("got %d ready executions, %v, want 2", len(rs), err)
	}
	set(100 << 20)
	until(sqlitedb.Scarce)
	if _, err := s.Ready(ctx, "order-sync", 0, 10); !errors.Is(err, store.ErrFull) {
		t.Errorf("got %v, want store.ErrFull", err)
	}
	apply(t, s, &store.Change{Seq: a, Disposition: outcome()})
	set(1 << 20)
	until(sqlitedb.Release)
	apply(t, s, &store.Change{Seq: b, Disposition: outcome()})
	set(50 << 30)
	until(sqlitedb.Roomy)
	accept(t, s, message([]byte("d")))
}

// TestNoRoomForFiles checks that the store recovers from a full disk.
func TestNoRoomForFiles(t *testing.T) {
	dir := t.TempDir()
	disk, err := faultdisk.New(dir)
	if err != nil {
		t.Fatal(err)
	}
	s := open(t, dir, sqlite.Options{VFS: disk.VFS(), FS: faultFS{disk}})
	defer startStore(t, s)()
	kept := accept(t, s, message([]byte("kept")))
	disk.Fail(func(op faultdisk.Op) error {
		if op.Kind == faultdisk.Write {
			return syscall.ENOSPC
		}
		return nil
	})
	if _, err := s.Accept(ctx, message([]byte("x"))); !errors.Is(err, store.ErrFull) && !errors.Is(err, store.ErrUnavailable) {
		t.Error(err)
	}
	if err := s.Err(); !errors.Is(err, store.ErrFull) {
		t.Errorf("got %v, want store.ErrFull", err)
	}
	disk.Fail(nil)
	for s.Err() != nil { // space is checked every second
	}
	apply(t, s, &store.Change{Seq: kept, Disposition: outcome()})
	if rs, err := s.Ready(ctx, "order-sync", 0, 10); err != nil || len(rs) != 0 {
		t.Errorf("got %d ready executions, %v, want none", len(rs), err)
	}
}
