package store

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"valence/cloud"
	"valence/internal/sqlitedb"
	"valence/internal/wire"
)

// archives are files named by the SHA-256 of their content. They are never
// changed, so a copy may share them.
type archives struct{ dir string }

func openArchives(dir string) (*archives, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	halves, err := filepath.Glob(filepath.Join(dir, halfName)) // of a run that was killed
	for _, half := range halves {
		err = errors.Join(err, os.Remove(half))
	}
	return &archives{dir}, err
}

// halfName is what a file is called while it is written.
const halfName = ".new-*"

func (a *archives) path(sha string) (string, error) {
	if !wire.IsPackageID(sha) {
		return "", fmt.Errorf("%q is no name of a package: %w", sha, cloud.ErrNotFound)
	}
	return filepath.Join(a.dir, sha), nil
}

// PutArchive implements cloud.Archives. A file that is there and was altered
// is replaced.
func (s *Store) PutArchive(ctx context.Context, sha string, archive []byte) error {
	path, err := s.archives.path(sha)
	if err != nil {
		return err
	}
	if wire.PackageID(archive) != sha {
		return fmt.Errorf("store the package %s: %w", sha, cloud.ErrAltered)
	}
	if stored, err := s.Archive(ctx, sha); err == nil {
		return stored.Close()
	}
	return writeFile(path, archive)
}

// writeFile writes a file that is there whole or not at all, also after a
// power cut.
func writeFile(path string, content []byte) error {
	f, err := os.CreateTemp(filepath.Dir(path), halfName) // created with mode 0600
	if err != nil {
		return err
	}
	defer os.Remove(f.Name())
	_, err = f.Write(content)
	if err := errors.Join(err, f.Sync(), f.Close()); err != nil {
		return err
	}
	if err := os.Rename(f.Name(), path); err != nil {
		return err
	}
	return sqlitedb.SyncDir(filepath.Dir(path))
}

// Archive implements cloud.Archives.
func (s *Store) Archive(ctx context.Context, sha string) (io.ReadSeekCloser, error) {
	path, err := s.archives.path(sha)
	if err != nil {
		return nil, err
	}
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("the package %s is not in %s any more: %w", sha, s.archives.dir, cloud.ErrAltered)
	}
	if err != nil {
		return nil, err
	}
	sum := sha256.New()
	_, err = io.Copy(sum, f)
	if err == nil {
		_, err = f.Seek(0, io.SeekStart)
	}
	if err == nil {
		err = ctx.Err()
	}
	if err == nil && hex.EncodeToString(sum.Sum(nil)) != sha {
		err = fmt.Errorf("%s is not what it was when it was stored: %w; upload the version again, or take the file from a backup", path, cloud.ErrAltered)
	}
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

// DropArchive implements cloud.Archives.
func (s *Store) DropArchive(_ context.Context, sha string) error {
	path, err := s.archives.path(sha)
	if err != nil {
		return err
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// Backup implements cloud.Store.
func (s *Store) Backup(ctx context.Context, folder string) error {
	if err := os.Mkdir(folder, 0o700); err != nil {
		return fmt.Errorf("back up: %w", err)
	}
	// The database first: what it names is in the folder of packages already,
	// and what is deleted meanwhile is deployed nowhere.
	if err := s.db.Backup(ctx, filepath.Join(folder, "cloud.db")); err != nil {
		return err
	}
	target := filepath.Join(folder, "packages")
	if err := os.Mkdir(target, 0o700); err != nil {
		return fmt.Errorf("back up: %w", err)
	}
	names, err := os.ReadDir(s.archives.dir)
	if err != nil {
		return fmt.Errorf("back up: %w", err)
	}
	var altered error
	for _, n := range names {
		if !wire.IsPackageID(n.Name()) {
			continue
		}
		err := s.copyArchive(ctx, n.Name(), target)
		if _, gone := os.Stat(filepath.Join(s.archives.dir, n.Name())); errors.Is(gone, fs.ErrNotExist) {
			continue // it was deleted meanwhile
		}
		if err != nil && !errors.Is(err, cloud.ErrAltered) {
			return fmt.Errorf("back up: %w", err)
		}
		altered = errors.Join(altered, err)
	}
	if altered != nil {
		altered = fmt.Errorf("the backup in %s has everything but this: %w", folder, altered)
	}
	return errors.Join(altered, sqlitedb.SyncDir(folder))
}

// copyArchive copies an archive that is what its name says into a folder.
func (s *Store) copyArchive(ctx context.Context, sha, target string) error {
	f, err := s.Archive(ctx, sha)
	if err != nil {
		return err
	}
	defer f.Close()
	content, err := io.ReadAll(f)
	if err != nil {
		return err
	}
	return writeFile(filepath.Join(target, sha), content)
}
