package lsp

import (
	"context"
	"strings"

	"valence/internal/expression"
	"valence/internal/lsp/yamltree"
	"valence/internal/spec"
	"valence/processes/language"
)

// hover describes the key, the value or the name at a position. It returns nil if
// there is nothing to say.
func (s *Server) hover(ctx context.Context, p *positionParams) (*Hover, error) {
	v, err := s.view(ctx, p.TextDocument.URI)
	if v == nil || err != nil {
		return nil, err
	}
	offset := v.t.offset(p.Position)
	n := yamltree.At(v.t.tree(), offset)
	if n == nil {
		return nil, nil
	}
	span, text := v.describe(ctx, n, offset)
	if text == "" {
		return nil, nil
	}
	r := v.t.span(span)
	return &Hover{Contents: markdown(plainLinks(text)), Range: &r}, nil
}

// describe returns the description of the thing at an offset of a node.
func (v *view) describe(ctx context.Context, n *yamltree.Node, offset int) (yamltree.Span, string) {
	if n.Key != "" && n.KeySpan.Has(offset) {
		return n.KeySpan, v.describeKey(n)
	}
	for _, e := range expressionsIn(v.t.content, n.Span) {
		if offset >= e.From && offset <= e.To {
			return v.describeName(ctx, n, e, offset)
		}
	}
	s := v.shapeOf(n)
	if s == nil || s.info == nil {
		return n.Span, ""
	}
	switch info := s.info; info.Kind {
	case spec.KindOperation:
		return n.Span, v.describeOperation(n.Value)
	case spec.KindRef:
		return n.Span, v.describeComponent(info.Of, n.Value)
	default:
		if info.Key == "connector" {
			if c := v.s.catalog.Connectors[n.Value]; c != nil {
				return n.Span, title(c.Name, "connector") + c.Doc
			}
		}
		return n.Span, v.describeKey(n)
	}
}

func title(name, kind string) string { return "**" + name + "** · " + kind + "\n\n" }

// describeKey returns the documentation of the key of a node.
func (v *view) describeKey(n *yamltree.Node) string {
	if n.Parent == nil {
		return ""
	}
	if n.Parent.Parent == nil && component(n.Parent) == n {
		return title(n.Key, "component") + language.Kinds[n.Key].Doc
	}
	p := v.shapeOf(n.Parent)
	if p == nil {
		return ""
	}
	if p.kinds && v.s.stepKind(n.Parent) == n.Key {
		kind := v.s.kind(n.Key)
		text := title(n.Key, "step") + kind.Doc
		if info := spec.Find(kind.Fields, n.Key); info != nil {
			text += "\n\n`" + n.Key + "`: " + docOf(info)
		}
		return text
	}
	if info := spec.Find(p.fields, n.Key); info != nil {
		return title(n.Key, spec.TypeOf(info)) + docOf(info)
	}
	if strings.Contains(n.Key, ".") {
		return v.describeOperation(n.Key)
	}
	return ""
}

func (v *view) describeOperation(text string) string {
	op := v.operation(text)
	if op == nil {
		return ""
	}
	connection, _ := splitOperation(text)
	effect := "It may change the other system."
	if op.Safe {
		effect = "It only reads."
	}
	return title(text, "operation of the connector "+v.connector(connection).Name) + op.Doc + "\n\n" + effect
}

func (v *view) describeComponent(kind, name string) string {
	d := v.named[kind][name]
	if d == nil {
		return ""
	}
	text := title(name, kind)
	switch kind {
	case "connection":
		text += "Connector `" + d.doc.Text("connector") + "`. "
	case "auth":
		text += "Scheme `" + d.doc.Text("scheme") + "`. "
	case "function":
		text = title(signature(d), kind)
	case "table":
		text += "Key `" + d.doc.Text("key") + "`. "
	}
	return text + d.doc.Text("description")
}

// describeName returns the description of the name at an offset of an expression.
func (v *view) describeName(ctx context.Context, n *yamltree.Node, in yamltree.Span, offset int) (yamltree.Span, string) {
	content := v.t.content
	from, to := offset, offset
	for from > in.From && isIdent(content[from-1]) {
		from--
	}
	for to < in.To && isIdent(content[to]) {
		to++
	}
	span := yamltree.Span{From: from, To: to}
	word := content[from:to]
	for _, u := range usesIn(content, in) {
		if u.root == "lookup" && u.span.Has(offset) {
			return u.span, v.describeComponent("table", u.name)
		}
		if u.root == "" && u.span.Has(offset) {
			return u.span, v.describeFunction(u.name)
		}
	}
	path := pathBefore(content, in.From, to)
	switch {
	case word == "" || path == nil:
		return span, ""
	case len(path) == 1:
		for _, d := range expression.NameDocs() {
			if d.Name == word {
				return span, title(word, "name") + d.Text + "\n\n`" + d.Example + "`"
			}
		}
		return span, ""
	case len(path) == 2 && (path[0] == "steps" || path[0] == "vars"):
		text, last := v.describeResult(n, path[0], word), v.lastValue(ctx, n, path)
		if text == "" && last != "" {
			text = "**" + word + "** · variable"
		}
		return span, text + last
	case len(path) == 2 && path[0] == "env":
		return span, title(word, "value of the environment") + v.environmentValues(word)
	}
	last := v.lastValue(ctx, n, path)
	for _, f := range v.fieldsOf(n, path[:len(path)-1]) {
		if f.name == word {
			return span, title(word, strings.TrimSpace(f.detail+" field")) + f.doc + last
		}
	}
	if last == "" {
		return span, ""
	}
	return span, "**" + word + "** · field" + last
}

func (v *view) describeFunction(name string) string {
	if v.named["function"][name] != nil {
		return v.describeComponent("function", name)
	}
	for _, d := range expression.FunctionDocs() {
		if d.Name == name {
			return title(d.Usage, "function") + d.Text + "\n\n`" + d.Example + "`"
		}
	}
	return ""
}

// describeResult describes the step whose result a name reads.
func (v *view) describeResult(n *yamltree.Node, where, name string) string {
	first := component(root(n))
	if first == nil || first.Key != "process" {
		return ""
	}
	step := v.named["process"][first.Value].producer(where, name)
	if step == nil {
		return ""
	}
	kind := v.s.stepKind(step)
	text := title(name, "result of the step") + "`" + strings.TrimSpace(kind+": "+step.Text(kind)) + "`"
	if doc := step.Text("description"); doc != "" {
		text += "\n\n" + doc
	}
	if fields := v.result(first.Value, step); fields != nil && len(fields.keys) > 0 {
		text += "\n\nFields: `" + strings.Join(sortedFields(fields), "`, `") + "`"
	}
	return text
}

func sortedFields(k *known) []string {
	set := map[string]bool{}
	for name := range k.keys {
		set[name] = true
	}
	return sortedKeys(set)
}

// environmentValues lists the values of a name by environment. Secrets have none.
func (v *view) environmentValues(name string) string {
	var out strings.Builder
	for _, environment := range v.components("environment") {
		if e := v.named["environment"][environment].doc.Entry("values").Entry(name); e != nil {
			out.WriteString("- " + environment + ": `" + strings.ReplaceAll(e.Value, "`", "'") + "`\n")
		}
	}
	return out.String()
}
