package sqlitedb_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
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

// run starts the committer. The returned function stops it, closes the file and
// returns the result of Run.
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
	if err := errors.Join(db.Check(context.Background()), db.Err()); err != nil {
		t.Fatal("damaged:", err)
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
			t.Errorf("operation 4: got %v", err)
		case i == 0 || i == 2:
			if err != nil {
				bad++
			}
		case i != 4 && err != nil:
			t.Errorf("operation %d: got %v, want none", i, err)
		}
	}
	if bad != 1 {
		t.Errorf("two operations with the same key: got %d failures, want 1", bad)
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
		t.Errorf("got commits of %v operations, want 1 each", sizes)
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
		t.Errorf("with an ended context: got %v, want ErrUnavailable", err)
	}
	for over := time.Now().Add(time.Minute); db.Queued() < 100 && time.Now().Before(over); {
		runtime.Gosched() // a late one would get its own transaction
	}
	close(hold)
	wg.Wait()
	stop()
	if !slices.Equal(sizes, []int{1, 100}) {
		t.Errorf("100 queued operations: got commits of %v, want one", sizes)
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
		t.Fatalf(`got %v, want an error with "version 2 (bad)"`, err)
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

// TestBackupWhileWriting checks that a backup contains complete transactions
// only.
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
			t.Fatalf("%d of %d is missing in the copy", i, len(found))
		}
	}
	if len(found) < 200 {
		t.Errorf("got %d transactions in the copy, want at least 200", len(found))
	}
	if err := db.Backup(context.Background(), copied); !errors.Is(err, os.ErrExist) {
		t.Errorf("a backup to an existing file: got %v, want ErrExist", err)
	}
}

// TestFilesAreTheirOwnersAlone checks that files are private even if their
// folder is not.
func TestFilesAreTheirOwnersAlone(t *testing.T) {
	dir := t.TempDir()
	db, _ := start(t, filepath.Join(dir, "x.db"), sqlitedb.Options{})
	if err := db.Do(t.Context(), sqlitedb.OpFunc(func(tx *sqlitedb.Tx) error { _, err := tx.Exec("INSERT INTO item(body) VALUES(1)"); return err })); err != nil {
		t.Fatal(err)
	}
	if err := db.Backup(t.Context(), filepath.Join(dir, "copy.db")); err != nil {
		t.Fatal(err)
	}
	files, err := os.ReadDir(dir)
	if err != nil || len(files) < 4 {
		t.Fatalf("got %v %v, want len(files) at least 4 and no error", files, err)
	}
	for _, f := range files {
		if info, err := f.Info(); err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%s: got mode %v, %v, want 0600", f.Name(), info.Mode(), err)
		}
	}
}
