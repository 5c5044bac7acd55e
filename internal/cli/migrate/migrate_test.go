package migrate_test

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"valence/atom/server"
	"valence/atom/store"
	"valence/atom/store/postgres"
	"valence/atom/store/sqlite"
	"valence/atom/store/transfer"
	"valence/internal/cli"
	"valence/internal/pgdb"
	"valence/internal/test/program"
	"valence/internal/test/servers"
)

var pg *servers.Postgres

var binary string

func TestMain(m *testing.M) { os.Exit(program.Test(withPostgres{m}, &binary)) }

type withPostgres struct{ *testing.M }

func (w withPostgres) Run() int { return servers.RunPostgres(w.M, &pg) }

// address returns the URL of a database without the password, which the
// environment supplies.
func address(t testing.TB, database string) string {
	if t, ok := t.(*testing.T); ok {
		t.Setenv("PGPASSWORD", servers.PostgresPassword)
	}
	return strings.Replace(pg.URL(database), ":"+servers.PostgresPassword, "", 1)
}

// run runs a command line in this process.
func run(t *testing.T, args ...string) (code int, out, errs string) {
	t.Helper()
	var o, e bytes.Buffer
	code = cli.Main(args, strings.NewReader(""), &o, &e)
	return code, o.String(), e.String()
}

// mustRun is run for a command that succeeds.
func mustRun(t *testing.T, args ...string) string {
	t.Helper()
	code, out, errs := run(t, args...)
	if code != 0 {
		t.Fatalf("valence %s: exit code %d\n%s%s", strings.Join(args, " "), code, out, errs)
	}
	return out
}

func openFolder(t testing.TB, dir string) *sqlite.Store {
	t.Helper()
	s, err := sqlite.Open(dir, sqlite.Options{KeyFile: server.KeyFile})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func openMember(t testing.TB, database string) *postgres.Store {
	t.Helper()
	s, err := postgres.Open(t.Context(), postgres.Options{URL: pg.URL(database), Group: "shop", Member: "a", Version: "test"})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func none(transfer.Kind, int64) {}

// folderSummary reads a folder.
func folderSummary(t testing.TB, dir string) transfer.Summary {
	t.Helper()
	s, err := sqlite.OpenSource(t.Context(), dir, server.KeyFile)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	return summary(t, s)
}

func groupSummary(t testing.TB, database string) transfer.Summary {
	t.Helper()
	s, err := postgres.OpenSource(t.Context(), postgres.Options{URL: pg.URL(database), Group: "shop"}, func(*pgdb.Conn) error { return nil })
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	return summary(t, s)
}

func summary(t testing.TB, r transfer.Reader) transfer.Summary {
	t.Helper()
	s, err := transfer.Summarize(context.Background(), r, now.Add(time.Hour), none)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func wantEqual(t testing.TB, what string, want, got transfer.Summary) {
	t.Helper()
	if d := want.Differs(got); d != "" {
		t.Errorf("%s: %s", what, d)
	}
}

// facts returns the result of probe.
func facts(t testing.TB, f *filler, s store.Store) (lines []string) {
	t.Helper()
	use(t, s, func() { lines = probe(t, f, s) })
	return lines
}

// copyOf copies a folder.
func copyOf(t testing.TB, dir string) string {
	t.Helper()
	to := filepath.Join(t.TempDir(), "copy")
	if err := os.CopyFS(to, os.DirFS(dir)); err != nil {
		t.Fatal(err)
	}
	return to
}

// Everything arrives in a group and in another folder, each of the two reads as
// the first folder, and continues its work.
func TestFolderToGroupAndBack(t *testing.T) {
	dir, back, database := filepath.Join(t.TempDir(), "data"), filepath.Join(t.TempDir(), "back"), pg.Database(t)
	f := &filler{TB: t}
	s := openFolder(t, dir)
	f.Store = s
	use(t, s, f.fill)
	want := folderSummary(t, dir)
	wantEverything(t, want)
	said := facts(t, f, openFolder(t, copyOf(t, dir)))
	mustRun(t, "migrate", "--from", dir, "--to", address(t, database), "--group", "shop")
	wantEqual(t, "group", want, groupSummary(t, database))
	mustRun(t, "migrate", "--from", address(t, database), "--to", back, "--group", "shop")
	wantEqual(t, "folder", want, folderSummary(t, back))
	wantEqual(t, "source", want, folderSummary(t, dir))
	for _, folder := range []string{dir, back} {
		if code, out, errs := run(t, "check", "--data", folder); code != 0 {
			t.Errorf("check %s: %s%s", folder, out, errs)
		}
	}
	pg.Exec(t, database, "DELETE FROM atom_moved")
	for what, s := range map[string]store.Store{"group": openMember(t, database), "folder": openFolder(t, back)} {
		own := *f
		use(t, s, func() {
			if err := s.Join(t.Context(), func(map[string]int64) {}, func() {}); err != nil {
				t.Fatal(err)
			}
			wantLines(t, what, said, probe(t, &own, s))
			exercise(t, &own, s)
		})
	}
}

// wantEverything checks that a test covers every kind.
func wantEverything(t testing.TB, s transfer.Summary) {
	t.Helper()
	for _, kind := range append([]transfer.Kind{transfer.Executions}, transfer.Kinds...) {
		if s[kind].Count == 0 {
			t.Errorf("the test has no %s", kind)
		}
	}
}

// A group that was filled by its members moves as well.
func TestGroupToFolderAndBack(t *testing.T) {
	dir, database, other := filepath.Join(t.TempDir(), "data"), pg.Database(t), pg.Database(t)
	f := &filler{TB: t}
	s := openMember(t, database)
	f.Store = s
	use(t, s, f.fill)
	want := groupSummary(t, database)
	wantEverything(t, want)
	mustRun(t, "migrate", "--from", address(t, database), "--to", dir, "--group", "shop")
	wantEqual(t, "folder", want, folderSummary(t, dir))
	mustRun(t, "migrate", "--from", dir, "--to", address(t, other), "--group", "shop")
	wantEqual(t, "group", want, groupSummary(t, other))
}
