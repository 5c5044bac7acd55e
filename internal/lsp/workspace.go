package lsp

import (
	"os"
	"path/filepath"
	"sort"
	"strings"
	"sync"

	"valence/processes/loader"
)

// document is an open document of the client.
type document struct {
	uri     string // as the client writes it
	path    string
	version *int
	text    *text
}

// workspace holds the folders and the open documents of the client. It is safe
// for concurrent use.
type workspace struct {
	mu      sync.Mutex
	folders []string             // absolute paths
	open    map[string]*document // by path
	saved   map[string]*text     // files on disk that the last request read, by path
}

func newWorkspace() *workspace { return &workspace{open: map[string]*document{}} }

// add adds workspace folders.
func (w *workspace) add(folders []workspaceFolder) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, f := range folders {
		if p := pathOf(f.URI); p != "" {
			w.folders = append(w.folders, p)
		}
	}
}

// remove removes workspace folders.
func (w *workspace) remove(folders []workspaceFolder) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, f := range folders {
		for i, p := range w.folders {
			if p == pathOf(f.URI) {
				w.folders = append(w.folders[:i:i], w.folders[i+1:]...)
				break
			}
		}
	}
}

// put stores the content of an open document.
func (w *workspace) put(d *document) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.open[d.path] = d
}

// close removes a document, and returns it; nil if it is not open.
func (w *workspace) close(uri string) *document {
	w.mu.Lock()
	defer w.mu.Unlock()
	d := w.open[pathOf(uri)]
	delete(w.open, pathOf(uri))
	return d
}

// document returns an open document, or nil.
func (w *workspace) document(uri string) *document {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.open[pathOf(uri)]
}

// snapshot returns the open documents by path, and their contents.
func (w *workspace) snapshot() (map[string]*document, map[string][]byte) {
	w.mu.Lock()
	defer w.mu.Unlock()
	docs, contents := make(map[string]*document, len(w.open)), make(map[string][]byte, len(w.open))
	for p, d := range w.open {
		docs[p], contents[p] = d, []byte(d.text.content)
	}
	return docs, contents
}

// uri returns the URI of a file, as the client writes it if it is open.
func (w *workspace) uri(path string) string {
	w.mu.Lock()
	defer w.mu.Unlock()
	if d := w.open[path]; d != nil {
		return d.uri
	}
	return uriOf(path)
}

// within returns the workspace folder that holds a file, or the file's own folder.
func (w *workspace) within(path string) string {
	w.mu.Lock()
	defer w.mu.Unlock()
	best := ""
	for _, f := range w.folders {
		if rel, err := filepath.Rel(f, path); err == nil && filepath.IsLocal(rel) && len(f) > len(best) {
			best = f
		}
	}
	if best == "" {
		return filepath.Dir(path)
	}
	return best
}

// project returns the folder of the project that a file belongs to: the nearest
// one with a `project:` component, otherwise the outermost one in the workspace
// folder with a component. It returns "" if the file belongs to no project.
func (w *workspace) project(path string) string {
	top := w.within(path)
	_, contents := w.snapshot()
	outermost := ""
	for dir := filepath.Dir(path); ; dir = filepath.Dir(dir) {
		kinds := kindsIn(dir, contents)
		if kinds["project"] {
			return dir
		}
		if len(kinds) > 0 {
			outermost = dir
		}
		if dir == top || dir == filepath.Dir(dir) {
			return outermost
		}
	}
}

// kindsIn returns the kinds of components in the YAML files of a folder, without
// those below it. open holds the contents of open files.
func kindsIn(dir string, open map[string][]byte) map[string]bool {
	kinds := map[string]bool{}
	look := func(content []byte) {
		for _, kind := range componentsIn(string(content)) {
			kinds[kind] = true
		}
	}
	for path, content := range open {
		if filepath.Dir(path) == dir {
			look(content)
		}
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return kinds // the folder is not saved yet
	}
	for _, e := range entries {
		path := filepath.Join(dir, e.Name())
		if ext := filepath.Ext(path); ext != ".yaml" && ext != ".yml" || open[path] != nil || strings.HasPrefix(e.Name(), ".") {
			continue
		}
		if content, err := os.ReadFile(path); err == nil && len(content) <= loader.MaxFile {
			look(content)
		}
	}
	return kinds
}

// file is one YAML file of a project.
type file struct {
	path string
	text *text
}

// files returns the YAML files of a project, sorted, with the contents of open
// documents in place of those on disk.
func (w *workspace) files(project string) ([]file, error) {
	docs, contents := w.snapshot()
	read, err := loader.ReadOpen(contents, project)
	if err != nil {
		return nil, err
	}
	var out []file
	for _, f := range read {
		path := filepath.FromSlash(f.Name)
		if ext := filepath.Ext(path); ext != ".yaml" && ext != ".yml" {
			continue
		}
		if d := docs[path]; d != nil {
			out = append(out, file{path, d.text})
		} else {
			out = append(out, file{path, w.onDisk(path, valid(string(f.Content)))})
		}
	}
	sort.Slice(out, func(i, j int) bool { return out[i].path < out[j].path })
	return out, nil
}

// onDisk returns the text of a file that is not open. The tree of a file that has
// not changed since the last request is used again.
func (w *workspace) onDisk(path, content string) *text {
	w.mu.Lock()
	defer w.mu.Unlock()
	if t := w.saved[path]; t != nil && t.content == content {
		return t
	}
	if len(w.saved) >= maxSaved {
		w.saved = nil
	}
	if w.saved == nil {
		w.saved = map[string]*text{}
	}
	w.saved[path] = newText(content)
	return w.saved[path]
}

// maxSaved bounds the number of files whose trees are kept.
const maxSaved = 2_000
