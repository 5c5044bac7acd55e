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

	"valence/atom"
	"valence/internal/sqlitedb"
	"valence/internal/sqlitedb/faultdisk"
	"valence/internal/store/sqlite"
)

func child(dir string) error {
	s, err := sqlite.Open(dir, sqlite.Options{})
	if err != nil {
		return err
	}
	s.Hurry(2*time.Millisecond, 30*time.Millisecond)
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
					continue // it runs for ever
				}
				h := message([]byte("child"))
				h.Process, h.Origin = "child", fmt.Sprint(r.Seq)
				if err := s.Apply(ctx, &atom.Change{Seq: r.Seq, Handoffs: []*atom.Acceptance{h}, Outcome: outcome()}); err != nil {
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
		if err := child(dir); err != nil {
			fmt.Fprintln(os.Stderr, err)
		}
		os.Exit(1)
	}
	os.Exit(m.Run())
}

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
	defer running(t, s)()
	if !s.Stats().Unclean {
		t.Error("not unclean")
	}
	suspects := 0
	for seq, what := range said {
		x, err := s.Get(ctx, seq, time.Now())
		if err != nil {
			t.Fatalf("%s %d: %v", what, seq, err)
		}
		if what == "ended" && (x.Outcome == nil || x.Outcome.Status != atom.Completed) {
			t.Errorf("%d had ended and is %s", seq, x.State)
		}
		if x.Outcome == nil && x.Unclean > 0 {
			suspects++
		}
		if seq%3 == 0 && x.Outcome != nil {
			t.Errorf("%d ended by itself", seq)
		}
	}
	if suspects == 0 {
		t.Error("nobody ran at the last stop")
	}
	children := map[string]int{}
	for cursor := ""; ; {
		page, next, err := s.List(ctx, atom.Filter{Process: "child"}, cursor, 500)
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
			t.Errorf("%s %d handed off %d times", what, seq, n)
		}
	}
}

func TestUncleanStops(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir, sqlite.Options{})
	stop := running(t, s)
	a, b, idle := accept(t, s, message([]byte("a"))), accept(t, s, message([]byte("b"))), accept(t, s, message([]byte("c")))
	stop()
	crash := func(run func(s *sqlite.Store)) {
		t.Helper()
		disk, err := faultdisk.New(dir)
		if err != nil {
			t.Fatal(err)
		}
		s := open(t, dir, sqlite.Options{VFS: disk.VFS(), FS: faulty{disk}})
		stop := running(t, s)
		run(s)
		next := t.TempDir()
		if err := disk.CutAt(disk.Len(), nil, next); err != nil {
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
			got = append(got, x.Unclean)
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
		apply(t, s, &atom.Change{Seq: b, Park: &atom.Park{State: atom.Waiting, Due: time.Now()}})
	})
	crash(func(s *sqlite.Store) { unclean(s, 2, 0, 0); s.Started(b) })
	crash(func(s *sqlite.Store) {
		unclean(s, 2, 1, 0)
		s.Started(a)
		apply(t, s, &atom.Change{Seq: a, Forget: []atom.Forget{{Scope: atom.Scope{Within: "0.steps."}, Key: "0"}}})
	})
	crash(func(s *sqlite.Store) { unclean(s, 1, 1, 0) }) // it has gone on, and was found running once since
}

func TestWriteFails(t *testing.T) {
	dir := t.TempDir()
	disk, err := faultdisk.New(dir)
	if err != nil {
		t.Fatal(err)
	}
	s := open(t, dir, sqlite.Options{VFS: disk.VFS(), FS: faulty{disk}})
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
		if _, err := s.Accept(ctx, message([]byte("refused"))); !errors.Is(err, atom.ErrUnavailable) {
			t.Errorf("%s of the database failed: %v", kind, err)
		}
		if err := s.Apply(ctx, &atom.Change{Seq: first, Entries: []atom.Entry{{Path: "0", Kind: "call", At: time.Now()}}}); err != nil {
			t.Errorf("after it: %v", err)
		}
		fail(kind, "documents", 1)
		if _, err := s.Accept(ctx, message(bytes.Repeat([]byte("refused"), 20_000))); !errors.Is(err, atom.ErrUnavailable) {
			t.Errorf("%s of a document failed: %v", kind, err)
		}
	}
	disk.Fail(nil)
	rs, err := s.Ready(ctx, "order-sync", 0, 10)
	if err != nil || len(rs) != 1 || rs[0].Seq != first {
		t.Errorf("%d ready, %v", len(rs), err)
	}
	fail(faultdisk.Sync, "hot.db-wal", math.MaxInt)
	if _, err := s.Accept(ctx, message([]byte("last"))); !errors.Is(err, atom.ErrUnavailable) {
		t.Error(err)
	}
	if err := s.Err(); !errors.Is(err, atom.ErrUnavailable) {
		t.Errorf("it takes more: %v", err)
	}
	if err := <-done; !errors.Is(err, atom.ErrUnavailable) {
		t.Errorf("Run gave %v", err)
	}
	disk.Fail(nil)
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	s = open(t, dir, sqlite.Options{})
	defer running(t, s)()
	if !s.Stats().Unclean {
		t.Error("the next start takes that for a clean stop")
	}
}

func TestHistoryFails(t *testing.T) {
	dir := t.TempDir()
	disk, err := faultdisk.New(dir)
	if err != nil {
		t.Fatal(err)
	}
	s := open(t, dir, sqlite.Options{VFS: disk.VFS(), FS: faulty{disk}})
	defer running(t, s)()
	disk.Fail(func(op faultdisk.Op) error {
		if strings.Contains(op.Path, "history") {
			return syscall.EIO
		}
		return nil
	})
	seq := accept(t, s, message([]byte("x")))
	apply(t, s, &atom.Change{Seq: seq, Outcome: outcome()})
	ran := &atom.Finished{Record: atom.Record{Acceptance: *message([]byte("y"))}, Outcome: *outcome()}
	ran.Seq = s.Reserve()
	s.Record(ran)
	for s.Stats().Dropped == 0 {
		s.Move()
	}
	if x, err := s.Get(ctx, seq, time.Now()); err != nil || x.Outcome == nil {
		t.Errorf("%+v, %v", x, err)
	}
	disk.Fail(nil)
	for n := int64(1); n > 0; {
		if n, err = s.Count("intake"); err != nil {
			t.Fatal(err)
		}
	}
	if x, err := s.Get(ctx, seq, time.Now()); err != nil || x.Outcome == nil {
		t.Errorf("%+v, %v", x, err)
	}
	if _, err := s.Get(ctx, ran.Seq, time.Now()); !errors.Is(err, atom.ErrUnknown) {
		t.Errorf("what was dropped: %v", err)
	}
}

func TestDiskFillsUp(t *testing.T) {
	var mu sync.Mutex
	free := int64(50 << 30)
	set := func(n int64) { mu.Lock(); free = n; mu.Unlock() }
	s := open(t, t.TempDir(), sqlite.Options{Free: func(string) (int64, int64, error) {
		mu.Lock()
		defer mu.Unlock()
		return free, 100 << 30, nil
	}})
	defer running(t, s)()
	a, b := accept(t, s, message([]byte("a"))), accept(t, s, message([]byte("b")))
	until := func(level sqlitedb.Level) {
		t.Helper()
		if err := s.Look(); err != nil || s.Stats().Space != level {
			t.Fatalf("level %d, %v, want %d", s.Stats().Space, err, level)
		}
	}
	set(900 << 20)
	until(sqlitedb.Low)
	if _, err := s.Accept(ctx, message([]byte("c"))); !errors.Is(err, atom.ErrFull) {
		t.Error(err)
	}
	if err := s.Err(); !errors.Is(err, atom.ErrFull) {
		t.Error(err)
	}
	if rs, err := s.Ready(ctx, "order-sync", 0, 10); err != nil || len(rs) != 2 {
		t.Error(len(rs), err)
	}
	set(100 << 20)
	until(sqlitedb.Scarce)
	if _, err := s.Ready(ctx, "order-sync", 0, 10); !errors.Is(err, atom.ErrFull) {
		t.Error(err)
	}
	apply(t, s, &atom.Change{Seq: a, Outcome: outcome()})
	set(1 << 20)
	until(sqlitedb.Release)
	apply(t, s, &atom.Change{Seq: b, Outcome: outcome()})
	set(50 << 30)
	until(sqlitedb.Roomy)
	accept(t, s, message([]byte("d")))
}

func TestNoRoomForFiles(t *testing.T) {
	dir := t.TempDir()
	disk, err := faultdisk.New(dir)
	if err != nil {
		t.Fatal(err)
	}
	s := open(t, dir, sqlite.Options{VFS: disk.VFS(), FS: faulty{disk}})
	defer running(t, s)()
	kept := accept(t, s, message([]byte("kept")))
	disk.Fail(func(op faultdisk.Op) error {
		if op.Kind == faultdisk.Write {
			return syscall.ENOSPC
		}
		return nil
	})
	if _, err := s.Accept(ctx, message([]byte("x"))); !errors.Is(err, atom.ErrFull) && !errors.Is(err, atom.ErrUnavailable) {
		t.Error(err)
	}
	if err := s.Err(); !errors.Is(err, atom.ErrFull) {
		t.Error(err)
	}
	disk.Fail(nil)
	for s.Err() != nil { // it looks each second
	}
	apply(t, s, &atom.Change{Seq: kept, Outcome: outcome()})
	if rs, err := s.Ready(ctx, "order-sync", 0, 10); err != nil || len(rs) != 0 {
		t.Error(len(rs), err)
	}
}

func TestClockJumps(t *testing.T) {
	s := open(t, t.TempDir(), sqlite.Options{})
	a := message([]byte("x"))
	a.Dedupe = &atom.Dedupe{Key: "k", Until: time.Now().Add(time.Hour)}
	s.Jump(400 * 24 * time.Hour)
	defer running(t, s)()
	seq := accept(t, s, a)
	apply(t, s, &atom.Change{Seq: seq, Outcome: outcome()})
	if err := s.Move(); err != nil {
		t.Fatal(err)
	}
	if err := s.Purge(); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Get(ctx, seq, time.Now()); err != nil {
		t.Error(err)
	}
	if r, err := s.Accept(ctx, a); err != nil || !r.Duplicate {
		t.Errorf("the key was forgotten: %+v, %v", r, err)
	}
	if st := s.Stats(); st.ClockJumps != 1 || !st.PurgeSuspended {
		t.Errorf("%+v", st)
	}
}
