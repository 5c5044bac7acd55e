package xsd

import (
	"context"
	"encoding/xml"
	"strconv"
	"strings"

	"valence/internal/convert"
	"valence/internal/document"
	"valence/internal/fault"
	"valence/internal/spec"
)

// maxViolations bounds the violations of one document.
const maxViolations = 20

// Decode returns the content of an element as JSON, by its declaration. The
// violations are the mismatches with the declaration; their
// pointers are paths of elements. The JSON is complete also if there are some.
func (s *Set) Decode(ctx context.Context, e *convert.Element, decl *Element) ([]byte, []fault.Violation, error) {
	d := &decoder{set: s, ctx: ctx}
	out := d.element(nil, e, decl)
	return out, d.violations, ctx.Err()
}

// Accept is like Decode for documents of systems that follow their schema
// loosely: only a difference of the JSON from the schema is a violation, such
// as a missing element or a text that is not of its type. Elements and
// attributes that the schema does not declare are accepted and are part of the
// JSON; their order and their namespaces do not matter.
func (s *Set) Accept(ctx context.Context, e *convert.Element, decl *Element) ([]byte, []fault.Violation, error) {
	d := &decoder{set: s, ctx: ctx, loose: true}
	out := d.element(nil, e, decl)
	return out, d.violations, ctx.Err()
}

type decoder struct {
	loose      bool
	set        *Set
	ctx        context.Context
	path       []string
	violations []fault.Violation
	visited    int
}

func (d *decoder) fail(detail string) {
	if len(d.violations) < maxViolations {
		d.violations = append(d.violations, fault.Violation{Pointer: pointer(d.path), Detail: detail})
	}
}

func pointer(path []string) string {
	var p strings.Builder
	for _, name := range path {
		p.WriteByte('/')
		p.WriteString(name)
	}
	return p.String()
}

// ended reports whether the context has ended. It is checked every now and then.
func (d *decoder) ended() bool {
	d.visited++
	return d.visited%1024 == 0 && d.ctx.Err() != nil
}

// element appends the JSON of an element's content.
func (d *decoder) element(dst []byte, e *convert.Element, decl *Element) []byte {
	if d.ended() {
		return append(dst, "null"...)
	}
	if null, ok := e.Lookup(xml.Name{Space: Instance, Local: "nil"}); ok && isTrue(null) {
		if !decl.Nillable {
			d.fail("the element cannot be nil")
		}
		return append(dst, "null"...)
	}
	t, derived := d.typeOf(e, decl)
	if t.Any {
		return appendGeneric(dst, e)
	}
	if t.Scalar() {
		d.attributesOf(e, t)
		return d.text(dst, e, t.Simple)
	}
	return d.object(dst, e, t, derived)
}

// typeOf returns the type of an element: the declared one, or that of its
// xsi:type.
func (d *decoder) typeOf(e *convert.Element, decl *Element) (t *Type, derived bool) {
	text, ok := e.Lookup(xml.Name{Space: Instance, Local: "type"})
	if !ok {
		if decl.Type.Abstract {
			d.fail("the type " + decl.Type.Name.Local + " is abstract: the element needs an xsi:type")
		}
		return decl.Type, false
	}
	name, declared := e.QName(text)
	t = d.set.Type(name)
	switch {
	case !declared || t == nil:
		if !decl.Type.Any && !d.loose {
			d.fail("the xsi:type " + quoted(text) + " is not known")
		}
		return decl.Type, false
	case decl.Type.Any, t == decl.Type, t.Simple != nil && decl.Type.Simple != nil:
		return t, false
	}
	for b := t.base; b != nil; b = b.base {
		if b == decl.Type {
			return t, true
		}
	}
	if d.loose {
		return decl.Type, false
	}
	d.fail("the xsi:type " + quoted(text) + " is not derived from " + decl.Type.Name.Local)
	return decl.Type, false
}

// text appends the text of an element by its simple type.
func (d *decoder) text(dst []byte, e *convert.Element, s *Simple) []byte {
	if len(e.Children) > 0 {
		d.fail("the element contains elements, but must be " + s.noun())
		return append(dst, "null"...)
	}
	if why := s.check(s.normal(e.Text)); why != "" {
		d.fail(why)
	}
	return s.appendValue(dst, e.Text)
}

// attributesOf checks the attributes of an element and returns them as JSON
// members.
func (d *decoder) attributesOf(e *convert.Element, t *Type) []byte {
	var out []byte
	found := map[*Attribute]bool{}
next:
	for _, a := range e.Attrs {
		if a.Name.Space == Instance {
			continue
		}
		for _, decl := range t.Attributes {
			if decl.Name != a.Name {
				continue
			}
			found[decl] = true
			why := decl.Type.check(decl.Type.normal(a.Value))
			if decl.Fixed != "" && decl.Type.normal(a.Value) != decl.Fixed {
				why = "it must be " + quoted(decl.Fixed)
			}
			if why != "" {
				d.fail("the attribute " + a.Name.Local + ": " + why)
			}
			out = decl.Type.appendValue(appendKey(out, "@"+a.Name.Local), a.Value)
			continue next
		}
		if !t.AnyAttribute && a.Name.Space == "" && !d.loose {
			d.fail("the attribute " + quoted(a.Name.Local) + " is not allowed" + didYouMean(a.Name.Local, attributeNames(t)))
		}
		if t.AnyAttribute || d.loose && a.Name.Space == "" {
			out = document.AppendString(appendKey(out, "@"+a.Name.Local), a.Value)
		}
	}
	for _, decl := range t.Attributes {
		if decl.Required && !found[decl] {
			d.fail("the attribute " + decl.Name.Local + " is missing")
		}
	}
	return out
}

func attributeNames(t *Type) (names []string) {
	for _, a := range t.Attributes {
		names = append(names, a.Name.Local)
	}
	return names
}

func didYouMean(name string, known []string) string {
	if near := spec.Nearest(name, known); near != "" {
		return " (did you mean `" + near + "`?)"
	}
	return ""
}

// appendKey appends a key to the members of an object, with the comma before it.
func appendKey(dst []byte, key string) []byte {
	if len(dst) > 0 && dst[len(dst)-1] != '{' {
		dst = append(dst, ',')
	}
	return append(document.AppendString(dst, key), ':')
}

// object appends an element with attributes or elements.
func (d *decoder) object(dst []byte, e *convert.Element, t *Type, derived bool) []byte {
	dst = append(dst, '{')
	dst = append(dst, d.attributesOf(e, t)...)
	if derived && !hasAttribute(t, "type") {
		dst = document.AppendString(appendKey(dst, "@type"), t.Name.Local)
	}
	blank := strings.Trim(e.Text, " \t\r\n") == ""
	switch {
	case t.Simple != nil:
		dst = d.text(appendKey(dst, "#text"), e, t.Simple)
		return append(dst, '}')
	case !blank && t.Mixed:
		dst = document.AppendString(appendKey(dst, "#text"), e.Text)
	case !blank && !d.loose:
		d.fail("the element contains text, but must contain only elements")
	}
	if d.loose {
		d.absent(e, t)
	} else {
		m := &matcher{d: d, children: e.Children}
		m.match(t.Content)
	}
	return append(d.children(dst, e, t), '}')
}

// absent reports the elements that the schema requires and that are missing.
func (d *decoder) absent(e *convert.Element, t *Type) {
	if t.Content == nil {
		return
	}
	there := make(map[string]bool, len(e.Children))
	for _, c := range e.Children {
		there[c.Name.Local] = true
	}
	t.Content.absent(func(name string) bool { return there[name] },
		func(name string) { d.fail("the element " + quoted(name) + " is missing") },
		func(names []string) {
			d.fail("one of the elements " + strings.Join(shortened(names), ", ") + " is missing")
		})
}

func hasAttribute(t *Type, name string) bool {
	for _, a := range t.Attributes {
		if a.Name.Local == name {
			return true
		}
	}
	return false
}

// children appends the child elements as members, in the order of their first
// occurrence.
func (d *decoder) children(dst []byte, e *convert.Element, t *Type) []byte {
	groups := map[string][]*convert.Element{}
	var order []string
	for _, c := range e.Children {
		if groups[c.Name.Local] == nil {
			order = append(order, c.Name.Local)
		}
		groups[c.Name.Local] = append(groups[c.Name.Local], c)
	}
	for _, key := range order {
		dst = appendKey(dst, key)
		known := t.fields.byKey[key]
		list := known != nil && known.list || len(groups[key]) > 1
		if d.loose && known != nil && !known.list && list {
			d.fail("the element " + quoted(key) + " occurs " + strconv.Itoa(len(groups[key])) + " times, the maximum is 1")
		}
		if list {
			dst = append(dst, '[')
		}
		for i, c := range groups[key] {
			if i > 0 {
				dst = append(dst, ',')
			}
			depth := len(d.path)
			if d.path = append(d.path, key); list {
				d.path = append(d.path, strconv.Itoa(i))
			}
			dst = d.child(dst, c, t)
			d.path = d.path[:depth]
		}
		if list {
			dst = append(dst, ']')
		}
	}
	return dst
}

// child appends a child element by its declaration. Elements of other namespaces
// are read by their local name, because some systems confuse them; the matcher
// has reported them.
func (d *decoder) child(dst []byte, c *convert.Element, t *Type) []byte {
	f := t.fields.byName[c.Name]
	if f == nil && !t.fields.wild {
		f = t.fields.byKey[c.Name.Local]
	}
	switch {
	case f != nil:
		return d.element(dst, c, f.element)
	case d.set.elements[c.Name] != nil:
		return d.element(dst, c, d.set.elements[c.Name])
	}
	return appendGeneric(dst, c)
}

// appendGeneric appends an element without a declaration.
func appendGeneric(dst []byte, e *convert.Element) []byte {
	var members []byte
	for _, a := range e.Attrs {
		if a.Name.Space == Instance {
			if a.Name.Local == "nil" && isTrue(a.Value) {
				return append(dst, "null"...)
			}
			continue
		}
		members = document.AppendString(appendKey(members, "@"+a.Name.Local), a.Value)
	}
	if len(members) == 0 && len(e.Children) == 0 {
		return document.AppendString(dst, e.Text)
	}
	if strings.Trim(e.Text, " \t\r\n") != "" {
		members = document.AppendString(appendKey(members, "#text"), e.Text)
	}
	groups := map[string][]*convert.Element{}
	var order []string
	for _, c := range e.Children {
		if groups[c.Name.Local] == nil {
			order = append(order, c.Name.Local)
		}
		groups[c.Name.Local] = append(groups[c.Name.Local], c)
	}
	for _, key := range order {
		members = appendKey(members, key)
		same := groups[key]
		if len(same) == 1 {
			members = appendGeneric(members, same[0])
			continue
		}
		members = append(members, '[')
		for i, c := range same {
			if i > 0 {
				members = append(members, ',')
			}
			members = appendGeneric(members, c)
		}
		members = append(members, ']')
	}
	return append(append(append(dst, '{'), members...), '}')
}

// Generic returns the content of an element without a declaration as JSON.
func Generic(e *convert.Element) []byte { return appendGeneric(nil, e) }
