package xsd

import (
	"encoding/xml"
	"slices"
	"strings"

	"valence/internal/convert"
)

// matcher checks the order and the number of child elements. Content models are
// deterministic, so that it never goes back.
type matcher struct {
	d        *decoder
	children []*convert.Element
	at       int
	failed   bool
}

func (m *matcher) match(p *Particle) {
	if p != nil {
		m.occurrences(p)
	}
	if m.failed || m.at == len(m.children) {
		return
	}
	m.unexpected(p)
}

func (m *matcher) next() (xml.Name, bool) {
	if m.at == len(m.children) {
		return xml.Name{}, false
	}
	return m.children[m.at].Name, true
}

func (m *matcher) fail(detail string) {
	if !m.failed {
		m.failed = true
		m.d.fail(detail)
	}
}

func (m *matcher) occurrences(p *Particle) {
	for n := 0; p.Max == Unbounded || n < p.Max; n++ {
		name, more := m.next()
		if !more || !p.starts(name) {
			if n < p.Min && !p.optional() {
				m.missing(p)
			}
			return
		}
		before := m.at
		if m.once(p); m.failed || m.at == before {
			return
		}
	}
}

func (m *matcher) once(p *Particle) {
	name, _ := m.next()
	switch p.Kind {
	case ElementParticle, Wildcard:
		m.at++
	case Sequence:
		for _, q := range p.Parts {
			if m.occurrences(q); m.failed {
				return
			}
		}
	case Choice:
		for _, q := range p.Parts {
			if q.starts(name) {
				m.occurrences(q)
				return
			}
		}
	case All:
		m.all(p)
	}
}

func (m *matcher) all(p *Particle) {
	left := slices.Clone(p.Parts)
	for {
		name, more := m.next()
		i := slices.IndexFunc(left, func(q *Particle) bool { return more && q.starts(name) })
		if i < 0 {
			break
		}
		if m.occurrences(left[i]); m.failed {
			return
		}
		left = slices.Delete(left, i, i+1)
	}
	for _, q := range left {
		if !q.optional() {
			m.missing(q)
			return
		}
	}
}

// missing reports a required part that is not at the present place.
func (m *matcher) missing(p *Particle) {
	names := p.first(nil)
	what := "the element " + strings.Join(names, " or ") + " is missing"
	if name, more := m.next(); more {
		if slices.Contains(names, name.Local) {
			m.fail("the element " + quoted(name.Local) + " is in the namespace " + namespace(name) + ", not in " + p.namespaceOf(name.Local))
			return
		}
		if slices.ContainsFunc(m.children[m.at:], func(c *convert.Element) bool { return slices.Contains(names, c.Name.Local) }) {
			what = "the element " + quoted(name.Local) + " must not stand before " + strings.Join(names, " or ")
		} else {
			what += " before " + quoted(name.Local) + didYouMean(name.Local, names)
		}
	}
	m.fail(what)
}

func namespace(name xml.Name) string {
	if name.Space == "" {
		return "no namespace"
	}
	return "`" + strings.ToValidUTF8(name.Space[:min(len(name.Space), 200)], "") + "`"
}

func (p *Particle) namespaceOf(local string) string {
	for _, e := range p.elements(nil) {
		if e.Name.Local == local {
			return namespace(e.Name)
		}
	}
	return "this one"
}

// unexpected reports an element after the last one that is allowed.
func (m *matcher) unexpected(p *Particle) {
	name, _ := m.next()
	var known []*Element
	if p != nil {
		known = p.elements(nil)
	}
	var names []string
	for _, e := range known {
		switch {
		case e.Name == name:
			m.fail("the element " + quoted(name.Local) + " is not allowed at this place")
			return
		case e.Name.Local == name.Local:
			m.fail("the element " + quoted(name.Local) + " is in the namespace " + namespace(name) + ", not in " + namespace(e.Name))
			return
		}
		names = append(names, e.Name.Local)
	}
	m.fail("the element " + quoted(name.Local) + " is not allowed" + didYouMean(name.Local, names))
}

// first returns the names of the elements that may begin the particle.
func (p *Particle) first(names []string) []string {
	switch p.Kind {
	case ElementParticle:
		for _, e := range p.Element.candidates() {
			names = append(names, e.Name.Local)
		}
	case Sequence:
		for _, q := range p.Parts {
			if names = q.first(names); !q.optional() {
				break
			}
		}
	case Choice, All:
		for _, q := range p.Parts {
			names = q.first(names)
		}
	}
	return names
}

// elements returns the elements of the particle.
func (p *Particle) elements(all []*Element) []*Element {
	if p.Kind == ElementParticle {
		return append(all, p.Element.candidates()...)
	}
	for _, q := range p.Parts {
		all = q.elements(all)
	}
	return all
}
