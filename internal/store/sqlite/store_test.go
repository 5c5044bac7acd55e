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
	"valence/atom/atomtest"
	"valence/internal/sqlitedb"
	"valence/internal/sqlitedb/faultdisk"
	"valence/internal/store/sqlite"
)

func TestConforms(t *testing.T) {
	for _, c := range []struct {
		name        string
		tick, young time.Duration
	}{{"as it is", 0, 0}, {"moving at once", time.Millisecond, 20 * time.Millisecond}, {"with rows at once", time.Millisecond, 0}} {
		t.Run(c.name, func(t *testing.T) {
			atomtest.Conform(t, func(t *testing.T) atom.Store {
				s := open(t, t.TempDir(), sqlite.Options{})
				if c.tick > 0 {
					s.Hurry(c.tick, c.young)
				}
				return s
			})
		})
	}
}

func open(t testing.TB, dir string, o sqlite.Options) *sqlite.Store {
	t.Helper()
	s, err := sqlite.Open(dir, o)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func accept(t *testing.T, s *sqlite.Store, a *atom.Acceptance) int64 {
	t.Helper()
	r, err := s.Accept(ctx, a)
	if err != nil {
		t.Fatal(err)
	}
	return r.Seq
}

func apply(t *testing.T, s *sqlite.Store, c *atom.Change) {
	t.Helper()
	if err := s.Apply(ctx, c); err != nil {
		t.Fatal(err)
	}
}

func TestOneProcessPerFolder(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir, sqlite.Options{})
	defer running(t, s)()
	_, err := sqlite.Open(dir, sqlite.Options{})
	var held *sqlitedb.LockedError
	if !errors.As(err, &held) || held.PID != os.Getpid() {
		t.Fatal(err)
	}
}

func TestNewerSchemaIsRefused(t *testing.T) {
	dir := t.TempDir()
	running(t, open(t, dir, sqlite.Options{}))()
	many := make([]sqlitedb.Migration, 50)
	for i := range many {
		many[i].SQL = "SELECT 1"
	}
	db, err := sqlitedb.Open(filepath.Join(dir, "hot.db"), sqlitedb.Options{Migrations: many})
	if err != nil {
		t.Fatal(err)
	}
	db.Close()
	_, err = sqlite.Open(dir, sqlite.Options{})
	var newer *sqlitedb.NewerSchemaError
	if !errors.As(err, &newer) || newer.Have != 50 {
		t.Fatal(err)
	}
	if _, err = sqlite.Open(dir, sqlite.Options{}); !errors.As(err, &newer) {
		t.Error("the folder stayed locked:", err)
	}
}

// What was there at a clean stop is there at the next start, and no crash is
// held against anybody.
func TestRestart(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir, sqlite.Options{})
	stop := running(t, s)
	var seqs []int64
	for i := range 10 {
		seqs = append(seqs, accept(t, s, message(fmt.Appendf(nil, `{"n":%d}`, i))))
	}
	apply(t, s, &atom.Change{Seq: seqs[0], Entries: []atom.Entry{{Path: "0", Kind: "call", At: time.Now(), Body: []byte("x")}}})
	s.Started(seqs[0])
	apply(t, s, &atom.Change{Seq: seqs[1], Outcome: outcome()})
	apply(t, s, &atom.Change{Seq: seqs[2], Park: &atom.Park{State: atom.Held}})
	last := s.Reserve()
	stop()
	s = open(t, dir, sqlite.Options{})
	defer running(t, s)()
	if s.Stats().Unclean {
		t.Error("unclean")
	}
	if n := s.Reserve(); n != last+1 {
		t.Errorf("number %d after %d", n, last)
	}
	rs, err := s.Ready(ctx, "order-sync", 0, 100)
	if err != nil || len(rs) != 8 || rs[0].Unclean != 0 {
		t.Fatalf("%d ready, %v", len(rs), err)
	}
	if es, err := s.Entries(ctx, seqs[0]); err != nil || len(es) != 1 {
		t.Errorf("%d entries, %v", len(es), err)
	}
	counts, _ := s.Counts(ctx)
	if fmt.Sprint(counts) != "map[order-sync:map[accepted:8 held:1]]" {
		t.Error(counts)
	}
	if err := s.Apply(ctx, &atom.Change{Seq: seqs[1], Outcome: outcome()}); !errors.Is(err, atom.ErrEnded) {
		t.Error(err)
	}
}

// child is the test binary as a process that is killed: it runs a store in a
// folder and tells on its output what was acknowledged.
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

// A process that is killed and started again, again and again on one folder,
// loses nothing it acknowledged, and knows what ran.
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

// An execution that is found running at one unclean stop after the other has
// that counted; being parked in between clears it.
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
	crash(func(s *sqlite.Store) { unclean(s, 2, 1, 0) })
}

// A write that fails is answered with ErrUnavailable and leaves nothing, and
// the store goes on; three in a row end it.
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

// While the history cannot be written what ended stays where it is, and moves
// when it can.
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

// Acceptance stops first, then starting; what runs can end all the while.
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

// A disk that is really full, as far as this process is concerned.
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

// A backup taken while the store is in use is a store of a moment.
func TestBackup(t *testing.T) {
	dir := t.TempDir()
	s := open(t, filepath.Join(dir, "data"), sqlite.Options{})
	s.Hurry(time.Millisecond, 10*time.Millisecond)
	stop := running(t, s)
	c := &scene{t: t, s: s, parents: map[string]int64{}, replies: map[string]fact{}}
	if c.disk, _ = faultdisk.New(t.TempDir()); c.disk == nil {
		t.Fatal("no disk")
	}
	c.worker(1, 120)
	known := len(c.facts)
	var wg sync.WaitGroup
	for id := range 3 {
		wg.Go(func() { c.worker(10+id, 120) })
	}
	to := filepath.Join(dir, "backup")
	if err := s.Backup(ctx, to); err != nil {
		t.Fatal(err)
	}
	if err := s.Backup(ctx, to); err == nil {
		t.Error("over another one")
	}
	wg.Wait()
	stop()
	c.facts, c.replies, c.highest = c.facts[:known], nil, nil
	if err := c.verify(to, math.MaxInt); err != nil {
		t.Error(err)
	}
}

// Files of documents live as long as something in the database needs them.
func TestDocumentsAreDeleted(t *testing.T) {
	dir := t.TempDir()
	files := func() int {
		list, _ := filepath.Glob(filepath.Join(dir, "documents", "*", "*"))
		return len(list)
	}
	s := open(t, dir, sqlite.Options{})
	s.Hurry(time.Millisecond, 0)
	stop := running(t, s)
	big := bytes.Repeat([]byte("big"), 50_000)
	a, b := accept(t, s, message(big)), accept(t, s, message(big))
	if files() != 1 {
		t.Errorf("%d files of one document", files())
	}
	apply(t, s, &atom.Change{Seq: a, Outcome: outcome()})
	for n := int64(2); n != 1; {
		n, _ = s.Count("file")
	}
	if x, err := s.Get(ctx, b, time.Now()); err != nil || !bytes.Equal(x.Doc, big) {
		t.Error("the other one lost its document:", err)
	}
	apply(t, s, &atom.Change{Seq: b, Outcome: outcome()})
	for files() != 0 {
	}
	for _, seq := range []int64{a, b} {
		if x, err := s.Get(ctx, seq, time.Now()); err != nil || !bytes.Equal(x.Doc, big) {
			t.Error("the history lost a document:", err)
		}
	}
	stop()
	// What a crash left is swept at the next start.
	orphan := filepath.Join(dir, "documents", "ab", strings.Repeat("ab", 32))
	torn := filepath.Join(dir, "documents", "ab", "new-1-1")
	if err := os.MkdirAll(filepath.Dir(orphan), 0o700); err != nil {
		t.Fatal(err)
	}
	old := time.Now().Add(-time.Hour)
	for _, path := range []string{orphan, torn} {
		if err := errors.Join(os.WriteFile(path, big, 0o600), os.Chtimes(path, old, old)); err != nil {
			t.Fatal(err)
		}
	}
	s = open(t, dir, sqlite.Options{})
	stop = running(t, s)
	for files() != 0 {
	}
	stop()
}

// A clock that jumps purges nothing, and is told of.
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

// Messages that nothing is done to are in memory only up to a bound, and the
// rest is read when its turn comes.
func TestBacklogIsOnDisk(t *testing.T) {
	s := open(t, t.TempDir(), sqlite.Options{})
	s.Hurry(time.Millisecond, time.Second)
	defer running(t, s)()
	const n = 3000
	doc := bytes.Repeat([]byte("x"), 30<<10) // 90 MB in all
	var wg sync.WaitGroup
	for g := range 30 {
		wg.Go(func() {
			for i := range n / 30 {
				a := message(append(fmt.Appendf(nil, "%d-%d ", g, i), doc...))
				if _, err := s.Accept(ctx, a); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	seen, after := 0, int64(0)
	for {
		rs, err := s.Ready(ctx, "order-sync", after, 100)
		if err != nil {
			t.Fatal(err)
		}
		if len(rs) == 0 {
			break
		}
		for _, r := range rs {
			seen++
			after = r.Seq
			wg.Go(func() {
				if err := s.Apply(ctx, &atom.Change{Seq: r.Seq, Outcome: outcome()}); err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
	}
	if seen != n {
		t.Errorf("%d of %d", seen, n)
	}
	for _, table := range []string{"intake", "change", "execution", "journal"} {
		for left := int64(1); left > 0; {
			var err error
			if left, err = s.Count(table); err != nil {
				t.Fatal(err)
			}
		}
	}
}
