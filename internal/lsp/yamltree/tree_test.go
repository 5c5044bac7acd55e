package yamltree

import (
	"strings"
	"testing"
)

// dump returns the tree with one node per line.
func dump(n *Node, depth int, out *strings.Builder) {
	for _, c := range n.Children {
		out.WriteString(strings.Repeat(" ", depth))
		if c.Item {
			out.WriteString("- ")
		}
		if c.Key != "" {
			out.WriteString(c.Key + "=")
		}
		out.WriteString(c.Value + "\n")
		dump(c, depth+1, out)
	}
}

func TestParse(t *testing.T) {
	for _, test := range []struct{ name, text, want string }{
		{"maps and lists", "a: 1\nb:\n  - c: x\n    d: y\n  - e\n", "a=1|b=| - | c=x| d=y| - | e|"},
		{"list at the indent of its key", "a:\n- b: 1\n- c\nd: 2\n", "a=| - | b=1| - | c|d=2|"},
		{"brackets", "a: { b: [1, { c: 'x y' }], d: }\ne: 2\n", "a=| b=| - 1| - | c=x y| d=|e=2|"},
		{"open bracket", "a:\n  b: { c: 1, d\n  e: 2\nf: 3\n", "a=| b=| c=1| d| e=2|f=3|"},
		{"open quote", "a: \"x\nb: 1\n", "a=x|b=1|"},
		{"quoted key", "\"a b\": 1\n'c': 2\n", "a b=1|c=2|"},
		{"comments", "# x\na: 1 # y\n  # z\nb: \"#\"\n", "a=1|b=#|"},
		{"expressions", "a: ${x ? {a: 1} : 2}\nb: { c: ${d.e} }\n", "a=${x ? {a: 1} : 2}|b=| c=${d.e}|"},
		{"block scalar", "a: |\n  b: 1\n\n  c\nd: 2\n", "a=|\n  b: 1\n\n  c|d=2|"},
		{"no colon", "a:\n  - cal\nb\n", "a=| - | cal|b|"},
		{"windows", "a: 1\r\nb:\r\n  - c\r\n", "a=1|b=| - | c|"},
		{"wrong indentation", "   a: 1\n b: 2\nc: 3\n", "a=1|b=2|c=3|"},
	} {
		var out strings.Builder
		for _, d := range Parse(test.text) {
			dump(d, 0, &out)
		}
		got := strings.Join(strings.FieldsFunc(strings.ReplaceAll(out.String(), "\n\n", "\x00"), func(r rune) bool { return r == '\n' }), "|")
		want := strings.ReplaceAll(test.want, "\n\n", "\x00")
		got = squeeze(got)
		if want = squeeze(strings.ReplaceAll(want, "\n", "|")); strings.TrimSuffix(got, "|") != strings.TrimSuffix(want, "|") {
			t.Errorf("%s: got %q, want %q", test.name, got, want)
		}
	}
}

// squeeze removes the indentation, which only shows the depth.
func squeeze(s string) string {
	parts := strings.Split(s, "|")
	for i := range parts {
		parts[i] = strings.TrimLeft(parts[i], " ")
	}
	return strings.Join(parts, "|")
}

func TestDocuments(t *testing.T) {
	text := "a: 1\n---\nb: 2\n--- # c\nd: 3\n"
	docs := Parse(text)
	if len(docs) != 3 || docs[1].Text("b") != "2" || docs[2].Text("d") != "3" {
		t.Errorf("got %d documents, want 3", len(docs))
	}
	if n := At(docs, strings.Index(text, "d: 3")+3); n == nil || n.Key != "d" {
		t.Errorf("got %v, want the entry d", n)
	}
}

// TestLinear checks that hostile texts cost time in proportion to their size: a
// test that needs quadratic time would not end.
func TestLinear(t *testing.T) {
	for _, part := range []string{"- ", "[", "{", "a: {\n", "a: \"\n", "a: |\n", "{ a: ", "${", "? ", "a:\n- b:\n"} {
		if got := Parse(strings.Repeat(part, 300_000)); len(got) == 0 {
			t.Errorf("%q: got no document", part)
		}
	}
}

// FuzzParse checks that spans are within the text and nested, with the cursor at
// any place.
func FuzzParse(f *testing.F) {
	f.Add("a: { b: [1, 'x'] }\n- c: |\n  d\n---\n\"e\": ${f}\n", 5)
	f.Fuzz(func(t *testing.T, text string, cursor int) {
		for _, d := range ParseWith(text, cursor) {
			d.Walk(func(n *Node) bool {
				for _, s := range []Span{n.Span, n.KeySpan, {n.From, n.To}} {
					if s.From < 0 || s.From > s.To || s.To > len(text) {
						t.Fatalf("got the span %v in a text of %d bytes", s, len(text))
					}
				}
				if n.Value != "" && text[n.Span.From:n.Span.To] != n.Value {
					t.Fatalf("got the value %q, want the text of its span %q", n.Value, text[n.Span.From:n.Span.To])
				}
				return true
			})
			At([]*Node{d}, cursor)
		}
	})
}
