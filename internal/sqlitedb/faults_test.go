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
			at := disk.Len()
			if err := db.Do(context.Background(), insert(3, "after")); err != nil {
				t.Fatal(err)
			}
			// As SIGKILL right after the refusal, and as a power cut.
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
					t.Fatal(found)
				}
			}
			if err := stop(); err != nil {
				t.Fatal(err)
			}
			if len(seen) != 2 || seen[1] != nil {
				t.Error("told of", seen)
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
		t.Fatal(err)
	}
	if err := db.Err(); !errors.Is(err, sqlitedb.ErrUnavailable) {
		t.Error("it takes on more:", err)
	}
	disk.Fail(nil)
	if err := stop(); !errors.Is(err, sqlitedb.ErrUnavailable) {
		t.Error("Run returned", err)
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
		t.Fatal(err)
	}
	disk.Fail(nil)
	<-room // the committer looks each second
	if err := db.Do(context.Background(), insert(3, "x")); err != nil {
		t.Fatal(err)
	}
	if err := stop(); err != nil {
		t.Fatal(err)
	}
}

func TestPowerCut(t *testing.T) {
	dir := t.TempDir()
	disk := faulty(t, dir)
	db, stop := start(t, filepath.Join(dir, "x.db"), sqlitedb.Options{VFS: disk.VFS()})
	if err := disk.SyncDir(dir); err != nil {
		t.Fatal(err)
	}
	from := disk.Len()
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
		acked[disk.Len()] = i
	}
	total := disk.Len()
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
				t.Fatalf("cut at %d: half of transaction %d", n, i)
			}
			if i <= newest && !found[2*i] {
				t.Fatalf("cut at %d: %d was acknowledged and is not there", n, i)
			}
		}
	}
}

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
				t.Fatalf("%d was acknowledged and is not there", i)
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
	if !errors.Is(err, context.DeadlineExceeded) {
		t.Fatal(err)
	}
	if took := time.Since(begin); took < time.Second || took > 5*time.Second {
		t.Errorf("cut off after %v", took)
	}
	err = db.Read(context.Background(), func(tx *sqlitedb.Tx) error { _, err := tx.Exec("INSERT INTO item VALUES(1,1)"); return err })
	if err == nil {
		t.Error("a reader wrote")
	}
	if err := db.Do(context.Background(), insert(1, "x")); err != nil {
		t.Error(err)
	}
}

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
	if err := <-done; !errors.Is(err, context.DeadlineExceeded) {
		t.Error(err)
	}
	write(4000)
	st, err := os.Stat(path + "-wal")
	if err != nil {
		t.Fatal(err)
	}
	if st.Size() > 17<<20 {
		t.Errorf("the log stays at %d MiB", st.Size()>>20)
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
		{900 << 20, sqlitedb.Low, true},
		{300 << 20, sqlitedb.Scarce, true},
		{30 << 20, sqlitedb.Release, false},
		{94 << 20, sqlitedb.Release, false}, // what the ballast gave back
		{900 << 20, sqlitedb.Release, false},
		{2 << 30, sqlitedb.Roomy, true},
	}
	for _, step := range steps {
		free = step.free
		if err := s.Look(); err != nil {
			t.Fatal(err)
		}
		st, err := os.Stat(filepath.Join(dir, "ballast"))
		if s.Level() != step.want || (err == nil) != step.ballast {
			t.Errorf("free %d MiB: level %d, ballast %v, want %d, %v", step.free>>20, s.Level(), err == nil, step.want, step.ballast)
		}
		if err == nil && st.Sys().(*syscall.Stat_t).Blocks*512 < 60<<20 {
			t.Error("the ballast has no room of its own")
		}
	}
	if err := s.GiveUp(); err != nil || s.Level() != sqlitedb.Release {
		t.Error(err, s.Level())
	}
}
