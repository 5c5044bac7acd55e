package store_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"valence/cloud"
	"valence/cloud/cloudtest"
	"valence/cloud/store"
	"valence/internal/clierror"
	"valence/internal/datafolder"
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

// TestSlowReadsAreUnavailable checks that a read beyond its time is an error after
// which the client may try again.
func TestSlowReadsAreUnavailable(t *testing.T) {
	st, stop := cloudtest.Open(t, t.TempDir())
	defer stop()
	const want = "the store is unavailable: reading took longer than 2s: try again, or ask for less"
	if err := st.ReadForever(); !errors.Is(err, cloud.ErrUnavailable) || err.Error() != want {
		t.Errorf("got %v, want %s", err, want)
	}
}

func enqueue(t *testing.T, st *store.Store, n int, at time.Time, key string) string {
	t.Helper()
	id := fmt.Sprint("executionrecord-", n)
	got, err := st.Enqueue(t.Context(), &cloud.ExecutionRequest{ID: id, Account: "a", AtomID: "atom", Created: at, IdempotencyKey: key},
		&cloud.Instruction{Account: "a", AtomID: "atom", Request: id, Created: at, Instruction: wire.Instruction{ID: int64(n), Kind: wire.KindExecute, Execute: &wire.Execute{Request: id}}})
	if err != nil {
		t.Fatal(err)
	}
	return got
}

// A backup is made while the store is in use, and a control plane can start on
// it.
func TestBackup(t *testing.T) {
	st, _ := cloudtest.Open(t, t.TempDir())
	ctx := t.Context()
	archive, err := wire.Pack([]wire.PackageFile{{Name: "a.yaml", Content: []byte("x")}})
	if err != nil {
		t.Fatal(err)
	}
	sha := wire.PackageID(archive)
	if err := st.PutArchive(ctx, sha, archive); err != nil {
		t.Fatal(err)
	}
	if err := st.PutArchive(ctx, sha, append(archive, 0)); !errors.Is(err, cloud.ErrAltered) {
		t.Errorf("other content under the hash: got %v, want ErrAltered", err)
	}
	enqueue(t, st, 1, day, "")
	folder := filepath.Join(t.TempDir(), "copy")
	if err := st.Backup(ctx, folder); err != nil {
		t.Fatal(err)
	}
	if err := st.Backup(ctx, folder); !errors.Is(err, os.ErrExist) {
		t.Errorf("over another: got %v, want os.ErrExist", err)
	}
	copied, _ := cloudtest.Open(t, folder)
	if r, err := copied.ExecutionRequest(ctx, "a", "executionrecord-1"); err != nil || r == nil {
		t.Errorf("%v, %v", r, err)
	}
	f, err := copied.Archive(ctx, sha)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if text, err := io.ReadAll(f); err != nil || string(text) != string(archive) {
		t.Errorf("got %d bytes, %v, want %q and no error", len(text), err, string(archive))
	}
	if _, err := copied.Archive(ctx, "../cloud.db"); !errors.Is(err, cloud.ErrNotFound) {
		t.Errorf("a path as hash: got %v, want an error", err)
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

// An altered package does not prevent the backup of others, and temporary files
// are removed.
func TestBackupOfAlteredPackages(t *testing.T) {
	dir := t.TempDir()
	st, stop := cloudtest.Open(t, dir)
	var names []string
	for _, text := range []string{"x", "y", "z"} {
		archive, err := wire.Pack([]wire.PackageFile{{Name: "a.yaml", Content: []byte(text)}})
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
		t.Errorf("a temporary file remains: %v", err)
	}
	folder := filepath.Join(t.TempDir(), "copy")
	if err := st.Backup(t.Context(), folder); !errors.Is(err, cloud.ErrAltered) {
		t.Errorf("an altered package is not reported: %v", err)
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

// A folder that lacks some of its files never starts as a new control plane.
func TestIncompleteFolderIsRefused(t *testing.T) {
	const keyFile = "secrets.key"
	for _, c := range []struct {
		name   string
		damage func(dir string) error
		want   string
	}{
		{"database missing", func(dir string) error { return os.Remove(filepath.Join(dir, "cloud.db")) }, "cloud.db is missing"},
		{"database emptied", func(dir string) error { return os.Truncate(filepath.Join(dir, "cloud.db"), 0) }, "cloud.db is empty"},
		{"database truncated", func(dir string) error { return os.Truncate(filepath.Join(dir, "cloud.db"), 8192) }, "cloud.db is malformed"},
		{"key missing", func(dir string) error { return os.Remove(filepath.Join(dir, keyFile)) }, "secrets.key is missing"},
		{"another key", func(dir string) error {
			return os.WriteFile(filepath.Join(dir, keyFile), bytes.Repeat([]byte("k"), cloud.KeyBytes), 0o600)
		}, "secrets.key is not the key"},
		{"no inventory, database missing", func(dir string) error {
			return errors.Join(os.Remove(filepath.Join(dir, datafolder.InventoryFile)), os.Remove(filepath.Join(dir, "cloud.db")))
		}, "cloud.db is missing, but secrets.key is there"},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := t.TempDir()
			open := func(accept bool) (*store.Store, error) {
				return store.Open(dir, store.Options{KeyFile: keyFile, AcceptLoss: accept})
			}
			use := func(accept bool) {
				t.Helper()
				st, err := open(accept)
				if err != nil {
					t.Fatal(err)
				}
				key, err := datafolder.Key(filepath.Join(dir, keyFile), cloud.KeyBytes)
				if err := errors.Join(err, st.SetKey(keyFile, key), st.Close()); err != nil {
					t.Fatal(err)
				}
			}
			use(false)
			if err := c.damage(dir); err != nil {
				t.Fatal(err)
			}
			for range 2 { // a refusal changes nothing
				_, err := open(false)
				var refusal *clierror.Error
				if !errors.As(err, &refusal) || !strings.Contains(refusal.Message, c.want) {
					t.Fatalf("got %v, want %s", err, c.want)
				}
			}
			use(true)
			if text, err := os.ReadFile(filepath.Join(dir, datafolder.LossesFile)); err != nil || !strings.Contains(string(text), c.want) {
				t.Errorf("losses: got %s, %v, want %s", text, err, c.want)
			}
			use(false)
		})
	}
}
