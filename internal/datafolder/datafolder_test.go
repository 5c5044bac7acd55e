package datafolder

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestExposure(t *testing.T) {
	folder := t.TempDir()
	const name = "secrets.key"
	for _, c := range []struct {
		name         string
		folder, file os.FileMode
		want         string // part of the warning; empty: none
	}{
		{"private", 0o700, 0o600, ""},
		{"folder readable", 0o755, 0o600, ""},
		{"folder writable by group", 0o770, 0o600, "chmod 700"},
		{"folder writable by all", 0o777, 0o600, "chmod 700"},
		{"key readable", 0o700, 0o644, "secrets.key: chmod 600"},
	} {
		t.Run(c.name, func(t *testing.T) {
			file := filepath.Join(folder, name)
			if err := os.WriteFile(file, []byte("x"), 0o600); err != nil {
				t.Fatal(err)
			}
			if err := errors.Join(os.Chmod(file, c.file), os.Chmod(folder, c.folder)); err != nil {
				t.Fatal(err)
			}
			if got := Exposure(folder, name); (got == "") != (c.want == "") || !strings.Contains(got, c.want) {
				t.Errorf("got %q, want %q", got, c.want)
			}
		})
	}
}

func TestKeyIsCreatedOnce(t *testing.T) {
	path := filepath.Join(t.TempDir(), "key")
	first, err := Key(path, 32)
	if err != nil || len(first) != 32 {
		t.Fatalf("got %d bytes, %v, want 32", len(first), err)
	}
	again, err := Key(path, 32)
	if err != nil || string(again) != string(first) {
		t.Errorf("got another key, %v", err)
	}
	if err := os.WriteFile(path, []byte("short"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Key(path, 32); err == nil || !strings.Contains(err.Error(), "damaged") {
		t.Errorf("a short key: got %v, want damaged", err)
	}
}
