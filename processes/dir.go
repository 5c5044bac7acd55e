package processes

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"sort"
	"strings"

	"valence/internal/spec"
	"valence/internal/strictyaml"
)

// ReadDir reads the project files of folders, or single files: every .yaml and
// .yml below them, and the schemas that profiles name. Hidden folders,
// node_modules and links to folders are passed over; a link that leads out of
// its folder is an error, as is a project over MaxFiles or MaxTotal. A file
// over MaxFile is cut behind it: Load reports it with its name. Files come in
// the order of their names, which start with the given paths.
func ReadDir(paths ...string) ([]File, error) {
	r := &reader{seen: map[string]bool{}}
	for _, p := range paths {
		info, err := os.Stat(p)
		if err != nil {
			return nil, fmt.Errorf("read project: %w", err)
		}
		if info.IsDir() {
			err = r.folder(p, "")
		} else {
			err = r.folder(filepath.Dir(p), filepath.Base(p))
		}
		if err != nil {
			return nil, err
		}
	}
	sort.Slice(r.files, func(i, j int) bool { return r.files[i].Name < r.files[j].Name })
	return r.files, nil
}

type reader struct {
	files []File
	seen  map[string]bool
	total int
}

// folder reads one folder, or only one file in it.
func (r *reader) folder(dir, only string) error {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return fmt.Errorf("read project: %w", err)
	}
	defer root.Close()
	prefix := path.Clean(filepath.ToSlash(dir))
	if only != "" {
		if err := r.file(root, prefix, only); err != nil {
			return err
		}
	} else if err := r.walk(root, prefix); err != nil {
		return err
	}
	for _, f := range r.files {
		if err := r.schemas(root, prefix, f); err != nil {
			return err
		}
	}
	return nil
}

func (r *reader) walk(root *os.Root, prefix string) error {
	return fs.WalkDir(root.FS(), ".", func(name string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return fmt.Errorf("read project: %w", err)
		case d.IsDir():
			if base := d.Name(); name != "." && (strings.HasPrefix(base, ".") || base == "node_modules") {
				return fs.SkipDir
			}
			return nil
		case !isYAML(name) || strings.HasPrefix(d.Name(), "."):
			return nil
		}
		return r.file(root, prefix, name)
	})
}

// file reads one file, once.
func (r *reader) file(root *os.Root, prefix, name string) error {
	full := path.Join(prefix, name)
	if r.seen[full] {
		return nil
	}
	r.seen[full] = true
	info, err := root.Stat(name)
	if err != nil {
		return fmt.Errorf("read project: %s: %w", full, leaves(err))
	}
	if !info.Mode().IsRegular() {
		return nil
	}
	f, err := root.Open(name)
	if err != nil {
		return fmt.Errorf("read project: %s: %w", full, leaves(err))
	}
	defer f.Close()
	content, err := io.ReadAll(io.LimitReader(f, MaxFile+1))
	if err != nil {
		return fmt.Errorf("read project: %w", err)
	}
	r.files = append(r.files, File{Name: full, Content: content})
	if r.total += len(content); len(r.files) > MaxFiles || r.total > MaxTotal {
		return fmt.Errorf("read project: %s: more than %d files or %s below it", prefix, MaxFiles, spec.FormatSize(MaxTotal))
	}
	return nil
}

// leaves explains what os.Root refuses.
func leaves(err error) error {
	var pe *fs.PathError
	if errors.As(err, &pe) && !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, fs.ErrPermission) {
		return fmt.Errorf("it leads out of the project: %w", pe.Err)
	}
	return err
}

// schemas reads the files that the profiles of one file name. What is missing
// or outside is for Load to report, at its place.
func (r *reader) schemas(root *os.Root, prefix string, f File) error {
	if !isYAML(f.Name) || !bytes.Contains(f.Content, []byte("profile:")) || !bytes.Contains(f.Content, []byte("file:")) || len(f.Content) > MaxFile {
		return nil
	}
	roots, _ := strictyaml.Parse(strings.TrimPrefix(string(f.Content), "\ufeff"))
	for _, n := range roots {
		at := valueAt(n, "file")
		if at == nil || len(n.Content) == 0 || n.Content[0].Value != "profile" {
			continue
		}
		full, ok := inside(f.Name, at.Value)
		name, below := strings.CutPrefix(full, prefix+"/")
		if prefix == "." {
			name, below = full, true
		}
		if !ok || !below || isYAML(full) {
			continue
		}
		if info, err := root.Stat(name); err != nil || !info.Mode().IsRegular() {
			continue
		}
		if err := r.file(root, prefix, name); err != nil {
			return err
		}
	}
	return nil
}
