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
	"sync"
	"syscall"
	"testing"
	"time"

	"valence/internal/sqlitedb"
	"valence/internal/sqlitedb/faultdisk"
)

var schema = []sqlitedb.Migration{{Name: "first", SQL: "CREATE TABLE item(id INTEGER PRIMARY KEY, body BLOB)"}}

// start opens a database and runs its committer until the test ends.
func start(t *testing.T, path string, o sqlitedb.Options) (*sqlitedb.DB, func() error) {
	t.Helper()
	if o.Migrations == nil {
		o.Migrations = schema
	}
	db, err := sqlitedb.Open(path, o)
	if err != nil {
		t.Fatal(err)
	}
	return db, run(t, db)
}

// run gives a function that stops the committer, closes the file and gives
// what Run returned.
func run(t *testing.T, db *sqlitedb.DB) func() error {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- db.Run(ctx) }()
	var once sync.Once
	var result error
	stop := func() error {
		once.Do(func() {
			cancel()
			result = <-done
			if err := db.Close(); err != nil {
				t.Error(err)
			}
		})
		return result
	}
	t.Cleanup(func() { stop() })
	return stop
}

func faulty(t *testing.T, dir string) *faultdisk.Disk {
	t.Helper()
	d, err := faultdisk.New(dir)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func insert(id int64, body string) sqlitedb.Op {
	return sqlitedb.OpFunc(func(tx *sqlitedb.Tx) error {
		_, err := tx.Exec("INSERT INTO item VALUES(?,?)", id, []byte(body))
		return err
	})
}

func ids(t *testing.T, db *sqlitedb.DB) map[int64]bool {
	t.Helper()
	found := map[int64]bool{}
	err := db.Read(context.Background(), func(tx *sqlitedb.Tx) error {
		return tx.Rows("SELECT id FROM item", nil, func(r sqlitedb.Row) (bool, error) { found[r.Int(0)] = true; return true, nil })
	})
	if err != nil {
		t.Fatal(err)
	}
	return found
}

func reopen(t *testing.T, path string) map[int64]bool {
	t.Helper()
	db, err := sqlitedb.Open(path, sqlitedb.Options{Migrations: schema})
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	if damage, err := db.Check(context.Background()); err != nil || damage != nil {
		t.Fatal("damaged:", damage, err)
	}
	return ids(t, db)
}

func TestBadOperationFailsAlone(t *testing.T) {
	var batches []int
	db, stop := start(t, filepath.Join(t.TempDir(), "x.db"), sqlitedb.Options{OnCommit: func(n int, _ time.Duration) { batches = append(batches, n) }})
	hold, held := make(chan bool), make(chan bool)
	go db.Do(context.Background(), sqlitedb.OpFunc(func(*sqlitedb.Tx) error { held <- true; <-hold; return nil }))
	<-held
	own := errors.New("of its own")
	ops := []sqlitedb.Op{insert(1, "a"), insert(2, "b"), insert(1, "again"), insert(3, "c"),
		sqlitedb.OpFunc(func(tx *sqlitedb.Tx) error {
			if _, err := tx.Exec("INSERT INTO item VALUES(99,NULL)"); err != nil {
				return err
			}
			return own
		}), insert(4, "d")}
	errs := make([]error, len(ops))
	var wg sync.WaitGroup
	for i, op := range ops {
		wg.Go(func() { errs[i] = db.Do(context.Background(), op) })
	}
	close(hold)
	wg.Wait()
	stop()
	bad := 0
	for i, err := range errs {
		switch {
		case i == 4 && !errors.Is(err, own):
			t.Errorf("operation 4: %v", err)
		case i == 0 || i == 2:
			if err != nil {
				bad++
			}
		case i != 4 && err != nil:
			t.Errorf("operation %d: %v", i, err)
		}
	}
	if bad != 1 {
		t.Errorf("of two with the same key %d failed", bad)
	}
}

func TestAloneItWaitsForNobody(t *testing.T) {
	var sizes []int
	db, stop := start(t, filepath.Join(t.TempDir(), "x.db"), sqlitedb.Options{OnCommit: func(n int, _ time.Duration) { sizes = append(sizes, n) }})
	for i := range int64(5) {
		if err := db.Do(context.Background(), insert(i, "x")); err != nil {
			t.Fatal(err)
		}
	}
	stop()
	if len(sizes) != 5 {
		t.Errorf("commits: %v", sizes)
	}
}

func TestWaitingIsOneTransaction(t *testing.T) {
	var sizes []int
	db, stop := start(t, filepath.Join(t.TempDir(), "x.db"), sqlitedb.Options{OnCommit: func(n int, _ time.Duration) { sizes = append(sizes, n) }})
	hold, held := make(chan bool), make(chan bool)
	go db.Do(context.Background(), sqlitedb.OpFunc(func(*sqlitedb.Tx) error { held <- true; <-hold; return nil }))
	<-held
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	var wg sync.WaitGroup
	for i := range int64(100) {
		wg.Go(func() {
			if err := db.Do(context.Background(), insert(i, "x")); err != nil {
				t.Error(err)
			}
		})
	}
	if err := db.Do(ctx, insert(1000, "x")); !errors.Is(err, sqlitedb.ErrUnavailable) || !errors.Is(err, context.Canceled) {
		t.Errorf("with an ended context: %v", err)
	}
	close(hold)
	wg.Wait()
	stop()
	if len(sizes) > 4 {
		t.Errorf("100 that waited took these commits: %v", sizes)
	}
}

func TestNewerSchemaIsRefused(t *testing.T) {
	path := filepath.Join(t.TempDir(), "x.db")
	db, err := sqlitedb.Open(path, sqlitedb.Options{Migrations: append(schema, sqlitedb.Migration{Name: "second", SQL: "CREATE TABLE more(a)"})})
	if err != nil {
		t.Fatal(err)
	}
	db.Close()
	_, err = sqlitedb.Open(path, sqlitedb.Options{Migrations: schema})
	var newer *sqlitedb.NewerSchemaError
	if !errors.As(err, &newer) || newer.Have != 2 || newer.Known != 1 {
		t.Fatal(err)
	}
}

func TestBadMigrationChangesNothing(t *testing.T) {
	path := filepath.Join(t.TempDir(), "x.db")
	bad := append(schema, sqlitedb.Migration{Name: "bad", SQL: "CREATE TABLE more(a); INSERT INTO nothing VALUES(1)"})
	if _, err := sqlitedb.Open(path, sqlitedb.Options{Migrations: bad}); err == nil || !strings.Contains(err.Error(), "version 2 (bad)") {
		t.Fatal(err)
	}
	db, err := sqlitedb.Open(path, sqlitedb.Options{Migrations: append(schema, sqlitedb.Migration{Name: "good", SQL: "CREATE TABLE more(a)"})})
	if err != nil {
		t.Fatal(err)
	}
	db.Close()
}

func TestLockNamesTheHolder(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "data")
	l, err := sqlitedb.LockDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	_, err = sqlitedb.LockDir(dir)
	var held *sqlitedb.LockedError
	if !errors.As(err, &held) || held.PID != os.Getpid() {
		t.Fatal(err)
	}
	if want := fmt.Sprintf("the folder %s is in use by process %d", dir, os.Getpid()); err.Error() != want {
		t.Errorf("%q, want %q", err, want)
	}
	if err := l.Release(); err != nil {
		t.Fatal(err)
	}
	l, err = sqlitedb.LockDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	l.Release()
}

// A write or a flush that fails is answered with ErrUnavailable, and what was
// refused is not in the file, whatever happens to the process next.
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

// What was acknowledged is there after a power cut at any operation, and what
// a transaction wrote is there whole or not at all.
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

// A process that is killed between any two commits leaves what it said it did.
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

func TestBackupWhileWriting(t *testing.T) {
	dir := t.TempDir()
	db, stop := start(t, filepath.Join(dir, "x.db"), sqlitedb.Options{})
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	written := make(chan int64, 1)
	wg.Go(func() {
		for i := int64(0); ctx.Err() == nil; i++ {
			if err := db.Do(context.Background(), insert(i, strings.Repeat("x", 2000))); err != nil {
				t.Error(err)
			}
			if i == 200 {
				written <- i
			}
		}
	})
	<-written
	copied := filepath.Join(dir, "copy.db")
	if err := db.Backup(context.Background(), copied); err != nil {
		t.Fatal(err)
	}
	cancel()
	wg.Wait()
	stop()
	found := reopen(t, copied)
	for i := range int64(len(found)) {
		if !found[i] {
			t.Fatalf("%d of %d is missing", i, len(found))
		}
	}
	if len(found) < 200 {
		t.Errorf("%d in the copy", len(found))
	}
	if err := db.Backup(context.Background(), copied); !errors.Is(err, os.ErrExist) {
		t.Errorf("over an existing file: %v", err)
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

// A reader that dawdles while others write makes the log of writes long, and
// when it is cut off the log gets short again.
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
