package xsd

import (
	"context"
	"math/big"
	"regexp/syntax"
	"strings"

	"valence/internal/document"
)

// The limits of a sample, because types may contain themselves.
const (
	maxSampleDepth    = 16
	maxSampleElements = 1000
)

// Sample returns a document with the elements and attributes that a declaration
// requires. complete is false if no value was found for some of them, as for
// text that must match a pattern.
func (s *Set) Sample(ctx context.Context, decl *Element) (data []byte, complete bool) {
	m := &sampler{}
	v := m.element(decl, 0)
	wrong, err := s.NewEncoder(ctx).Element(decl, v)
	return document.AppendJSON(nil, v), err == nil && len(wrong) == 0
}

type sampler struct{ elements int }

func (m *sampler) element(decl *Element, depth int) any {
	if m.elements++; depth > maxSampleDepth || m.elements > maxSampleElements {
		return nil
	}
	t, o := decl.Type, &document.Object{}
	if t.Abstract {
		for _, d := range t.derived {
			if !d.Abstract {
				t = d
				o.Set("@type", t.Name.Local)
				break
			}
		}
	}
	switch {
	case t.Any:
		return "text"
	case t.Scalar():
		return t.Simple.sample()
	}
	for _, a := range t.Attributes {
		switch {
		case !a.Required:
		case a.Fixed != "":
			o.Set("@"+a.Name.Local, a.Fixed)
		default:
			o.Set("@"+a.Name.Local, a.Type.sample())
		}
	}
	if t.Simple != nil {
		o.Set("#text", t.Simple.sample())
	}
	if t.Content != nil {
		m.particle(o, t, t.Content, depth)
	}
	return o
}

func (m *sampler) particle(o *document.Object, t *Type, p *Particle, depth int) {
	if p.Min == 0 {
		return
	}
	switch p.Kind {
	case ElementParticle:
		all := p.Element.candidates()
		if len(all) == 0 {
			return
		}
		key := all[0].Name.Local
		for range min(p.Min, 10) {
			v := m.element(all[0], depth+1)
			before, known := o.Get(key)
			list, isList := before.([]any)
			switch f := t.fields.byKey[key]; {
			case isList:
				o.Set(key, append(list, v))
			case known || f != nil && f.list:
				if known {
					list = append(list, before)
				}
				o.Set(key, append(list, v))
			default:
				o.Set(key, v)
			}
		}
	case Choice:
		if len(p.Parts) > 0 {
			m.particle(o, t, p.Parts[0], depth)
		}
	case Sequence, All:
		for _, part := range p.Parts {
			m.particle(o, t, part, depth)
		}
	}
}

// samples are texts of the built-in types.
var samples = []string{"text", "1", "0", "true", "2026-01-31", "2026-01-31T12:00:00Z", "12:00:00", "P1D", "2026-01", "2026", "--01-31", "---31", "--01", "en", "EUR", "0A", "AAAA", "https://example.com/", "A1", "A", "a@example.com", "ABC-123"}

// sample returns a value of the type; text that is not valid if none was found.
func (s *Simple) sample() any {
	texts := append([]string(nil), s.enum...)
	for _, p := range s.patterns {
		if re, err := syntax.Parse(p.String(), syntax.Perl); err == nil {
			texts = append(texts, shortest(re))
		}
	}
	texts = append(texts, samples...)
	for _, bound := range []*big.Rat{s.min, s.max} {
		if bound == nil {
			continue
		}
		for _, off := range []int64{0, 1, -1} {
			r := new(big.Rat).Add(bound, big.NewRat(off, 1))
			texts = append(texts, r.FloatString(0), strings.TrimRight(strings.TrimRight(r.FloatString(6), "0"), "."))
		}
	}
	for _, n := range []*int{s.length, s.minLength, s.maxLength} {
		if n != nil && *n > 0 && *n <= 10_000 {
			texts = append(texts, strings.Repeat("A", *n), strings.Repeat("1", *n))
		}
	}
	for _, text := range texts {
		if s.check(s.normal(text)) == "" {
			return document.Parse(string(s.appendValue(nil, text)))
		}
	}
	return "text"
}

// shortest returns a short text that a regular expression matches.
func shortest(re *syntax.Regexp) string {
	switch re.Op {
	case syntax.OpLiteral:
		return string(re.Rune)
	case syntax.OpCharClass:
		for i := 0; i+1 < len(re.Rune); i += 2 { // prefer a character that everyone can read
			for _, r := range "1Aa" {
				if re.Rune[i] <= r && r <= re.Rune[i+1] {
					return string(r)
				}
			}
		}
		if len(re.Rune) > 0 {
			return string(re.Rune[0])
		}
	case syntax.OpAnyChar, syntax.OpAnyCharNotNL:
		return "a"
	case syntax.OpCapture, syntax.OpPlus:
		return shortest(re.Sub[0])
	case syntax.OpRepeat:
		return strings.Repeat(shortest(re.Sub[0]), min(re.Min, 1000))
	case syntax.OpConcat:
		var text strings.Builder
		for _, sub := range re.Sub {
			text.WriteString(shortest(sub))
		}
		return text.String()
	case syntax.OpAlternate:
		return shortest(re.Sub[0])
	}
	return ""
}
