// Package datafolder creates, checks and writes the data folders of atoms and
// control planes.
package datafolder

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"valence/internal/atomicfile"
	"valence/internal/clierror"
)

// Create creates the folder, accessible to its owner only.
func Create(folder string) error {
	if err := os.MkdirAll(folder, 0o700); err != nil {
		return clierror.Failed("--data DIR with a writable folder", "cannot create the data folder: %v", err)
	}
	return nil
}

// Exposure describes permissions of the folder, or of the secret files in it,
// that are too wide. It is empty if there are none. Permissions of an existing
// folder, such as a mounted one, are never changed.
func Exposure(folder string, secrets ...string) string {
	if info, err := os.Stat(folder); err == nil && info.Mode().Perm()&0o022 != 0 {
		return fmt.Sprintf("other users can write to the data folder %s and replace its keys: chmod 700 %s", folder, folder)
	}
	for _, name := range secrets {
		path := filepath.Join(folder, name)
		if info, err := os.Stat(path); err == nil && info.Mode().Perm()&0o077 != 0 {
			return fmt.Sprintf("other users can read %s: chmod 600 %s", path, path)
		}
	}
	return ""
}

// NotOwner returns the error for a folder that this user may not read.
func NotOwner(folder string) error {
	return clierror.Failed("run the command as the user that owns it, such as: sudo -u valence valence …", "this user may not read the data folder %s", folder)
}

// CheckReadable returns an error if this user may not look for file in folder.
// A missing file is no error.
func CheckReadable(folder, file string) error {
	if _, err := os.Stat(filepath.Join(folder, file)); !errors.Is(err, fs.ErrPermission) {
		return nil
	}
	return NotOwner(folder)
}

// Key reads a key of size bytes from a file, and creates the file with a random
// key if it does not exist.
func Key(path string, size int) ([]byte, error) {
	key, err := os.ReadFile(path)
	switch {
	case err == nil && len(key) == size:
		return key, nil
	case err == nil:
		return nil, clierror.Failed("restore the file from a backup", "%s is damaged: it has %d bytes, not %d", path, len(key), size)
	case !errors.Is(err, fs.ErrNotExist):
		return nil, clierror.Failed("--data DIR with a readable folder", "%v", err)
	}
	key = make([]byte, size)
	rand.Read(key) // never fails: crypto/rand
	if err := atomicfile.Write(path, key, 0o600); err != nil {
		return nil, clierror.Failed("--data DIR with a writable folder", "%v", err)
	}
	return key, nil
}
