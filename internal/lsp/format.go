package lsp

import (
	"context"
	"strings"

	"gopkg.in/yaml.v3"

	"valence/internal/strictyaml"
)

// indentStep is the number of spaces of one level.
const indentStep = 2

// format indents a document by two spaces per level, also lists below their key,
// and removes spaces at the ends of lines. It changes no value and no comment; a
// document that is not valid YAML stays as it is.
func (s *Server) format(_ context.Context, p *documentParams) ([]TextEdit, error) {
	out := []TextEdit{}
	d := s.workspace.document(p.TextDocument.URI)
	if d == nil || len(d.text.content) > maxText {
		return out, nil
	}
	formatted, ok := formatted(d.text)
	if !ok || formatted == d.text.content {
		return out, nil
	}
	// Only lines that differ are sent, so that cursors and folds stay in place.
	next := newText(formatted)
	if len(next.starts) != len(d.text.starts) {
		return []TextEdit{{Range{End: d.text.position(len(d.text.content))}, formatted}}, nil
	}
	for i := range d.text.starts {
		if before, after := d.text.line(i), next.line(i); before != after {
			from := d.text.starts[i]
			out = append(out, TextEdit{Range{d.text.position(from), d.text.position(from + len(before))}, after})
		}
	}
	return out, nil
}

// formatted returns the formatted text. ok is false if the text is not valid, or
// if formatting would change a value.
func formatted(t *text) (string, bool) {
	roots, failed := strictyaml.Parse(t.content)
	if failed != nil {
		return "", false
	}
	f := &formatter{t: t, shift: map[int]int{}, fixed: map[int]bool{}}
	for _, root := range roots {
		f.block(root, 0)
	}
	out := f.apply()
	again, failed := strictyaml.Parse(out)
	if failed != nil || len(again) != len(roots) || !sameText(t.content, out) {
		return "", false
	}
	for i := range roots {
		if !sameValue(roots[i], again[i]) {
			return "", false
		}
	}
	return out, true
}

// formatter computes the indentation of lines.
type formatter struct {
	t     *text
	shift map[int]int  // change of the indentation of the lines from this one, by line from 1
	fixed map[int]bool // lines of block scalars, whose ends are part of the value
}

// lead returns the indentation of a line.
func (f *formatter) lead(line int) int {
	s := f.t.line(line - 1)
	return len(s) - len(strings.TrimLeft(s, " "))
}

// place moves the line of a node that is the first in it to an indentation.
func (f *formatter) place(n *yaml.Node, indent int) {
	if f.lead(n.Line) == n.Column-1 {
		f.shift[n.Line] = indent - (n.Column - 1)
	}
}

// block places the entries and elements of a value in block style.
func (f *formatter) block(n *yaml.Node, indent int) {
	if n.Style&yaml.FlowStyle != 0 {
		return
	}
	switch n.Kind {
	case yaml.MappingNode:
		for i := 0; i+1 < len(n.Content); i += 2 {
			f.place(n.Content[i], indent)
			f.value(n.Content[i+1], indent+indentStep, n.Content[i].Column-1)
		}
	case yaml.SequenceNode:
		for _, e := range n.Content {
			dash := f.dash(e)
			if dash > 0 && f.lead(e.Line) == dash-1 {
				f.shift[e.Line] = indent - (dash - 1)
				f.value(e, indent+e.Column-dash, dash-1)
			} else {
				f.value(e, indent+indentStep, e.Column-1)
			}
		}
	}
}

// value places a value, and marks the lines of a block scalar: those that are
// indented more than its parent, or blank.
func (f *formatter) value(n *yaml.Node, indent, parent int) {
	if n.Kind == yaml.ScalarNode && n.Style&(yaml.LiteralStyle|yaml.FoldedStyle) != 0 {
		for line := n.Line + 1; line <= len(f.t.starts); line++ {
			if strings.TrimSpace(f.t.line(line-1)) != "" && f.lead(line) <= parent {
				break
			}
			f.fixed[line] = true
		}
	}
	f.block(n, indent)
}

// dash returns the column of the dash of an element that begins in the same line.
func (f *formatter) dash(e *yaml.Node) int {
	before := []rune(f.t.line(e.Line - 1))
	for i := min(e.Column-2, len(before)-1); i >= 0; i-- {
		switch before[i] {
		case ' ':
		case '-':
			return i + 1
		default:
			return 0
		}
	}
	return 0
}

// apply returns the text with the lines moved. Lines without a node of their own
// move with the line before them, and comments with the line after them.
func (f *formatter) apply() string {
	lines := make([]string, len(f.t.starts))
	shift, pending := 0, []int{}
	for i := range lines {
		line := f.t.line(i)
		lines[i] = line
		if !f.fixed[i+1] {
			line = strings.TrimRight(line, " \t")
		}
		trimmed := strings.TrimLeft(line, " ")
		if move, ok := f.shift[i+1]; ok {
			shift = move
			for _, c := range pending {
				lines[c] = moved(lines[c], shift)
			}
			pending = pending[:0]
		} else if strings.HasPrefix(trimmed, "#") && !f.fixed[i+1] {
			lines[i] = line
			pending = append(pending, i)
			continue
		}
		if strings.HasPrefix(line, "---") {
			shift = 0
		}
		lines[i] = moved(line, shift)
	}
	end := "\n"
	if strings.Contains(f.t.content, "\r\n") {
		end = "\r\n"
	}
	out := strings.Join(lines, end)
	if trimmed := strings.TrimRight(out, "\r\n"); trimmed != out && trimmed != "" && !f.fixed[len(lines)] {
		out = trimmed + end
	}
	return out
}

// moved returns a line with more or less indentation.
func moved(line string, by int) string {
	if strings.TrimSpace(line) == "" || by == 0 {
		return line
	}
	if by > 0 {
		return strings.Repeat(" ", by) + line
	}
	lead := len(line) - len(strings.TrimLeft(line, " "))
	return line[min(-by, lead):]
}

// sameValue reports whether two values are equal, regardless of their places.
func sameValue(a, b *yaml.Node) bool {
	if a.Kind != b.Kind || a.Value != b.Value || a.Tag != b.Tag || len(a.Content) != len(b.Content) {
		return false
	}
	for i := range a.Content {
		if !sameValue(a.Content[i], b.Content[i]) {
			return false
		}
	}
	return true
}

// sameText reports whether two texts differ only in their spaces.
func sameText(a, b string) bool {
	return strings.Join(strings.Fields(a), "") == strings.Join(strings.Fields(b), "")
}
