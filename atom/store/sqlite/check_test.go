package sqlite_test

import (
	"bytes"
	"database/sql"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"valence/atom/store"
	"valence/atom/store/sqlite"
	"valence/internal/datafolder"
)

// checked returns the problems that a check of a folder reports, and the notes.
func checked(t *testing.T, dir string) (problems, notes string) {
	t.Helper()
	var found, noted []string
	err := sqlite.Check(ctx, dir, keyFile, datafolder.Checker{
		Report: func(r datafolder.FileReport) {
			for _, p := range r.Problems {
				found = append(found, r.File+": "+p)
			}
			if r.Note != "" {
				noted = append(noted, r.File+": "+r.Note)
			}
		},
		Progress: func(string) {},
	})
	if err != nil {
		t.Fatal(err)
	}
	return strings.Join(found, "\n"), strings.Join(noted, "\n")
}

// document returns the path of the only document of a folder.
func document(t *testing.T, dir string) string {
	t.Helper()
	names, err := filepath.Glob(filepath.Join(dir, "documents", "*", "*"))
	if err != nil || len(names) != 1 {
		t.Fatalf("got documents %v, %v, want one", names, err)
	}
	return names[0]
}

// change overwrites one byte of a file.
func change(t *testing.T, path string, off int64) {
	t.Helper()
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	must(t, err)
	_, err = f.WriteAt([]byte{0xa5}, off)
	must(t, err, f.Close())
}

// update changes a database with SQL.
func update(t *testing.T, path, query string) {
	t.Helper()
	db, err := sql.Open("sqlite", path)
	must(t, err)
	_, err = db.Exec(query)
	must(t, err, db.Close())
}

func TestCheckFindsDamage(t *testing.T) {
	whole, _ := usedFolder(t)
	s := open(t, whole, sqlite.Options{KeyFile: keyFile})
	stop := startStore(t, s)
	seq := accept(t, s, message([]byte("waits")))
	apply(t, s, &store.Change{Seq: seq, Entries: []store.Entry{{Path: "0", Kind: "call", At: time.Now(), Body: []byte("x")}}, Disposition: &store.Suspension{State: store.Held}})
	stop()
	if problems, _ := checked(t, whole); problems != "" {
		t.Fatalf("a whole folder: got %s, want no problems", problems)
	}
	for _, c := range []struct {
		name   string
		damage func(t *testing.T, dir string)
		want   string
	}{
		{"a page of the database", func(t *testing.T, dir string) {
			name := filepath.Join(dir, "hot.db")
			info, err := os.Stat(name)
			must(t, err)
			for off := int64(4096); off < info.Size(); off += 4096 {
				change(t, name, off)
			}
		}, "hot.db: "},
		{"the database is missing", func(t *testing.T, dir string) { must(t, os.Remove(filepath.Join(dir, "hot.db"))) }, "hot.db: it is missing"},
		{"a message", func(t *testing.T, dir string) {
			update(t, filepath.Join(dir, "hot.db"), "UPDATE intake SET docs = docs || x'00'")
		}, "hot.db: messages "},
		{"an execution", func(t *testing.T, dir string) {
			update(t, filepath.Join(dir, "hot.db"), "UPDATE execution SET head = x'0000'")
		}, "hot.db: execution "},
		{"a journal", func(t *testing.T, dir string) {
			update(t, filepath.Join(dir, "hot.db"), "UPDATE journal SET body = x'0000'")
		}, "hot.db: journal of execution "},
		{"a document", func(t *testing.T, dir string) { change(t, document(t, dir), 10) }, "its content does not match its name"},
		{"a missing document", func(t *testing.T, dir string) { must(t, os.Remove(document(t, dir))) }, ": it is missing"},
		{"a block of the history", func(t *testing.T, dir string) { change(t, segment(t, dir), 90) }, "000001.seg: the block at 0 of "},
		{"the end of the history", func(t *testing.T, dir string) {
			info, err := os.Stat(segment(t, dir))
			must(t, err)
			change(t, segment(t, dir), info.Size()-5)
		}, "000001.seg: its end is damaged"},
		{"the key", func(t *testing.T, dir string) { must(t, os.Truncate(filepath.Join(dir, keyFile), 3)) }, "atom.key: it has 3 bytes, not 32"},
		{"a missing segment", func(t *testing.T, dir string) { must(t, os.Remove(segment(t, dir))) }, "inventory.json: history/"},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "copy")
			must(t, os.CopyFS(dir, os.DirFS(whole)))
			c.damage(t, dir)
			if problems, _ := checked(t, dir); !strings.Contains(problems, c.want) {
				t.Errorf("got %q, want %q", problems, c.want)
			}
		})
	}
}

// The folder of a killed atom is whole, and a check leaves it as it is: its
// log still holds acknowledged messages.
func TestCheckChangesNothing(t *testing.T) {
	dir, _ := usedFolder(t)
	s := open(t, dir, sqlite.Options{KeyFile: keyFile})
	stop := startStore(t, s)
	seq := accept(t, s, message([]byte("acknowledged")))
	apply(t, s, &store.Change{Seq: accept(t, s, message([]byte("done"))), Disposition: outcome()})
	must(t, s.Archive())
	killed := filepath.Join(t.TempDir(), "killed")
	must(t, os.CopyFS(killed, os.DirFS(dir)))
	stop()
	read := func() map[string][]byte {
		files := map[string][]byte{}
		must(t, filepath.WalkDir(killed, func(path string, e os.DirEntry, err error) error {
			if err != nil || e.IsDir() || strings.HasSuffix(path, "-shm") {
				return err
			}
			files[path], err = os.ReadFile(path)
			return err
		}))
		return files
	}
	before := read()
	problems, notes := checked(t, killed)
	if problems != "" || !strings.Contains(notes, "it was being written") {
		t.Errorf("got problems %q, notes %q, want none and an open segment", problems, notes)
	}
	after := read()
	for name := range before {
		if !bytes.Equal(before[name], after[name]) {
			t.Errorf("%s was changed", name)
		}
	}
	if len(after) != len(before) {
		t.Errorf("got %d files, want %d", len(after), len(before))
	}
	s = open(t, killed, sqlite.Options{KeyFile: keyFile})
	defer startStore(t, s)()
	if x, err := s.Get(ctx, seq, time.Now()); err != nil || errors.Is(err, store.ErrUnknown) || x == nil {
		t.Errorf("the acknowledged message: got %v, %v", x, err)
	}
}
