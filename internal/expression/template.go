package expression

import (
	"regexp"
	"strings"

	"valence/internal/document"
	"valence/internal/fault"
)

// Template is a compiled tree of mappings, lists and scalars. It builds JSON
// text with the keys in the order they are written.
//
// A mapping may contain directives:
//
//	$each: ${list}   repeats the mapping per element; an object counts as a
//	                 list of one. Inside, item (or the name of $as) and index
//	                 are bound. As a value it is a list; inside a list, its
//	                 elements are inserted.
//	$as: line        names the element
//	$merge: ${doc}   starts with a copy: existing keys are replaced in place, new
//	                 ones follow
//	$when: ${…}      drops the mapping if it is false; with $each, the element
//
// The value ${omit} drops its key or element. $$key is the literal key $key.
type Template struct {
	u      *unit
	root   *writer
	scalar *scalar // the root, if it is a scalar
	source string
	keys   []string
}

// writer writes one node of a template.
type writer struct {
	write func(m *machine, dst []byte) ([]byte, error)
	// omits says that the writer may omit itself by setting m.omit and writing
	// nothing.
	omits bool
	// spreads says that it writes elements for the enclosing list.
	spreads bool
	// fixed is the constant output; nil if it varies.
	fixed []byte
	site  site
	shape *Shape // nil: nothing is known
}

// CompileTemplate compiles any tree. The Template must not be used if any
// problem is an error. If sc is nil, all names of the language are known.
func CompileTemplate(n *Node, sc *Scope) (*Template, fault.Problems) {
	c := newCompiler(sc)
	c.template = true
	t := &Template{u: c.u}
	if n.Kind == Scalar {
		t.source, _ = n.Value.(string)
		c.wholeValue = true
		t.scalar = c.scalar(n)
	}
	for _, k := range n.Keys {
		if name, directive := keyName(k.Name); !directive {
			t.keys = append(t.keys, name)
		}
	}
	if t.scalar != nil {
		t.root = placed(n, c.scalarWriter(t.scalar))
	} else {
		t.root = c.tree(n, 0)
	}
	c.u.layout()
	return t, c.problems
}

// Append appends the JSON text. A root that omits itself becomes null.
func (t *Template) Append(dst []byte, env *Env) ([]byte, error) {
	if t.root.fixed != nil {
		return append(dst, t.root.fixed...), nil
	}
	m := t.u.begin(env)
	out, err := t.root.write(m, dst)
	if err == nil && m.omit {
		out = append(out, "null"...)
	}
	t.u.end(m)
	if err != nil {
		return dst, t.root.site.at(err)
	}
	return out, nil
}

// JSON returns the JSON text. A value that an expression passes on unchanged,
// such as ${doc}, is neither copied nor charged: its text is shared.
func (t *Template) JSON(env *Env) ([]byte, error) {
	if t.scalar == nil || t.root.fixed != nil {
		return t.Append(make([]byte, 0, 512), env)
	}
	m := t.u.begin(env)
	defer t.u.end(m)
	v, err := t.scalar.run(m)
	var text []byte
	if err == nil {
		switch v := v.(type) {
		case document.Raw:
			return document.Shared(string(v)), nil
		case omitted:
			return []byte("null"), nil
		}
		text, err = m.json(&t.scalar.site, nil, v)
	}
	if err != nil {
		return nil, t.scalar.site.at(err)
	}
	return text, nil
}

// Value returns the value of the template. For a single expression it is the
// expression's value.
func (t *Template) Value(env *Env) (any, error) {
	if t.scalar == nil {
		text, err := t.Append(nil, env)
		if err != nil {
			return nil, err
		}
		return document.Parse(string(text)), nil
	}
	m := t.u.begin(env)
	defer t.u.end(m)
	v, err := t.scalar.run(m)
	if err != nil {
		return nil, t.scalar.site.at(err)
	}
	if _, ok := v.(omitted); ok {
		return nil, nil
	}
	return v, m.export(&t.scalar.site, v)
}

// Source returns a text template as written, and "" for any other.
func (t *Template) Source() string { return t.source }

// Refs returns the names that the template reads, except those it binds itself,
// and the functions it calls.
func (t *Template) Refs() []Ref { return t.u.refs }

// Constant reports whether the output never varies.
func (t *Template) Constant() bool { return t.root.fixed != nil }

// Keys returns the keys of the root mapping without directives.
func (t *Template) Keys() []string { return t.keys }

// Shape returns the certain part of the JSON text.
func (t *Template) Shape() *Shape {
	if t.root.shape == nil || t.root.omits {
		return &Shape{}
	}
	return t.root.shape
}

// keyName returns the key that a template key stands for.
func keyName(key string) (name string, directive bool) {
	if rest, ok := strings.CutPrefix(key, "$$"); ok {
		return "$" + rest, false
	}
	return key, strings.HasPrefix(key, "$")
}

// tree compiles one node of a template.
func (c *compiler) tree(n *Node, depth int) *writer {
	if depth > MaxDepth {
		if !c.tooDeep() {
			c.problem(n.Pos, CodeTooLarge, "", "the template is nested deeper than %d levels", MaxDepth)
		}
		return &writer{}
	}
	switch n.Kind {
	case Mapping:
		return placed(n, c.mapping(n, depth))
	case Sequence:
		return placed(n, c.sequence(n, depth))
	}
	return placed(n, c.scalarWriter(c.scalar(n)))
}

// placed sets the position of the shape of a node.
func placed(n *Node, w *writer) *writer {
	if w.shape != nil {
		w.shape.Pos = n.Pos
	}
	return w
}

// directives holds the directives of a mapping; absent ones are nil.
type directives struct {
	each, as, merge, when *Node
	eachPos               fault.Pos
	asPos                 fault.Pos
}

var directiveNames = []string{"$each", "$as", "$merge", "$when"}

// directives separates the directives from the other keys of a mapping.
func (c *compiler) directives(n *Node) (d directives, keys []Key) {
	for _, k := range n.Keys {
		name, directive := keyName(k.Name)
		if !directive {
			if strings.HasPrefix(k.Name, "${") || strings.Contains(name, "${") && !strings.HasPrefix(k.Name, "$$") {
				c.problem(k.Pos, CodeTemplate, "use fromPairs(…) or an object such as {(key): value} in an expression", "a key cannot be an expression")
				continue
			}
			k.Name = name
			keys = append(keys, k)
			continue
		}
		switch name {
		case "$each":
			d.each, d.eachPos = k.Value, k.Pos
		case "$as":
			d.as, d.asPos = k.Value, k.Pos
		case "$merge":
			d.merge = k.Value
		case "$when":
			d.when = k.Value
		default:
			if strings.HasPrefix(name, "${") {
				c.problem(k.Pos, CodeTemplate, "use fromPairs(…) or an object such as {(key): value} in an expression", "a key cannot be an expression")
				continue
			}
			hint := didYouMean(name, directiveNames)
			c.problem(k.Pos, CodeTemplate, hint+"; write $"+name+" for the literal key", "unknown directive %s", name)
		}
	}
	return d, keys
}

var bindable = regexp.MustCompile(`^[a-z][a-z0-9_]*$`)

// mapping compiles a mapping with its directives.
func (c *compiler) mapping(n *Node, depth int) *writer {
	d, keys := c.directives(n)
	if d.as != nil && d.each == nil {
		c.problem(d.asPos, CodeTemplate, "add $each: ${…}", "$as requires $each")
	}
	var list *node
	element := 0
	bound := len(c.locals)
	if d.each != nil {
		list = c.directive(d.each, "$each", TypeList)
		element = c.newSource("")
		name := "item"
		if d.as != nil {
			text, _ := d.as.Value.(string)
			if d.as.Kind != Scalar || !bindable.MatchString(text) {
				c.problem(d.as.Pos, CodeTemplate, "a name has lower-case letters, digits and _", "$as must be a name such as line")
			} else {
				name = text
			}
		}
		c.locals = append(c.locals, local{name: name, kind: elementName, src: element}, local{name: "index", kind: indexName, src: element})
	}
	var when *node
	if d.when != nil {
		when = c.directive(d.when, "$when", TypeBoolean)
	}
	var body *writer
	if d.merge != nil {
		body = c.merged(n, c.directive(d.merge, "$merge", TypeObject), keys, depth)
	} else {
		body = c.fields(n, keys, depth)
	}
	c.locals = c.locals[:bound]
	placed(n, body)
	if when != nil {
		body = guarded(body, when)
	}
	if list != nil {
		return repeated(body, list, element)
	}
	return body
}

// directive compiles the value of a directive, an expression of type want. An
// object is accepted as a list of one.
func (c *compiler) directive(n *Node, name string, want Type) *node {
	if n.Kind != Scalar {
		c.problem(n.Pos, CodeTemplate, "write an expression, such as "+name+": ${doc}", "%s must be one expression", name)
		return c.broken()
	}
	was := c.template
	c.template = false
	out := &c.scalar(n).node
	c.template = was
	if out.typ != TypeUnknown && out.typ != want && !(want == TypeList && out.typ == TypeObject) {
		hint := booleanHint(out.typ)
		switch {
		case want == TypeList && out.typ == TypeNull:
			hint = "write … ?? [] if it may be missing"
		case want == TypeObject && out.typ == TypeNull:
			hint = "write … ?? {} if it may be missing"
		case want != TypeBoolean:
			hint = ""
		}
		wanted := article(want)
		if want == TypeBoolean {
			wanted = "boolean"
		}
		c.problem(n.Pos, CodeType, hint, "%s must be %s, not %s", name, wanted, article(out.typ))
	}
	if out.site.text == "" {
		out.site = site{pos: n.Pos}
	}
	return out
}
