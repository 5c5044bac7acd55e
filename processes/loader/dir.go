package loader

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"sort"
	"strings"

	"gopkg.in/yaml.v3"

	"valence/internal/spec"
	"valence/internal/strictyaml"
	"valence/processes"
)

// ReadDir reads single files and the project files of folders: all .yaml and
// .yml files below them, the schema files of profiles, the files of tables and the fixtures of tests. It skips hidden
// folders, node_modules and links to folders. A link that leads out of its folder
// is an error, as is a project over MaxFiles or MaxTotal. Files over MaxFile are
// truncated just above the limit, so that Load reports them. The files are sorted
// by name; names start with the given paths.
func ReadDir(paths ...string) ([]processes.File, error) { return ReadOpen(nil, paths...) }

// ReadOpen is ReadDir for files of which some are open in an editor. open holds
// their content by absolute path; YAML files in it need not exist on disk.
func ReadOpen(open map[string][]byte, paths ...string) ([]processes.File, error) {
	r := &reader{seen: map[string]bool{}, open: open}
	for _, p := range paths {
		info, err := os.Stat(p)
		if errors.Is(err, fs.ErrNotExist) {
			return nil, fmt.Errorf("there is no folder or file %s", p)
		}
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
	files []processes.File
	seen  map[string]bool
	total int
	base  string // absolute path of the folder that is read
	open  map[string][]byte
}

// folder reads a folder, or only one file in it.
func (r *reader) folder(dir, only string) error {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return fmt.Errorf("read project: %w", err)
	}
	defer root.Close()
	prefix := path.Clean(filepath.ToSlash(dir))
	if r.base, err = filepath.Abs(dir); err != nil {
		return fmt.Errorf("read project: %w", err)
	}
	if only != "" {
		if err := r.file(root, prefix, only); err != nil {
			return err
		}
	} else if err := r.walk(root, prefix); err != nil {
		return err
	} else if err := r.unsaved(prefix); err != nil {
		return err
	}
	for _, f := range r.files {
		if err := r.named(root, prefix, f); err != nil {
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
		case !isYAML(name) && !isInterface(name) || strings.HasPrefix(d.Name(), "."):
			return nil
		}
		return r.file(root, prefix, name)
	})
}

// unsaved adds the open YAML files below the folder that do not exist on disk.
func (r *reader) unsaved(prefix string) error {
	for full := range r.open {
		name, err := filepath.Rel(r.base, full)
		if err != nil || !filepath.IsLocal(name) || !isYAML(name) {
			continue
		}
		name = filepath.ToSlash(name)
		hidden := slices.ContainsFunc(strings.Split(name, "/"), func(part string) bool { return strings.HasPrefix(part, ".") || part == "node_modules" })
		if _, err := os.Lstat(full); hidden || !errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err := r.add(prefix, name, r.open[full]); err != nil {
			return err
		}
	}
	return nil
}

// isInterface reports whether a file describes an interface, so that a connection
// may name it or a file that refers to it.
func isInterface(name string) bool {
	ext := strings.ToLower(path.Ext(name))
	return ext == ".wsdl" || ext == ".xsd"
}

// file reads a file, unless it has been read before.
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
	if content, ok := r.open[filepath.Join(r.base, filepath.FromSlash(name))]; ok {
		return r.add(prefix, name, content)
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
	return r.add(prefix, name, content)
}

// add adds the content of a file.
func (r *reader) add(prefix, name string, content []byte) error {
	full := path.Join(prefix, name)
	r.seen[full] = true
	r.files = append(r.files, processes.File{Name: full, Content: content, Folder: r.base})
	if r.total += len(content); len(r.files) > MaxFiles || r.total > MaxTotal {
		return fmt.Errorf("read project: %s has more than %d files or %s", prefix, MaxFiles, spec.FormatSize(MaxTotal))
	}
	return nil
}

// leaves explains errors of os.Root.
func leaves(err error) error {
	var pe *fs.PathError
	if errors.As(err, &pe) && !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, fs.ErrPermission) {
		return fmt.Errorf("the link leads out of the project: %w", pe.Err)
	}
	return err
}

// named reads the files that the profiles, tables and tests in one file name. Load reports
// those that are missing or outside the project.
func (r *reader) named(root *os.Root, prefix string, f processes.File) error {
	if !isYAML(f.Name) || !bytes.Contains(f.Content, []byte("file:")) || len(f.Content) > MaxFile || !slices.ContainsFunc(namers, func(key string) bool { return bytes.Contains(f.Content, []byte(key)) }) {
		return nil
	}
	roots, _ := strictyaml.Parse(strings.TrimPrefix(string(f.Content), "\ufeff"))
	for _, n := range roots {
		for _, at := range namedBy(n) {
			full, ok := inside(f.Name, at)
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
	}
	return nil
}

// namers are the components that name files.
var namers = []string{"profile:", "table:", "test:"}

// namedBy returns the paths that a component names.
func namedBy(n *yaml.Node) []string {
	if n.Kind != yaml.MappingNode || len(n.Content) == 0 {
		return nil
	}
	switch n.Content[0].Value {
	case "profile", "table":
		if at := valueAt(n, "file"); at != nil {
			return []string{at.Value}
		}
	case "test":
		return fixturesBelow(n, nil)
	}
	return nil
}

// fixturesBelow appends the paths of all `{ file: PATH }` below a value.
func fixturesBelow(n *yaml.Node, paths []string) []string {
	if at, ok := fileOf(n); ok {
		return append(paths, at.Value)
	}
	for _, e := range n.Content {
		paths = fixturesBelow(e, paths)
	}
	return paths
}
