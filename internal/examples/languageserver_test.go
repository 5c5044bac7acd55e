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
// use, set up as docs/editors.md says: nothing is underlined. Then it opens bad
// ones: the line that is marked as wrong is, and no other.
func TestLanguageServer(t *testing.T) {
	schema, err := filepath.Abs("../../schemas/project.json")
	if err != nil {
		t.Fatal(err)
	}
	server := startLanguageServer(t, map[string]string{(&url.URL{Scheme: "file", Path: schema}).String(): "*.yaml"})
	bad, err := filepath.Glob("languageserver/bad/*.yaml")
	if err != nil || len(bad) == 0 {
		t.Fatal("there are no bad files", err)
	}
	for _, file := range append(bad, yamlFiles(t)...) {
		t.Run(filepath.Base(filepath.Dir(file))+"/"+filepath.Base(file), func(t *testing.T) {
			server.t = t
			underlined(t, server, file)
		})
	}
}

// TestSchemaLine opens a bad file in an editor without any setting: the line
// at its top is enough for its first component.
func TestSchemaLine(t *testing.T) {
	underlined(t, startLanguageServer(t, nil), "languageserver/bad/unknown-key.yaml")
}

// underlined holds the lines that the server finds wrong against the marked ones.
func underlined(t *testing.T, server *languageServer, file string) {
	t.Helper()
	want, got := marked(t, file), map[int]bool{}
	for _, d := range server.check(file) {
		got[d.Line] = true
		if !want[d.Line] {
			t.Errorf("%s:%d: %s", file, d.Line, d.Message)
		}
	}
	for line := range want {
		if !got[line] {
			t.Errorf("%s:%d: is wrong, and is not underlined", file, line)
		}
	}
}

// yamlFiles gives the YAML files of all examples.
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
			t.Fatal(dir, "has no YAML", err)
		}
	}
	return all
}

// marked gives the lines of a file that say they are wrong, from 1. A file of
// an example has none, and names the schema in its first line.
func marked(t *testing.T, file string) map[int]bool {
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
