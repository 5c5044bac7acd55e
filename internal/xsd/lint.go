package xsd

import (
	"context"
	"slices"
	"strconv"
	"strings"

	"valence/internal/document"
	"valence/internal/expression"
	"valence/internal/fault"
	"valence/internal/spec"
)

// Mismatch is a part of a document that cannot match its declaration, whatever
// the rest of the document is.
type Mismatch struct {
	fault.Violation
	Pos fault.Pos // of the part in its file
	// Hint is the remedy. It may be empty.
	Hint string
	// Key is an unknown key, and Near the known one that it resembles.
	Key, Near string
}

// Lint returns the mismatches of a document that is not known completely with
// the declaration of an element. A part that depends on an expression is not reported.
func (s *Set) Lint(decl *Element, shape *expression.Shape) []Mismatch {
	l := &linter{set: s}
	if v, exact := l.value(decl, shape, nil); exact {
		l.encode(decl, shape, v, nil)
	}
	return l.found
}

type linter struct {
	set   *Set
	found []Mismatch
}

// misspelt reports whether a key resembles an unknown key that has been reported
// since a number of mismatches.
func (l *linter) misspelt(key string, since int) bool {
	return slices.ContainsFunc(l.found[since:], func(m Mismatch) bool { return m.Near != "" && m.Near == strings.TrimPrefix(key, "@") })
}

func (l *linter) report(m Mismatch, path []string, detail string) {
	if len(l.found) < maxViolations {
		m.Pointer, m.Detail = pointer(path), detail
		l.found = append(l.found, m)
	}
}

// value checks a value. It returns the value if it is known completely and no
// mismatch has been found in it.
func (l *linter) value(e *Element, s *expression.Shape, path []string) (v any, exact bool) {
	if s == nil || s.Type == expression.TypeUnknown || e.Type.Any {
		return nil, false
	}
	t := e.Type
	switch {
	case s.Fixed != nil:
		return document.Parse(string(s.Fixed)), true
	case s.Type == expression.TypeObject && t.Scalar():
		l.report(Mismatch{Pos: s.Pos}, path, "it must be "+t.Simple.noun()+", not an object")
	case s.Type == expression.TypeObject:
		return l.object(t, s, path)
	case s.Type == expression.TypeList && !t.isList():
		l.report(Mismatch{Pos: s.Pos}, path, "it must be "+t.noun()+", not a list")
	case s.Type == expression.TypeText && t.Simple == nil:
		l.report(Mismatch{Pos: s.Pos}, path, "it must be an object, not text")
	}
	return nil, false
}

// isList reports whether a list can be the value of one element of the type.
func (t *Type) isList() bool {
	return t.Simple != nil && (t.Simple.item != nil || len(t.Simple.members) > 0)
}

func (t *Type) noun() string {
	if t.Simple != nil {
		return t.Simple.noun()
	}
	return "an object"
}

// part is a member of an object that is known completely.
type part struct {
	element *Element
	shape   *expression.Shape
	value   any
	path    []string
}

// object checks the members of an object.
func (l *linter) object(t *Type, s *expression.Shape, path []string) (any, bool) {
	if t = l.derived(t, s, path); t == nil {
		return nil, false
	}
	before, exact := len(l.found), !s.Open
	out := &document.Object{}
	var parts []part
	for _, f := range s.Fields {
		whole := l.member(t, f, path, &parts)
		if !whole || f.Optional {
			exact = false
		}
		if exact {
			v, _ := shapeValue(f.Value)
			out.Set(f.Name, v)
		}
	}
	if !s.Open {
		l.missing(t, s, path, before)
	}
	if exact && len(l.found) == before {
		return out, true
	}
	for _, p := range parts { // the object is not known, but these members are
		l.encode(p.element, p.shape, p.value, p.path)
	}
	return nil, false
}

// shapeValue returns a value that is known completely.
func shapeValue(s *expression.Shape) (any, bool) {
	switch {
	case s == nil:
		return nil, false
	case s.Fixed != nil:
		return document.Parse(string(s.Fixed)), true
	case s.Type == expression.TypeObject:
		o := &document.Object{}
		for _, f := range s.Fields {
			v, _ := shapeValue(f.Value)
			o.Set(f.Name, v)
		}
		return o, true
	case s.Type == expression.TypeList:
		list := make([]any, len(s.Items))
		for i, item := range s.Items {
			list[i], _ = shapeValue(item)
		}
		return list, true
	}
	return nil, false
}

// derived returns the type of an object with "@type"; nil if it is not known.
func (l *linter) derived(t *Type, s *expression.Shape, path []string) *Type {
	if hasAttribute(t, "type") {
		return t
	}
	for _, f := range s.Fields {
		if f.Name != "@type" {
			continue
		}
		if f.Value == nil || f.Value.Fixed == nil || f.Value.Type != expression.TypeText {
			return nil
		}
		local, _ := document.Decode(document.Parse(string(f.Value.Fixed))).(string)
		found := t.substitute(local)
		if found == nil {
			near := spec.Nearest(local, t.derivedNames())
			l.report(Mismatch{Pos: f.Value.Pos, Hint: spec.Suggestion(local, t.derivedNames()), Key: local, Near: near}, path, "`@type: "+spec.Clip(local)+"` is not derived from "+t.Name.Local)
		}
		return found
	}
	if t.Abstract && !s.Open {
		l.report(Mismatch{Pos: s.Pos, Hint: "set `@type` to one of " + strings.Join(shortened(t.derivedNames()), ", ")}, path, "the type "+t.Name.Local+" is abstract")
		return nil
	}
	return t
}

// member checks one member of an object and reports whether it is known
// completely.
func (l *linter) member(t *Type, f expression.Field, path []string, parts *[]part) bool {
	_, whole := fixed(f.Value)
	switch {
	case f.Name == "@type" && !hasAttribute(t, "type"):
		return whole
	case strings.HasPrefix(f.Name, "@"):
		l.attribute(t, f, path)
		return whole
	case f.Name == "#text":
		return whole
	}
	known := t.fields.key(f.Name)
	switch {
	case known == nil && t.fields != nil && t.fields.wild && (t.fields.bare || mayHaveNamespace(f.Value)):
		return false
	case known == nil:
		keys := t.fields.names()
		hint := "remove it; the schema allows no elements here"
		if len(keys) > 0 {
			hint = spec.Suggestion(f.Name, keys)
		}
		l.report(Mismatch{Pos: f.Pos, Hint: hint, Key: f.Name, Near: spec.Nearest(f.Name, keys)}, path, "`"+spec.Clip(f.Name)+"` is not an element of "+here(t))
		return false
	case len(known.element.Substitutes) > 0 || f.Value == nil:
		return false
	}
	inner := append(slices.Clip(path), f.Name)
	switch {
	case f.Value.Type != expression.TypeList || known.element.Type.isList():
		return l.one(known.element, f.Value, inner, parts)
	case f.Value.Fixed != nil:
		return false // a list that an expression builds
	}
	whole = f.Value.Counted
	for i, item := range elements(f.Value) {
		at := inner
		if f.Value.Counted {
			at = append(slices.Clip(inner), strconv.Itoa(i))
		}
		whole = l.one(known.element, item, at, parts) && whole
	}
	return whole
}

// mayHaveNamespace reports whether a value may be an object that names its
// namespace.
func mayHaveNamespace(s *expression.Shape) bool {
	switch {
	case s == nil || s.Open || s.Type == expression.TypeUnknown:
		return true
	case s.Type == expression.TypeObject:
		return s.Fixed != nil || slices.ContainsFunc(s.Fields, func(f expression.Field) bool { return f.Name == "@xmlns" })
	}
	return false
}

// one checks one occurrence of an element.
func (l *linter) one(e *Element, s *expression.Shape, path []string, parts *[]part) bool {
	if s.Fixed != nil && s.Type == expression.TypeNull {
		return true // left out, or nil
	}
	v, exact := l.value(e, s, path)
	if exact {
		*parts = append(*parts, part{e, s, v, path})
	}
	return exact
}

// elements returns the elements of a list that are known.
func elements(s *expression.Shape) []*expression.Shape {
	if s.Item != nil {
		return []*expression.Shape{s.Item}
	}
	return s.Items
}

func (l *linter) attribute(t *Type, f expression.Field, path []string) {
	name := f.Name[1:]
	for _, a := range t.Attributes {
		if a.Name.Local != name {
			continue
		}
		if v, ok := fixed(f.Value); ok && v != nil {
			text, why := a.Type.text(v)
			if why == "" && a.Fixed != "" && text != a.Fixed {
				why = "it must be " + quoted(a.Fixed)
			}
			if why != "" {
				l.report(Mismatch{Pos: f.Value.Pos}, append(slices.Clip(path), f.Name), why)
			}
		}
		return
	}
	if !t.AnyAttribute {
		names := attributeNames(t)
		m := Mismatch{Pos: f.Pos, Hint: "remove it; the schema allows no attributes here", Key: name, Near: spec.Nearest(name, names)}
		if len(names) > 0 {
			m.Hint = spec.Suggestion(name, names)
		}
		l.report(m, path, "`"+spec.Clip(f.Name)+"` is not an attribute of "+here(t))
	}
}

// fixed returns the value of a scalar that never varies.
func fixed(s *expression.Shape) (any, bool) {
	if s == nil || s.Fixed == nil {
		return nil, false
	}
	return document.Decode(document.Parse(string(s.Fixed))), true
}

// missing reports the attributes and elements that every valid content has.
func (l *linter) missing(t *Type, s *expression.Shape, path []string, since int) {
	has := func(key string) bool {
		return slices.ContainsFunc(s.Fields, func(f expression.Field) bool {
			if f.Name != key {
				return false
			}
			if f.Value == nil || f.Value.Fixed == nil || f.Value.Type != expression.TypeNull {
				return true
			}
			known := t.fields.key(key)
			return known != nil && known.element.Nillable
		})
	}
	report := func(key string) {
		if l.misspelt(key, since) {
			return
		}
		l.report(Mismatch{Pos: s.Pos, Hint: "add `" + key + ":`"}, path, "`"+key+"` is missing")
	}
	for _, a := range t.Attributes {
		if a.Required && a.Fixed == "" && !has("@"+a.Name.Local) {
			report("@" + a.Name.Local)
		}
	}
	if t.Simple != nil && !has("#text") {
		report("#text")
	}
	if t.Content != nil {
		t.Content.absent(has, report, func(names []string) {
			l.report(Mismatch{Pos: s.Pos, Hint: "add one of them"}, path, "one of `"+strings.Join(shortened(names), "`, `")+"` is missing")
		})
	}
}

// absent calls one with each element that the particle requires and that is
// not there, and any with the alternatives of a choice of which none is there.
func (p *Particle) absent(has func(string) bool, one func(string), any func([]string)) {
	if p.Min == 0 || p.optional() {
		return
	}
	switch p.Kind {
	case ElementParticle:
		names := p.first(nil)
		switch {
		case slices.ContainsFunc(names, has):
		case len(names) == 1:
			one(names[0])
		default:
			any(names)
		}
	case Choice:
		if len(p.Parts) == 1 {
			p.Parts[0].absent(has, one, any)
			return
		}
		all := p.elements(nil)
		if !slices.ContainsFunc(all, func(e *Element) bool { return has(e.Name.Local) }) && !p.hasWildcard() {
			any(p.first(nil))
		}
	case Sequence, All:
		for _, q := range p.Parts {
			q.absent(has, one, any)
		}
	}
}

func (p *Particle) hasWildcard() bool {
	return p.Kind == Wildcard || slices.ContainsFunc(p.Parts, (*Particle).hasWildcard)
}

// encode reports the remaining mismatches of a value that is known completely,
// such as its facets and the order and number of its elements.
func (l *linter) encode(e *Element, s *expression.Shape, v any, path []string) {
	w := l.set.NewEncoder(context.Background())
	w.path = slices.Clone(path)
	found, _ := w.Element(e, v)
	for _, f := range found {
		steps := strings.Split(strings.TrimPrefix(strings.TrimPrefix(f.Pointer, pointer(path)), "/"), "/")
		if len(l.found) < maxViolations {
			l.found = append(l.found, Mismatch{Violation: f, Pos: s.At(steps).Pos})
		}
	}
}

// key returns the element with a key, or nil.
func (f *fields) key(name string) *field {
	if f == nil {
		return nil
	}
	return f.byKey[name]
}

func (f *fields) names() []string {
	if f == nil {
		return nil
	}
	return f.keys
}
