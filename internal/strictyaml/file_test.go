package strictyaml

import (
	"strings"
	"testing"
)

// TestReadAround checks that the valid documents of a file are returned with their
// positions if another one is invalid, and that the latter has a stub.
func TestReadAround(t *testing.T) {
	f, roots := Read("a.yaml", []byte("process: one\nsteps: []\n---\nprocess: two # not closed\nsteps: [\n---\nprofile: three\n"))
	if len(roots) != 2 || roots[0].Content[1].Value != "one" || roots[1].Content[1].Value != "three" || roots[1].Line != 7 {
		t.Fatalf("got %d documents, want 2: one and three", len(roots))
	}
	if len(f.Stubs) != 1 || f.Stubs[0].Key.Value != "process" || f.Stubs[0].Value.Value != "two" || f.Stubs[0].Value.Line != 4 {
		t.Errorf("got stubs %+v, want process two in line 4", f.Stubs)
	}
	if len(f.Problems) != 1 || f.Problems[0].Code != CodeSyntax || f.Problems[0].Pos.Line < 4 || f.Problems[0].Pos.Line > 6 {
		t.Errorf("got %v, want one syntax error in lines 4 to 6", f.Problems)
	}
	if again := f.Documents(); len(again) != 2 || again[1].Line != 7 {
		t.Errorf("second pass: got %d documents, want 2", len(again))
	}
	for _, root := range roots {
		if !f.Check(root) {
			t.Errorf("the document in line %d: got problems, want none", root.Line)
		}
	}
}

func TestCheck(t *testing.T) {
	for text, want := range map[string]string{
		"a: 1\nb: [x, {c: d}]\n": "",
		"a: &x 1\n":              "1:4 " + string(CodeAnchor),
		"a: !x 1\n":              "1:4 " + string(CodeTag),
		"a: 1\n<<: {b: 2}\n":     "2:1 " + string(CodeMergeKey),
		"a: 1\nb: 2\na: 3\n":     "3:1 " + string(CodeDuplicateKey),
		"a: ${b #c}\n":           "1:4 " + string(CodeUnquoted),
		"a: ${b +\n  \" #\"}\n":  "1:4 " + string(CodeUnquoted),
		"a: ${b\n":               "", // the parser of expressions reports it
		"a: ${b # a comment\n":   "",
		"a: " + strings.Repeat("[", 70) + strings.Repeat("]", 70) + "\n": "1:68 " + string(CodeTooDeep),
	} {
		f, roots := Read("a.yaml", []byte(text))
		if len(roots) != 1 {
			t.Fatalf("%q: got %d documents and %v, want one document", text, len(roots), f.Problems)
		}
		got := ""
		if !f.Check(roots[0]) {
			p := f.Problems[0]
			got = strings.TrimPrefix(p.Pos.String(), "a.yaml:") + " " + string(p.Code)
		}
		if got != want {
			t.Errorf("%q: got %q, want %q", text, got, want)
		}
	}
	for content, want := range map[string]string{"\xff\xfea": string(CodeNotText), "a: \xff": string(CodeNotText), "a: \x00": string(CodeNotText)} {
		if f, roots := Read("a.yaml", []byte(content)); roots != nil || len(f.Problems) != 1 || string(f.Problems[0].Code) != want {
			t.Errorf("%q: got %v, want %s", content, f.Problems, want)
		}
	}
}
