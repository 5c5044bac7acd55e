package examples

import (
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestLanguageServer opens every example in the language server that editors
// use, configured as docs/how-to/editors.md says, and expects no diagnostics.
// Then it opens bad files and expects diagnostics exactly on the marked lines.
func TestLanguageServer(t *testing.T) {
	schema, err := filepath.Abs("../../../schemas/project.json")
	if err != nil {
		t.Fatal(err)
	}
	server := startLanguageServer(t, map[string]string{(&url.URL{Scheme: "file", Path: schema}).String(): "*.yaml"})
	bad, err := filepath.Glob("languageserver/bad/*.yaml")
	if err != nil || len(bad) == 0 {
		t.Fatal("got no bad files:", err)
	}
	for _, file := range append(bad, yamlFiles(t)...) {
		t.Run(filepath.Base(filepath.Dir(file))+"/"+filepath.Base(file), func(t *testing.T) {
			server.t = t
			checkDiagnostics(t, server, file)
		})
	}
}

// TestSchemaLine opens a bad file without any editor setting: the schema line at
// its top is sufficient for its first component.
func TestSchemaLine(t *testing.T) {
	checkDiagnostics(t, startLanguageServer(t, nil), "languageserver/bad/unknown-key.yaml")
}

// checkDiagnostics compares the diagnostics of the server with the marked lines.
func checkDiagnostics(t *testing.T, server *languageServer, file string) {
	t.Helper()
	want, got := wrongLines(t, file), map[int]bool{}
	for _, d := range server.check(file) {
		got[d.Line] = true
		if !want[d.Line] {
			t.Errorf("%s:%d: %s", file, d.Line, d.Message)
		}
	}
	for line := range want {
		if !got[line] {
			t.Errorf("%s:%d: got no diagnostic, want one", file, line)
		}
	}
}

// yamlFiles returns the YAML files of all examples.
func yamlFiles(t *testing.T) []string {
	t.Helper()
	var all []string
	for _, dir := range folders(t) {
		before := len(all)
		err := filepath.WalkDir(dir, func(path string, _ fs.DirEntry, err error) error {
			if filepath.Ext(path) == ".yaml" {
				all = append(all, path)
			}
			return err
		})
		if err != nil || len(all) == before {
			t.Fatalf("%s: got %v, want YAML files and no error", dir, err)
		}
	}
	return all
}

// wrongLines returns the numbers of the lines that are marked as wrong, from 1.
// A file of an example has none, and names the schema in its first line.
func wrongLines(t *testing.T, file string) map[int]bool {
	t.Helper()
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(string(b), "\n")
	if !strings.HasPrefix(lines[0], "# yaml-language-server: $schema=") || !strings.HasSuffix(lines[0], "schemas/project.json") {
		t.Errorf("%s does not name the schema in its first line", file)
	}
	wrong := map[int]bool{}
	for i, line := range lines {
		if strings.Contains(line, "# wrong: ") {
			wrong[i+1] = true
		}
	}
	return wrong
}
