package sandbox_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"valence/atom/sandbox"
	"valence/processes"
	"valence/processes/testrun"
)

// TestKillAt compares the reports of crash tests with golden files. Those of
// sound projects are empty.
func TestKillAt(t *testing.T) {
	names, err := filepath.Glob("testdata/crash/*.yaml")
	if err != nil || len(names) == 0 {
		t.Fatalf("got %d files and %v", len(names), err)
	}
	for _, name := range names {
		t.Run(filepath.Base(name), func(t *testing.T) {
			t.Parallel()
			content, err := os.ReadFile(name)
			if err != nil {
				t.Fatal(err)
			}
			files := []processes.File{{Name: filepath.Base(name), Content: content}}
			p := load(t, files)
			results := testrun.KillAt(context.Background(), sandbox.New(p), p, files, testrun.Plan(p, ""))
			var b strings.Builder
			if err := testrun.WriteText(&b, results, false); err != nil {
				t.Fatal(err)
			}
			for _, r := range results {
				if r.Crashes == 0 {
					t.Errorf("%s: got no crashes", r.Name)
				}
			}
			golden(t, strings.TrimSuffix(name, ".yaml")+".txt", b.String())
		})
	}
}

// harmless is an engine that never crashes.
type harmless struct{ testrun.Engine }

func (h harmless) Run(ctx context.Context, s *testrun.Scenario) (*testrun.Outcome, error) {
	s.Crash.At = 0
	return h.Engine.Run(ctx, s)
}

// TestCrashesThatDoNotHappenAreReported checks that a run without the crash does
// not count as one that survives it.
func TestCrashesThatDoNotHappenAreReported(t *testing.T) {
	const name = "testdata/crash/sound.yaml"
	content, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	files := []processes.File{{Name: filepath.Base(name), Content: content}}
	p := load(t, files)
	for _, r := range testrun.KillAt(context.Background(), harmless{sandbox.New(p)}, p, files, testrun.Plan(p, "")) {
		if r.Status != testrun.Failed || len(r.Failures) == 0 || !strings.Contains(fmt.Sprint(r.Failures[0].Got), "nothing crashed there") {
			t.Errorf("%s: got %s %v, want crashes that did not happen", r.Name, r.Status, r.Failures)
		}
	}
}
