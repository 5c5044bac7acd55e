// Package disk is the set of file operations that the store uses outside its
// database. Tests replace it to fail or lose writes.
package disk

import (
	"errors"
	"io"
	"os"
)

// FS changes files and folders. Reads bypass it.
type FS interface {
	// Create creates a file. It fails if the file exists.
	Create(path string) (File, error)
	// Open opens an existing file, to be cut and continued: the first call is
	// Truncate.
	Open(path string) (File, error)
	Rename(from, to string) error
	Remove(path string) error
	// Mkdir creates a folder unless it exists.
	Mkdir(path string) error
	// SyncDir flushes the names in a folder.
	SyncDir(path string) error
}

// File is a file that is written sequentially.
type File interface {
	io.WriteCloser
	Sync() error
	// Truncate cuts the file; the next write goes to its new end.
	Truncate(size int64) error
}

// OS is the disk of the operating system.
type OS struct{}

type file struct{ *os.File }

func (f file) Truncate(size int64) error {
	_, err := f.Seek(size, io.SeekStart)
	return errors.Join(f.File.Truncate(size), err)
}

// Create creates a file that only its owner may read.
func (OS) Create(path string) (File, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return nil, err
	}
	return file{f}, nil
}

// Open opens an existing file.
func (OS) Open(path string) (File, error) {
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return nil, err
	}
	return file{f}, nil
}

// Rename calls os.Rename.
func (OS) Rename(from, to string) error { return os.Rename(from, to) }

// Remove calls os.Remove.
func (OS) Remove(path string) error { return os.Remove(path) }

// Mkdir creates a folder that only its owner may enter.
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

// CopyFile copies the first size bytes of a file to a new file, and flushes it.
// A negative size copies the whole file.
func CopyFile(from, to string, size int64) error {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := OS{}.Create(to)
	if err != nil {
		return err
	}
	var r io.Reader = in
	if size >= 0 {
		r = io.LimitReader(in, size)
	}
	_, err = io.Copy(out, r)
	return errors.Join(err, out.Sync(), out.Close())
}
