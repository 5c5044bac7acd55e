package migrate_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"valence/atom/store"
	"valence/atom/store/postgres"
	"valence/atom/store/sqlite"
)

func contains(text, part string) bool { return strings.Contains(text, part) }

// A migration that is not possible is refused with a hint, and nothing is written.
func TestRefusals(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "data")
	f := &filler{TB: t}
	s := openFolder(t, dir)
	f.Store = s
	use(t, s, f.plain)
	files := filepath.Join(t.TempDir(), "files")
	s = openFolder(t, files)
	f.Store = s
	use(t, s, func() {
		name, _, err := s.PutFile(t.Context(), strings.NewReader("content"))
		f.check("put a file", err)
		m := f.message("files")
		m.Doc = []byte(`{"raw":"` + name + `","encoding":"valence-blob"}`)
		f.accept(m)
	})
	full, newer, empty, other, busy := pg.Database(t), pg.Database(t), pg.Database(t), pg.Database(t), pg.Database(t)
	m := openMember(t, full)
	f.Store = m
	use(t, m, func() { f.accept(f.message("plain")) })
	pg.Exec(t, newer, "CREATE TABLE atom_schema(version int NOT NULL); INSERT INTO atom_schema VALUES(999)")
	openMember(t, other).Close()
	pg.Exec(t, other, "UPDATE atom_group SET name = 'stock'; UPDATE atom_member SET until = '-infinity'")
	running := openMember(t, busy)
	defer running.Close()
	open := openFolder(t, filepath.Join(t.TempDir(), "open"))
	defer open.Close()
	occupied := t.TempDir()
	if err := os.WriteFile(filepath.Join(occupied, "notes.txt"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	locked := copyOf(t, dir)
	used := openFolder(t, locked)
	defer used.Close()
	for _, c := range []struct {
		name, from, to string
		code           int
		text, hint     string
	}{
		{"two folders", dir, occupied, 2, "are not a data folder and a database", "--to postgres://"},
		{"a password", dir, strings.Replace(address(t, empty), "valence@", "valence:hush@", 1), 2, "--to contains a password", "PGPASSWORD_FILE"},
		{"no folder", filepath.Join(t.TempDir(), "none"), address(t, empty), 3, "there is no data folder", "--from"},
		{"a running atom", locked, address(t, empty), 3, "an atom is running: the folder", "stop the atom"},
		{"stored files", files, address(t, empty), 3, "refer to 1 stored files", "wait until"},
		{"a full database", dir, address(t, full), 3, "is not empty: it has rows in atom_execution", "create a database"},
		{"a newer schema", dir, address(t, newer), 3, "has schema version 999, newer than", "run the newer version"},
		{"another group", dir, address(t, other), 3, "belongs to the group stock", "create a database"},
		{"a running group", dir, address(t, busy), 3, "the group is running", "stop all members"},
		{"from a running group", address(t, busy), filepath.Join(t.TempDir(), "to"), 3, "the group is running", "stop all members"},
		{"from another group", address(t, other), filepath.Join(t.TempDir(), "to"), 3, "belongs to the group stock", "--group stock"},
		{"from an empty database", address(t, empty), filepath.Join(t.TempDir(), "to"), 3, "holds no group", "--from"},
		{"to an occupied folder", address(t, full), occupied, 3, "is not empty: it has notes.txt", "a folder that does not exist"},
	} {
		code, out, errs := run(t, "migrate", "--from", c.from, "--to", c.to, "--group", "shop")
		if code != c.code || out != "" || !contains(errs, c.text) || !contains(errs, "try: ") || !contains(errs, c.hint) || contains(errs, "hush") {
			t.Errorf("%s: got exit code %d\n%s%swant %d, %q and %q", c.name, code, out, errs, c.code, c.text, c.hint)
		}
		if _, err := os.Stat(filepath.Join(filepath.Dir(c.to), "to")); err == nil {
			t.Errorf("%s: the folder was created", c.name)
		}
	}
	for _, database := range []string{empty, newer} {
		pg.Exec(t, database, "DO $$ BEGIN IF to_regclass('atom_execution') IS NOT NULL THEN RAISE 'something was written'; END IF; END $$")
	}
	if _, err := os.Stat(filepath.Join(dir, "moved.json")); err == nil {
		t.Error("the source was marked as moved")
	}
}

// Nothing starts on a store that was moved, or on an unfinished copy.
func TestMovedDoesNotStart(t *testing.T) {
	dir, back, database := filepath.Join(t.TempDir(), "data"), filepath.Join(t.TempDir(), "back"), pg.Database(t)
	f := &filler{TB: t}
	s := openFolder(t, dir)
	f.Store = s
	use(t, s, f.fill)
	join := func() (store.Store, error) {
		s, err := postgres.Open(t.Context(), postgres.Options{URL: pg.URL(database), Group: "shop"})
		if err != nil {
			return nil, err
		}
		return s, nil
	}
	wantError := func(what string, s store.Store, err error, text string) {
		t.Helper()
		if err == nil || !contains(err.Error(), text) {
			t.Errorf("%s: got %v, want %q", what, err, text)
		}
		if err == nil {
			s.Close()
		}
	}
	mustRun(t, "migrate", "--from", dir, "--to", address(t, database), "--group", "shop")
	code, _, errs := run(t, "run", "--data", dir, "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0", project(t))
	if code != 3 || !contains(errs, "was moved to the group shop in the database "+database) || !contains(errs, "delete "+filepath.Join(dir, "moved.json")) {
		t.Errorf("run on a moved folder: got exit code %d, %s", code, errs)
	}
	pg.Exec(t, database, "UPDATE atom_migration SET done = false")
	member, err := join()
	wantError("a member during a migration", member, err, "has not ended")
	pg.Exec(t, database, "UPDATE atom_migration SET done = true")
	if code, _, errs := run(t, "migrate", "--from", dir, "--to", address(t, pg.Database(t)), "--group", "shop"); code != 3 || !contains(errs, "was moved to the group shop") {
		t.Errorf("to another group: got exit code %d, %s", code, errs)
	}
	mustRun(t, "migrate", "--from", address(t, database), "--to", back, "--group", "shop")
	member, err = join()
	wantError("a member of a moved group", member, err, "this group was moved to the data folder "+back)
	if err := os.Rename(filepath.Join(back, "migration.json"), filepath.Join(back, "unfinished-migration.json")); err != nil {
		t.Fatal(err)
	}
	folder, err := sqlite.Open(back, sqlite.Options{})
	wantError("a folder during a migration", folder, err, "has not ended")
	// Both are undone as the errors say.
	pg.Exec(t, database, "DELETE FROM atom_moved")
	if member, err = join(); err != nil {
		t.Error(err)
	} else {
		member.Close()
	}
	if err := os.Remove(filepath.Join(dir, "moved.json")); err != nil {
		t.Fatal(err)
	}
	openFolder(t, dir).Close()
	// Then their contents are different ones.
	if code, _, errs := run(t, "migrate", "--from", dir, "--to", address(t, database), "--group", "shop"); code != 3 || !contains(errs, "was used after it was migrated") && !contains(errs, "the group is running") {
		t.Errorf("after both were used: got exit code %d, %s", code, errs)
	}
}
