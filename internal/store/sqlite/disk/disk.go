// Package disk is what the store does to files other than its database: few
// things, so that a test can stand in for the disk and fail or lose them.
package disk

import (
	"errors"
	"io"
	"os"
)

// FS changes files and folders. Reading goes past it.
type FS interface {
	// Create makes a new file, and fails if it exists.
	Create(path string) (File, error)
	Rename(from, to string) error
	Remove(path string) error
	// Mkdir makes a folder unless it exists.
	Mkdir(path string) error
	// SyncDir flushes the names in a folder.
	SyncDir(path string) error
}

// File is a file that is written from its beginning.
type File interface {
	io.WriteCloser
	Sync() error
	// Truncate cuts the file; the next write goes to its new end.
	Truncate(size int64) error
}

// OS is the system's disk.
type OS struct{}

type file struct{ *os.File }

func (f file) Truncate(size int64) error {
	_, err := f.Seek(size, io.SeekStart)
	return errors.Join(f.File.Truncate(size), err)
}

// Create makes a new file that only its owner may read.
func (OS) Create(path string) (File, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return nil, err
	}
	return file{f}, nil
}

// Rename is os.Rename.
func (OS) Rename(from, to string) error { return os.Rename(from, to) }

// Remove is os.Remove.
func (OS) Remove(path string) error { return os.Remove(path) }

// Mkdir makes a folder that only its owner may enter.
func (OS) Mkdir(path string) error {
	if err := os.Mkdir(path, 0o700); err != nil && !errors.Is(err, os.ErrExist) {
		return err
	}
	return nil
}

// SyncDir opens and flushes the folder.
func (OS) SyncDir(path string) error {
	d, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
