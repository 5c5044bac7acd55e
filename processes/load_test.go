package processes

import (
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "write the golden files anew")

// golden compares got with a file, or writes it.
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

// loadPath loads a file or folder of testdata with names relative to it.
func loadPath(t *testing.T, p string) (*Project, string) {
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

// Every file and folder in testdata/bad gives exactly what stands beside it.
func TestBad(t *testing.T) {
	paths, err := filepath.Glob("testdata/bad/*")
	if err != nil || len(paths) == 0 {
		t.Fatal("no testdata", err)
	}
	for _, p := range paths {
		if filepath.Ext(p) == ".txt" {
			continue
		}
		t.Run(filepath.Base(p), func(t *testing.T) {
			_, got := loadPath(t, p)
			if got == "" {
				t.Error("nothing is wrong with it")
			}
			golden(t, strings.TrimSuffix(p, ".yaml")+".txt", got)
		})
	}
}

// Everything in testdata/good loads without as much as a warning.
func TestGood(t *testing.T) {
	paths, err := filepath.Glob("testdata/good/*")
	if err != nil || len(paths) == 0 {
		t.Fatal("no testdata", err)
	}
	for _, p := range paths {
		t.Run(filepath.Base(p), func(t *testing.T) {
			if _, got := loadPath(t, p); got != "" {
				t.Errorf("problems:\n%s", got)
			}
		})
	}
}
