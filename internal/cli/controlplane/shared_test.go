package controlplane_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"valence/internal/cli/controlplane"
	"valence/internal/clierror"
	"valence/internal/test/servers"
)

// Each control plane of a database has its own data folder; all share one key.
func TestSharedDatabase(t *testing.T) {
	server, err := servers.NewPostgres()
	if err == nil {
		err = server.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(server.Remove)
	t.Setenv("PGPASSWORD", servers.PostgresPassword)
	database := strings.Replace(server.URL(server.Database(t)), ":"+servers.PostgresPassword+"@", "@", 1)
	first, second := filepath.Join(t.TempDir(), "first"), filepath.Join(t.TempDir(), "second")
	command := func(data string, more ...string) []string {
		return append([]string{"cloud", "--listen", "127.0.0.1:0", "--data", data, "--store", database}, more...)
	}
	stop := start(t, &controlplane.Command{Listen: "127.0.0.1:0", Data: first, Store: database})
	expect(t, clierror.ExitFailed, "another control plane uses the data folder", command(first)...)
	expect(t, clierror.ExitFailed, "the key of this database's secrets is missing", command(second)...)
	if _, err := os.Stat(filepath.Join(second, controlplane.KeyFile)); err == nil {
		t.Error("the second control plane created a key of its own")
	}
	other := filepath.Join(t.TempDir(), "other.key")
	if err := os.WriteFile(other, []byte(strings.Repeat("x", 32)), 0o600); err != nil {
		t.Fatal(err)
	}
	expect(t, clierror.ExitFailed, "other.key has another one", command(second, "--secrets-key", other)...)
	expect(t, clierror.ExitInvalid, "try: back up the database with pg_dump", "cloud", "backup", filepath.Join(t.TempDir(), "copy"), "--data", first)

	stopSecond := start(t, &controlplane.Command{Listen: "127.0.0.1:0", Data: second, Store: database, SecretsKey: filepath.Join(first, controlplane.KeyFile)})
	if _, err := os.Stat(filepath.Join(second, controlplane.TokenFile)); err == nil {
		t.Error("a data folder without the key has an admin's token")
	}
	token := filepath.Join(first, controlplane.TokenFile)
	expect(t, clierror.ExitOK, "", "cloud", "environments", "make", "prod", "--data", first)
	expect(t, clierror.ExitOK, "prod", "cloud", "environments", "--data", second, "--token-file", token)
	stopSecond()
	stop()

	alone := filepath.Join(t.TempDir(), "alone")
	start(t, &controlplane.Command{Listen: "127.0.0.1:0", Data: alone})()
	expect(t, clierror.ExitFailed, "has a store of its own", command(alone)...)
	t.Setenv("PGPASSWORD", "wrong")
	expect(t, clierror.ExitFailed, "try: set PGPASSWORD", command(filepath.Join(t.TempDir(), "third"))...)
}
