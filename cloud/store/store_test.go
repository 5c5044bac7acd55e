package store_test

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"testing"
	"time"

	"valence/cloud"
	"valence/cloud/cloudtest"
	"valence/cloud/store"
	"valence/internal/sqlitedb"
	"valence/internal/wire"
)

var day = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

func TestStore(t *testing.T) {
	cloudtest.Suite(t, func(t *testing.T) (cloud.Store, func() cloud.Store) {
		dir := t.TempDir()
		st, stop := cloudtest.Open(t, dir)
		return st, func() cloud.Store {
			stop()
			st, stop = cloudtest.Open(t, dir)
			return st
		}
	})
}

func enqueue(t *testing.T, st *store.Store, n int, at time.Time, key string) string {
	t.Helper()
	id := fmt.Sprint("executionrecord-", n)
	got, err := st.Enqueue(t.Context(), &cloud.ExecutionRequest{ID: id, Account: "a", AtomID: "atom", Created: at, IdempotencyKey: key},
		&cloud.Message{Account: "a", AtomID: "atom", Request: id, Created: at, Message: wire.Message{ID: int64(n), Kind: wire.KindExecute, Execute: &wire.Execute{Request: id}}})
	if err != nil {
		t.Fatal(err)
	}
	return got
}

// A backup is made while the store is used, and is a folder that one can start
// on.
func TestBackup(t *testing.T) {
	st, _ := cloudtest.Open(t, t.TempDir())
	ctx := t.Context()
	archive, err := wire.Pack([]wire.PackFile{{Name: "a.yaml", Content: []byte("x")}})
	if err != nil {
		t.Fatal(err)
	}
	sha := wire.PackageID(archive)
	if err := st.PutArchive(ctx, sha, archive); err != nil {
		t.Fatal(err)
	}
	if err := st.PutArchive(ctx, sha, append(archive, 0)); !errors.Is(err, cloud.ErrAltered) {
		t.Errorf("another content under the name: %v", err)
	}
	enqueue(t, st, 1, day, "")
	folder := filepath.Join(t.TempDir(), "copy")
	if err := st.Backup(ctx, folder); err != nil {
		t.Fatal(err)
	}
	if err := st.Backup(ctx, folder); !errors.Is(err, os.ErrExist) {
		t.Errorf("over another: %v", err)
	}
	copied, _ := cloudtest.Open(t, folder)
	if r, err := copied.Request(ctx, "a", "executionrecord-1"); err != nil || r == nil {
		t.Errorf("%v, %v", r, err)
	}
	f, err := copied.Archive(ctx, sha)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if text, err := io.ReadAll(f); err != nil || string(text) != string(archive) {
		t.Errorf("%d bytes, %v", len(text), err)
	}
	if _, err := copied.Archive(ctx, "../cloud.db"); !errors.Is(err, cloud.ErrNotFound) {
		t.Errorf("a name that leads elsewhere: %v", err)
	}
}

func TestFolder(t *testing.T) {
	dir := t.TempDir()
	_, stop := cloudtest.Open(t, dir)
	var locked *sqlitedb.LockedError
	if _, err := store.Open(dir, store.Options{}); !errors.As(err, &locked) {
		t.Errorf("a second one: %v", err)
	}
	stop()
	db, err := sqlitedb.Open(filepath.Join(dir, "cloud.db"), sqlitedb.Options{Migrations: []sqlitedb.Migration{
		{Name: "what is there"}, {Name: "and more of it"}, {Name: "of a newer program", SQL: "CREATE TABLE more(a)"},
	}})
	if err != nil {
		t.Fatal(err)
	}
	db.Close()
	var newer *sqlitedb.NewerSchemaError
	if _, err := store.Open(dir, store.Options{}); !errors.As(err, &newer) {
		t.Errorf("of a newer program: %v", err)
	}
}

// One package that was altered does not keep the others from a backup, and a
// half one that was being written is not left in the folder.
func TestBackupOfAlteredPackages(t *testing.T) {
	dir := t.TempDir()
	st, stop := cloudtest.Open(t, dir)
	var names []string
	for _, text := range []string{"x", "y", "z"} {
		archive, err := wire.Pack([]wire.PackFile{{Name: "a.yaml", Content: []byte(text)}})
		if err != nil {
			t.Fatal(err)
		}
		names = append(names, wire.PackageID(archive))
		if err := st.PutArchive(t.Context(), wire.PackageID(archive), archive); err != nil {
			t.Fatal(err)
		}
	}
	stop()
	half := filepath.Join(dir, "packages", ".new-1234")
	for _, path := range []string{filepath.Join(dir, "packages", names[1]), half} {
		if err := os.WriteFile(path, []byte("altered"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	st, _ = cloudtest.Open(t, dir)
	if _, err := os.Stat(half); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a half package stays: %v", err)
	}
	folder := filepath.Join(t.TempDir(), "copy")
	if err := st.Backup(t.Context(), folder); !errors.Is(err, cloud.ErrAltered) {
		t.Errorf("an altered package is not told: %v", err)
	}
	copied, _ := cloudtest.Open(t, folder)
	for i, name := range names {
		f, err := copied.Archive(t.Context(), name)
		if (err == nil) != (i != 1) {
			t.Errorf("%d: %v", i, err)
		}
		if err == nil {
			f.Close()
		}
	}
}
