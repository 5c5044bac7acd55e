package sqlitedb_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"valence/internal/sqlitedb"
	"valence/internal/sqlitedb/faultdisk"
)

// TestRefusedIsNotStored checks that a failed write or flush returns
// ErrUnavailable, and nothing of it is in the file, whatever happens to the
// process next.
func TestRefusedIsNotStored(t *testing.T) {
	for _, kind := range []faultdisk.Kind{faultdisk.Write, faultdisk.Sync} {
		t.Run(string(kind), func(t *testing.T) {
			dir := t.TempDir()
			disk := faulty(t, dir)
			var seen []error
			db, stop := start(t, filepath.Join(dir, "x.db"), sqlitedb.Options{VFS: disk.VFS(), OnFailure: func(err error) { seen = append(seen, err) }})
			if err := db.Do(context.Background(), insert(1, "kept")); err != nil {
				t.Fatal(err)
			}
			failed := false
			disk.Fail(func(op faultdisk.Op) error {
				if op.Kind == kind && strings.HasSuffix(op.Path, "-wal") && !failed {
					failed = true
					return syscall.EIO
				}
				return nil
			})
			err := db.Do(context.Background(), insert(2, strings.Repeat("refused", 2000)))
			if !errors.Is(err, sqlitedb.ErrUnavailable) || errors.Is(err, sqlitedb.ErrFull) {
				t.Fatal(err)
			}
			at := disk.OpCount()
			if err := db.Do(context.Background(), insert(3, "after")); err != nil {
				t.Fatal(err)
			}
			// As after SIGKILL right after the refusal, and as after a power
			// cut.
			for i := range 20 {
				cut := t.TempDir()
				r := rand.New(rand.NewPCG(1, uint64(i)))
				if i == 0 {
					r = nil
				}
				if err := disk.CutAt(at, r, cut); err != nil {
					t.Fatal(err)
				}
				if found := reopen(t, filepath.Join(cut, "x.db")); !found[1] || found[2] {
					t.Fatalf("got %v, want one row that was acknowledged", found)
				}
			}
			if err := stop(); err != nil {
				t.Fatal(err)
			}
			if len(seen) != 2 || seen[1] != nil {
				t.Errorf("OnFailure: got %v, want a failure and a recovery", seen)
			}
		})
	}
}

func TestThreeFailuresEndIt(t *testing.T) {
	dir := t.TempDir()
	disk := faulty(t, dir)
	db, stop := start(t, filepath.Join(dir, "x.db"), sqlitedb.Options{VFS: disk.VFS()})
	disk.Fail(func(op faultdisk.Op) error {
		if op.Kind == faultdisk.Sync {
			return syscall.EIO
		}
		return nil
	})
	if err := db.Do(context.Background(), insert(1, "x")); !errors.Is(err, sqlitedb.ErrUnavailable) {
		t.Fatalf("got %v, want sqlitedb.ErrUnavailable", err)
	}
	if err := db.Err(); !errors.Is(err, sqlitedb.ErrUnavailable) {
		t.Errorf("the next operation: got %v, want ErrUnavailable", err)
	}
	disk.Fail(nil)
	if err := stop(); !errors.Is(err, sqlitedb.ErrUnavailable) {
		t.Errorf("Run: got %v, want ErrUnavailable", err)
	}
}

func TestFullDiskIsWaitedFor(t *testing.T) {
	dir := t.TempDir()
	disk := faulty(t, dir)
	room := make(chan bool, 1)
	db, stop := start(t, filepath.Join(dir, "x.db"), sqlitedb.Options{VFS: disk.VFS(), OnFailure: func(err error) {
		if err == nil {
			room <- true
		}
	}})
	disk.Fail(func(op faultdisk.Op) error {
		if op.Kind == faultdisk.Write {
			return syscall.ENOSPC
		}
		return nil
	})
	if err := db.Do(context.Background(), insert(1, "x")); !errors.Is(err, sqlitedb.ErrUnavailable) && !errors.Is(err, sqlitedb.ErrFull) {
		t.Fatal(err)
	}
	if err := db.Do(context.Background(), insert(2, "x")); !errors.Is(err, sqlitedb.ErrFull) {
		t.Fatalf("got %v, want sqlitedb.ErrFull", err)
	}
	disk.Fail(nil)
	<-room // the committer retries every second
	if err := db.Do(context.Background(), insert(3, "x")); err != nil {
		t.Fatal(err)
	}
	if err := stop(); err != nil {
		t.Fatal(err)
	}
}

// TestPowerCut checks that after a power cut at any operation, acknowledged
// data is there, and every transaction is there whole or not at all.
func TestPowerCut(t *testing.T) {
	dir := t.TempDir()
	disk := faulty(t, dir)
	db, stop := start(t, filepath.Join(dir, "x.db"), sqlitedb.Options{VFS: disk.VFS()})
	if err := disk.SyncDir(dir); err != nil {
		t.Fatal(err)
	}
	from := disk.OpCount()
	r := rand.New(rand.NewPCG(7, 7))
	acked := map[int]int64{} // operations on the disk → newest acknowledged pair
	for i := range int64(120) {
		body := strings.Repeat("b", r.IntN(20000))
		err := db.Do(context.Background(), sqlitedb.OpFunc(func(tx *sqlitedb.Tx) error {
			if _, err := tx.Exec("INSERT INTO item VALUES(?,?)", 2*i, []byte(body)); err != nil {
				return err
			}
			_, err := tx.Exec("INSERT INTO item VALUES(?,?)", 2*i+1, []byte(body))
			return err
		}))
		if err != nil {
			t.Fatal(err)
		}
		acked[disk.OpCount()] = i
	}
	total := disk.OpCount()
	if err := stop(); err != nil {
		t.Fatal(err)
	}
	for range 60 {
		n := from + r.IntN(total-from)
		newest := int64(-1)
		for at, i := range acked {
			if at <= n {
				newest = max(newest, i)
			}
		}
		cut := t.TempDir()
		if err := disk.CutAt(n, r, cut); err != nil {
			t.Fatal(err)
		}
		found := reopen(t, filepath.Join(cut, "x.db"))
		for i := range int64(120) {
			if found[2*i] != found[2*i+1] {
				t.Fatalf("cut at %d: got half of transaction %d", n, i)
			}
			if i <= newest && !found[2*i] {
				t.Fatalf("cut at %d: %d was acknowledged, but is missing", n, i)
			}
		}
	}
}

// TestKilled checks that a process that is killed between commits loses nothing
// that it acknowledged.
func TestKilled(t *testing.T) {
	if dir := os.Getenv("SQLITEDB_KILLED"); dir != "" {
		db, err := sqlitedb.Open(filepath.Join(dir, "x.db"), sqlitedb.Options{Migrations: schema})
		if err != nil {
			t.Fatal(err)
		}
		go db.Run(context.Background())
		for i := int64(0); ; i++ {
			err := db.Do(context.Background(), insert(i, strings.Repeat("x", 3000)))
			if err != nil {
				t.Fatal(err)
			}
			fmt.Printf("%d\n", i)
		}
	}
	for round := range 3 {
		dir := t.TempDir()
		cmd := exec.Command(os.Args[0], "-test.run=^TestKilled$")
		cmd.Env = append(os.Environ(), "SQLITEDB_KILLED="+dir)
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		last := int64(-1)
		for last < int64(50+400*round) {
			if _, err := fmt.Fscanln(out, &last); err != nil {
				t.Fatal(err)
			}
		}
		cmd.Process.Signal(syscall.SIGKILL)
		cmd.Wait()
		found := reopen(t, filepath.Join(dir, "x.db"))
		for i := range last + 1 {
			if !found[i] {
				t.Fatalf("%d was acknowledged, but is missing", i)
			}
		}
	}
}

func TestLongReaderIsCutOff(t *testing.T) {
	db, stop := start(t, filepath.Join(t.TempDir(), "x.db"), sqlitedb.Options{})
	defer stop()
	begin := time.Now()
	err := db.Read(context.Background(), func(tx *sqlitedb.Tx) error {
		return tx.Rows("WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i+1 FROM n) SELECT max(i) FROM n", nil, func(sqlitedb.Row) (bool, error) { return true, nil })
	})
	if !errors.Is(err, sqlitedb.ErrSlow) {
		t.Fatalf("got %v, want sqlitedb.ErrSlow", err)
	}
	if took := time.Since(begin); took < time.Second || took > 5*time.Second {
		t.Errorf("got a read of %v, want it cut off after %v", took, 2*time.Second)
	}
	err = db.Read(context.Background(), func(tx *sqlitedb.Tx) error { _, err := tx.Exec("INSERT INTO item VALUES(1,1)"); return err })
	if err == nil {
		t.Error("got no error from a write on a reading connection")
	}
	if err := db.Do(context.Background(), insert(1, "x")); err != nil {
		t.Error(err)
	}
}

// TestLongReaderUnderLoad checks that a slow reader makes the write-ahead log
// long; after it is cut off, the log gets short again.
func TestLongReaderUnderLoad(t *testing.T) {
	path := filepath.Join(t.TempDir(), "x.db")
	db, stop := start(t, path, sqlitedb.Options{})
	defer stop()
	write := func(from int64) {
		t.Helper()
		for i := from; i < from+2000; i++ {
			if err := db.Do(context.Background(), insert(i, strings.Repeat("x", 10_000))); err != nil {
				t.Fatal(err)
			}
		}
	}
	write(0)
	reading, done := make(chan bool), make(chan error, 1)
	go func() {
		done <- db.Read(context.Background(), func(tx *sqlitedb.Tx) error {
			return tx.Rows("WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i+1 FROM n) SELECT i, (SELECT count(*) FROM item) FROM n", nil,
				func(r sqlitedb.Row) (bool, error) {
					if r.Int(1) != 2000 {
						return false, fmt.Errorf("it sees %d", r.Int(1))
					}
					if r.Int(0) == 1 {
						reading <- true
					}
					return true, nil
				})
		})
	}()
	<-reading
	write(2000)
	if err := <-done; !errors.Is(err, sqlitedb.ErrSlow) {
		t.Errorf("got %v, want sqlitedb.ErrSlow", err)
	}
	write(4000)
	st, err := os.Stat(path + "-wal")
	if err != nil {
		t.Fatal(err)
	}
	if st.Size() > 17<<20 {
		t.Errorf("got a log of %d MiB, want it short", st.Size()>>20)
	}
}

func TestSpace(t *testing.T) {
	dir := t.TempDir()
	free := int64(0)
	s := sqlitedb.NewSpace(dir, func(string) (int64, int64, error) { return free, 100 << 30, nil }, slog.New(slog.DiscardHandler))
	steps := []struct {
		free    int64
		want    sqlitedb.Level
		ballast bool
	}{
		{50 << 30, sqlitedb.Roomy, true},
		{9 << 30, sqlitedb.Tight, true}, // 5 % are 5 GiB
		{4 << 30, sqlitedb.Low, true},
		{2 << 30, sqlitedb.Scarce, true},
		{30 << 20, sqlitedb.Release, false},
		{94 << 20, sqlitedb.Release, false}, // only the ballast's space
		{4 << 30, sqlitedb.Release, false},
		{6 << 30, sqlitedb.Tight, true},
		{11 << 30, sqlitedb.Roomy, true},
	}
	for _, step := range steps {
		free = step.free
		if err := s.Check(); err != nil {
			t.Fatal(err)
		}
		st, err := os.Stat(filepath.Join(dir, "ballast"))
		if s.Level() != step.want || (err == nil) != step.ballast {
			t.Errorf("free %d MiB: level %d, ballast %v, want %d, %v", step.free>>20, s.Level(), err == nil, step.want, step.ballast)
		}
		if err == nil && st.Sys().(*syscall.Stat_t).Blocks*512 < 60<<20 {
			t.Error("got a sparse ballast, want it allocated")
		}
	}
	if err := s.ReleaseBallast(); err != nil || s.Level() != sqlitedb.Release {
		t.Errorf("got level %d, %v, want %d", s.Level(), err, sqlitedb.Roomy)
	}
}

// The watermark is the larger of 1 GiB and 5 %, and at most a quarter of a
// small disk. A warning comes at twice the watermark.
func TestWatermark(t *testing.T) {
	const mib = 1 << 20
	for _, c := range []struct {
		name               string
		total, warns, stop int64 // in MiB: the free space at which the level changes
	}{
		{"1 TiB: 5 %", 1 << 20, 2 * (1 << 20) / 20, (1 << 20) / 20},
		{"10 GiB: 1 GiB", 10 << 10, 2 << 10, 1 << 10},
		{"64 MiB: a quarter", 64, 32, 16},
	} {
		t.Run(c.name, func(t *testing.T) {
			free := int64(0)
			s := sqlitedb.NewSpace(t.TempDir(), func(string) (int64, int64, error) { return free, c.total * mib, nil }, slog.New(slog.DiscardHandler))
			for _, step := range []struct {
				free int64
				want sqlitedb.Level
			}{{c.warns + 1, sqlitedb.Roomy}, {c.warns - 1, sqlitedb.Tight}, {c.stop + 1, sqlitedb.Tight}, {c.stop - 1, sqlitedb.Low}} {
				free = step.free * mib
				if err := s.Check(); err != nil {
					t.Fatal(err)
				}
				if got := s.Level(); got != step.want {
					t.Errorf("%d MiB free: got level %d, want %d", step.free, got, step.want)
				}
			}
		})
	}
}
