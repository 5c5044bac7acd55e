package xsd

import (
	"encoding/xml"
	"fmt"

	"valence/internal/fault"
)

// tables computes the tables of the elements of all complex types.
func (r *Reader) tables() {
	t := &tabulator{}
	for _, typ := range r.all {
		if typ.Content == nil {
			typ.fields = &fields{}
			continue
		}
		typ.fields = t.table(typ.Content)
		if t.parts > maxParts {
			p := &fault.Problem{Code: Code, Msg: fmt.Sprintf("the types of the schemas have more than %d parts", maxParts), Hint: "use fewer nested groups"}
			if len(r.schemas) > 0 {
				p.Pos = fault.Pos{File: r.schemas[0].file.Name}
			}
			r.problems = append(r.problems, p)
			return
		}
	}
}

// tabulator counts the parts that it visits.
type tabulator struct{ parts int }

func (t *tabulator) table(p *Particle) *fields {
	f := &fields{byName: map[xml.Name]*field{}, byKey: map[string]*field{}}
	counts := map[xml.Name]int{}
	t.collect(p, f, counts, true)
	for name, n := range counts {
		f.byName[name].list = n > 1
	}
	for name, same := range f.byName {
		if same.list {
			f.byKey[name.Local].list = true
		}
	}
	return f
}

// Record returns the type of an element that contains the given elements once
// each, in their order.
func Record(elements []*Element) *Type {
	p := &Particle{Kind: Sequence, Min: 1, Max: 1}
	for _, e := range elements {
		p.Parts = append(p.Parts, &Particle{Kind: ElementParticle, Min: 1, Max: 1, Element: e})
	}
	return &Type{Content: p, fields: (&tabulator{}).table(p)}
}

// collect adds the elements of a particle, and counts how often each may occur:
// once or more often.
func (t *tabulator) collect(p *Particle, f *fields, counts map[xml.Name]int, required bool) {
	if t.parts++; t.parts > maxParts {
		return
	}
	own := map[xml.Name]int{}
	required = required && p.Min > 0
	switch p.Kind {
	case Wildcard:
		f.wild = true
		f.bare = f.bare || p.allowed.has("")
	case ElementParticle:
		all := p.Element.candidates()
		for _, e := range all {
			f.add(e, required && len(all) == 1)
			own[e.Name] = 1
		}
	case Choice:
		for _, q := range p.Parts {
			branch := map[xml.Name]int{}
			t.collect(q, f, branch, required && len(p.Parts) == 1)
			for name, n := range branch {
				own[name] = max(own[name], n)
			}
		}
	default:
		for _, q := range p.Parts {
			t.collect(q, f, own, required)
		}
	}
	for name, n := range own {
		if p.Max != 1 {
			n = 2
		}
		counts[name] = min(counts[name]+n, 2)
	}
}

func (f *fields) add(e *Element, required bool) {
	known := f.byName[e.Name]
	if known == nil {
		known = &field{element: e}
		f.byName[e.Name] = known
		if f.byKey[e.Name.Local] == nil {
			f.byKey[e.Name.Local] = known
			f.keys = append(f.keys, e.Name.Local)
		}
	}
	known.required = known.required || required
}
