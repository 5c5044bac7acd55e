package access

import (
	"errors"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"
)

// Root is a folder as os.Root, without the atom's data folder: no path and no
// link leads into it.
type Root struct {
	root *os.Root
	data *folder // nil: none
}

// maxLinks is the maximum number of links that a path may follow.
const maxLinks = 40

// Close closes the folder.
func (r *Root) Close() error { return r.root.Close() }

// Open opens a file or a folder for reading.
func (r *Root) Open(name string) (*os.File, error) { return r.OpenFile(name, os.O_RDONLY, 0) }

// OpenFile opens a file. The flag os.O_TRUNC is not supported.
func (r *Root) OpenFile(name string, flag int, perm fs.FileMode) (*os.File, error) {
	if err := r.check("open", name); err != nil {
		return nil, err
	}
	if flag&os.O_TRUNC != 0 { // it would change the file before it can be checked
		return nil, &fs.PathError{Op: "open", Path: name, Err: fs.ErrInvalid}
	}
	f, err := r.root.OpenFile(name, flag, perm)
	if err != nil || r.data == nil {
		return f, err
	}
	info, err := f.Stat()
	if err == nil && r.data.holds(info) {
		err = &fs.PathError{Op: "open", Path: name, Err: errData}
	}
	if err != nil {
		_ = f.Close()
		return nil, err
	}
	return f, nil
}

// WriteFile writes a file, which is created if it is missing.
func (r *Root) WriteFile(name string, content []byte, perm fs.FileMode) error {
	f, err := r.OpenFile(name, os.O_CREATE|os.O_WRONLY, perm)
	if err != nil {
		return err
	}
	err = f.Truncate(0)
	if err == nil {
		_, err = f.Write(content)
	}
	return errors.Join(err, f.Close())
}

// Stat describes a file.
func (r *Root) Stat(name string) (fs.FileInfo, error) {
	if err := r.check("stat", name); err != nil {
		return nil, err
	}
	return r.root.Stat(name)
}

// Lstat describes a file, or the link of that name.
func (r *Root) Lstat(name string) (fs.FileInfo, error) {
	if err := r.check("lstat", name); err != nil {
		return nil, err
	}
	return r.root.Lstat(name)
}

// MkdirAll creates a folder and those above it. It creates one after the other,
// so that all folders above exist when a path is checked.
func (r *Root) MkdirAll(name string, perm fs.FileMode) error {
	name = path.Clean(filepath.ToSlash(name))
	for i := 1; i <= len(name); i++ {
		if i < len(name) && name[i] != '/' {
			continue
		}
		if err := r.check("mkdir", name[:i]); err != nil {
			return err
		}
		if err := r.root.Mkdir(name[:i], perm); err != nil && !errors.Is(err, fs.ErrExist) {
			return err
		}
	}
	return nil
}

// Remove removes a file or an empty folder.
func (r *Root) Remove(name string) error {
	if err := r.check("remove", name); err != nil {
		return err
	}
	return r.root.Remove(name)
}

// Rename renames a file or a folder, but none that contains the data folder.
func (r *Root) Rename(from, to string) error {
	if err := r.check("rename", from, to); err != nil {
		return err
	}
	if r.data != nil {
		if info, err := r.root.Lstat(from); err == nil && r.data.below(info) {
			return &fs.PathError{Op: "rename", Path: from, Err: errData}
		}
	}
	return r.root.Rename(from, to)
}

// Link adds a name to a file.
func (r *Root) Link(from, to string) error {
	if err := r.check("link", from, to); err != nil {
		return err
	}
	return r.root.Link(from, to)
}

// check returns an error if a path leads into the data folder. Other errors are
// left to the operation itself.
func (r *Root) check(op string, names ...string) error {
	if r.data == nil {
		return nil
	}
	for _, name := range names {
		dir, err := r.resolve(filepath.ToSlash(name))
		if err != nil {
			continue // the operation cannot follow the path either
		}
		if !r.outside(dir) {
			return &fs.PathError{Op: op, Path: name, Err: errData}
		}
	}
	return nil
}

// outside reports whether a folder is not in the data folder.
func (r *Root) outside(dir string) bool {
	top, err := r.root.Stat(".")
	for err == nil {
		var info fs.FileInfo
		info, err = r.root.Stat(dir)
		switch {
		case err != nil:
		case os.SameFile(info, r.data.info):
			return false
		case os.SameFile(info, top):
			return true
		}
		dir += "/.."
	}
	return false // it changed meanwhile
}

// resolve returns the existing folder that a path leads to or into, after
// following a link at the end of the path.
func (r *Root) resolve(name string) (dir string, err error) {
	for range maxLinks {
		info, err := r.root.Lstat(name)
		switch {
		case errors.Is(err, fs.ErrNotExist) && name != ".":
			name = parent(name)
		case err != nil:
			return "", err
		case info.Mode()&fs.ModeSymlink != 0:
			target, err := r.root.Readlink(name)
			if err != nil || path.IsAbs(target) { // absolute links are not followed
				return "", errors.Join(err, fs.ErrInvalid)
			}
			name = parent(name) + "/" + target
		case info.IsDir():
			return name, nil
		default:
			return parent(name), nil
		}
	}
	return "", fs.ErrInvalid
}

// parent removes the last element of a path as it is written.
func parent(name string) string {
	name = strings.TrimRight(name, "/")
	i := strings.LastIndexByte(name, '/')
	if i <= 0 {
		return "."
	}
	return name[:i]
}
