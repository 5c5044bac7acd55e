package access

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// folder is the data folder of an atom. It is recognized by its identity, so
// that links, mounts and other spellings of its path do not hide it.
type folder struct {
	path  string // without links
	info  fs.FileInfo
	above []fs.FileInfo // the folders that contain it
}

func newFolder(dir string) (*folder, error) {
	abs, err := filepath.Abs(dir)
	if err != nil {
		return nil, err
	}
	f := &folder{}
	if f.path, err = filepath.EvalSymlinks(abs); err != nil {
		return nil, err
	}
	if f.info, err = os.Stat(f.path); err != nil {
		return nil, err
	}
	for dir := filepath.Dir(f.path); ; dir = filepath.Dir(dir) {
		if info, err := os.Stat(dir); err == nil {
			f.above = append(f.above, info)
		}
		if dir == filepath.Dir(dir) {
			return f, nil
		}
	}
}

// contains reports whether a path without links is the folder or leads into it.
func (f *folder) contains(path string) bool {
	for {
		if info, err := os.Stat(path); err == nil && os.SameFile(info, f.info) {
			return true
		}
		up := filepath.Dir(path)
		if up == path {
			return false
		}
		path = up
	}
}

// below reports whether the folder is in the given one.
func (f *folder) below(dir fs.FileInfo) bool {
	for _, a := range f.above {
		if os.SameFile(a, dir) {
			return true
		}
	}
	return false
}

// holds reports whether an open file is also a file of the folder, under
// another name.
func (f *folder) holds(file fs.FileInfo) bool {
	if !file.Mode().IsRegular() || links(file) == 1 {
		return false
	}
	found := false
	_ = filepath.WalkDir(f.path, func(_ string, e fs.DirEntry, err error) error {
		if err != nil || !e.Type().IsRegular() {
			return nil // unreadable files cannot be compared
		}
		if info, err := e.Info(); err == nil && os.SameFile(info, file) {
			found = true
			return fs.SkipAll
		}
		return nil
	})
	return found
}

// errData is the error for paths that lead into the data folder.
var errData error = &Refusal{Msg: "the data folder of the atom is out of reach", Hint: "choose a folder outside of the data folder (--data)"}

// real returns the absolute path without links. The end of it may not exist.
func real(path string) (string, error) {
	abs, err := filepath.Abs(path)
	if err != nil {
		return "", err
	}
	rest := ""
	for dir := abs; ; dir = filepath.Dir(dir) {
		resolved, err := filepath.EvalSymlinks(dir)
		if err == nil {
			return filepath.Join(resolved, rest), nil
		}
		if !errors.Is(err, fs.ErrNotExist) || dir == filepath.Dir(dir) {
			return "", err
		}
		if _, err := os.Lstat(dir); err == nil { // a link to something that does not exist
			return "", &fs.PathError{Op: "open", Path: dir, Err: fs.ErrNotExist}
		}
		rest = filepath.Join(filepath.Base(dir), rest)
	}
}

// within reports whether a path without links is one of the listed ones or
// below one of them.
func within(path string, listed []string) bool {
	for _, l := range listed {
		top, err := real(l)
		if err != nil {
			continue
		}
		if below(top, path) {
			return true
		}
	}
	return false
}

// below reports whether a path is top or below it, as they are written.
func below(top, path string) bool {
	rel, err := filepath.Rel(top, path)
	return err == nil && rel != ".." && !strings.HasPrefix(rel, ".."+string(filepath.Separator))
}
