package sqlite_test

import (
	"bytes"
	"database/sql"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"valence/atom/store"
	"valence/atom/store/sqlite"
	"valence/internal/clierror"
	"valence/internal/datafolder"
	"valence/internal/sqlitedb"

	_ "modernc.org/sqlite"
)

const keyFile = "atom.key"

// usedFolder returns a folder with a history, a live message with a large
// document, and a key. The highest number that was used is returned too.
func usedFolder(t *testing.T) (dir string, highest int64) {
	dir = filepath.Join(t.TempDir(), "data")
	s := open(t, dir, sqlite.Options{KeyFile: keyFile})
	stop := startStore(t, s)
	for range 20 {
		apply(t, s, &store.Change{Seq: accept(t, s, message([]byte("done"))), Disposition: outcome()})
	}
	if err := s.Archive(); err != nil {
		t.Fatal(err)
	}
	highest = accept(t, s, message(bytes.Repeat([]byte("large"), 40000)))
	stop()
	return dir, highest
}

// segment returns the path of the only segment of a folder.
func segment(t *testing.T, dir string) string {
	t.Helper()
	names, err := filepath.Glob(filepath.Join(dir, "history", "*", "*.seg"))
	if err != nil || len(names) != 1 {
		t.Fatalf("got segments %v, %v, want one", names, err)
	}
	return names[0]
}

func must(t *testing.T, errs ...error) {
	t.Helper()
	if err := errors.Join(errs...); err != nil {
		t.Fatal(err)
	}
}

// A folder that lacks some of its files never starts as if nothing had been
// there. It starts with AcceptLoss, which records the losses, and then
// without.
func TestIncompleteFolderIsRefused(t *testing.T) {
	for _, c := range []struct {
		name   string
		damage func(t *testing.T, dir string)
		want   string
		empty  bool // the database is lost
	}{
		{"database missing", func(t *testing.T, dir string) { must(t, os.Remove(filepath.Join(dir, "hot.db"))) }, "hot.db is missing", true},
		{"database emptied", func(t *testing.T, dir string) { must(t, os.Truncate(filepath.Join(dir, "hot.db"), 0)) }, "hot.db is empty", true},
		{"database truncated", func(t *testing.T, dir string) { must(t, os.Truncate(filepath.Join(dir, "hot.db"), 8192)) }, "hot.db is malformed", true},
		{"database overwritten", func(t *testing.T, dir string) {
			must(t, os.WriteFile(filepath.Join(dir, "hot.db"), bytes.Repeat([]byte("no database"), 1000), 0o600))
		}, "hot.db is malformed", true},
		{"database of another folder", func(t *testing.T, dir string) {
			other, _ := usedFolder(t)
			must(t, os.Rename(filepath.Join(other, "hot.db"), filepath.Join(dir, "hot.db")))
		}, "hot.db is the database of another folder", false},
		{"new database", func(t *testing.T, dir string) {
			other := filepath.Join(t.TempDir(), "hot.db")
			db, err := sqlitedb.Open(other, sqlitedb.Options{})
			must(t, err, db.Close(), os.Rename(other, filepath.Join(dir, "hot.db")))
		}, "hot.db is a new database", true},
		{"history missing", func(t *testing.T, dir string) { must(t, os.RemoveAll(filepath.Join(dir, "history"))) }, "000001.seg is missing", false},
		{"segment missing", func(t *testing.T, dir string) { must(t, os.Remove(segment(t, dir))) }, "000001.seg is missing", false},
		{"segment truncated", func(t *testing.T, dir string) { must(t, os.Truncate(segment(t, dir), 100)) }, "000001.seg has 100 bytes of ", false},
		{"segment emptied", func(t *testing.T, dir string) { must(t, os.Truncate(segment(t, dir), 0)) }, "000001.seg has 0 bytes of ", false},
		{"key missing", func(t *testing.T, dir string) { must(t, os.Remove(filepath.Join(dir, keyFile))) }, "atom.key is missing", false},
		{"key truncated", func(t *testing.T, dir string) { must(t, os.Truncate(filepath.Join(dir, keyFile), 5)) }, "atom.key is not the key", false},
		{"another key", func(t *testing.T, dir string) {
			must(t, os.WriteFile(filepath.Join(dir, keyFile), bytes.Repeat([]byte("k"), 32), 0o600))
		}, "atom.key is not the key", false},
		{"documents missing", func(t *testing.T, dir string) { must(t, os.RemoveAll(filepath.Join(dir, "documents"))) }, "documents is missing", false},
		{"inventory damaged", func(t *testing.T, dir string) {
			must(t, os.Truncate(filepath.Join(dir, datafolder.InventoryFile), 3))
		}, "inventory.json is damaged", false},
		{"no inventory, database missing", func(t *testing.T, dir string) {
			must(t, os.Remove(filepath.Join(dir, datafolder.InventoryFile)), os.Remove(filepath.Join(dir, "hot.db")))
		}, "hot.db is missing, but history/", true},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir, highest := usedFolder(t)
			c.damage(t, dir)
			_, before := os.Stat(filepath.Join(dir, "hot.db"))
			for range 2 { // a refusal changes nothing
				_, err := sqlite.Open(dir, sqlite.Options{KeyFile: keyFile})
				var refusal *clierror.Error
				if !errors.As(err, &refusal) || !strings.Contains(refusal.Message, c.want) || !strings.Contains(refusal.Hint, "--accept-loss") {
					t.Fatalf("got %v, want %s", err, c.want)
				}
			}
			if _, after := os.Stat(filepath.Join(dir, "hot.db")); errors.Is(before, fs.ErrNotExist) != errors.Is(after, fs.ErrNotExist) {
				t.Errorf("hot.db after the refusal: got %v, want %v", after, before)
			}
			s := open(t, dir, sqlite.Options{KeyFile: keyFile, AcceptLoss: true})
			stop := startStore(t, s)
			if n := s.Reserve(); c.empty && n <= highest {
				t.Errorf("got number %d, which was used before %d", n, highest)
			}
			stop()
			if text, err := os.ReadFile(filepath.Join(dir, datafolder.LossesFile)); err != nil || !strings.Contains(string(text), c.want) {
				t.Errorf("losses: got %s, %v, want %s", text, err, c.want)
			}
			startStore(t, open(t, dir, sqlite.Options{KeyFile: keyFile}))()
		})
	}
}

// Without its write-ahead log, the folder of a killed atom lacks the last
// changes.
func TestMissingLogIsRefused(t *testing.T) {
	dir, _ := usedFolder(t)
	s := open(t, dir, sqlite.Options{KeyFile: keyFile})
	stop := startStore(t, s)
	accept(t, s, message([]byte("acknowledged")))
	killed := filepath.Join(t.TempDir(), "killed")
	must(t, os.CopyFS(killed, os.DirFS(dir)))
	stop()
	whole := filepath.Join(t.TempDir(), "whole")
	must(t, os.CopyFS(whole, os.DirFS(killed)))
	startStore(t, open(t, whole, sqlite.Options{KeyFile: keyFile}))()
	must(t, os.Remove(filepath.Join(killed, "hot.db-wal")))
	if _, err := sqlite.Open(killed, sqlite.Options{KeyFile: keyFile}); err == nil || !strings.Contains(err.Error(), "hot.db-wal is missing") {
		t.Errorf("got %v, want hot.db-wal is missing", err)
	}
}

// A segment that was cut while it was being written is noticed: the database
// knows how much of it was complete.
func TestCutOpenSegmentIsRefused(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir, sqlite.Options{})
	stop := startStore(t, s)
	for range 2 {
		apply(t, s, &store.Change{Seq: accept(t, s, message([]byte("done"))), Disposition: outcome()})
		must(t, s.Archive())
	}
	killed := filepath.Join(t.TempDir(), "killed")
	must(t, os.CopyFS(killed, os.DirFS(dir)))
	stop()
	info, err := os.Stat(segment(t, killed))
	must(t, err, os.Truncate(segment(t, killed), info.Size()/2))
	if _, err := sqlite.Open(killed, sqlite.Options{}); err == nil || !strings.Contains(err.Error(), "bytes of") {
		t.Errorf("got %v, want a truncated segment", err)
	}
}

// An older backup of the database alone does not fit the folder.
func TestOlderDatabaseIsRefused(t *testing.T) {
	dir, _ := usedFolder(t)
	old := filepath.Join(t.TempDir(), "hot.db")
	must(t, copyFile(filepath.Join(dir, "hot.db"), old))
	startStore(t, open(t, dir, sqlite.Options{KeyFile: keyFile}))()
	must(t, os.Rename(old, filepath.Join(dir, "hot.db")))
	if _, err := sqlite.Open(dir, sqlite.Options{KeyFile: keyFile}); err == nil || !strings.Contains(err.Error(), "hot.db is older than the folder") {
		t.Errorf("got %v, want an older database", err)
	}
}

func copyFile(from, to string) error {
	text, err := os.ReadFile(from)
	return errors.Join(err, os.WriteFile(to, text, 0o600))
}

// forget removes the identity of a database.
func forget(t *testing.T, path string) {
	t.Helper()
	db, err := sql.Open("sqlite", path)
	must(t, err)
	_, err = db.Exec("DELETE FROM write_marker WHERE id > 1")
	must(t, err, db.Close())
}

// A folder of a version without inventories starts and gets one.
func TestFolderWithoutInventoryGetsOne(t *testing.T) {
	dir, _ := usedFolder(t)
	must(t, os.Remove(filepath.Join(dir, datafolder.InventoryFile)))
	forget(t, filepath.Join(dir, "hot.db"))
	startStore(t, open(t, dir, sqlite.Options{KeyFile: keyFile}))()
	v, err := datafolder.ReadInventory(dir)
	if err != nil || v == nil || v.Running || v.ID == 0 || len(v.Segments) != 1 || v.Keys[keyFile] == "" {
		t.Errorf("got %+v, %v, want an inventory of a stopped atom", v, err)
	}
	must(t, os.Remove(segment(t, dir)))
	if _, err := sqlite.Open(dir, sqlite.Options{KeyFile: keyFile}); err == nil {
		t.Error("a missing segment was not noticed")
	}
}

// The backup of a folder has an inventory of its own, and days that are purged
// leave the inventory first.
func TestInventoryFollowsTheHistory(t *testing.T) {
	dir, _ := usedFolder(t)
	s := open(t, dir, sqlite.Options{KeyFile: keyFile})
	stop := startStore(t, s)
	copied := filepath.Join(t.TempDir(), "copy")
	must(t, s.Backup(ctx, copied))
	must(t, s.PurgeAt(time.Now().AddDate(1, 0, 0)))
	stop()
	v, err := datafolder.ReadInventory(dir)
	if err != nil || len(v.Segments) != 0 {
		t.Errorf("after a purge: got %+v, %v, want no segments", v, err)
	}
	startStore(t, open(t, dir, sqlite.Options{KeyFile: keyFile}))()
	v, err = datafolder.ReadInventory(copied)
	if err != nil || v.Running || len(v.Segments) != 1 {
		t.Errorf("backup: got %+v, %v, want one segment", v, err)
	}
	startStore(t, open(t, copied, sqlite.Options{KeyFile: keyFile}))()
	must(t, os.Remove(segment(t, copied)))
	if _, err := sqlite.Open(copied, sqlite.Options{KeyFile: keyFile}); err == nil {
		t.Error("a missing segment of a backup was not noticed")
	}
}
