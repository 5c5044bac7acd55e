package file

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"syscall"

	"valence/connectors/folder"
	"valence/internal/access"
)

// tree is the folder of a connection.
type tree struct{ root *access.Root }

var (
	_ folder.FS      = tree{}
	_ folder.Flusher = tree{}
)

// invalidError is an error that another attempt would not change.
type invalidError struct{ error }

// Is reports that the call was wrong.
func (e invalidError) Is(target error) bool { return target == fs.ErrInvalid }

// Unwrap returns the cause without the path.
func (e invalidError) Unwrap() error { return errors.Unwrap(e.error) }

func invalid(err error) error {
	if err != nil && (errors.Is(err, syscall.EINVAL) || escapes(err)) {
		return invalidError{err}
	}
	return err
}

// escapes reports whether os.Root rejected a path that leads outside. Package
// os exports no value for that error, so only its text identifies it.
func escapes(err error) bool {
	for cause := err; cause != nil; cause = errors.Unwrap(cause) {
		err = cause
	}
	return err != nil && err.Error() == "path escapes from parent"
}

// batch is the number of entries of a folder that are read at a time.
const batch = 1000

// List implements folder.FS.
func (t tree) List(ctx context.Context, dir string, visit func(folder.File)) error {
	d, err := t.root.Open(dir)
	if err != nil {
		return invalid(err)
	}
	defer d.Close()
	for ctx.Err() == nil {
		entries, err := d.ReadDir(batch)
		for _, e := range entries {
			if !e.Type().IsRegular() {
				continue
			}
			if i, err := e.Info(); err == nil { // otherwise it was just removed
				visit(fileOf(i))
			}
		}
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
	}
	return ctx.Err()
}

func fileOf(i fs.FileInfo) folder.File {
	return folder.File{Name: i.Name(), Size: i.Size(), Modified: i.ModTime()}
}

// Stat implements folder.FS.
func (t tree) Stat(_ context.Context, name string) (folder.File, error) {
	info, err := t.root.Lstat(name)
	if err != nil {
		return folder.File{}, invalid(err)
	}
	if info.IsDir() {
		return folder.File{}, folder.ErrIrregular
	}
	return fileOf(info), nil
}

// Open implements folder.FS.
func (t tree) Open(_ context.Context, name string) (io.ReadCloser, error) {
	info, err := t.root.Stat(name)
	switch {
	case err != nil:
		return nil, invalid(err)
	case !info.Mode().IsRegular(): // opening a pipe would block
		return nil, folder.ErrIrregular
	}
	f, err := t.root.Open(name)
	if err != nil {
		return nil, invalid(err)
	}
	return f, nil
}

// Write implements folder.FS.
func (t tree) Write(_ context.Context, name string, how folder.Mode, content io.Reader) error {
	flag := os.O_CREATE | os.O_WRONLY
	switch how {
	case folder.Create:
		flag |= os.O_EXCL
	case folder.Append:
		flag |= os.O_APPEND
	}
	f, err := t.root.OpenFile(name, flag, 0o644)
	if err != nil {
		return invalid(err)
	}
	_, err = io.Copy(f, content)
	return errors.Join(err, f.Sync(), f.Close())
}

// Rename implements folder.FS.
func (t tree) Rename(_ context.Context, from, to string, replace bool) error {
	if replace {
		return invalid(t.root.Rename(from, to))
	}
	if err := t.root.Link(from, to); err != nil {
		return invalid(err)
	}
	return t.root.Remove(from)
}

// Remove implements folder.FS.
func (t tree) Remove(_ context.Context, name string) error { return invalid(t.root.Remove(name)) }

// MakeDir implements folder.FS.
func (t tree) MakeDir(_ context.Context, dir string) error {
	return invalid(t.root.MkdirAll(dir, 0o755))
}

// FlushDir implements folder.Flusher.
func (t tree) FlushDir(_ context.Context, dir string) error {
	d, err := t.root.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	return d.Sync()
}
