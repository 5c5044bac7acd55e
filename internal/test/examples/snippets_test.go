package examples

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

// missing are the problems of a snippet that shows only a part of a project.
var missing = map[string]bool{"unknown-component": true, "unknown-variable": true, "plain-secret": true, "lost-variable": true}

// TestSnippetsPassLint checks the YAML blocks that name no file: an excerpt may
// leave out components and steps, and everything it contains must pass lint.
func TestSnippetsPassLint(t *testing.T) {
	dir := t.TempDir()
	places := map[string]string{} // page and line of each snippet by its file
	for _, page := range pages(t) {
		if base := filepath.Base(page); base == "language.md" || base == "connectors.md" || base == "expressions.md" {
			continue // generated from declarations whose samples have a test of their own
		}
		if strings.HasSuffix(page, "codes/lint.md") {
			continue // half of its examples are wrong; TestCatalogueOfLint checks them
		}
		for _, f := range fences(t, page) {
			text, ok := wholeProject(f.text)
			if f.kind != "yaml" || f.file != "" || !ok {
				continue
			}
			name := "snippet-" + strconv.Itoa(len(places))
			places[name] = page + ":" + strconv.Itoa(f.line)
			if err := os.Mkdir(filepath.Join(dir, name), 0o755); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(filepath.Join(dir, name, "snippet.yaml"), []byte(text), 0o644); err != nil {
				t.Fatal(err)
			}
		}
	}
	if len(places) < 10 {
		t.Errorf("got %d snippets, want at least 10", len(places))
	}
	for name, place := range places {
		out, err := exec.Command(binary, "lint", "--format", "json", filepath.Join(dir, name)).Output()
		if _, failed := err.(*exec.ExitError); err != nil && !failed {
			t.Fatal(err)
		}
		var report struct {
			Problems []struct {
				Code, Message, Severity string
				Line                    int
			}
		}
		if err := json.Unmarshal(out, &report); err != nil {
			t.Fatalf("%s: %v\n%s", place, err, out)
		}
		for _, p := range report.Problems {
			if p.Severity != "warning" && !missing[p.Code] {
				t.Errorf("%s: line %d of the snippet: %s [%s]", place, p.Line, p.Message, p.Code)
			}
		}
	}
}

var firstKey = regexp.MustCompile(`(?m)^(?:- )?([a-z_]+):`)

// wholeProject completes an excerpt to a project. It returns false for YAML
// that is not of this language.
func wholeProject(text string) (string, bool) {
	m := firstKey.FindStringSubmatch(text)
	switch {
	case m == nil || m[1] == "scrape_configs" || m[1] == "rule_files": // of Prometheus
		return "", false
	case strings.HasPrefix(text, "- "):
		return "process: snippet\nsteps:\n  " + strings.TrimRight(strings.ReplaceAll(text, "\n", "\n  "), " "), true
	case m[1] == "steps":
		return "process: snippet\n" + text, true
	case m[1] == "sequence":
		return "process: snippet\n" + text + "steps:\n  - log: done\n", true
	case strings.HasPrefix(text, "process:") && !strings.Contains(text, "steps:"):
		return text + "steps:\n  - log: done\n", true
	}
	return text, true
}
