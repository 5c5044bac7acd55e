package sqlitedb_test

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"valence/internal/sqlitedb"
	"valence/internal/sqlitedb/faultdisk"
)

// logged collects a log.
type logged struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (l *logged) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

func (l *logged) count(text string) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.Count(l.text.String(), text)
}

// filled returns the path of a closed database with rows on many pages.
func filled(t *testing.T) string {
	path := filepath.Join(t.TempDir(), "x.db")
	db, stop := start(t, path, sqlitedb.Options{})
	for id := range int64(200) {
		if err := db.Do(context.Background(), insert(id, strings.Repeat("x", 2000))); err != nil {
			t.Fatal(err)
		}
	}
	if err := stop(); err != nil {
		t.Fatal(err)
	}
	return path
}

// scribble overwrites a file from an offset on.
func scribble(t *testing.T, path string, off int64) {
	t.Helper()
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.WriteAt(bytes.Repeat([]byte{0xa5}, int(info.Size()-off)), off); err != nil {
		t.Fatal(err)
	}
}

func readAll(db *sqlitedb.DB) error {
	return db.Read(context.Background(), func(tx *sqlitedb.Tx) error {
		return tx.Rows("SELECT body FROM item", nil, func(sqlitedb.Row) (bool, error) { return true, nil })
	})
}

func until(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); !ok(); <-time.After(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("timeout: waited for %s", what)
		}
	}
}

// A malformed file is noticed at the first read, and nothing is accepted
// from then on. It is logged once.
func TestDamageStopsAcceptance(t *testing.T) {
	for _, c := range []struct {
		name string
		find func(t *testing.T, path string, db *sqlitedb.DB)
	}{
		{"a reader finds it", func(t *testing.T, path string, db *sqlitedb.DB) {
			scribble(t, path, 8192)
			if err := readAll(db); !sqlitedb.IsDamage(err) {
				t.Errorf("Read: got %v, want damage", err)
			}
		}},
		{"a writer finds it", func(t *testing.T, path string, db *sqlitedb.DB) {
			scribble(t, path, 8192)
			err := db.Do(context.Background(), sqlitedb.OpFunc(func(tx *sqlitedb.Tx) error {
				_, err := tx.Exec("UPDATE item SET body = x'00'")
				return err
			}))
			if !errors.Is(err, sqlitedb.ErrUnavailable) {
				t.Errorf("Do: got %v, want ErrUnavailable", err)
			}
		}},
		{"a check finds it", func(t *testing.T, path string, db *sqlitedb.DB) {
			scribble(t, path, 8192)
			if err := db.Check(context.Background()); err != nil && !sqlitedb.IsDamage(err) {
				t.Error(err)
			}
		}},
		{"nobody reads it", func(t *testing.T, path string, db *sqlitedb.DB) {
			if err := readAll(db); err != nil { // all pages are cached
				t.Fatal(err)
			}
			until(t, "the first look at the file", func() bool {
				info, err := os.Stat(path)
				return err == nil && time.Since(info.ModTime()) > 1200*time.Millisecond
			})
			scribble(t, path, 8192)
		}},
		{"it is removed", func(t *testing.T, path string, db *sqlitedb.DB) {
			if err := os.Remove(path); err != nil {
				t.Fatal(err)
			}
		}},
		{"it is replaced", func(t *testing.T, path string, db *sqlitedb.DB) {
			if err := errors.Join(os.WriteFile(path+".other", nil, 0o600), os.Rename(path+".other", path)); err != nil {
				t.Fatal(err)
			}
		}},
		{"it is emptied", func(t *testing.T, path string, db *sqlitedb.DB) {
			if err := os.Truncate(path, 0); err != nil {
				t.Fatal(err)
			}
		}},
		{"its log is removed", func(t *testing.T, path string, db *sqlitedb.DB) {
			if err := os.Remove(path + "-wal"); err != nil {
				t.Fatal(err)
			}
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			path, log := filled(t), &logged{}
			var mu sync.Mutex
			failures := 0
			db, stop := start(t, path, sqlitedb.Options{Log: slog.New(slog.NewTextHandler(log, nil)), OnFailure: func(err error) {
				mu.Lock()
				defer mu.Unlock()
				failures++
				if !errors.Is(err, sqlitedb.ErrDamaged) {
					t.Errorf("OnFailure: got %v, want ErrDamaged", err)
				}
			}})
			if err := db.Do(context.Background(), insert(1000, "x")); err != nil {
				t.Fatal(err)
			}
			c.find(t, path, db)
			until(t, "the damage to be noticed", func() bool { return errors.Is(db.Err(), sqlitedb.ErrDamaged) })
			for range 3 {
				if err := db.Do(context.Background(), insert(1001, "y")); !errors.Is(err, sqlitedb.ErrDamaged) || !errors.Is(err, sqlitedb.ErrUnavailable) {
					t.Errorf("Do: got %v, want ErrDamaged and ErrUnavailable", err)
				}
			}
			_ = stop() // the end of a damaged file may fail
			if n := log.count("valence check"); n != 1 {
				t.Errorf("got %d log lines with what to do, want 1:\n%s", n, log.text.String())
			}
			mu.Lock()
			defer mu.Unlock()
			if failures != 1 {
				t.Errorf("OnFailure: got %d calls, want 1", failures)
			}
		})
	}
}

// A disk that fails to read stops acceptance until the whole file can be read
// again.
func TestFailingReadsStopAcceptance(t *testing.T) {
	path := filled(t)
	disk := faulty(t, filepath.Dir(path))
	db, stop := start(t, path, sqlitedb.Options{VFS: disk.VFS()})
	disk.Fail(func(op faultdisk.Op) error {
		if op.Kind == faultdisk.Read && strings.HasSuffix(op.Path, ".db") && op.Off >= 8192 {
			return syscall.EIO
		}
		return nil
	})
	if err := readAll(db); err == nil {
		t.Fatal("Read: got nil, want an I/O error")
	}
	if err := db.Do(context.Background(), insert(1001, "y")); !errors.Is(err, sqlitedb.ErrUnavailable) || errors.Is(err, sqlitedb.ErrDamaged) {
		t.Errorf("Do: got %v, want ErrUnavailable", err)
	}
	disk.Fail(nil)
	until(t, "the file to be readable", func() bool { return db.Err() == nil })
	if err := db.Do(context.Background(), insert(1001, "y")); err != nil {
		t.Error(err)
	}
	if err := stop(); err != nil {
		t.Error(err)
	}
}
