package datafolder

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"valence/internal/atomicfile"
	"valence/internal/clierror"
	"valence/internal/sqlitedb"
)

// MovedFile is the file in a data folder whose content was moved elsewhere.
const MovedFile = "moved.json"

// Moved names the target to which the content of a folder was moved.
type Moved struct {
	To string    `json:"to"`
	At time.Time `json:"at"`
}

// Write marks a folder as moved.
func (m Moved) Write(folder string) error {
	text, err := json.MarshalIndent(m, "", "  ")
	if err != nil {
		return err
	}
	return atomicfile.Write(filepath.Join(folder, MovedFile), append(text, '\n'), 0o600)
}

// ReadMoved returns the target to which a folder was moved. ok is false if it was
// not.
func ReadMoved(folder string) (m Moved, ok bool, err error) {
	text, err := os.ReadFile(filepath.Join(folder, MovedFile))
	if errors.Is(err, fs.ErrNotExist) {
		return m, false, nil
	}
	if err == nil {
		err = json.Unmarshal(text, &m)
	}
	if err != nil {
		return m, true, fmt.Errorf("read %s: %w", filepath.Join(folder, MovedFile), err)
	}
	return m, true, nil
}

// CheckNotMoved returns an error if the content of the folder was moved.
func CheckNotMoved(folder string) error {
	m, ok, err := ReadMoved(folder)
	if err != nil || !ok {
		return err
	}
	return clierror.Failed(fmt.Sprintf("start the atom there; or, to continue here without anything that happened there since, delete %s", filepath.Join(folder, MovedFile)),
		"the content of the data folder %s was moved to %s on %s", folder, m.To, m.At.UTC().Format(time.DateOnly))
}

// Files of a folder into which a store was migrated: importingFile until the
// migration has ended, importedFile from then on.
const (
	importingFile = "unfinished-migration.json"
	importedFile  = "migration.json"
)

// Import describes the migration of a store into a folder.
type Import struct {
	From  string    `json:"from"`
	Store string    `json:"store"` // identifies the source
	Use   string    `json:"use"`   // identifies the last start on the source
	At    time.Time `json:"at"`
}

// Write marks a folder as the target of a migration that has not ended.
func (m Import) Write(folder string) error {
	text, err := json.MarshalIndent(m, "", "  ")
	if err != nil {
		return err
	}
	return atomicfile.Write(filepath.Join(folder, importingFile), append(text, '\n'), 0o600)
}

// ReadImport returns the migration into a folder. done reports whether it has
// ended. It returns nil if there was none.
func ReadImport(folder string) (m *Import, done bool, err error) {
	for _, name := range []string{importingFile, importedFile} {
		text, err := os.ReadFile(filepath.Join(folder, name))
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		m := &Import{}
		if err == nil {
			err = json.Unmarshal(text, m)
		}
		if err != nil {
			return nil, false, fmt.Errorf("read %s: %w", filepath.Join(folder, name), err)
		}
		return m, name == importedFile, nil
	}
	return nil, false, nil
}

// ClearImport deletes everything of an unfinished migration but its mark.
func ClearImport(folder string) error {
	list, err := os.ReadDir(folder)
	for _, e := range list {
		if e.Name() != importingFile && e.Name() != sqlitedb.LockFile {
			err = errors.Join(err, os.RemoveAll(filepath.Join(folder, e.Name())))
		}
	}
	return err
}

// EndImport notes that the migration into a folder has ended.
func EndImport(folder string) error {
	if err := os.Rename(filepath.Join(folder, importingFile), filepath.Join(folder, importedFile)); err != nil {
		return err
	}
	return sqlitedb.SyncDir(folder)
}

// CheckImported returns an error if a migration into the folder has not ended.
func CheckImported(folder string) error {
	m, done, err := ReadImport(folder)
	if err != nil || m == nil || done {
		return err
	}
	return clierror.Failed("run the same valence migrate again; it continues", "the migration of %s into the data folder %s has not ended", m.From, folder)
}
