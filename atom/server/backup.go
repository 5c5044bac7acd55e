package server

import (
	"context"
	"errors"
	"io/fs"
	"log/slog"
	"os"

	"valence/atom/store/sqlite"
	"valence/internal/clierror"
	"valence/internal/lifecycle"
	"valence/internal/sqlitedb"
)

// KeyFile is the file in the data folder with the key that signs execution ids.
// It is part of the data: with another key, the ids of stored executions change.
const KeyFile = "atom.key"

// BackupStopped copies the data folder of an atom that is not running to dest.
// It returns false if an atom uses the folder.
func BackupStopped(ctx context.Context, folder, dest string) (done bool, err error) {
	if _, err := os.Stat(folder); errors.Is(err, fs.ErrNotExist) {
		return false, clierror.Failed("--data DIR with the data folder of the atom", "there is no data folder %s", folder)
	}
	if err := CheckAlone(folder); err != nil {
		return false, err
	}
	store, err := sqlite.Open(folder, sqlite.Options{KeyFile: KeyFile, Log: slog.New(slog.DiscardHandler)})
	if locked := (*sqlitedb.LockedError)(nil); errors.As(err, &locked) {
		return false, nil
	}
	if err != nil {
		return false, OpenError(folder, err)
	}
	parts := lifecycle.NewGroup()
	parts.Start("store", store.Run)
	err = store.Backup(ctx, dest)
	if err := errors.Join(err, parts.Stop(), store.Close()); err != nil {
		return false, clierror.Failed("choose a writable folder", "%v", err)
	}
	return true, nil
}
