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

// archives are files named by the SHA-256 of their content. They never change,
// so a copy can share them.
type archives struct{ dir string }

func openArchives(dir string) (*archives, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	halves, err := filepath.Glob(filepath.Join(dir, tempPattern)) // left by a killed process
	for _, half := range halves {
		err = errors.Join(err, os.Remove(half))
	}
	return &archives{dir}, err
}

// tempPattern names files that are being written.
const tempPattern = ".new-*"

func (a *archives) path(sha string) (string, error) {
	if !wire.IsPackageID(sha) {
		return "", fmt.Errorf("%q is not a package id: %w", sha, cloud.ErrNotFound)
	}
	return filepath.Join(a.dir, sha), nil
}

// PutArchive implements cloud.Archives. An existing file with altered content
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

// writeFile writes a file completely or not at all, even after a power failure.
func writeFile(path string, content []byte) error {
	f, err := os.CreateTemp(filepath.Dir(path), tempPattern) // created with mode 0600
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
		return nil, fmt.Errorf("the package %s is missing from %s: %w", sha, s.archives.dir, cloud.ErrAltered)
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
		err = fmt.Errorf("verify %s: %w; upload the version again or restore the file from a backup", path, cloud.ErrAltered)
	}
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

// DeleteArchive implements cloud.Archives.
func (s *Store) DeleteArchive(_ context.Context, sha string) error {
	path, err := s.archives.path(sha)
	if err != nil {
		return err
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// backupTo copies the store into a folder. It leaves out damaged packages and
// returns which.
func (s *Store) backupTo(ctx context.Context, folder string) (altered, err error) {
	// The database is copied first: packages it names are already in the
	// folder, and packages deleted meanwhile are not deployed.
	if err := s.db.Backup(ctx, filepath.Join(folder, databaseFile)); err != nil {
		return nil, err
	}
	target := filepath.Join(folder, packagesFolder)
	if err := os.Mkdir(target, 0o700); err != nil {
		return nil, fmt.Errorf("back up: %w", err)
	}
	names, err := os.ReadDir(s.archives.dir)
	if err != nil {
		return nil, fmt.Errorf("back up: %w", err)
	}
	for _, n := range names {
		if !wire.IsPackageID(n.Name()) {
			continue
		}
		err := s.copyArchive(ctx, n.Name(), target)
		if _, gone := os.Stat(filepath.Join(s.archives.dir, n.Name())); errors.Is(gone, fs.ErrNotExist) {
			continue // deleted meanwhile
		}
		if err != nil && !errors.Is(err, cloud.ErrAltered) {
			return nil, fmt.Errorf("back up: %w", err)
		}
		altered = errors.Join(altered, err)
	}
	copied := s.inventory
	copied.Running = false
	return altered, errors.Join(writeInventory(folder, &copied), sqlitedb.SyncDir(target), sqlitedb.SyncDir(folder))
}

// copyArchive copies a verified archive into a folder.
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
