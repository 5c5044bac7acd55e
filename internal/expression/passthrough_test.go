package expression

import (
	"strings"
	"testing"
	"unsafe"

	"valence/internal/document"
)

// large is the names of an execution with a document beyond every budget.
type large string

func (l large) Name(root string) (any, bool) { return document.Parse(string(l)), root == "doc" }

// A document that is only carried costs nothing, whatever its size.
func TestPassedThroughDocumentsAreNotCharged(t *testing.T) {
	text := `{"lines":["` + strings.Repeat("x", DefaultBytes) + `"],"id":1}`
	for _, source := range []string{"${doc}", "${ doc }"} {
		tpl, problems := CompileTemplate(&Node{Kind: Scalar, Value: source}, nil)
		if len(problems) > 0 {
			t.Fatalf("got %v, want no problems", problems)
		}
		got, err := tpl.JSON(&Env{Names: large(text), Steps: 1, Bytes: 1})
		if err != nil || len(got) != len(text) || unsafe.SliceData(got) != unsafe.StringData(text) {
			t.Errorf("%s: got %d bytes, %v; want the %d bytes of the document itself", source, len(got), err, len(text))
		}
	}
}

func TestJSONOfATemplate(t *testing.T) {
	for source, want := range map[string]string{
		"${doc}": `{"a":1}`, "${doc.a}": `1`, "${doc.b}": `null`, "${omit}": `null`, "text": `"text"`, "a ${doc.a}": `"a 1"`, "${[doc]}": `[{"a":1}]`,
	} {
		tpl, problems := CompileTemplate(&Node{Kind: Scalar, Value: source}, nil)
		if len(problems) > 0 {
			t.Fatalf("got %q %v, want no problems", source, problems)
		}
		if got, err := tpl.JSON(&Env{Names: large(`{"a":1}`)}); err != nil || string(got) != want {
			t.Errorf("%s: got %s, %v; want %s", source, got, err, want)
		}
	}
}
