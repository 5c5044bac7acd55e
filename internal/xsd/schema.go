// Package xsd reads XML Schemas (version 1.0), validates XML against them, and
// converts between XML and JSON by their types.
//
// The JSON of an element is its content. An element with a simple type is a
// scalar. Any other element is an object: "@name" members are attributes, "#text"
// is text with attributes or among elements, and child elements are members by
// their local name. An element that may occur more than once is always a list.
// Numbers and booleans have their JSON types. "@type" is the local name of an
// xsi:type.
package xsd

import (
	"encoding/xml"
	"slices"

	"valence/internal/fault"
)

// The namespaces of XML Schema.
const (
	Namespace = "http://www.w3.org/2001/XMLSchema"
	Instance  = "http://www.w3.org/2001/XMLSchema-instance"
	XML       = "http://www.w3.org/XML/1998/namespace"
)

// Unbounded is the Max of a particle that may occur any number of times.
const Unbounded = -1

// Element is the declaration of an element.
type Element struct {
	Name     xml.Name // Space is empty if the element is unqualified
	Type     *Type
	Nillable bool
	Abstract bool
	// Substitutes are the elements that may stand in its place.
	Substitutes []*Element
}

// candidates returns the elements that may stand in the place of e.
func (e *Element) candidates() []*Element {
	if len(e.Substitutes) == 0 {
		return []*Element{e}
	}
	var all []*Element
	for todo := []*Element{e}; len(todo) > 0; todo = todo[1:] {
		if slices.Contains(all, todo[0]) {
			continue
		}
		all = append(all, todo[0])
		todo = append(todo, todo[0].Substitutes...)
	}
	return slices.DeleteFunc(all, func(c *Element) bool { return c.Abstract })
}

// Attribute is the declaration of an attribute.
type Attribute struct {
	Name     xml.Name
	Type     *Simple
	Required bool
	Fixed    string
}

// Type is a simple or complex type.
type Type struct {
	Name         xml.Name // empty if the type is anonymous
	Simple       *Simple  // the type of the text; nil if the content is elements
	Attributes   []*Attribute
	AnyAttribute bool
	Content      *Particle // nil if there are no elements
	Mixed        bool
	Abstract     bool
	Any          bool // anything is allowed
	base         *Type
	derived      []*Type
	fields       *fields
}

// Scalar reports whether the JSON of the type is a scalar or a list of scalars.
func (t *Type) Scalar() bool { return t.Simple != nil && len(t.Attributes) == 0 && !t.AnyAttribute }

// substitute returns t or a type that is derived from it, by local name; nil if
// there is none.
func (t *Type) substitute(local string) *Type {
	for todo := []*Type{t}; len(todo) > 0; todo = todo[1:] {
		if todo[0].Name.Local == local {
			return todo[0]
		}
		todo = append(todo, todo[0].derived...)
	}
	return nil
}

// Kind is the kind of a particle.
type Kind int

// The kinds of particles.
const (
	ElementParticle Kind = iota
	Sequence
	Choice
	All
	Wildcard
)

// Particle is a part of a content model.
type Particle struct {
	Kind     Kind
	Min, Max int
	Element  *Element
	Parts    []*Particle
	allowed  wildcard
}

// optional reports whether the particle may be absent.
func (p *Particle) optional() bool {
	if p.Min == 0 {
		return true
	}
	switch p.Kind {
	case ElementParticle, Wildcard:
		return false
	case Choice:
		return len(p.Parts) == 0 || slices.ContainsFunc(p.Parts, (*Particle).optional)
	}
	return !slices.ContainsFunc(p.Parts, func(q *Particle) bool { return !q.optional() })
}

// starts reports whether the particle may begin with an element.
func (p *Particle) starts(name xml.Name) bool {
	switch p.Kind {
	case ElementParticle:
		return slices.ContainsFunc(p.Element.candidates(), func(e *Element) bool { return e.Name == name })
	case Wildcard:
		return p.allowed.has(name.Space)
	case Sequence:
		for _, q := range p.Parts {
			if q.starts(name) {
				return true
			}
			if !q.optional() {
				return false
			}
		}
		return false
	}
	return slices.ContainsFunc(p.Parts, func(q *Particle) bool { return q.starts(name) })
}

// wildcard is the set of namespaces that an xs:any allows.
type wildcard struct {
	any   bool
	not   string // ##other: every namespace except this one and none
	other bool
	list  []string
}

func (w *wildcard) has(space string) bool {
	switch {
	case w.any:
		return true
	case w.other:
		return space != "" && space != w.not
	}
	return slices.Contains(w.list, space)
}

// fields is the table of the elements of a complex type.
type fields struct {
	byName map[xml.Name]*field
	byKey  map[string]*field
	keys   []string
	wild   bool // other elements are allowed
	bare   bool // also those without a namespace
}

// field is an element that a complex type contains.
type field struct {
	element *Element
	list    bool
	// required reports whether every valid content has the element.
	required bool
}

// Set is a set of schemas, which refer to each other.
type Set struct {
	elements map[xml.Name]*Element
	types    map[xml.Name]*Type
}

// Element returns a global element, or nil.
func (s *Set) Element(name xml.Name) *Element { return s.elements[name] }

// Type returns a global or predefined type, or nil.
func (s *Set) Type(name xml.Name) *Type { return s.types[name] }

// Code is the code of problems with schemas.
const Code fault.Code = "bad-file"

// maxParts bounds the particles of all content models, with those of each group
// counted as often as it is used.
const maxParts = 200_000
