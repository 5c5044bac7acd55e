package datafolder

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"valence/internal/atomicfile"
	"valence/internal/clierror"
	"valence/internal/sqlitedb"
)

// unfinishedFile marks the folder of a backup that is being written.
const unfinishedFile = "unfinished-backup"

// unfinishedSuffix is the suffix of such a folder until it is complete.
const unfinishedSuffix = ".unfinished"

const unfinishedText = "This backup is not complete. Delete the folder and back up again; nothing starts on it.\n"

// WriteBackup creates the folder dest with the files that fill writes. Until everything is
// on disk the folder has another name and a marker, so that an interrupted
// backup is never mistaken for a complete one. It returns an error that wraps
// fs.ErrExist if dest exists. The rest of an interrupted backup to dest is
// replaced.
func WriteBackup(dest string, fill func(folder string) error) error {
	if _, err := os.Lstat(dest); err == nil {
		return fmt.Errorf("back up to %s: %w", dest, fs.ErrExist)
	}
	folder := dest + unfinishedSuffix
	lock, err := startBackup(folder)
	if err != nil {
		return fmt.Errorf("back up to %s: %w", dest, err)
	}
	err = fill(folder)
	if err == nil {
		err = errors.Join(os.Remove(filepath.Join(folder, unfinishedFile)), sqlitedb.SyncDir(folder))
	}
	if err == nil {
		err = os.Rename(folder, dest)
	}
	if err == nil { // locked until here, so that no other backup empties it
		err = os.Remove(filepath.Join(dest, sqlitedb.LockFile))
	} else {
		err = errors.Join(err, os.RemoveAll(folder))
	}
	return errors.Join(err, lock.Release(), sqlitedb.SyncDir(filepath.Dir(dest)))
}

// startBackup creates the folder of an unfinished backup, with its marker. It
// deletes the rest of an interrupted one.
func startBackup(folder string) (*sqlitedb.Lock, error) {
	if list, err := os.ReadDir(folder); err == nil && len(list) > 0 && !isUnfinished(folder) {
		return nil, fmt.Errorf("%s is not an unfinished backup: %w", folder, fs.ErrExist)
	}
	lock, err := sqlitedb.LockDir(folder) // another backup may be writing it
	if err != nil {
		return nil, err
	}
	list, err := os.ReadDir(folder)
	for _, e := range list {
		if e.Name() != sqlitedb.LockFile && e.Name() != unfinishedFile {
			err = errors.Join(err, os.RemoveAll(filepath.Join(folder, e.Name())))
		}
	}
	if err == nil {
		err = atomicfile.Write(filepath.Join(folder, unfinishedFile), []byte(unfinishedText), 0o600)
	}
	if err != nil {
		return nil, errors.Join(err, lock.Release())
	}
	return lock, nil
}

func isUnfinished(folder string) bool {
	_, err := os.Lstat(filepath.Join(folder, unfinishedFile))
	return err == nil
}

// CheckFinished returns an error if the folder is a backup that was interrupted.
func CheckFinished(folder string) error {
	if !isUnfinished(folder) {
		return nil
	}
	return clierror.Failed("start on a complete backup, or delete this folder and back up again", "%s is an unfinished backup: the copy was interrupted and is not complete", folder)
}
