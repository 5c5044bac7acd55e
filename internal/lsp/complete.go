package lsp

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"valence/internal/expression"
	"valence/internal/fault"
	"valence/internal/lsp/yamltree"
	"valence/internal/spec"
	"valence/processes/language"
)

// completion is the answer to one request.
type completion struct {
	v       *view
	offset  int
	replace yamltree.Span
	items   []CompletionItem
}

// complete proposes keys, values, and names in expressions.
func (s *Server) complete(ctx context.Context, p *positionParams) (*completionList, error) {
	v, err := s.view(ctx, p.TextDocument.URI)
	if v == nil || err != nil || len(v.t.content) > maxText {
		return &completionList{Items: []CompletionItem{}}, err
	}
	c := &completion{v: v, offset: v.t.offset(p.Position), items: []CompletionItem{}}
	if n := nodeAt(yamltree.ParseWith(v.t.content, c.offset), c.offset); n != nil {
		c.at(n)
	}
	return &completionList{Items: c.items}, nil
}

// nodeAt returns the innermost node whose key or scalar, which may be empty, has
// the offset. It returns nil if there is none.
func nodeAt(docs []*yamltree.Node, offset int) *yamltree.Node {
	var found *yamltree.Node
	for _, d := range docs {
		d.Walk(func(n *yamltree.Node) bool {
			if n.Parent == nil {
				return offset >= n.From
			}
			scalar := len(n.Children) == 0 && n.Span.From >= n.From && n.Span.Has(offset)
			if n.Key != "" && n.KeySpan.Has(offset) || scalar {
				found = n
			}
			return n.From <= offset
		})
	}
	return found
}

// at completes at a node.
func (c *completion) at(n *yamltree.Node) {
	if n.Key != "" && n.KeySpan.Has(c.offset) {
		c.replace = n.KeySpan
		c.keys(n, c.v.shapeOf(n.Parent), "")
		return
	}
	content := c.v.t.content
	for _, e := range expressionsIn(content, yamltree.Span{From: n.Span.From, To: max(n.Span.To, c.offset)}) {
		if c.offset >= e.From && c.offset <= e.To {
			c.expression(n, e)
			return
		}
	}
	c.replace = yamltree.Span{From: min(n.Span.From, c.offset), To: max(n.Span.To, c.offset)}
	shape := c.v.shapeOf(n)
	if shape == nil {
		return
	}
	if n.Key != "" {
		c.values(shape, n)
		return
	}
	c.values(shape, n)
	if len(c.items) > 0 && shape.info != nil && shape.fields == nil {
		return
	}
	if shape.item != nil && !n.Item && n.Parent.Key != "" {
		c.elements(shape, n)
		if shape.fields == nil && shape.sent == nil {
			return
		}
	}
	if n.Flow && !n.Item || !n.Flow {
		c.keys(n, shape, ": ")
	}
}

// add proposes a text in place of the word at the cursor.
func (c *completion) add(label, text string, kind int, detail, doc string) {
	r := c.v.t.span(c.replace)
	item := CompletionItem{Label: label, Kind: kind, Detail: detail, SortText: fmt.Sprintf("%04d", len(c.items)), TextEdit: &TextEdit{r, text}}
	if doc != "" {
		item.Documentation = markdown(plainLinks(doc))
	}
	c.items = append(c.items, item)
}

// keys proposes the keys that the map of a node may still have.
func (c *completion) keys(n *yamltree.Node, s *shape, after string) {
	if s == nil {
		return
	}
	if s.first {
		for _, name := range language.KindNames() {
			c.add(name, name+after, itemModule, "component", language.Kinds[name].Doc)
		}
		return
	}
	parent := n.Parent
	if n.Item {
		parent = n
	}
	add := func(key, detail, doc string, kind int, nested bool) {
		if have := parent.Entry(key); have != nil && have != n {
			return
		}
		end := after
		if nested && after != "" && !n.Flow {
			end = ":"
		}
		text := key
		if strings.HasPrefix(key, "@") { // YAML reserves it
			text = `"` + key + `"`
		}
		c.add(key, text+end, kind, detail, doc)
	}
	if s.kinds && c.v.s.stepKind(parent) == "" {
		for i := range c.v.s.catalog.Steps {
			k := &c.v.s.catalog.Steps[i]
			add(k.Kind, "step", k.Doc, itemKeyword, isNested(spec.Find(k.Fields, k.Kind)))
		}
	}
	for _, f := range s.fields {
		if info := f.Info(); info.Kind != spec.KindLater {
			add(info.Key, spec.TypeOf(info), docOf(info), itemProperty, isNested(info))
		}
	}
	if s.names != nil {
		for _, name := range s.names() {
			add(name, "", "", itemModule, false)
		}
	}
	for _, k := range s.body() {
		detail := k.Type
		if k.Required {
			detail += ", required"
		}
		add(k.Name, detail, "", itemProperty, false)
	}
}

// isNested reports whether the value of a key is usually written in the lines below.
func isNested(info *spec.Info) bool {
	if info == nil {
		return false
	}
	switch info.Kind {
	case spec.KindSteps, spec.KindPaths, spec.KindRetry, spec.KindObjects, spec.KindWith, spec.KindExprs:
		return true
	case spec.KindObject:
		return info.Short == ""
	}
	return false
}

// elements proposes the steps of a list whose next dash is not written yet.
func (c *completion) elements(s *shape, n *yamltree.Node) {
	item := s.item(n)
	if item == nil || !item.kinds {
		return
	}
	for i := range c.v.s.catalog.Steps {
		k := &c.v.s.catalog.Steps[i]
		c.add(k.Kind, "- "+k.Kind+": ", itemKeyword, "step", k.Doc)
	}
}

// values proposes the values of a scalar.
func (c *completion) values(s *shape, n *yamltree.Node) {
	info := s.info
	if s.short != nil {
		info = s.short
	}
	if info == nil {
		return
	}
	switch {
	case info.Key == "connector" && component(root(n)) != nil && component(root(n)).Key == "connection":
		for _, name := range c.v.s.catalog.Connectors.Names() {
			c.add(name, name, itemModule, "connector", c.v.s.catalog.Connectors[name].Doc)
		}
	case len(info.Enum) > 0:
		for _, value := range info.Enum {
			c.add(value, value, itemEnum, info.Key, docOf(info))
		}
	case info.Kind == spec.KindBool:
		c.add("true", "true", itemValue, info.Key, docOf(info))
		c.add("false", "false", itemValue, info.Key, docOf(info))
	case info.Kind == spec.KindRef:
		for _, name := range c.v.components(info.Of) {
			c.add(name, name, itemModule, info.Of, c.v.named[info.Of][name].doc.Text("description"))
		}
		for _, word := range info.Besides {
			c.add(word, word, itemEnum, info.Key, docOf(info))
		}
	case info.Kind == spec.KindOperation:
		c.operations(n)
	case info.Key == "codes" || info.Key == "retry_on" || info.Key == "fail" && n.Key == "fail":
		for _, code := range fault.Codes() {
			c.add(code, code, itemEnum, "code", "")
		}
	case info.Key == "resume":
		for _, name := range c.v.waitNames() {
			c.add(name, name, itemModule, "wait", "")
		}
	case n.Value == "" && info.Default != "" && !info.Spoken:
		c.add(info.Default, info.Default, itemValue, "default", docOf(info))
	}
}

// operations proposes the operations of all connections. In a loop over a call
// these are the paged ones.
func (c *completion) operations(n *yamltree.Node) {
	paged := n.Parent != nil && n.Parent.Key == "for_each"
	for _, name := range c.v.components("connection") {
		connector := c.v.connector(name)
		if connector == nil {
			continue
		}
		operations := c.v.operations(name)
		for i := range operations {
			if op := &operations[i]; op.Paged || !paged {
				c.add(name+"."+op.Name, name+"."+op.Name, itemFunction, connector.Name, op.Doc)
			}
		}
	}
}

// expression proposes names, fields and functions in an expression.
func (c *completion) expression(n *yamltree.Node, in yamltree.Span) {
	content := c.v.t.content
	if name, ok := c.argument(in); ok {
		for _, value := range name {
			c.add(value, value, itemValue, "", "")
		}
		return
	}
	path := pathBefore(content, in.From, c.offset)
	if path == nil {
		return
	}
	last := path[len(path)-1]
	end := c.offset
	for end < in.To && isIdent(content[end]) {
		end++
	}
	c.replace = yamltree.Span{From: c.offset - len(last), To: end}
	if len(path) > 1 {
		for _, f := range c.v.fieldsOf(n, path[:len(path)-1]) {
			c.add(f.name, f.name, itemField, f.detail, f.doc)
		}
		return
	}
	for _, name := range c.v.loopNames(n) {
		c.add(name, name, itemVariable, "element", "")
	}
	for _, d := range expression.NameDocs() {
		c.add(d.Name, d.Name, itemVariable, "", d.Text)
	}
	for _, name := range c.v.components("function") {
		f := c.v.named["function"][name]
		c.add(name, name+"(", itemFunction, signature(f), f.doc.Text("description"))
	}
	for _, d := range expression.FunctionDocs() {
		c.add(d.Name, d.Name+"(", itemFunction, d.Usage, d.Text+"\n\n`"+d.Example+"`")
	}
}

// argument returns the proposals within the first argument of a lookup or a callback.
func (c *completion) argument(in yamltree.Span) ([]string, bool) {
	for _, u := range usesIn(c.v.t.content, yamltree.Span{From: in.From, To: in.To}) {
		if (u.root != "lookup" && u.root != "callback") || !u.span.Has(c.offset) {
			continue
		}
		c.replace = u.span
		if u.root == "lookup" {
			return c.v.components("table"), true
		}
		return c.v.waitNames(), true
	}
	return nil, false
}

// signature returns the name of a function with its parameters.
func signature(d *declared) string {
	var params []string
	for _, p := range d.doc.Entry("params").Items() {
		value := p.Value
		if value == "" && len(p.Children) > 0 {
			value = p.Children[0].Value
		}
		params = append(params, value)
	}
	if single := d.doc.Text("params"); single != "" {
		params = append(params, single)
	}
	return d.first.Value + "(" + strings.Join(params, ", ") + ")"
}

// docOf returns the documentation of a key with its default.
func docOf(info *spec.Info) string {
	doc := info.Doc
	if info.Required {
		doc += "\n\n**Required.**"
	}
	if info.Spoken {
		doc += "\n\nDefault: " + info.Default + "."
	} else if info.Default != "" {
		doc += "\n\nDefault: `" + info.Default + "`."
	}
	return doc
}

// plainLinks removes the targets of links, which lead to pages of the reference.
func plainLinks(doc string) string {
	for {
		i := strings.Index(doc, "](")
		if i < 0 {
			return doc
		}
		open, end := strings.LastIndexByte(doc[:i], '['), strings.IndexByte(doc[i:], ')')
		if open < 0 || end < 0 {
			return doc
		}
		doc = doc[:open] + doc[open+1:i] + doc[i+end+1:]
	}
}

// loopNames returns the names that the `as:` of the loops around a node binds.
func (v *view) loopNames(n *yamltree.Node) []string {
	var names []string
	for ; n != nil; n = n.Parent {
		if as := n.Text("as"); as != "" && n.Entry("for_each") != nil {
			names = append(names, as)
		}
	}
	return slices.Compact(names)
}
