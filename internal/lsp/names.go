package lsp

import (
	"slices"
	"strings"

	"valence/internal/lsp/yamltree"
)

// fixedFields are the fields of names that do not depend on the project.
var fixedFields = map[string][]string{
	"request":   {"method", "path", "params", "query", "headers", "user", "correlation_id"},
	"response":  {"status", "headers"},
	"error":     {"code", "message", "status", "body", "step", "retryable", "cause"},
	"execution": {"id", "process", "started_at"},
}

// fieldsOf returns the fields of a path at a node.
func (v *view) fieldsOf(n *yamltree.Node, path []string) []field {
	process := ""
	if first := component(root(n)); first != nil && first.Key == "process" {
		process = first.Value
	}
	if len(path) == 1 {
		if fixed := fixedFields[path[0]]; fixed != nil {
			return plainFields(fixed, "")
		}
		switch path[0] {
		case "env", "secret":
			return plainFields(v.values(path[0]), path[0])
		case "steps":
			return plainFields(v.stepNames(n), "result of a step")
		case "vars":
			return plainFields(v.written(root(n), "vars"), "variable")
		case "state":
			return plainFields(append(v.written(root(n), "state"), "version"), "property")
		}
	}
	if len(path) == 2 && path[0] == "request" && path[1] == "params" {
		return plainFields(captures(root(n).Entry("listen").Text("path")), "capture of the path")
	}
	k := v.follow(process, n, n, path)
	if k == nil {
		return nil
	}
	var out []field
	for name := range k.keys {
		f := field{name: name}
		if value := k.keys[name]; value != nil {
			f.detail, f.doc = value.typ, value.doc
		}
		out = append(out, f)
	}
	slices.SortFunc(out, func(a, b field) int { return strings.Compare(a.name, b.name) })
	return slices.DeleteFunc(out, func(f field) bool {
		return strings.ContainsFunc(f.name, func(r rune) bool { return r > 127 || !isIdent(byte(r)) })
	})
}

func plainFields(names []string, detail string) []field {
	var out []field
	for _, name := range names {
		out = append(out, field{name: name, detail: detail})
	}
	return out
}

// captures returns the names in { } of the path of a listener.
func captures(path string) []string {
	var out []string
	for _, part := range strings.Split(path, "{")[1:] {
		if name, _, ok := strings.Cut(part, "}"); ok {
			out = append(out, name)
		}
	}
	return out
}

// values returns the names of environment values or secrets: those that an
// environment declares, and those that the project reads.
func (v *view) values(kind string) []string {
	seen := map[string]bool{}
	for _, d := range v.named["environment"] {
		if e := d.doc.Entry(map[string]string{"env": "values", "secret": "secrets"}[kind]); e != nil {
			for _, c := range e.Children {
				seen[c.Key] = true
			}
		}
	}
	for _, f := range v.files {
		for _, u := range v.uses(f) {
			if u.root == kind {
				seen[u.name] = true
			}
		}
	}
	delete(seen, "")
	return sortedKeys(seen)
}

// uses returns the names that the expressions of a file use.
func (v *view) uses(f file) []use {
	var out []use
	for _, doc := range f.text.tree() {
		doc.Walk(func(n *yamltree.Node) bool {
			if n.Value != "" && strings.Contains(n.Value, "${") {
				for _, e := range expressionsIn(f.text.content, n.Span) {
					out = append(out, usesIn(f.text.content, e)...)
				}
			}
			return true
		})
	}
	return out
}

// stepNames returns the names of the steps above a node, in its list and around it.
func (v *view) stepNames(n *yamltree.Node) []string {
	seen := map[string]bool{}
	for ; n != nil; n = n.Parent {
		if !n.Item || n.Parent == nil {
			continue
		}
		for _, before := range earlier(n) {
			if name := before.Text("name"); name != "" {
				seen[name] = true
			}
		}
	}
	return sortedKeys(seen)
}

// written returns the names of the variables or properties that a process sets.
func (v *view) written(doc *yamltree.Node, what string) []string {
	seen := map[string]bool{}
	doc.Walk(func(n *yamltree.Node) bool {
		switch {
		case what == "vars" && (n.Key == "into" || n.Key == "errors") && n.Value != "":
			seen[n.Value] = true
		case n.Key == "set" && (n.Parent.Key == "state") == (what == "state"):
			for _, c := range n.Children {
				seen[c.Key] = true
			}
		}
		return true
	})
	delete(seen, "")
	return sortedKeys(seen)
}
