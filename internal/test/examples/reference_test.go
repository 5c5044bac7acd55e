package examples

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"valence/internal/fault"
	"valence/processes/language"
)

// TestCodesAreDocumented compares docs/reference/codes.md with the codes that
// the source declares.
func TestCodesAreDocumented(t *testing.T) {
	b, err := os.ReadFile("../../../docs/reference/codes.md")
	if err != nil {
		t.Fatal(err)
	}
	sections := strings.Split(string(b), "\n## ")
	if len(sections) != 5 {
		t.Fatalf("got %d sections in codes.md, want 5", len(sections))
	}
	var lint []string
	for _, c := range language.Codes() {
		lint = append(lint, string(c.Code))
	}
	compareCodes(t, "lint codes", firstColumn(sections[1]), lint)

	failure := regexp.MustCompile(`(?m)^(?:\t|const )[cC]ode[A-Za-z]* += "([a-z_]+)"`)
	compareCodes(t, "failure codes", firstColumn(sections[2]),
		inSource(t, failure, "internal/fault", "connectors", "atom"))

	compareCodes(t, "codes that lint accepts", fault.Codes(), inSource(t, failure, "internal/fault", "connectors", "atom"))

	kind := regexp.MustCompile(`\bCode: "([a-z_]+)", Title`)
	types := append(inSource(t, kind, "atom/dataplane", "internal/problem"), "bad_callback") // atom.CodeBadCallback
	compareCodes(t, "problem types", firstColumn(sections[3]), types)
}

// TestAdminAPIIsDocumented compares docs/reference/admin-api.md with the routes.
func TestAdminAPIIsDocumented(t *testing.T) {
	b, err := os.ReadFile("../../../docs/reference/admin-api.md")
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, m := range regexp.MustCompile("(?m)^\\| `([A-Z]+) /api/v1(/[^`]*)`").FindAllStringSubmatch(string(b), -1) {
		got = append(got, m[1]+" "+m[2])
	}
	var want []string
	source, err := os.ReadFile("../../../atom/admin/api.go")
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range regexp.MustCompile(`\{http\.Method([A-Za-z]+), "(/[^"]*)"`).FindAllStringSubmatch(string(source), -1) {
		want = append(want, strings.ToUpper(m[1])+" "+m[2])
	}
	compareCodes(t, "calls of the admin API", got, want)
}

// TestSecurityPageNamesTests checks that every test that the threat model names
// exists.
func TestSecurityPageNamesTests(t *testing.T) {
	b, err := os.ReadFile("../../../docs/explanation/security.md")
	if err != nil {
		t.Fatal(err)
	}
	named := regexp.MustCompile("`(Test[A-Za-z]+)`").FindAllStringSubmatch(string(b), -1)
	if len(named) < 10 {
		t.Fatalf("got %d tests in security.md, want at least 10", len(named))
	}
	exists := map[string]bool{}
	err = filepath.WalkDir("../../..", func(path string, _ fs.DirEntry, err error) error {
		if err != nil || !strings.HasSuffix(path, "_test.go") {
			return err
		}
		source, err := os.ReadFile(path)
		for _, m := range regexp.MustCompile(`(?m)^func (Test[A-Za-z]+)\(`).FindAllSubmatch(source, -1) {
			exists[string(m[1])] = true
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range named {
		if !exists[m[1]] {
			t.Errorf("security.md names %s, which does not exist", m[1])
		}
	}
}

// firstColumn returns the code in the first cell of each table row.
func firstColumn(markdown string) []string {
	var all []string
	for _, m := range regexp.MustCompile("(?m)^\\| `([^`]+)` \\|").FindAllStringSubmatch(markdown, -1) {
		all = append(all, m[1])
	}
	return all
}

// inSource returns the first group of every match in the Go files below the
// folders, tests excluded.
func inSource(t *testing.T, pattern *regexp.Regexp, folders ...string) []string {
	t.Helper()
	var all []string
	for _, folder := range folders {
		err := filepath.WalkDir(filepath.Join("../../..", folder), func(path string, _ fs.DirEntry, err error) error {
			if err != nil || filepath.Ext(path) != ".go" || strings.HasSuffix(path, "_test.go") {
				return err
			}
			b, err := os.ReadFile(path)
			for _, m := range pattern.FindAllSubmatch(b, -1) {
				all = append(all, string(m[1]))
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	return all
}

// compareCodes reports the codes that only one of the lists contains.
func compareCodes(t *testing.T, what string, documented, declared []string) {
	t.Helper()
	if len(declared) == 0 {
		t.Errorf("no %s found in the source", what)
	}
	for _, code := range declared {
		if !slices.Contains(documented, code) {
			t.Errorf("%s: %s is not documented", what, code)
		}
	}
	for _, code := range documented {
		if !slices.Contains(declared, code) {
			t.Errorf("%s: %s is documented and not declared", what, code)
		}
	}
}
