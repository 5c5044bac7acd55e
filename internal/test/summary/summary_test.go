package main

import (
	"bytes"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// inModule creates a module with one test file and changes into it.
func inModule(t *testing.T, source string) string {
	t.Helper()
	dir := t.TempDir()
	for name, content := range map[string]string{"go.mod": "module m\n\ngo 1.26\n", "m_test.go": "package m\n" + source} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	t.Chdir(dir)
	return filepath.Join(dir, "tally", "file")
}

func TestStages(t *testing.T) {
	for _, c := range []struct {
		name, source string
		args         []string
		ok           bool
		shows, hides []string
		tally        counts
	}{
		{
			name:   "passes",
			source: "import \"testing\"\nfunc TestA(t *testing.T) { println(\"noise\"); t.Run(\"sub\", func(t *testing.T) {}) }\nfunc TestB(t *testing.T) { t.Skip() }",
			args:   []string{"tests", "unit", "--", "go", "test", "."},
			ok:     true,
			shows:  []string{"== unit", "ok  \tm", "-- unit: 2 passed, 0 failed, 1 skipped in "},
			hides:  []string{"noise", "RUN"},
			tally:  counts{Passed: 2, Skipped: 1},
		},
		{
			name:   "fails",
			source: "import \"testing\"\nfunc TestA(t *testing.T) { t.Run(\"sub\", func(t *testing.T) { t.Error(\"the reason\") }) }\nfunc TestB(t *testing.T) { t.Log(\"quiet\") }",
			args:   []string{"tests", "unit", "--", "go", "test", "."},
			shows:  []string{"m_test.go:3: the reason", "--- FAIL: TestA/sub", "FAIL\tm"},
			hides:  []string{"quiet"},
			tally:  counts{Passed: 1, Failed: []string{"m.TestA/sub", "m.TestA"}},
		},
		{
			name:   "does not compile",
			source: "func f() int {}",
			args:   []string{"tests", "unit", "--", "go", "test", "."},
			shows:  []string{"missing return", "FAIL\tm [build failed]"},
			tally:  counts{Failed: []string{"m (build)"}},
		},
		{
			name:   "dies",
			source: "import (\"os\"; \"testing\")\nfunc TestMain(m *testing.M) { println(\"last words\"); os.Exit(7) }",
			args:   []string{"tests", "unit", "--", "go", "test", "."},
			shows:  []string{"last words"},
			tally:  counts{Failed: []string{"m"}},
		},
		{
			name:   "panics",
			source: "import \"testing\"\nfunc TestA(t *testing.T) { panic(\"out of order\") }",
			args:   []string{"tests", "unit", "--", "go", "test", "."},
			shows:  []string{"panic: out of order"},
			tally:  counts{Failed: []string{"m.TestA"}},
		},
		{
			name:  "has no tests",
			args:  []string{"tests", "unit", "--", "go", "test", "."},
			tally: counts{Failed: []string{"unit: go test . ran no test"}},
		},
		{
			name:  "no such package",
			args:  []string{"tests", "unit", "--", "go", "test", "./absent"},
			shows: []string{"absent"},
			tally: counts{Failed: []string{"./absent (build)"}},
		},
		{name: "step passes", args: []string{"step", "format", "--", "sh", "-c", "echo unseen"}, ok: true, hides: []string{"unseen"}, tally: counts{Passed: 1}},
		{name: "step fails", args: []string{"step", "format", "--", "sh", "-c", "echo seen; exit 4"}, shows: []string{"seen", "exit status 4"}, tally: counts{Failed: []string{"format"}}},
		{name: "no vulnerabilities", args: []string{"vulnerabilities", "--", "true"}, ok: true, tally: counts{Passed: 1}},
		{
			name:  "vulnerabilities",
			args:  []string{"vulnerabilities", "--", "sh", "-c", "echo GO-2026-0001; exit 3"},
			shows: []string{"GO-2026-0001"},
			tally: counts{Failed: []string{"vulnerabilities"}},
		},
		{
			name:  "database out of reach",
			args:  []string{"vulnerabilities", "--", "sh", "-c", "echo 'govulncheck: fetching vulnerabilities: no such host'; exit 1"},
			ok:    true,
			shows: []string{"NOT CHECKED"},
			tally: counts{Skipped: 1},
		},
		{
			name:  "govulncheck fails otherwise",
			args:  []string{"vulnerabilities", "--", "sh", "-c", "echo 'govulncheck: loading packages: broken'; exit 1"},
			shows: []string{"broken"},
			tally: counts{Failed: []string{"vulnerabilities"}},
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			tally := inModule(t, c.source)
			var out bytes.Buffer
			ok, err := run(tally, c.args, &out)
			if err != nil || ok != c.ok {
				t.Fatalf("ok %v, %v; output:\n%s", ok, err, out.String())
			}
			for _, s := range c.shows {
				if !strings.Contains(out.String(), s) {
					t.Errorf("%q is missing from\n%s", s, out.String())
				}
			}
			for _, s := range c.hides {
				if strings.Contains(out.String(), s) {
					t.Errorf("%q should not be in\n%s", s, out.String())
				}
			}
			got, err := load(tally)
			if err != nil || got.Passed != c.tally.Passed || got.Skipped != c.tally.Skipped || !slices.Equal(got.Failed, c.tally.Failed) {
				t.Errorf("tally %+v, %v, want %+v; output:\n%s", got, err, c.tally, out.String())
			}
		})
	}
}

func TestTotal(t *testing.T) {
	tally := filepath.Join(t.TempDir(), "tally")
	for _, c := range []counts{{Passed: 3}, {Passed: 2, Failed: []string{"m.TestA"}}, {Skipped: 1}} {
		if err := add(tally, c); err != nil {
			t.Fatal(err)
		}
	}
	for _, want := range []string{"\nfailed: m.TestA\n5 passed, 1 failed, 1 skipped\n", "\n0 passed, 0 failed, 0 skipped\n"} {
		var out bytes.Buffer
		ok, err := run(tally, []string{"total"}, &out)
		if ok || err != nil || out.String() != want {
			t.Errorf("%v, %v, %q, want %q", ok, err, out.String(), want)
		}
	}
}

func TestUsage(t *testing.T) {
	for _, args := range [][]string{{}, {"tests"}, {"tests", "unit"}, {"tests", "unit", "--"}, {"other", "x", "--", "true"}} {
		if _, err := run(filepath.Join(t.TempDir(), "tally"), args, &bytes.Buffer{}); err == nil {
			t.Errorf("%q is taken", args)
		}
	}
}
