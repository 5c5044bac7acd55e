package cli

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"valence/cloud/cloudtest"
)

// Several control planes on one database: each with a folder of its own and the
// same key.
func TestSharedDatabase(t *testing.T) {
	server, err := cloudtest.NewPostgres()
	if err == nil {
		err = server.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(server.Remove)
	t.Setenv("PGPASSWORD", cloudtest.PostgresPassword)
	database := strings.Replace(server.URL(server.Database(t)), ":"+cloudtest.PostgresPassword+"@", "@", 1)
	first, second := filepath.Join(t.TempDir(), "first"), filepath.Join(t.TempDir(), "second")
	run := func(data string, more ...string) []string {
		return append([]string{"cloud", "--listen", "127.0.0.1:0", "--data", data, "--store", database}, more...)
	}
	stop := begin(t, &cloudRunCmd{Listen: "127.0.0.1:0", Data: first, Store: database})
	expect(t, exitFailed, "another control plane runs on the data folder", run(first)...)
	expect(t, exitFailed, "keep secrets under a key, and it is not here", run(second)...)
	if _, err := os.Stat(filepath.Join(second, cloudKeyFile)); err == nil {
		t.Error("it has made a key of its own")
	}
	other := filepath.Join(t.TempDir(), "other.key")
	if err := os.WriteFile(other, []byte(strings.Repeat("x", 32)), 0o600); err != nil {
		t.Fatal(err)
	}
	expect(t, exitFailed, "other.key is not the one", run(second, "--secrets-key", other)...)
	expect(t, exitErrors, "try: back the database up with pg_dump", "cloud", "backup", filepath.Join(t.TempDir(), "copy"), "--data", first)

	stop2 := begin(t, &cloudRunCmd{Listen: "127.0.0.1:0", Data: second, Store: database, SecretsKey: filepath.Join(first, cloudKeyFile)})
	if _, err := os.Stat(filepath.Join(second, cloudTokenFile)); err == nil {
		t.Error("a folder without the key got an admin's token")
	}
	token := filepath.Join(first, cloudTokenFile)
	expect(t, exitDone, "", "cloud", "environments", "make", "prod", "--data", first)
	expect(t, exitDone, "prod", "cloud", "environments", "--data", second, "--token-file", token)
	stop2()
	stop()

	alone := filepath.Join(t.TempDir(), "alone")
	begin(t, &cloudRunCmd{Listen: "127.0.0.1:0", Data: alone})()
	expect(t, exitFailed, "holds a control plane of its own", run(alone)...)
	t.Setenv("PGPASSWORD", "wrong")
	expect(t, exitFailed, "try: PGPASSWORD", run(filepath.Join(t.TempDir(), "third"))...)
}
