package lsp

import (
	"strings"

	"valence/internal/lsp/yamltree"
	"valence/internal/spec"
)

// symbol identifies a thing with a name. scope is the process of a step or a
// variable, and empty for the others.
type symbol struct{ kind, scope, name string }

// Kinds of symbols besides the kinds of components.
const (
	symbolStep = "step"
	symbolVar  = "variable"
	symbolWait = "wait"
)

// occurrence is one place with the name of a symbol.
type occurrence struct {
	symbol
	file     file
	span     yamltree.Span
	declares bool
}

// index returns all occurrences in the project, in the order of the files.
func (v *view) index() []occurrence {
	x := &indexer{v: v}
	for _, f := range v.files {
		x.file = f
		for _, doc := range f.text.tree() {
			if first := component(doc); first != nil {
				x.document(doc, first)
			}
		}
	}
	return x.found
}

// indexer collects occurrences.
type indexer struct {
	v     *view
	file  file
	kind  string // of the component
	scope string // its process: its own name, or the target of a test
	found []occurrence
}

func (x *indexer) add(kind, scope, name string, span yamltree.Span, declares bool) {
	if name != "" {
		x.found = append(x.found, occurrence{symbol{kind, scope, name}, x.file, span, declares})
	}
}

// document collects the occurrences in a component.
func (x *indexer) document(doc, first *yamltree.Node) {
	x.kind, x.scope = first.Key, ""
	switch x.kind {
	case "process":
		x.scope = first.Value
	case "test":
		x.scope = doc.Text("target")
	}
	x.add(x.kind, "", first.Value, first.Span, true)
	doc.Walk(func(n *yamltree.Node) bool {
		if n.Value != "" && strings.Contains(n.Value, "${") {
			for _, e := range expressionsIn(x.file.text.content, n.Span) {
				for _, u := range usesIn(x.file.text.content, e) {
					x.use(u)
				}
			}
		}
		if n != first && n.Parent != nil {
			x.node(n)
		}
		return true
	})
}

// use collects the name that an expression uses.
func (x *indexer) use(u use) {
	switch u.root {
	case "":
		if x.v.named["function"][u.name] != nil {
			x.add("function", "", u.name, u.span, false)
		}
	case "lookup":
		x.add("table", "", u.name, u.span, false)
	case "callback":
		x.add(symbolWait, "", u.name, u.span, false)
	case "steps":
		x.add(symbolStep, x.scope, u.name, u.span, false)
	case "vars":
		x.add(symbolVar, x.scope, u.name, u.span, false)
	}
}

// node collects the name that a key or a value is.
func (x *indexer) node(n *yamltree.Node) {
	if x.kind == "test" {
		x.called(n)
	}
	if p := n.Parent; x.kind == "environment" && p.Key == "connections" && p.Parent.Parent == nil {
		x.add("connection", "", n.Key, n.KeySpan, false)
		return
	}
	if n.Key == "" && n.Value == "" {
		return
	}
	if x.kind == "process" && n.Parent.Key == "set" && n.Parent.Parent.Item {
		x.add(symbolVar, x.scope, n.Key, n.KeySpan, true)
		return
	}
	if n.Value == "" {
		return
	}
	s := x.v.shapeOf(n)
	if s == nil || s.info == nil {
		return
	}
	info := s.info
	switch {
	case info.Kind == spec.KindRef:
		if info.Of != "auth" || n.Value != "none" {
			x.add(info.Of, "", n.Value, n.Span, false)
		}
	case info.Kind == spec.KindOperation:
		x.operation(n.Value, n.Span)
	case info.Kind == spec.KindName && x.kind == "process":
		x.declared(info.Key, n)
	}
}

// declared collects the name that a step declares or, with `resume:`, reads.
func (x *indexer) declared(key string, n *yamltree.Node) {
	switch key {
	case "name":
		x.add(symbolStep, x.scope, n.Value, n.Span, true)
	case "into", "errors":
		x.add(symbolVar, x.scope, n.Value, n.Span, true)
	case "wait":
		x.add(symbolWait, "", n.Value, n.Span, true)
	case "resume":
		x.add(symbolWait, "", n.Value, n.Span, false)
	}
}

// operation collects the connection of `connection.operation`.
func (x *indexer) operation(text string, span yamltree.Span) {
	if connection, op := splitOperation(text); op != "" {
		x.add("connection", "", connection, yamltree.Span{From: span.From, To: span.From + len(connection)}, false)
	}
}

// called collects the operations and steps that a test names as mocks, expected
// calls and signals.
func (x *indexer) called(n *yamltree.Node) {
	word, span, list := n.Key, n.KeySpan, n.Parent
	if word == "" {
		word, span = n.Value, n.Span
	}
	for list != nil && (list.Item || list.Key == "") {
		list = list.Parent
	}
	if word == "" || list == nil || n.Item && n.Value == "" {
		return
	}
	switch {
	case list.Key == "mocks" && n.Parent == list, list.Key == "calls" && list.Parent.Key == "expect":
		if strings.Contains(word, ".") {
			x.operation(word, span)
		} else {
			x.add(symbolStep, x.scope, word, span, false)
		}
	case list.Key == "signals":
		x.add(symbolWait, "", word, span, false)
	}
}

// at returns the occurrence at an offset of the view's file, or nil.
func (v *view) at(all []occurrence, offset int) *occurrence {
	for i := range all {
		if all[i].file.path == v.path && all[i].span.Has(offset) {
			return &all[i]
		}
	}
	return nil
}
