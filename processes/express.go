package processes

import (
	"strings"

	"gopkg.in/yaml.v3"

	"valence/internal/document"
	"valence/internal/expression"
	"valence/internal/fault"
	"valence/internal/spec"
	"valence/internal/strictyaml"
)

// node gives a YAML value as expressions take it. Keys of a mapping for which
// escape gives fields have their ${} encoded where they are paths.
func node(s *strictyaml.File, n *yaml.Node, fields []spec.Field) *expression.Node {
	out := &expression.Node{Pos: fault.Pos{File: s.Name, Line: n.Line, Col: n.Column}}
	switch shape := spec.ShapeOf(n); shape {
	case spec.MapShape:
		out.Kind = expression.Mapping
		out.Keys = make([]expression.Key, 0, len(n.Content)/2)
		for i := 0; i+1 < len(n.Content); i += 2 {
			k := n.Content[i]
			info := fieldOf(fields, k.Value)
			var below []spec.Field
			if info != nil {
				below = info.Fields
			}
			v := node(s, n.Content[i+1], below)
			v.Escape = info != nil && info.Kind == spec.KindPath
			out.Keys = append(out.Keys, expression.Key{Name: k.Value, Pos: fault.Pos{File: s.Name, Line: k.Line, Col: k.Column}, Value: v})
		}
	case spec.ListShape:
		out.Kind = expression.Sequence
		out.Items = make([]*expression.Node, 0, len(n.Content))
		for _, e := range n.Content {
			out.Items = append(out.Items, node(s, e, nil))
		}
	case spec.NullShape:
	case spec.BoolShape:
		out.Value = n.Value == "true"
	case spec.NumberShape:
		out.Value = document.Number(n.Value)
	default:
		out.Value = n.Value
		switch {
		case n.Style&(yaml.LiteralStyle|yaml.FoldedStyle) != 0:
			next := s.Line(n.Line + 1)
			out.Text = fault.Pos{File: s.Name, Line: n.Line + 1, Col: len(next) - len(strings.TrimLeft(next, " ")) + 1}
		case n.Style&(yaml.SingleQuotedStyle|yaml.DoubleQuotedStyle) != 0 && n.Line > 0:
			out.Text = fault.Pos{File: s.Name, Line: n.Line, Col: n.Column + 1}
		}
	}
	return out
}

func fieldOf(fields []spec.Field, key string) *spec.Info {
	for _, f := range fields {
		if i := f.Info(); i.Key == key {
			return i
		}
	}
	return nil
}

// plainScope is what expressions may read where no `as:` adds a name.
var plainScope = &expression.Scope{Names: (*scope)(nil).types(special)}

func (c *compiler) names() *expression.Scope {
	if c.scope == nil || !c.scope.bound {
		return plainScope
	}
	return &expression.Scope{Names: c.scope.types(special)}
}

// honest gives the problems of compiling with only the names that mean
// something here, where one of ps is a name that there is not: compiling knew
// more names than that, because check says more about them.
func (c *compiler) honest(ps fault.Problems, again func(*expression.Scope) fault.Problems) fault.Problems {
	for _, p := range ps {
		if p.Code != expression.CodeName {
			continue
		}
		here := append([]string(nil), c.place.roots...)
		if c.scope != nil && c.scope.element {
			here = append(here, "item", "index")
		}
		if c.scope != nil && c.scope.caught {
			here = append(here, "error")
		}
		return again(&expression.Scope{Names: c.scope.types(here)})
	}
	return ps
}

// found takes what compiling an expression has found, and reports whether
// none of it is an error.
func (c *compiler) found(ps fault.Problems) bool {
	c.b.problems = append(c.b.problems, ps...)
	return !ps.HasErrors()
}

var wants = map[spec.Want]expression.Type{
	spec.Boolean: expression.TypeBoolean, spec.Number: expression.TypeNumber, spec.List: expression.TypeList,
}

func (c *compiler) expr(f *spec.Info, n *yaml.Node) *expression.Expr {
	if shape := spec.ShapeOf(n); shape == spec.ListShape || shape == spec.MapShape || shape == spec.NullShape {
		c.problem(c.pos(n), spec.CodeWrongType, "`"+f.Key+":` must be "+spec.Noun(f)+", not "+spec.DescribeNode(n), spec.Expects(f))
		return nil
	}
	source := node(c.b.comp.src, n, nil)
	e, problems := expression.Compile(source, c.exprScope(f))
	problems = c.honest(problems, func(sc *expression.Scope) fault.Problems {
		_, ps := expression.Compile(source, sc)
		return ps
	})
	if !c.found(problems) {
		return nil
	}
	c.check(e.Refs())
	if want, ok := wants[f.Want]; ok {
		_, constant := e.Constant()
		t := e.Type()
		switch {
		case constant && t == expression.TypeText && t != want && !spec.HoldsExpression(n.Value):
			c.problem(c.pos(n), spec.CodeWrongType, "`"+f.Key+": "+cut(n.Value)+"` is text, not an expression", "write `"+f.Key+": \"${"+cut(n.Value)+"}\"`")
			return nil
		case t != expression.TypeUnknown && t != want && !(want == expression.TypeList && t == expression.TypeObject): // one XML element is a list of one
			c.problem(c.pos(n), spec.CodeWrongType, "`"+f.Key+":` must be "+spec.Noun(f)+", and this gives "+t.String(), spec.Expects(f))
			return nil
		}
	}
	return e
}

func (c *compiler) exprScope(f *spec.Info) *expression.Scope {
	sc := c.names()
	if f.Want == spec.Text {
		sc = &expression.Scope{Names: sc.Names, Text: true}
	}
	return sc
}

func (c *compiler) template(d *spec.Decoder, f *spec.Info, n *yaml.Node) *expression.Template {
	if f.Names && !c.setsNames(d, f, n) {
		return nil
	}
	return c.compileTemplate(n, nil)
}

func (c *compiler) compileTemplate(n *yaml.Node, fields []spec.Field) *expression.Template {
	source := node(c.b.comp.src, n, fields)
	t, problems := expression.CompileTemplate(source, c.names())
	problems = c.honest(problems, func(sc *expression.Scope) fault.Problems {
		_, ps := expression.CompileTemplate(source, sc)
		return ps
	})
	if !c.found(problems) {
		return nil
	}
	c.check(t.Refs())
	return t
}

// setsNames checks a template whose keys are the variables that the step sets.
func (c *compiler) setsNames(d *spec.Decoder, f *spec.Info, n *yaml.Node) bool {
	if spec.ShapeOf(n) != spec.MapShape || len(n.Content) == 0 {
		d.Problem(n, spec.CodeWrongType, "`"+f.Key+":` must be a mapping of names to values, not "+spec.DescribeNode(n), "write `"+f.Key+": { total: \"${doc.total}\" }`")
		return false
	}
	ok := true
	for i := 0; i+1 < len(n.Content); i += 2 {
		k := n.Content[i]
		if !spec.IsName(k.Value) {
			d.BadName(k, k.Value)
			ok = false
			continue
		}
		if c.kind != nil && c.kind.Kind == "state" {
			ok = c.setsState(d, k) && ok
			continue
		}
		c.write(k.Value, k)
	}
	return ok
}

func (c *compiler) tracks(d *spec.Decoder, f *spec.Info, n *yaml.Node) []Track {
	if spec.ShapeOf(n) != spec.MapShape {
		d.Problem(n, spec.CodeWrongType, "`"+f.Key+":` must be "+spec.Noun(f)+", not "+spec.DescribeNode(n), spec.Expects(f))
		return nil
	}
	list := make([]Track, 0, len(n.Content)/2)
	for i := 0; i+1 < len(n.Content); i += 2 {
		k := n.Content[i]
		if !spec.IsName(k.Value) {
			d.BadName(k, k.Value)
			continue
		}
		if e := c.expr(&spec.Info{Key: k.Value, Kind: spec.KindExpr}, n.Content[i+1]); e != nil {
			list = append(list, Track{Name: k.Value, Value: e})
		}
	}
	return list
}

// with compiles the settings of a call.
func (c *compiler) with(d *spec.Decoder, n *yaml.Node) *expression.Template {
	var fields []spec.Field
	if c.called != nil && c.called.Operation != nil {
		fields = c.called.Operation.With
		if !c.checkWith(d, n) {
			return &expression.Template{} // it is there, and has been reported
		}
	}
	in := *c
	in.place = inWith
	return in.compileTemplate(n, fields)
}

// checkWith holds the settings of a call against what its operation declares.
func (c *compiler) checkWith(d *spec.Decoder, n *yaml.Node) bool {
	op := c.called.Operation
	pages := n.Kind == yaml.MappingNode && valueAt(n, "pages") != nil
	switch {
	case c.kind.Flow == Loop && !op.Paged:
		d.Problem(n, CodeNoEffect, "`"+op.Name+"` gives no pages to go through", "call it in a step of its own, and go through what it gives: `for_each: ${doc}`")
		return false
	case c.kind.Flow == Loop && !pages:
		d.Problem(n, spec.CodeMissingKey, "a loop over a call needs `pages:` in its `with:`", "say how the next page is found, such as `pages: { items: items, cursor: next }`")
		return false
	case c.kind.Flow != Loop && op.Paged && pages:
		d.Problem(valueAt(n, "pages"), CodeNoEffect, "`pages:` is for a loop that goes through all of them", "write `for_each: { call: …, with: … }`")
		return false
	}
	if spec.IsDynamic(n) && n.Kind == yaml.ScalarNode {
		return true
	}
	var target any
	if op.NewWith != nil {
		target = op.NewWith()
	}
	sub := &spec.Decoder{File: d.File, Dynamic: true, Report: d.Report}
	sub.Mapping(n, &spec.Keys{What: "`with:` of " + op.Name, Fields: op.With, Target: target})
	if sub.Fails() == 0 && op.Check != nil {
		for _, wrong := range op.Check(target) {
			d.Problem(n, CodeWrongSettings, wrong, "see the operation "+op.Name+" in the reference")
		}
	}
	return sub.Fails() == 0
}
