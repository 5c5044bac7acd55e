package processes

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// FuzzLoad: whatever the bytes, loading ends, says the same every time, and
// places every problem inside the file.
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
		files := []File{{"f.yaml", text}}
		project, problems := Load(files, cat)
		again, same := Load(files, cat)
		if problems.Error() != same.Error() {
			t.Fatalf("two answers:\n%v\n%v", problems, same)
		}
		lines := bytes.Count(text, []byte("\n")) + bytes.Count(text, []byte("\r")) + bytes.Count(text, []byte("\u2028")) + bytes.Count(text, []byte("\u2029")) + bytes.Count(text, []byte("\u0085")) + 1
		for _, p := range problems {
			if p.Line < 0 || p.Line > lines+1 || p.Col < 0 || p.Msg == "" || p.Code == "" || strings.ContainsAny(p.Msg+p.Hint, "\r\n") {
				t.Fatalf("no good problem: %+v in %d lines", *p, lines)
			}
		}
		for name, p := range project.Processes {
			if again.Processes[name].Hash != p.Hash {
				t.Fatalf("two hashes of %s", name)
			}
			if !problems.HasErrors() && (p.Hash == "" || len(p.Steps) == 0) {
				t.Fatalf("no errors and no plan: %+v", p)
			}
		}
	})
}
