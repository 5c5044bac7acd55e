package sandbox_test

import (
	"context"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"valence/atom/sandbox"
	"valence/atom/steps"
	"valence/connectors/all"
	"valence/processes"
	"valence/processes/loader"
	"valence/processes/testrun"
)

var update = flag.Bool("update", false, "write the golden files")

// load returns the project in files.
func load(t *testing.T, files []processes.File) *processes.Project {
	t.Helper()
	p, problems := loader.Load(files, &processes.Catalog{Steps: steps.Kinds(), Connectors: all.Registry("test")})
	if problems.HasErrors() {
		t.Fatal(problems)
	}
	return p
}

// run runs the tests in files and returns the results.
func run(t *testing.T, files []processes.File) []*testrun.Result {
	t.Helper()
	p := load(t, files)
	return testrun.RunAll(context.Background(), sandbox.New(p), p, files, testrun.Plan(p, ""))
}

// golden compares got with a file, or writes the file.
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
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

// TestPassing runs projects whose tests pass.
func TestPassing(t *testing.T) {
	names, err := filepath.Glob("testdata/passing/*.yaml")
	if err != nil || len(names) == 0 {
		t.Fatalf("got %d files and %v", len(names), err)
	}
	for _, name := range names {
		t.Run(filepath.Base(name), func(t *testing.T) {
			content, err := os.ReadFile(name)
			if err != nil {
				t.Fatal(err)
			}
			results := run(t, []processes.File{{Name: name, Content: content}})
			if len(results) == 0 {
				t.Fatal("the project has no tests")
			}
			var b strings.Builder
			if err := testrun.WriteText(&b, results, false); err != nil {
				t.Fatal(err)
			}
			if b.Len() > 0 {
				t.Error(b.String())
			}
		})
	}
}

// TestCoverageOfSleeps compares the coverage of a process that is suspended twice
// with a golden file: each step counts once, however often the execution resumes.
func TestCoverageOfSleeps(t *testing.T) {
	const name = "testdata/sleeps"
	content, err := os.ReadFile(name + ".yaml")
	if err != nil {
		t.Fatal(err)
	}
	files := []processes.File{{Name: "sleeps.yaml", Content: content}}
	p, problems := loader.Load(files, &processes.Catalog{Steps: steps.Kinds(), Connectors: all.Registry("test")})
	if problems.HasErrors() {
		t.Fatal(problems)
	}
	results := testrun.RunAll(t.Context(), sandbox.New(p), p, files, testrun.Plan(p, ""))
	if n := testrun.Failures(results); n > 0 {
		t.Fatalf("got %d failures, want none", n)
	}
	var b strings.Builder
	if err := testrun.NewCoverage(p, results).WriteLCOV(&b); err != nil {
		t.Fatal(err)
	}
	golden(t, name+".lcov", b.String())
}

// TestFailing compares the reports of tests that fail with golden files.
func TestFailing(t *testing.T) {
	names, err := filepath.Glob("testdata/failing/*.yaml")
	if err != nil || len(names) == 0 {
		t.Fatalf("got %d files and %v", len(names), err)
	}
	for _, name := range names {
		t.Run(filepath.Base(name), func(t *testing.T) {
			content, err := os.ReadFile(name)
			if err != nil {
				t.Fatal(err)
			}
			results := run(t, []processes.File{{Name: filepath.Base(name), Content: content}})
			var b strings.Builder
			if err := testrun.WriteText(&b, results, false); err != nil {
				t.Fatal(err)
			}
			if failed := testrun.Failures(results); failed != len(results) {
				t.Errorf("got %d failures, want %d", failed, len(results))
			}
			golden(t, strings.TrimSuffix(name, ".yaml")+".txt", b.String())
		})
	}
}
