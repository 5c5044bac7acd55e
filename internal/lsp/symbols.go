package lsp

import (
	"context"
	"path/filepath"

	"valence/internal/lsp/yamltree"
	"valence/processes/language"
)

// symbols lists the components of a document, with the steps of processes.
func (s *Server) symbols(ctx context.Context, p *documentParams) ([]DocumentSymbol, error) {
	out := []DocumentSymbol{}
	d := s.workspace.document(p.TextDocument.URI)
	if d == nil {
		return out, nil
	}
	for _, doc := range d.text.tree() {
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		first := component(doc)
		if first == nil {
			continue
		}
		name := first.Value
		if name == "" {
			name = filepath.Base(d.path)
		}
		sym := DocumentSymbol{Name: name, Detail: first.Key, Kind: symbolOfKind(first.Key), Range: d.text.span(yamltree.Span{From: first.From, To: lastLine(d.text, doc)}), SelectionRange: d.text.span(first.Span)}
		if sym.SelectionRange.Start == sym.SelectionRange.End {
			sym.SelectionRange = d.text.span(first.KeySpan)
		}
		if first.Key == "process" {
			sym.Children = s.stepSymbols(d.text, doc)
		}
		out = append(out, sym)
	}
	return out, nil
}

// component returns the first entry of a document if it selects a kind, or nil.
func component(doc *yamltree.Node) *yamltree.Node {
	for _, c := range doc.Children {
		if c.Item || c.Key == "" {
			continue
		}
		if language.Kinds[c.Key] != nil {
			return c
		}
		return nil
	}
	return nil
}

// lastLine returns the end of the last text of a node.
func lastLine(t *text, n *yamltree.Node) int {
	end := n.From
	n.Walk(func(c *yamltree.Node) bool {
		if len(c.Children) == 0 {
			end = max(end, c.To)
		}
		return true
	})
	return min(end, len(t.content))
}

func symbolOfKind(kind string) int {
	switch kind {
	case "process":
		return symbolClass
	case "function":
		return symbolFunction
	case "table":
		return symbolArray
	case "test":
		return symbolEvent
	}
	return symbolModule
}

// stepSymbols lists the steps below a node that are lists of steps.
func (s *Server) stepSymbols(t *text, n *yamltree.Node) []DocumentSymbol {
	var out []DocumentSymbol
	for _, c := range n.Children {
		kind := ""
		if c.Item {
			kind = s.stepKind(c)
		}
		if kind == "" {
			out = append(out, s.stepSymbols(t, c)...)
			continue
		}
		at := c.Entry(kind)
		sym := DocumentSymbol{Name: kind, Detail: at.Value, Kind: symbolMethod, Range: t.span(yamltree.Span{From: c.From, To: lastLine(t, c)}), SelectionRange: t.span(at.KeySpan), Children: s.stepSymbols(t, c)}
		if name := c.Text("name"); name != "" {
			sym.Name, sym.Detail = name, kind+" "+at.Value
		}
		out = append(out, sym)
	}
	return out
}

// stepKind returns the key that selects the kind of a step, or "".
func (s *Server) stepKind(step *yamltree.Node) string {
	for i := range s.catalog.Steps {
		// A step may have the key of another kind as a setting; see package loader.
		if k := &s.catalog.Steps[i]; step.Entry(k.Kind) != nil && !s.isSetting(step, k.Kind) {
			return k.Kind
		}
	}
	return ""
}

// isSetting reports whether a key of a step is a setting of another kind that the step has.
func (s *Server) isSetting(step *yamltree.Node, key string) bool {
	for i := range s.catalog.Steps {
		k := &s.catalog.Steps[i]
		if k.Kind == key || step.Entry(k.Kind) == nil {
			continue
		}
		for _, f := range k.Fields {
			if f.Info().Key == key {
				return true
			}
		}
	}
	return false
}
