package examples

import (
	"bytes"
	"io/fs"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
)

// MatchFiles compares a folder with Files and returns the first difference, or
// "" if there is none.
func (e *Example) MatchFiles(folder string) string {
	found := map[string]bool{}
	problem := ""
	err := filepath.WalkDir(folder, func(name string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		rel, err := filepath.Rel(folder, name)
		if err != nil {
			return err
		}
		rel = filepath.ToSlash(rel)
		for pattern, want := range e.Files {
			if ok, _ := path.Match(pattern, rel); !ok {
				continue
			}
			found[pattern] = true
			expected, some, err := want.Bytes(e.Dir)
			if err != nil || !some {
				return err
			}
			got, err := os.ReadFile(name)
			if err == nil && !bytes.Equal(got, expected) {
				problem = rel + ": got " + strings.TrimSpace(string(got))
			}
			return err
		}
		problem = rel + ": unexpected file"
		return nil
	})
	if err != nil {
		return err.Error()
	}
	for _, pattern := range slices.Sorted(maps.Keys(e.Files)) {
		if !found[pattern] {
			return pattern + ": missing file"
		}
	}
	return problem
}
