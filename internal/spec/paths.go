package spec

import (
	"path/filepath"
	"strings"

	"valence/internal/document"
)

// ResolvePaths makes the relative paths of files and folders among values
// absolute, from a folder.
func ResolvePaths(fields []Field, values *document.Object, folder string) {
	for _, f := range fields {
		info := f.Info()
		v, ok := values.Get(info.Key)
		switch {
		case !ok:
		case info.Kind == KindObject:
			if nested, ok := document.Decode(v).(*document.Object); ok {
				nested = nested.Copy()
				ResolvePaths(info.Fields, nested, folder)
				values.Set(info.Key, nested)
			}
		case info.Local && info.localHere(values):
			if path, ok := v.(string); ok {
				values.Set(info.Key, ResolvePath(folder, path))
			}
		}
	}
}

// localHere reports whether the field is a path, given the values of its map.
func (i *Info) localHere(values *document.Object) bool {
	if i.LocalKey == "" {
		return true
	}
	v, _ := values.Get(i.LocalKey)
	return v == any(i.LocalValue)
}

// ResolvePath returns the absolute path of a file or folder. A relative path
// starts from folder, unless folder is "". PEM text, which some settings accept
// in place of a path, is returned unchanged.
func ResolvePath(folder, path string) string {
	if folder == "" || path == "" || filepath.IsAbs(path) || strings.Contains(path, "-----BEGIN ") {
		return path
	}
	return filepath.Join(folder, path)
}
