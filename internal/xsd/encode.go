package xsd

import (
	"context"
	"encoding/xml"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"valence/internal/convert"
	"valence/internal/document"
	"valence/internal/fault"
)

// Encoder writes documents as XML. The prefixes that they use are declared by an
// element around them.
type Encoder struct {
	set        *Set
	ctx        context.Context
	out        []byte
	prefixes   map[string]string
	spaces     []string // in the order of their first use
	path       []string
	violations []fault.Violation
	visited    int
}

// NewEncoder returns an encoder for elements of a set.
func (s *Set) NewEncoder(ctx context.Context) *Encoder {
	return &Encoder{set: s, ctx: ctx, prefixes: map[string]string{}}
}

// Bytes returns the XML that has been written.
func (w *Encoder) Bytes() []byte { return w.out }

// Declarations returns the declarations of the prefixes that have been used, as
// attributes.
func (w *Encoder) Declarations() []byte {
	var out []byte
	for _, space := range w.spaces {
		out = append(append(append(out, " xmlns:"...), w.prefixes[space]...), `="`...)
		out, _ = convert.AppendXML(out, space)
		out = append(out, '"')
	}
	return out
}

// Element writes an element with a JSON value as its content. It returns the
// mismatches of the value with the declaration.
func (w *Encoder) Element(decl *Element, v any) ([]fault.Violation, error) {
	w.violations = nil
	w.element(decl, v)
	return w.violations, w.ctx.Err()
}

func (w *Encoder) fail(detail string) {
	if len(w.violations) < maxViolations {
		w.violations = append(w.violations, fault.Violation{Pointer: pointer(w.path), Detail: detail})
	}
}

// qualified returns a name with the prefix of its namespace.
func (w *Encoder) qualified(name xml.Name) string {
	if name.Space == "" {
		return name.Local
	}
	if name.Space == XML {
		return "xml:" + name.Local
	}
	prefix := w.prefixes[name.Space]
	if prefix == "" {
		prefix = "n" + strconv.Itoa(len(w.spaces)+1)
		if name.Space == Instance {
			prefix = "xsi"
		}
		w.prefixes[name.Space] = prefix
		w.spaces = append(w.spaces, name.Space)
	}
	return prefix + ":" + name.Local
}

func (w *Encoder) write(parts ...string) {
	for _, p := range parts {
		w.out = append(w.out, p...)
	}
}

func (w *Encoder) text(s string) {
	var bad rune
	if w.out, bad = convert.AppendXML(w.out, s); bad >= 0 {
		w.fail(fmt.Sprintf("XML cannot contain the character %U", bad))
	}
}

func (w *Encoder) attribute(name xml.Name, value string) {
	w.write(" ", w.qualified(name), `="`)
	w.text(value)
	w.write(`"`)
}

func (w *Encoder) element(decl *Element, v any) {
	if w.visited++; w.visited%1024 == 0 && w.ctx.Err() != nil {
		return
	}
	name := w.qualified(decl.Name)
	w.write("<", name)
	v = document.Decode(v)
	t := decl.Type
	o, isObject := v.(*document.Object)
	switch {
	case v == nil && (decl.Nillable || t.Any):
		w.attribute(xml.Name{Space: Instance, Local: "nil"}, "true")
		w.write("/>")
		return
	case v == nil && t.Scalar():
		w.fail("it is null, but must be " + t.Simple.noun())
		w.write(">")
	case t.Any:
		w.write(">")
		w.generic(v)
	case t.Scalar():
		w.scalar(t.Simple, v)
	case t.Simple != nil && !isObject: // the text alone, without attributes
		o = &document.Object{}
		o.Set("#text", v)
		w.object(t, o)
	case v == nil:
		w.object(t, &document.Object{})
	case isObject:
		w.object(w.substitute(t, o), o)
	default:
		w.fail("it must be an object, not " + article(document.TypeName(v)))
		w.write(">")
	}
	w.write("</", name, ">")
}

func (w *Encoder) scalar(s *Simple, v any) {
	w.write(">")
	text, why := s.text(v)
	if why != "" {
		w.fail(why)
	}
	w.text(text)
}

// substitute returns the type of an object with "@type", and writes the xsi:type.
func (w *Encoder) substitute(t *Type, o *document.Object) *Type {
	v, ok := o.Get("@type")
	local, _ := v.(string)
	if !ok || hasAttribute(t, "type") {
		if t.Abstract {
			w.fail("the type " + t.Name.Local + " is abstract: set `@type` to one of " + strings.Join(t.derivedNames(), ", "))
		}
		return t
	}
	derived := t.substitute(local)
	if derived == nil {
		w.fail("`@type: " + local + "` is not derived from " + t.Name.Local + didYouMean(local, t.derivedNames()))
		return t
	}
	if derived != t || t.Abstract {
		w.attribute(xml.Name{Space: Instance, Local: "type"}, w.qualified(derived.Name))
	}
	return derived
}

func (t *Type) derivedNames() (names []string) {
	for todo := t.derived; len(todo) > 0; todo = todo[1:] {
		if !todo[0].Abstract {
			names = append(names, todo[0].Name.Local)
		}
		todo = append(todo, todo[0].derived...)
	}
	return names
}

// object writes the attributes, the end of the start tag and the content.
func (w *Encoder) object(t *Type, o *document.Object) {
	for _, a := range t.Attributes {
		w.declared(a, o)
	}
	if t.AnyAttribute {
		for i := range o.Len() {
			key, v := o.At(i)
			if name, ok := strings.CutPrefix(key, "@"); ok && !hasAttribute(t, name) && name != "type" {
				w.anyAttribute(name, v)
			}
		}
	}
	w.write(">")
	if t.Simple != nil {
		v, _ := o.Get("#text")
		text, why := t.Simple.text(v)
		if v == nil {
			text, why = "", "`#text` is missing"
		}
		if why != "" {
			w.fail(why)
		}
		w.text(text)
	} else if v, ok := o.Get("#text"); ok && t.Mixed {
		w.generic(v)
	}
	f := t.fields
	if f == nil {
		f = &fields{}
	}
	c := w.members(t, f, o)
	if t.Content != nil {
		w.particle(c, t.Content)
	}
	c.leftovers()
}

func (w *Encoder) declared(a *Attribute, o *document.Object) {
	v, ok := o.Get("@" + a.Name.Local)
	switch {
	case v == nil && a.Required && a.Fixed != "":
		w.attribute(a.Name, a.Fixed)
	case !ok || v == nil:
		if a.Required {
			w.fail("`@" + a.Name.Local + "` is missing")
		}
	default:
		text, why := a.Type.text(v)
		if why == "" && a.Fixed != "" && text != a.Fixed {
			why = "it must be " + quoted(a.Fixed)
		}
		if why != "" {
			w.fail("`@" + a.Name.Local + "`: " + why)
		}
		w.attribute(a.Name, text)
	}
}

func (w *Encoder) anyAttribute(name string, v any) {
	text, why := plain.text(v)
	if why != "" || !convert.IsXMLName(name) {
		w.fail("`@" + name + "` cannot be written as an attribute")
		return
	}
	w.attribute(xml.Name{Local: name}, text)
}

// plain is the type of text without constraints.
var plain = &Simple{primitive: stringType, space: "preserve"}

// generic writes the content of an element without a declaration.
func (w *Encoder) generic(v any) {
	switch v := document.Decode(v).(type) {
	case nil:
	case *document.Object:
		for i := range v.Len() {
			key, e := v.At(i)
			if key == "#text" {
				w.generic(e)
				continue
			}
			w.genericElement(key, e)
		}
	case []any:
		w.fail("a list cannot be the content of an element: name its elements")
	default:
		text, _ := plain.text(v)
		w.text(text)
	}
}

func (w *Encoder) genericElement(name string, v any) {
	if list, ok := document.Decode(v).([]any); ok {
		for _, e := range list {
			w.genericElement(name, e)
		}
		return
	}
	if !convert.IsXMLName(name) {
		w.fail(quoted(name) + " cannot be the name of an element")
		return
	}
	w.write("<", name)
	o, _ := document.Decode(v).(*document.Object)
	content := &document.Object{}
	if o != nil {
		for i := range o.Len() {
			key, e := o.At(i)
			if attr, ok := strings.CutPrefix(key, "@"); ok {
				w.anyAttribute(attr, e) // also xmlns
				continue
			}
			content.Set(key, e)
		}
		v = content
	}
	w.write(">")
	w.generic(v)
	w.write("</", name, ">")
}

// members returns the members of an object that are elements.
func (w *Encoder) members(t *Type, f *fields, o *document.Object) *consumer {
	c := &consumer{w: w, fields: f, queues: map[string]*queue{}}
	for i := range o.Len() {
		key, v := o.At(i)
		switch known := f.byKey[key]; {
		case strings.HasPrefix(key, "@"):
			if name := key[1:]; name != "type" && !hasAttribute(t, name) && !t.AnyAttribute {
				w.fail("`" + key + "` is not an attribute of the element" + didYouMean(name, attributeNames(t)))
			}
		case key == "#text":
			if t.Simple == nil && !t.Mixed {
				w.fail("`#text` is not allowed: the element contains only elements")
			}
		case known == nil && f.wild && (f.bare || hasNamespace(v)):
			c.unknown = append(c.unknown, key)
			c.queues[key] = &queue{items: []any{v}}
		case known == nil:
			w.fail("`" + key + "` is not an element of " + here(t) + didYouMean(key, f.keys))
		default:
			if q := newQueue(known.element, v); q != nil {
				c.queues[key] = q
				c.left += len(q.items)
			}
		}
	}
	return c
}

// hasNamespace reports whether a value is an object that names its namespace.
func hasNamespace(v any) bool {
	_, ok := document.Key(v, "@xmlns")
	return ok
}

// here names a type in a message.
func here(t *Type) string {
	if t.Name.Local != "" {
		return "the type " + t.Name.Local
	}
	return "this element"
}

// newQueue returns the occurrences of an element, or nil if it is left out.
func newQueue(e *Element, v any) *queue {
	v = document.Decode(v)
	list, isList := v.([]any)
	switch {
	case isList && len(list) == 0, v == nil && !e.Nillable:
		return nil
	case isList && (e.Type.Simple == nil || e.Type.Simple.item == nil):
		return &queue{items: slices.Clone(list), list: true}
	}
	return &queue{items: []any{v}}
}
