package operate_test

import (
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"valence/atom/server"
	"valence/internal/cli"
	"valence/internal/cli/project"
	"valence/internal/clierror"
	"valence/internal/datafolder"
	"valence/internal/test/testcert"
)

func TestAdminWithTLSBeyondLoopback(t *testing.T) {
	cert, key := testcert.New(t)
	data := filepath.Join(t.TempDir(), "data")
	app := filepath.Join(t.TempDir(), "app.yaml")
	if err := os.WriteFile(app, []byte("process: note\nsteps:\n  - log: hi\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	p, err := project.LoadValid([]string{app}, os.Stderr)
	if err != nil {
		t.Fatal(err)
	}
	s, err := server.Open(server.Options{
		Data: data, Web: server.WebOptions{Address: "127.0.0.1:0"},
		Admin: server.AdminOptions{Address: "0.0.0.0:0", TLSCert: cert, TLSKey: key},
		Grace: time.Second, Version: "test", Catalog: project.Catalog(), Log: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Start(&server.Project{Project: p.Project, Files: p.Files}); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		args           []string
		code           int
		stdout, stderr string // parts of the output
	}{
		{[]string{"processes", "--data", data, "--admin-ca", cert}, clierror.ExitOK, "note     called", ""},
		{[]string{"processes", "--data", data}, clierror.ExitFailed, "", "error: no atom answers at https://127.0.0.1:"},
		{[]string{"processes", "--data", data, "--admin-ca", key}, clierror.ExitFailed, "", "contains no certificate"},
	} {
		var out, errs strings.Builder
		code := cli.Main(c.args, strings.NewReader(""), &out, &errs)
		if code != c.code || !strings.Contains(out.String(), c.stdout) || !strings.Contains(errs.String(), c.stderr) {
			t.Errorf("%v: got exit code %d and\n%s%swant %d and %q, %q", c.args, code, &out, &errs, c.code, c.stdout, c.stderr)
		}
	}
	if err := s.Stop(); err != nil {
		t.Error(err)
	}
	if a, ok := datafolder.ReadAtomAddress(data); ok {
		t.Errorf("after Stop: got address %v, want none", a)
	}
}
