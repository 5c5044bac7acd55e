// Package atomicfile writes files that are complete or absent, even after a
// power failure.
package atomicfile

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"

	"valence/internal/sqlitedb"
)

// Write replaces the file at path with content and flushes it to disk.
func Write(path string, content []byte, mode fs.FileMode) error {
	f, err := os.CreateTemp(filepath.Dir(path), ".new-*")
	if err != nil {
		return err
	}
	defer os.Remove(f.Name())
	_, err = f.Write(content)
	if err := errors.Join(err, f.Chmod(mode), f.Sync(), f.Close()); err != nil {
		return err
	}
	if err := os.Rename(f.Name(), path); err != nil {
		return err
	}
	return sqlitedb.SyncDir(filepath.Dir(path))
}
