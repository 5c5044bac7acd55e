package cloudclient

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"slices"

	"valence/internal/atomicfile"
	"valence/internal/sqlitedb"
)

// pendingFile holds the keys of an enrollment without a response. Repeating it
// with the same token and keys yields the same atom.
const pendingFile = "joining.json"

// Join enrolls the atom of a data folder and deletes the data of an earlier
// membership. No atom may be running on the folder.
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
	if err := atomicfile.Write(pending, text, 0o600); err != nil {
		return err
	}
	if err := id.Enroll(ctx, token, version, host); err != nil {
		if r := (*ResponseError)(nil); errors.As(err, &r) && r.FromControlPlane() && r.Status/100 == 4 {
			err = errors.Join(err, os.Remove(pending))
		}
		return err
	}
	if err := clearFolder(folder); err != nil {
		return err
	}
	if err := id.Save(data); err != nil {
		return err
	}
	return errors.Join(os.Remove(pending), sqlitedb.SyncDir(folder))
}

// clearFolder deletes deployments and unsent reports.
func clearFolder(folder string) error {
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
