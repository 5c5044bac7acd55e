package xsd

import (
	"encoding/xml"
	"strconv"
	"strings"

	"valence/internal/convert"
	"valence/internal/spec"
)

// Build returns the schemas that have been added. It is complete only if the
// reader has no problems.
func (r *Reader) Build() *Set {
	r.set = &Set{elements: map[xml.Name]*Element{}, types: map[xml.Name]*Type{}}
	for local, t := range builtins() {
		r.set.types[xml.Name{Space: Namespace, Local: local}] = t
	}
	for _, c := range r.order {
		name := xml.Name{Space: c.schema.target, Local: c.e.Attr("name")}
		switch c.e.Name.Local {
		case "element":
			r.set.elements[name] = r.element(c)
		case "complexType", "simpleType":
			r.set.types[name] = r.typ(c, name)
		}
	}
	for _, t := range r.derived {
		r.merge(t, 0)
	}
	for _, c := range r.order {
		if head := c.e.Attr("substitutionGroup"); head != "" && c.e.Name.Local == "element" {
			if h := r.lookup(c.schema, c.e, "element", r.name(c.schema, c.e, "substitutionGroup")); h != nil {
				e, sub := r.element(h), r.element(c)
				e.Substitutes = append(e.Substitutes, sub)
				if sub.Type == anyType {
					sub.Type = e.Type
				}
			}
		}
	}
	r.tables()
	return r.set
}

// Resolve returns the global element or the type that an attribute of an
// element outside of the schemas refers to. It reports unknown names.
func (r *Reader) Resolve(f *File, e *convert.Element, attr string) (*Element, *Type) {
	s := &schema{file: f}
	name := r.name(s, e, attr)
	if attr == "element" {
		if c := r.lookup(s, e, "element", name); c != nil {
			return r.element(c), nil
		}
		return nil, nil
	}
	return nil, r.typeNamed(s, e, name)
}

// element returns a global element.
func (r *Reader) element(c *component) *Element {
	if e, ok := c.built.(*Element); ok {
		return e
	}
	e := &Element{Name: xml.Name{Space: c.schema.target, Local: c.e.Attr("name")}}
	c.built = e
	r.declare(c.schema, c.e, e)
	return e
}

func (r *Reader) declare(s *schema, at *convert.Element, e *Element) {
	e.Nillable, e.Abstract = isTrue(at.Attr("nillable")), isTrue(at.Attr("abstract"))
	e.Type = r.typeOf(s, at)
}

func isTrue(text string) bool { return text == "true" || text == "1" }

// typeOf returns the type of an element or an attribute: the named or the inner
// one.
func (r *Reader) typeOf(s *schema, at *convert.Element) *Type {
	if at.Attr("type") != "" {
		return r.typeNamed(s, at, r.name(s, at, "type"))
	}
	for _, c := range at.Children {
		if c.Name.Space == Namespace && (c.Name.Local == "complexType" || c.Name.Local == "simpleType") {
			return r.typ(&component{e: c, schema: s}, xml.Name{})
		}
	}
	return anyType
}

func (r *Reader) typeNamed(s *schema, at *convert.Element, name xml.Name) *Type {
	if t := r.set.types[name]; t != nil {
		return t
	}
	c := r.lookup(s, at, "type", name)
	if c == nil {
		return anyType
	}
	if t, ok := c.built.(*Type); ok {
		if c.busy && t.Simple == nil && c.e.Name.Local == "simpleType" {
			r.Problem(s.file, at, "the type `"+spec.Clip(name.Local)+"` is derived from itself", "derive it from another type")
			return anyType
		}
		return t
	}
	return r.typ(c, name)
}

// typ builds a type. A complex type may refer to itself within its content.
func (r *Reader) typ(c *component, name xml.Name) *Type {
	if t, ok := c.built.(*Type); ok {
		return t
	}
	t := &Type{Name: name}
	r.all = append(r.all, t)
	c.built, c.busy = t, true
	defer func() { c.busy = false }()
	if c.e.Name.Local == "simpleType" {
		t.Simple = r.simple(c.schema, c.e)
		return t
	}
	t.Abstract, t.Mixed = isTrue(c.e.Attr("abstract")), isTrue(c.e.Attr("mixed"))
	for _, e := range c.e.Children {
		if e.Name.Space == Namespace && (e.Name.Local == "simpleContent" || e.Name.Local == "complexContent") {
			t.Mixed = t.Mixed || isTrue(e.Attr("mixed"))
			r.derive(c, t, e)
			return t
		}
	}
	t.Content = r.content(c.schema, c.e)
	r.attributes(c.schema, c.e, t)
	return t
}

// derivation is a complex type whose base is known only after all types have
// been read, because the content of the base may refer to it.
type derivation struct {
	schema *schema
	at     *convert.Element // the extension or restriction
	simple bool             // of the text
	own    *Particle
	done   bool
}

// derive reads a complex type that extends or restricts another one.
func (r *Reader) derive(c *component, t *Type, content *convert.Element) {
	for _, e := range content.Children {
		if e.Name.Space == Namespace && (e.Name.Local == "extension" || e.Name.Local == "restriction") {
			d := &derivation{schema: c.schema, at: e, simple: content.Name.Local == "simpleContent"}
			r.derivations[t] = d
			r.derived = append(r.derived, t)
			t.base = r.typeNamed(c.schema, e, r.name(c.schema, e, "base"))
			if t.base != anyType {
				t.base.derived = append(t.base.derived, t)
			}
			if !d.simple {
				d.own = r.content(c.schema, e)
			}
			return
		}
	}
}

// merge completes a derived type from its base.
func (r *Reader) merge(t *Type, depth int) {
	d := r.derivations[t]
	if d == nil || d.done {
		return
	}
	if depth > maxDerived {
		r.Problem(d.schema.file, d.at, "the type is derived from itself, or through more than "+strconv.Itoa(maxDerived)+" types", "derive it from another type")
		return
	}
	base := t.base
	r.merge(base, depth+1)
	d.done = true
	extends := d.at.Name.Local == "extension"
	t.Attributes = append(t.Attributes, base.Attributes...)
	t.AnyAttribute = base.AnyAttribute && extends && base != anyType
	r.attributes(d.schema, d.at, t)
	switch {
	case d.simple:
		if t.Simple = base.Simple; t.Simple == nil {
			r.Problem(d.schema.file, d.at, "simpleContent needs a base with text", "derive the type with complexContent")
			t.Simple = r.text()
		}
		if !extends {
			t.Simple = r.restriction(d.schema, d.at, t.Simple)
		}
	case !extends || base.Content == nil:
		t.Content = d.own
	case d.own == nil:
		t.Content = base.Content
	default:
		t.Content = &Particle{Kind: Sequence, Min: 1, Max: 1, Parts: []*Particle{base.Content, d.own}}
	}
	t.Mixed = t.Mixed || extends && base.Mixed && base != anyType
}

// maxDerived bounds the chain of types that are derived from each other.
const maxDerived = 100

// content returns the content model below an element, or nil if it is empty.
func (r *Reader) content(s *schema, at *convert.Element) *Particle {
	for _, e := range at.Children {
		if e.Name.Space != Namespace {
			continue
		}
		switch e.Name.Local {
		case "sequence", "choice", "all", "group":
			return r.particle(s, e)
		}
	}
	return nil
}

var groups = map[string]Kind{"sequence": Sequence, "choice": Choice, "all": All}

// particle builds a particle, or returns nil if e is none.
func (r *Reader) particle(s *schema, e *convert.Element) *Particle {
	if e.Name.Space != Namespace {
		return nil
	}
	p := &Particle{Min: r.occurs(s, e, "minOccurs"), Max: r.occurs(s, e, "maxOccurs")}
	if p.Max == 0 {
		return nil
	}
	switch e.Name.Local {
	case "sequence", "choice", "all":
		p.Kind = groups[e.Name.Local]
		for _, c := range e.Children {
			if q := r.particle(s, c); q != nil {
				p.Parts = append(p.Parts, q)
			}
		}
		return p
	case "group":
		return r.group(s, e, p)
	case "any":
		p.Kind, p.allowed = Wildcard, namespacesOf(e.Attr("namespace"), s.target)
		return p
	case "element":
		return r.local(s, e, p)
	case "annotation":
		return nil
	}
	r.Problem(s.file, e, "<"+spec.Clip(e.Name.Local)+"> is not allowed in a content model", "remove it")
	return nil
}

func (r *Reader) local(s *schema, e *convert.Element, p *Particle) *Particle {
	if e.Attr("ref") != "" {
		c := r.lookup(s, e, "element", r.name(s, e, "ref"))
		if c == nil {
			return nil
		}
		p.Element = r.element(c)
		return p
	}
	p.Element = &Element{Name: xml.Name{Local: e.Attr("name")}}
	if form := e.Attr("form"); form == "qualified" || form == "" && s.elements {
		p.Element.Name.Space = s.target
	}
	if p.Element.Name.Local == "" {
		r.Problem(s.file, e, "this element has neither a name nor a ref", "add the attribute `name`")
	}
	r.declare(s, e, p.Element)
	return p
}

func (r *Reader) group(s *schema, e *convert.Element, p *Particle) *Particle {
	c := r.lookup(s, e, "group", r.name(s, e, "ref"))
	if c == nil {
		return nil
	}
	inner, built := c.built.(*Particle)
	if !built {
		if c.busy {
			r.Problem(s.file, e, "the group `"+spec.Clip(c.e.Attr("name"))+"` contains itself", "use an element with a type for the inner one")
			return nil
		}
		c.busy = true
		inner = r.content(c.schema, c.e)
		c.built, c.busy = inner, false
	}
	if inner == nil {
		return nil
	}
	p.Kind, p.Parts = Sequence, []*Particle{inner}
	return p
}

func (r *Reader) occurs(s *schema, e *convert.Element, attr string) int {
	text, ok := e.Lookup(xml.Name{Local: attr})
	if !ok {
		return 1
	}
	if text == "unbounded" && attr == "maxOccurs" {
		return Unbounded
	}
	n, err := strconv.Atoi(strings.TrimSpace(text))
	if err != nil || n < 0 {
		r.Problem(s.file, e, "`"+attr+"` must be a number, not `"+spec.Clip(text)+"`", "write a number such as "+attr+"=\"0\"")
		return 1
	}
	return n
}

func namespacesOf(text, target string) wildcard {
	switch text {
	case "", "##any":
		return wildcard{any: true}
	case "##other":
		return wildcard{other: true, not: target}
	}
	var w wildcard
	for _, name := range strings.Fields(text) {
		switch name {
		case "##targetNamespace":
			name = target
		case "##local":
			name = ""
		}
		w.list = append(w.list, name)
	}
	return w
}

// attributes adds the attributes that are declared below an element.
func (r *Reader) attributes(s *schema, at *convert.Element, t *Type) {
	for _, e := range at.Children {
		if e.Name.Space != Namespace {
			continue
		}
		switch e.Name.Local {
		case "attribute":
			r.attribute(s, e, t)
		case "anyAttribute":
			t.AnyAttribute = true
		case "attributeGroup":
			c := r.lookup(s, e, "attributeGroup", r.name(s, e, "ref"))
			if c == nil {
				continue
			}
			if c.busy {
				r.Problem(s.file, e, "the group of attributes contains itself", "remove the reference")
				continue
			}
			c.busy = true
			r.attributes(c.schema, c.e, t)
			c.busy = false
		}
	}
}

func (r *Reader) attribute(s *schema, e *convert.Element, t *Type) {
	a := &Attribute{Required: e.Attr("use") == "required", Fixed: e.Attr("fixed"), Name: xml.Name{Local: e.Attr("name")}}
	decl, of := e, s
	if e.Attr("ref") != "" {
		a.Name = r.name(s, e, "ref")
		if a.Name.Space == XML {
			decl = nil
		} else if c := r.lookup(s, e, "attribute", a.Name); c != nil {
			decl, of = c.e, c.schema
			if a.Fixed == "" {
				a.Fixed = decl.Attr("fixed")
			}
		}
	} else if form := e.Attr("form"); form == "qualified" || form == "" && s.attrs {
		a.Name.Space = s.target
	}
	if decl != nil {
		a.Type = r.typeOf(of, decl).Simple
	}
	if a.Type == nil {
		a.Type = r.set.types[xml.Name{Space: Namespace, Local: "anySimpleType"}].Simple
	}
	for i, known := range t.Attributes {
		if known.Name == a.Name {
			t.Attributes = append(append([]*Attribute{}, t.Attributes[:i]...), t.Attributes[i+1:]...)
			break
		}
	}
	if e.Attr("use") != "prohibited" && len(t.Attributes) < convert.MaxAttributes {
		t.Attributes = append(t.Attributes, a)
	}
}
