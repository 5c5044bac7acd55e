package agent

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"slices"

	"valence/internal/sqlitedb"
)

// pendingFile holds the keys of an enrolment whose answer has not come: made
// again with the same token, it gives the same atom.
const pendingFile = "joining.json"

// Join enrols the atom of a data folder, and forgets what an earlier
// membership left there. No atom may run on the folder.
func Join(ctx context.Context, data string, id *Identity, token, version, host string) error {
	folder := filepath.Join(data, Folder)
	if err := os.MkdirAll(folder, 0o700); err != nil {
		return err
	}
	pending := filepath.Join(folder, pendingFile)
	earlier := &Identity{}
	if text, err := os.ReadFile(pending); err == nil && json.Unmarshal(text, earlier) == nil && earlier.URL == id.URL && earlier.Name == id.Name {
		id.Key, id.SealKey = earlier.Key, earlier.SealKey
	}
	text, err := json.Marshal(id)
	if err != nil {
		return err
	}
	if err := writeWhole(pending, text); err != nil {
		return err
	}
	if err := id.Enrol(ctx, token, version, host); err != nil {
		if r := (*Refused)(nil); errors.As(err, &r) && r.ours() && r.Status/100 == 4 {
			err = errors.Join(err, os.Remove(pending))
		}
		return err
	}
	if err := forget(folder); err != nil {
		return err
	}
	if err := id.Save(data); err != nil {
		return err
	}
	return errors.Join(os.Remove(pending), sqlitedb.SyncDir(folder))
}

// forget removes what was deployed and what waited to be reported.
func forget(folder string) error {
	entries, err := os.ReadDir(folder)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if !slices.Contains([]string{IdentityFile, pendingFile}, e.Name()) {
			if err := os.RemoveAll(filepath.Join(folder, e.Name())); err != nil {
				return err
			}
		}
	}
	return nil
}
