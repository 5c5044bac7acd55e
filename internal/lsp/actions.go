package lsp

import (
	"context"
	"fmt"
	"strings"
)

// actions returns the corrections of the diagnostics in a range.
func (s *Server) actions(_ context.Context, p *actionParams) ([]CodeAction, error) {
	out := []CodeAction{}
	d := s.workspace.document(p.TextDocument.URI)
	if d == nil {
		return out, nil
	}
	for _, problem := range p.Context.Diagnostics {
		c := problem.Data
		if problem.Source != "valence" || c == nil {
			continue
		}
		edit, ok := correction(d.text, c)
		if !ok {
			continue // the line has changed since
		}
		out = append(out, CodeAction{Title: titleOf(c), Kind: "quickfix", Diagnostics: []Diagnostic{problem}, IsPreferred: true,
			Edit: &WorkspaceEdit{Changes: map[string][]TextEdit{d.uri: {edit}}}})
	}
	return out, nil
}

func titleOf(c *Correction) string {
	if c.New == "" {
		return fmt.Sprintf("Remove `%s`", c.Old)
	}
	return fmt.Sprintf("Replace `%s` with `%s`", c.Old, c.New)
}

// correction returns the change of a word that makes the corrected line. ok is
// false if the line is not the one that the problem was found in.
func correction(t *text, c *Correction) (edit TextEdit, ok bool) {
	line := t.line(c.Line)
	for from := 0; c.Old != ""; {
		i := strings.Index(line[from:], c.Old)
		if i < 0 {
			break
		}
		i += from
		if line[:i]+c.New+line[i+len(c.Old):] == c.Text {
			start := t.starts[c.Line] + i
			return TextEdit{Range{t.position(start), t.position(start + len(c.Old))}, c.New}, true
		}
		from = i + 1
	}
	return TextEdit{}, false
}
