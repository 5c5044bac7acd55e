package lsp

import (
	"encoding/json"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"valence/internal/lsp/yamltree"
)

// known holds the known fields of a document: from a profile, or from a sample in
// a test.
type known struct {
	keys map[string]*known
	item *known
	typ  string
	doc  string
}

// field is a proposal for a name after a dot.
type field struct{ name, detail, doc string }

// maxSample is the size of the files that are read for their fields.
const maxSample = 1 << 20

func (k *known) key(name string) *known {
	if k == nil {
		return nil
	}
	return k.keys[name]
}

// with returns the fields of both.
func (k *known) with(o *known) *known {
	if k == nil || o == nil {
		if k == nil {
			return o
		}
		return k
	}
	out := &known{keys: maps.Clone(k.keys), item: k.item.with(o.item), typ: k.typ, doc: k.doc}
	if out.keys == nil {
		out.keys = map[string]*known{}
	}
	for name, value := range o.keys {
		out.keys[name] = out.keys[name].with(value)
	}
	return out
}

// ofSchema returns the fields that a JSON Schema declares.
func ofSchema(v any, depth int) *known {
	m, ok := v.(map[string]any)
	if !ok || depth > 20 {
		return nil
	}
	out := &known{keys: map[string]*known{}}
	out.typ, _ = m["type"].(string)
	out.doc, _ = m["description"].(string)
	if properties, ok := m["properties"].(map[string]any); ok {
		for name, p := range properties {
			if out.keys[name] = ofSchema(p, depth+1); out.keys[name] == nil {
				out.keys[name] = &known{}
			}
		}
	}
	out.item = ofSchema(m["items"], depth+1)
	return out
}

// ofSample returns the fields of a document.
func ofSample(v any, depth int) *known {
	if depth > 20 {
		return nil
	}
	switch v := v.(type) {
	case map[string]any:
		out := &known{keys: map[string]*known{}, typ: "object"}
		for name, value := range v {
			out.keys[name] = ofSample(value, depth+1)
		}
		return out
	case []any:
		out := &known{typ: "array"}
		for i := 0; i < len(v) && i < 20; i++ {
			out.item = out.item.with(ofSample(v[i], depth+1))
		}
		return out
	case string:
		return &known{typ: "string"}
	case nil:
		return &known{typ: "null"}
	case bool:
		return &known{typ: "boolean"}
	}
	return &known{typ: "number"}
}

// data returns the value of a node as package encoding/json would.
func data(n *yamltree.Node) any {
	if n == nil {
		return nil
	}
	if len(n.Children) == 0 {
		if _, err := strconv.ParseFloat(n.Value, 64); err == nil {
			return 0.0
		}
		switch n.Value {
		case "", "null":
			return nil
		case "true", "false":
			return true
		}
		return n.Value
	}
	if items := n.Items(); len(items) > 0 {
		var out []any
		for _, e := range items {
			out = append(out, data(e))
		}
		return out
	}
	if len(n.Children) == 1 && n.Children[0].Key == "" {
		return data(n.Children[0])
	}
	out := map[string]any{}
	for _, c := range n.Children {
		if c.Key != "" {
			out[c.Key] = data(c)
		}
	}
	return out
}

// sample returns the fields of a node, or of the file that it names.
func (v *view) sample(f file, n *yamltree.Node) *known {
	if n == nil {
		return nil
	}
	if name := n.Text("file"); name != "" && len(n.Children) == 1 {
		return ofSample(v.readJSON(f, name), 0)
	}
	return ofSample(data(n), 0)
}

// readJSON reads a file that a component names. It must be in the project.
func (v *view) readJSON(f file, name string) any {
	path := filepath.Join(filepath.Dir(f.path), filepath.FromSlash(name))
	if rel, err := filepath.Rel(v.project, path); err != nil || !filepath.IsLocal(rel) {
		return nil
	}
	info, err := os.Stat(path)
	if err != nil || !info.Mode().IsRegular() || info.Size() > maxSample {
		return nil // lint reports it
	}
	text, err := os.ReadFile(path)
	if err != nil {
		return nil
	}
	var out any
	if json.Unmarshal(text, &out) != nil {
		return nil
	}
	return out
}

// profile returns the fields that a profile declares.
func (v *view) profile(name string) *known {
	d := v.named["profile"][name]
	if d == nil {
		return nil
	}
	if at := d.doc.Text("file"); at != "" {
		return ofSchema(v.readJSON(d.file, at), 0)
	}
	return ofSchema(data(d.doc.Entry("schema")), 0)
}

// input returns the fields of the document that starts a process.
func (v *view) input(process string) *known {
	d := v.named["process"][process]
	if d == nil {
		return nil
	}
	out := v.profile(d.doc.Text("profile"))
	v.tests(process, func(f file, setup *yamltree.Node) { out = out.with(v.sample(f, setup.Entry("input"))) })
	return out
}

// tests calls f for each test and case of a process.
func (v *view) tests(process string, f func(file, *yamltree.Node)) {
	for _, t := range v.files {
		for _, doc := range t.text.tree() {
			if first := component(doc); first == nil || first.Key != "test" || doc.Text("target") != process {
				continue
			}
			f(t, doc)
			for _, c := range doc.Entry("cases").Items() {
				f(t, c)
			}
		}
	}
}

// reply returns the fields of the response to a call, from the tests of the process.
func (v *view) reply(process string, step *yamltree.Node) *known {
	var out *known
	v.tests(process, func(f file, setup *yamltree.Node) {
		for _, name := range []string{step.Text("name"), step.Text("call")} {
			mock := setup.Entry("mocks").Entry(name)
			if name == "" || mock == nil {
				continue
			}
			for _, answer := range append(mock.Items(), mock) {
				out = out.with(v.sample(f, answer.Entry("reply")))
			}
		}
	})
	return out
}

// result returns the known fields of the document that a step makes.
func (v *view) result(process string, step *yamltree.Node) *known {
	switch v.s.stepKind(step) {
	case "call":
		return v.reply(process, step)
	case "map":
		if m := step.Entry("map"); len(m.Children) > 0 {
			return ofSample(data(m), 0)
		}
	}
	return nil
}

// makes reports whether a step replaces the document.
func (v *view) makes(step *yamltree.Node) bool {
	kind := v.s.kind(v.s.stepKind(step))
	return kind != nil && kind.MakesDocument && step.Entry("into") == nil
}

// documentAt returns the known fields of doc at a node of a process.
func (v *view) documentAt(process string, n *yamltree.Node) *known {
	for ; n != nil; n = n.Parent {
		if !n.Item || v.s.stepKind(n) == "" {
			continue
		}
		for _, before := range slices.Backward(earlier(n)) {
			if v.makes(before) {
				return v.result(process, before)
			}
		}
		if loop := enclosing(n); loop != nil && loop.Entry("for_each") != nil {
			return v.element(process, loop)
		}
	}
	return v.input(process)
}

// earlier returns the elements before an element of the same list.
func earlier(n *yamltree.Node) []*yamltree.Node {
	items := n.Parent.Items()
	return items[:slices.Index(items, n)]
}

// enclosing returns the element that holds the list of an element, or nil.
func enclosing(n *yamltree.Node) *yamltree.Node {
	for p := n.Parent; p != nil; p = p.Parent {
		if p.Item {
			return p
		}
	}
	return nil
}

// element returns the known fields of the elements of a loop.
func (v *view) element(process string, loop *yamltree.Node) *known {
	of := loop.Entry("for_each")
	text := of.Value
	if text == "" {
		text = of.Text("in")
	}
	inner, ok := strings.CutPrefix(text, "${")
	inner, closed := strings.CutSuffix(inner, "}")
	if !ok || !closed {
		return nil
	}
	path := strings.Split(strings.ReplaceAll(strings.TrimSpace(inner), "?.", "."), ".")
	if list := v.follow(process, loop, loop.Parent, path); list != nil { // evaluated outside the loop
		return list.item
	}
	return nil
}

// follow returns the known fields of the value of a path such as [doc customer]
// at a node. The elements of loops are those of the loops from scope outwards.
func (v *view) follow(process string, n, scope *yamltree.Node, path []string) *known {
	var k *known
	rest := path[1:]
	switch path[0] {
	case "doc":
		k = v.documentAt(process, n)
	case "input":
		k = v.input(process)
	case "steps", "vars":
		if len(rest) == 0 {
			return nil
		}
		if step := v.named["process"][process].producer(path[0], rest[0]); step != nil {
			k = v.result(process, step)
		}
		rest = rest[1:]
	default:
		for p := scope; p != nil; p = p.Parent {
			if p.Entry("for_each") != nil && (path[0] == "item" || p.Text("as") == path[0]) {
				k = v.element(process, p)
				break
			}
		}
	}
	for _, name := range rest {
		k = k.key(name)
	}
	return k
}

// producer returns the step whose result has a name, or nil.
func (d *declared) producer(root, name string) (step *yamltree.Node) {
	if d == nil {
		return nil
	}
	key := map[string]string{"steps": "name", "vars": "into"}[root]
	d.doc.Walk(func(n *yamltree.Node) bool {
		if step == nil && n.Item && n.Text(key) == name {
			step = n
		}
		return true
	})
	return step
}
