package cli

import (
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"valence/processes"
)

//go:embed new
var newProject embed.FS

type newCmd struct {
	Dir string `arg:"" files:"" help:"The folder to make. It must not exist, or be empty."`
}

// Help is shown below the command's summary.
func (*newCmd) Help() string {
	return "Example:\n\n    valence new orders\n    cd orders\n    valence run\n"
}

// Run makes a project.
func (c *newCmd) Run(s *streams) error {
	entries, err := os.ReadDir(c.Dir)
	switch {
	case err == nil && len(entries) > 0:
		return usage("a folder that does not exist yet", "%s is not empty", c.Dir)
	case err != nil && !errors.Is(err, fs.ErrNotExist):
		return usage("another folder", "%v", err)
	}
	if err := copyOut(newProject, "new", c.Dir); err != nil {
		return failed("a folder that you may write to", "%v", err)
	}
	if err := os.WriteFile(filepath.Join(c.Dir, "schema.json"), processes.Schema(catalog()), 0o644); err != nil {
		return failed("a folder that you may write to", "%v", err)
	}
	_, err = fmt.Fprintf(s.out, "A project in %s: greet.yaml answers requests, notes.yaml takes messages.\n\n    cd %s\n    valence run\n", c.Dir, shown(c.Dir))
	return err
}

// shown is a path as short as it can be typed here.
func shown(path string) string {
	wd, err := os.Getwd()
	if err != nil {
		return path
	}
	rel, err := filepath.Rel(wd, path)
	if err != nil || strings.HasPrefix(rel, "..") {
		return path
	}
	return rel
}

// copyOut writes an embedded folder to disk.
func copyOut(from fs.FS, root, to string) error {
	return fs.WalkDir(from, root, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		target := filepath.Join(to, filepath.FromSlash(strings.TrimPrefix(path, root)))
		if d.IsDir() {
			return os.MkdirAll(target, 0o755)
		}
		text, err := fs.ReadFile(from, path)
		if err != nil {
			return err
		}
		if d.Name() == "gitignore" {
			target = filepath.Join(filepath.Dir(target), ".gitignore")
		}
		return os.WriteFile(target, text, 0o644)
	})
}
