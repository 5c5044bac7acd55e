package loader

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"valence/processes"
)

// FuzzLoad checks that loading any bytes terminates, is deterministic, and reports
// positions inside the file.
func FuzzLoad(f *testing.F) {
	for _, pattern := range []string{"testdata/bad/*.yaml", "testdata/good/*.yaml", "testdata/good/all/*.yaml"} {
		paths, err := filepath.Glob(pattern)
		if err != nil {
			f.Fatal(err)
		}
		for _, p := range paths {
			text, err := os.ReadFile(p)
			if err != nil {
				f.Fatal(err)
			}
			f.Add(text)
		}
	}
	for _, s := range []string{
		"", "\xff", "\x00", "- - - -", "{", "[", "? a", "a: &a [*a]", "!!map {a: 1}", "--- |\n a\n--- >\n b\n", "%YAML 1.2\n---\nprocess: p\n",
		"process: p\nsteps: [{log: \"${}\"}]", "process: p\nsteps:\n- log: ${'\n", "a:\n\t- b", "process: {a: b}\nprocess: c", "\"process\": p\n'steps': []",
		"process: p\nsteps: [{ set: { a: ${x}, b: '${y' } }]", "'a\n\n b': c", "process: p # x\n  y: z", "![KK* V[*\n\n\n!]",
	} {
		f.Add([]byte(s))
	}
	cat := testCatalog()
	f.Fuzz(func(t *testing.T, text []byte) {
		files := []processes.File{{Name: "f.yaml", Content: text}}
		project, problems := Load(files, cat)
		again, same := Load(files, cat)
		if problems.Error() != same.Error() {
			t.Fatalf("got different problems for the same file:\n%v\n%v", problems, same)
		}
		lines := bytes.Count(text, []byte("\n")) + bytes.Count(text, []byte("\r")) + bytes.Count(text, []byte("\u2028")) + bytes.Count(text, []byte("\u2029")) + bytes.Count(text, []byte("\u0085")) + 1
		for _, p := range problems {
			if p.Line < 0 || p.Line > lines+1 || p.Col < 0 || p.Msg == "" || p.Code == "" || strings.ContainsAny(p.Msg+p.Hint, "\r\n") {
				t.Fatalf("got invalid problem %+v in a file of %d lines", *p, lines)
			}
		}
		for name, p := range project.Processes {
			if again.Processes[name].Hash != p.Hash {
				t.Fatalf("got different hashes of %s for the same file", name)
			}
			if !problems.HasErrors() && (p.Hash == "" || len(p.Steps) == 0) {
				t.Fatalf("got an incomplete plan without errors: %+v", p)
			}
		}
	})
}
