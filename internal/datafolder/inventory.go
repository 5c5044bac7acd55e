package datafolder

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"valence/internal/clierror"
)

// InventoryFile is the file in a data folder that lists the folder's content.
// It is written at each start and stop, and when a file of the history is
// created, completed or deleted.
const InventoryFile = "inventory.json"

// LossesFile lists the losses found when a program was started with
// --accept-loss, as JSON lines.
const LossesFile = "losses.jsonl"

// Inventory is the content of InventoryFile. A file is on disk before it
// is listed, and is removed from the list before it is deleted, so a crash never
// makes the inventory wrong.
type Inventory struct {
	Database string             `json:"database"` // name of its file
	ID       int64              `json:"id"`       // also in the database
	Starts   int64              `json:"starts"`   // number of starts, also in the database
	Running  bool               `json:"running"`  // not stopped cleanly
	Next     int64              `json:"next,omitempty"`
	Keys     map[string]string  `json:"keys,omitempty"`     // SHA-256 by file
	Segments map[string]Segment `json:"segments,omitempty"` // by path in the folder
}

// Segment is a file of the history.
type Segment struct {
	Bytes  int64 `json:"bytes"`            // at least, unless it is sealed
	Sealed bool  `json:"sealed,omitempty"` // does not change any more
}

// ReadInventory reads the inventory of a folder. It returns nil if there is
// none: the folder is new, or from a version without inventories.
func ReadInventory(folder string) (*Inventory, error) {
	name := filepath.Join(folder, InventoryFile)
	text, err := os.ReadFile(name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	v := &Inventory{}
	if err := json.Unmarshal(text, v); err != nil || v.Database == "" {
		return nil, fmt.Errorf("%s is damaged", InventoryFile)
	}
	return v, nil
}

// Encode returns the content of the file.
func (v *Inventory) Encode() ([]byte, error) {
	text, err := json.MarshalIndent(v, "", " ")
	return append(text, '\n'), err
}

// Digest returns the digest of a key for the inventory. It does not reveal the
// key, which is random.
func Digest(key []byte) string {
	sum := sha256.Sum256(key)
	return hex.EncodeToString(sum[:])
}

// Missing returns the files of the inventory that are missing, empty, truncated
// or replaced, as sentences for operators. The database is only looked for.
func (v *Inventory) Missing(folder string) (lost []string) {
	if l := LostDatabase(folder, v.Database); l != "" {
		lost = append(lost, l)
	}
	for _, name := range slices.Sorted(maps.Keys(v.Keys)) {
		key, err := os.ReadFile(filepath.Join(folder, name))
		switch {
		case errors.Is(err, fs.ErrNotExist):
			lost = append(lost, name+" is missing")
		case err != nil:
			lost = append(lost, fmt.Sprintf("%s cannot be read: %v", name, err))
		case Digest(key) != v.Keys[name]:
			lost = append(lost, name+" is not the key that this folder was used with")
		}
	}
	for _, name := range slices.Sorted(maps.Keys(v.Segments)) {
		s := v.Segments[name]
		info, err := os.Stat(filepath.Join(folder, filepath.FromSlash(name)))
		switch {
		case errors.Is(err, fs.ErrNotExist):
			lost = append(lost, name+" is missing")
		case err != nil:
			lost = append(lost, fmt.Sprintf("%s cannot be read: %v", name, err))
		case info.Size() < s.Bytes:
			lost = append(lost, fmt.Sprintf("%s has %d bytes of %d", name, info.Size(), s.Bytes))
		case s.Sealed && info.Size() > s.Bytes:
			lost = append(lost, fmt.Sprintf("%s has %d bytes, not %d", name, info.Size(), s.Bytes))
		}
	}
	return lost
}

// LostDatabase returns the sentence for a database that is missing or empty; ""
// if it is there.
func LostDatabase(folder, name string) string {
	info, err := os.Stat(filepath.Join(folder, name))
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return name + " is missing"
	case err != nil:
		return fmt.Sprintf("%s cannot be read: %v", name, err)
	case info.Size() == 0:
		// A new database is empty until its log is copied into it.
		if log, err := os.Stat(filepath.Join(folder, name+"-wal")); err == nil && log.Size() > 0 {
			return ""
		}
		return name + " is empty"
	}
	return ""
}

// Orphans returns the sentence for a folder without an inventory whose database
// is missing or empty although other files of it are there; "" if there are
// none.
func Orphans(folder, database string, others ...string) string {
	l := LostDatabase(folder, database)
	if l == "" {
		return ""
	}
	for _, name := range others {
		if name == "" {
			continue
		}
		at := filepath.Join(folder, name)
		if info, err := os.Stat(at); err == nil && !info.IsDir() {
			return l + ", but " + name + " is there"
		}
		if list, err := os.ReadDir(at); err == nil && len(list) > 0 {
			return l + ", but " + path.Join(name, list[0].Name()) + " is there"
		}
	}
	return ""
}

// CheckDatabase returns sentences for a database that is not the one of the
// inventory. id, starts and next are the values in the database; logged
// reports whether it had a write-ahead log when it was opened.
func (v *Inventory) CheckDatabase(id, starts, next int64, logged bool) []string {
	switch {
	case id == 0:
		return []string{v.Database + " is a new database"}
	case id != v.ID:
		return []string{v.Database + " is the database of another folder"}
	case v.Running && !logged && starts < v.Starts:
		return []string{v.Database + "-wal is missing, with the last changes"}
	case starts < v.Starts || next < v.Next:
		return []string{v.Database + " is older than the folder: it is not of the same backup"}
	}
	return nil
}

// maxLost is the number of losses that an error names.
const maxLost = 5

// LossError returns the error for a folder that lacks files.
func LossError(folder string, lost []string) error {
	text := strings.Join(lost[:min(len(lost), maxLost)], "; ")
	if n := len(lost) - maxLost; n > 0 {
		text += fmt.Sprintf("; and %d more", n)
	}
	return clierror.Failed("put the files back, or restore a backup as the whole folder; --accept-loss starts without them",
		"the data folder %s is not complete: %s", folder, text)
}

// SetAside renames damaged files of a folder, so that new ones can be created.
func SetAside(folder string, names ...string) error {
	suffix := ".damaged-" + time.Now().UTC().Format("20060102T150405")
	var errs []error
	for _, name := range names {
		if err := os.Rename(filepath.Join(folder, name), filepath.Join(folder, name+suffix)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

// RecordLosses appends the losses to LossesFile.
func RecordLosses(folder string, lost []string) error {
	line, err := json.Marshal(struct {
		Time time.Time `json:"time"`
		Lost []string  `json:"lost"`
	}{time.Now().UTC(), lost})
	if err != nil {
		return err
	}
	f, err := os.OpenFile(filepath.Join(folder, LossesFile), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(append(line, '\n'))
	return errors.Join(err, f.Sync(), f.Close())
}
