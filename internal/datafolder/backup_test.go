package datafolder

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func write(t *testing.T, path string) {
	t.Helper()
	if err := os.WriteFile(path, []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
}

func listed(t *testing.T, folder string) string {
	t.Helper()
	list, err := os.ReadDir(folder)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, e := range list {
		names = append(names, e.Name())
	}
	return strings.Join(names, " ")
}

func TestBackupAppearsWhenItIsComplete(t *testing.T) {
	parent := t.TempDir()
	dest := filepath.Join(parent, "copy")
	err := WriteBackup(dest, func(folder string) error {
		write(t, filepath.Join(folder, "hot.db"))
		if _, err := os.Lstat(dest); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("while it is written: got %v, want no folder %s", err, dest)
		}
		if err := CheckFinished(folder); err == nil || !strings.Contains(err.Error(), "unfinished backup") {
			t.Errorf("while it is written: got %v, want an unfinished backup", err)
		}
		if err := WriteBackup(dest, nil); err == nil {
			t.Error("a second backup to the same folder started")
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if got, want := listed(t, parent), "copy"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	if got, want := listed(t, dest), "hot.db"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	if err := CheckFinished(dest); err != nil {
		t.Error(err)
	}
	if err := WriteBackup(dest, nil); !errors.Is(err, fs.ErrExist) {
		t.Errorf("over another: got %v, want ErrExist", err)
	}
}

func TestFailedBackupLeavesNothing(t *testing.T) {
	parent := t.TempDir()
	full := errors.New("no space")
	err := WriteBackup(filepath.Join(parent, "copy"), func(folder string) error {
		write(t, filepath.Join(folder, "hot.db"))
		return full
	})
	if !errors.Is(err, full) {
		t.Errorf("got %v, want %v", err, full)
	}
	if got := listed(t, parent); got != "" {
		t.Errorf("got %s, want nothing", got)
	}
}

// The folder that a killed program left is replaced by the next backup, anything
// else of that name is not.
func TestInterruptedBackupIsReplaced(t *testing.T) {
	parent := t.TempDir()
	dest := filepath.Join(parent, "copy")
	rest := dest + unfinishedSuffix
	if err := os.Mkdir(rest, 0o700); err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(rest, "mine"))
	if err := WriteBackup(dest, nil); !errors.Is(err, fs.ErrExist) {
		t.Errorf("over a folder of the user: got %v, want ErrExist", err)
	}
	write(t, filepath.Join(rest, unfinishedFile))
	if err := WriteBackup(dest, func(folder string) error { write(t, filepath.Join(folder, "hot.db")); return nil }); err != nil {
		t.Fatal(err)
	}
	if got, want := listed(t, dest), "hot.db"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}
