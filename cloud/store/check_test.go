package store_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"valence/cloud"
	"valence/cloud/store"
	"valence/internal/datafolder"
	"valence/internal/wire"
)

func TestCheckFindsDamage(t *testing.T) {
	const keyFile = "secrets.key"
	for _, c := range []struct {
		name   string
		damage func(dir, sha string) error
		want   string // "": no problem
	}{
		{"whole", func(string, string) error { return nil }, ""},
		{"a package", func(dir, sha string) error {
			return os.WriteFile(filepath.Join(dir, "packages", sha), []byte("other"), 0o600)
		}, "its content does not match its name"},
		{"the database", func(dir, _ string) error { return os.Truncate(filepath.Join(dir, "cloud.db"), 8192) }, "cloud.db: it is malformed"},
		{"the database is missing", func(dir, _ string) error { return os.Remove(filepath.Join(dir, "cloud.db")) }, "cloud.db: it is missing"},
		{"the key", func(dir, _ string) error { return os.Truncate(filepath.Join(dir, keyFile), 3) }, "secrets.key: it has 3 bytes"},
		{"the key is missing", func(dir, _ string) error { return os.Remove(filepath.Join(dir, keyFile)) }, "inventory.json: secrets.key is missing"},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := t.TempDir()
			st, err := store.Open(dir, store.Options{KeyFile: keyFile})
			if err != nil {
				t.Fatal(err)
			}
			archive, err := wire.Pack([]wire.PackageFile{{Name: "a.yaml", Content: []byte("x")}})
			sha := wire.PackageID(archive)
			key, keyErr := datafolder.Key(filepath.Join(dir, keyFile), cloud.KeyBytes)
			if err := errors.Join(err, keyErr, st.SetKey(keyFile, key), st.PutArchive(t.Context(), sha, archive), st.Close(), c.damage(dir, sha)); err != nil {
				t.Fatal(err)
			}
			var found []string
			err = store.Check(t.Context(), dir, keyFile, datafolder.Checker{
				Report: func(r datafolder.FileReport) {
					for _, p := range r.Problems {
						found = append(found, r.File+": "+p)
					}
				},
				Progress: func(string) {},
			})
			if got := strings.Join(found, "\n"); err != nil || !strings.Contains(got, c.want) || (got == "") != (c.want == "") {
				t.Errorf("got %q, %v, want %q", got, err, c.want)
			}
		})
	}
}
