package loader

import (
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"valence/processes"
)

var update = flag.Bool("update", false, "update the golden files")

// golden compares got with a file, or updates the file.
func golden(t *testing.T, name, got string) {
	t.Helper()
	if *update {
		if err := os.WriteFile(name, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(name)
	if err != nil {
		t.Fatalf("%v (run with -update)", err)
	}
	if got != string(want) {
		t.Errorf("%s differs\ngot:\n%s\nwant:\n%s", name, got, want)
	}
}

// loadPath loads a file or folder and returns its problems, with names relative to
// testdata/bad.
func loadPath(t *testing.T, p string) (*processes.Project, string) {
	t.Helper()
	files, err := ReadDir(p)
	if err != nil {
		t.Fatal(err)
	}
	for i := range files {
		files[i].Name = strings.TrimPrefix(files[i].Name, "testdata/bad/")
	}
	project, problems := Load(files, testCatalog())
	if problems == nil {
		return project, ""
	}
	return project, problems.Error() + "\n"
}

// TestBad checks that each file and folder in testdata/bad has exactly the problems
// of its .txt file.
func TestBad(t *testing.T) {
	paths, err := filepath.Glob("testdata/bad/*")
	if err != nil || len(paths) == 0 {
		t.Fatalf("no testdata: got %v, want len(paths) above 0 and no error", err)
	}
	for _, p := range paths {
		if filepath.Ext(p) == ".txt" {
			continue
		}
		t.Run(filepath.Base(p), func(t *testing.T) {
			_, got := loadPath(t, p)
			if got == "" {
				t.Error("got no problem, want at least one")
			}
			golden(t, strings.TrimSuffix(p, ".yaml")+".txt", got)
		})
	}
}

// TestGood checks that everything in testdata/good loads without problems.
func TestGood(t *testing.T) {
	paths, err := filepath.Glob("testdata/good/*")
	if err != nil || len(paths) == 0 {
		t.Fatalf("no testdata: got %v, want len(paths) above 0 and no error", err)
	}
	for _, p := range paths {
		t.Run(filepath.Base(p), func(t *testing.T) {
			if _, got := loadPath(t, p); got != "" {
				t.Errorf("got problems, want none:\n%s", got)
			}
		})
	}
}
