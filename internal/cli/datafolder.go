package cli

import (
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// keyFile holds, in the data folder, the key that signs the ids of executions.
const keyFile = "atom.key"

// makeDataFolder makes the data folder, for its owner only.
func makeDataFolder(path string) error {
	if err := os.MkdirAll(path, 0o700); err != nil {
		return failed("--data DIR with a folder that can be written to", "the data folder cannot be made: %v", err)
	}
	return nil
}

// exposed tells what in a data folder others than its owner could change or
// read that they must not, "" if nothing is. A folder that was there before, such
// as a mounted one, is left as it is.
func exposed(folder string, secrets ...string) string {
	if info, err := os.Stat(folder); err == nil && info.Mode().Perm()&0o022 != 0 {
		return fmt.Sprintf("others than its owner can write to the data folder %s, and so put files of theirs in place of keys: chmod 700 %s", folder, folder)
	}
	for _, name := range secrets {
		path := filepath.Join(folder, name)
		if info, err := os.Stat(path); err == nil && info.Mode().Perm()&0o077 != 0 {
			return fmt.Sprintf("others than its owner can read %s: chmod 600 %s", path, path)
		}
	}
	return ""
}

// atomKey gives the key of a data folder. The first call makes it. It is part
// of the data: with another key the ids of stored executions change.
func atomKey(folder string) ([]byte, error) {
	path := filepath.Join(folder, keyFile)
	key, err := os.ReadFile(path)
	switch {
	case err == nil && len(key) == 32:
		return key, nil
	case err == nil:
		return nil, failed("the copy in a backup", "%s is damaged: it holds %d bytes instead of 32", path, len(key))
	case !errors.Is(err, fs.ErrNotExist):
		return nil, failed("--data DIR with a folder that can be read", "%v", err)
	}
	key = make([]byte, 32)
	rand.Read(key) // never fails: crypto/rand
	if err := writeWhole(path, key, 0o600); err != nil {
		return nil, failed("--data DIR with a folder that can be written to", "%v", err)
	}
	return key, nil
}

// address is what addressFile holds while an atom runs.
type address struct {
	PID    int    `json:"pid"`
	Listen string `json:"listen"`
	Admin  string `json:"admin"`
}

func readAddress(folder string) (a address, ok bool) {
	text, err := os.ReadFile(filepath.Join(folder, addressFile))
	return a, err == nil && json.Unmarshal(text, &a) == nil
}

func writeAddress(folder string, a address) error {
	text, err := json.Marshal(a)
	if err != nil {
		return err
	}
	return writeWhole(filepath.Join(folder, addressFile), append(text, '\n'), 0o644)
}

// writeWhole writes a file so that it is there whole or not at all, also
// after a power cut.
func writeWhole(path string, content []byte, mode fs.FileMode) error {
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
	return syncFolder(filepath.Dir(path))
}

func syncFolder(path string) error {
	d, err := os.Open(path)
	if err != nil {
		return err
	}
	if err := errors.Join(d.Sync(), d.Close()); err != nil {
		return fmt.Errorf("flush %s: %w", path, err)
	}
	return nil
}
