package xsd

import (
	"encoding/xml"
	"regexp"
	"strconv"
	"strings"

	"valence/internal/convert"
	"valence/internal/spec"
)

// simple builds a simple type.
func (r *Reader) simple(s *schema, at *convert.Element) *Simple {
	for _, e := range at.Children {
		if e.Name.Space != Namespace {
			continue
		}
		switch e.Name.Local {
		case "restriction":
			var base *Simple
			if e.Attr("base") != "" {
				base = r.simpleNamed(s, e, r.name(s, e, "base"))
			} else {
				base = r.inner(s, e)
			}
			return r.restriction(s, e, base)
		case "list":
			if e.Attr("itemType") != "" {
				return &Simple{item: r.simpleNamed(s, e, r.name(s, e, "itemType"))}
			}
			return &Simple{item: r.inner(s, e)}
		case "union":
			return r.union(s, e)
		}
	}
	r.Problem(s.file, at, "this simpleType has no restriction, list or union", "add one of them")
	return r.text()
}

func (r *Reader) text() *Simple {
	return r.set.types[xml.Name{Space: Namespace, Local: "string"}].Simple
}

// inner returns the anonymous type below an element.
func (r *Reader) inner(s *schema, at *convert.Element) *Simple {
	if e := at.First(xml.Name{Space: Namespace, Local: "simpleType"}); e != nil {
		return r.simple(s, e)
	}
	r.Problem(s.file, at, "this "+at.Name.Local+" names no type", "add the attribute `base` or `itemType`")
	return r.text()
}

func (r *Reader) simpleNamed(s *schema, at *convert.Element, name xml.Name) *Simple {
	if t := r.typeNamed(s, at, name); t.Simple != nil {
		return t.Simple
	} else if t != anyType {
		r.Problem(s.file, at, "`"+spec.Clip(name.Local)+"` is not a simple type", "name a simple type")
	}
	return r.text()
}

func (r *Reader) union(s *schema, e *convert.Element) *Simple {
	u := &Simple{space: "preserve"}
	for _, text := range strings.Fields(e.Attr("memberTypes")) {
		name, ok := e.QName(text)
		if !ok {
			r.Problem(s.file, e, "the prefix of `"+spec.Clip(text)+"` is not declared", "declare it")
			continue
		}
		if s.blank && name.Space == "" {
			name.Space = s.target
		}
		u.members = append(u.members, r.simpleNamed(s, e, name))
	}
	for _, c := range e.Children {
		if c.Name == (xml.Name{Space: Namespace, Local: "simpleType"}) {
			u.members = append(u.members, r.simple(s, c))
		}
	}
	return u
}

// restriction applies the facets below an element to a type.
func (r *Reader) restriction(s *schema, at *convert.Element, base *Simple) *Simple {
	t := base.restrict()
	var enum []string
	var patterns []string
	for _, e := range at.Children {
		if e.Name.Space != Namespace {
			continue
		}
		value := e.Attr("value")
		switch e.Name.Local {
		case "enumeration":
			enum = append(enum, t.normal(value))
		case "pattern":
			patterns = append(patterns, value)
		case "whiteSpace":
			t.space = value
		case "length", "minLength", "maxLength", "totalDigits", "fractionDigits":
			r.count(s, e, t, value)
		case "minInclusive", "minExclusive":
			t.min, t.minOpen = rat(value), e.Name.Local == "minExclusive"
		case "maxInclusive", "maxExclusive":
			t.max, t.maxOpen = rat(value), e.Name.Local == "maxExclusive"
		}
	}
	if len(enum) > 0 {
		t.enum = enum
	}
	if len(patterns) > 0 {
		if p := compilePattern(patterns); p != nil {
			t.patterns = append(t.patterns, p)
		}
	}
	return t
}

func (r *Reader) count(s *schema, e *convert.Element, t *Simple, value string) {
	n, err := strconv.Atoi(strings.TrimSpace(value))
	if err != nil || n < 0 {
		r.Problem(s.file, e, "`"+spec.Clip(value)+"` is not a number", "write a number such as value=\"10\"")
		return
	}
	switch e.Name.Local {
	case "length":
		t.length = &n
	case "minLength":
		t.minLength = &n
	case "maxLength":
		t.maxLength = &n
	case "totalDigits":
		t.totalDigits = &n
	case "fractionDigits":
		t.fractionDigits = &n
	}
}

// classes are the character classes of XML Schema that Go lacks.
var classes = strings.NewReplacer(`\\`, `\\`, `\i`, `[\pL_:]`, `\c`, `[\pL\pN._:\-]`, `\I`, `[^\pL_:]`, `\C`, `[^\pL\pN._:\-]`)

// inClass are the same within brackets.
var inClass = strings.NewReplacer(`\\`, `\\`, `\i`, `\pL_:`, `\c`, `\pL\pN._:\-`)

var bracket = regexp.MustCompile(`\[(?:\\.|[^\]\\])*\]`)

// compilePattern returns an expression for any of the patterns, or nil if one
// uses a feature that Go's expressions lack, such as the subtraction of classes;
// such values are not checked.
func compilePattern(patterns []string) *regexp.Regexp {
	for i, p := range patterns {
		var out strings.Builder
		last := 0
		for _, at := range bracket.FindAllStringIndex(p, -1) {
			out.WriteString(classes.Replace(escapeAnchors(p[last:at[0]])))
			out.WriteString(inClass.Replace(p[at[0]:at[1]]))
			last = at[1]
		}
		out.WriteString(classes.Replace(escapeAnchors(p[last:])))
		if patterns[i] = out.String(); strings.Contains(p, "-[") {
			return nil
		}
	}
	re, err := regexp.Compile("^(?:" + strings.Join(patterns, "|") + ")$")
	if err != nil {
		return nil
	}
	return re
}

// escapeAnchors escapes the characters that are literals in XML Schema.
func escapeAnchors(p string) string {
	return strings.NewReplacer(`\\`, `\\`, `\$`, `\$`, `\^`, `\^`, "$", `\$`, "^", `\^`).Replace(p)
}
