package loader

import (
	"strings"

	"gopkg.in/yaml.v3"

	"valence/internal/document"
	"valence/internal/expression"
	"valence/internal/fault"
	"valence/internal/spec"
	"valence/internal/strictyaml"
	"valence/processes"
	"valence/processes/language"
)

// node converts a YAML value for package expression. Expressions in fields that
// are paths are segments.
func node(s *strictyaml.File, n *yaml.Node, fields []spec.Field) *expression.Node {
	out := &expression.Node{Pos: fault.Pos{File: s.Name, Line: n.Line, Col: n.Column}}
	switch shape := spec.ShapeOf(n); shape {
	case spec.MapShape:
		out.Kind = expression.Mapping
		out.Keys = make([]expression.Key, 0, len(n.Content)/2)
		for i := 0; i+1 < len(n.Content); i += 2 {
			k := n.Content[i]
			info := spec.Find(fields, k.Value)
			var below []spec.Field
			if info != nil {
				below = info.Fields
			}
			v := node(s, n.Content[i+1], below)
			v.Path = pathKind(info)
			if info != nil {
				v.Late = info.Late
			}
			out.Keys = append(out.Keys, expression.Key{Name: k.Value, Pos: fault.Pos{File: s.Name, Line: k.Line, Col: k.Column}, Value: v})
		}
		perElement(out, fields)
	case spec.ListShape:
		out.Kind = expression.Sequence
		out.Items = make([]*expression.Node, 0, len(n.Content))
		for _, e := range n.Content {
			out.Items = append(out.Items, node(s, e, fields))
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

// pathKind returns the kind of path that a field is.
func pathKind(info *spec.Info) expression.Path {
	switch {
	case info == nil:
	case info.Kind == spec.KindPath:
		return expression.URL
	case info.Kind == spec.KindFile:
		return expression.File
	case info.Kind == spec.KindSQL:
		return expression.SQL
	}
	return expression.NoPath
}

// perElement makes the values of a statement with a list, as in `{ sql: …,
// each: … }`, be evaluated for each element of the list.
func perElement(n *expression.Node, fields []spec.Field) {
	var statement, list *expression.Key
	for i := range n.Keys {
		k := &n.Keys[i]
		switch info := spec.Find(fields, k.Name); {
		case info == nil:
		case info.Kind == spec.KindSQL:
			statement = k
		case info.Kind == spec.KindEach:
			list = k
		}
	}
	if list == nil || statement == nil {
		return
	}
	values := *statement.Value
	values.Path = expression.SQLValues
	statement.Value.Path = expression.SQLText
	list.Value = &expression.Node{Kind: expression.Mapping, Pos: list.Value.Pos, Keys: []expression.Key{
		{Name: "$each", Pos: list.Pos, Value: list.Value},
		{Name: spec.EachValues, Pos: statement.Pos, Value: &values},
	}}
}

func (c *compiler) names() *expression.Scope {
	if c.scope == nil || !c.scope.bound {
		return c.b.l.plain
	}
	return &expression.Scope{Names: c.scope.types(special), Library: c.b.l.lib}
}

// narrowed compiles an expression again if it reads an unknown name, with only
// the names that are available in the context, so that the hint lists those. The
// first compilation knows all names, because check explains misplaced ones better.
func (c *compiler) narrowed(ps fault.Problems, again func(*expression.Scope) fault.Problems) fault.Problems {
	for _, p := range ps {
		if p.Code != expression.CodeName {
			continue
		}
		here := append([]string(nil), c.context.roots...)
		if c.scope != nil && c.scope.element {
			here = append(here, "item", "index")
		}
		if c.scope != nil && c.scope.caught {
			here = append(here, "error")
		}
		return again(&expression.Scope{Names: c.scope.types(here), Library: c.b.l.lib})
	}
	return ps
}

// found appends the problems of an expression, and reports whether it has no errors.
func (c *compiler) found(ps fault.Problems) bool {
	c.b.problems = append(c.b.problems, ps...)
	return !ps.HasErrors()
}

var wants = map[spec.Want]expression.Type{
	spec.Boolean: expression.TypeBoolean, spec.Number: expression.TypeNumber, spec.List: expression.TypeList,
}

func (c *compiler) expr(d *spec.Decoder, f *spec.Info, n *yaml.Node) *expression.Expr {
	if shape := spec.ShapeOf(n); shape == spec.ListShape || shape == spec.MapShape || shape == spec.NullShape {
		c.problem(c.pos(n), spec.CodeWrongType, "`"+f.Key+":` must be "+spec.Noun(f)+", not "+spec.DescribeNode(n), spec.Expects(f))
		return nil
	}
	want, typed := wants[f.Want]
	if typed && spec.ShapeOf(n) == spec.TextShape && !spec.HoldsExpression(n.Value) {
		c.constantText(d, f, n)
		return nil
	}
	source := node(c.b.comp.src, n, nil)
	e, problems := expression.Compile(source, c.exprScope(f))
	problems = c.narrowed(problems, func(sc *expression.Scope) fault.Problems {
		_, ps := expression.Compile(source, sc)
		return ps
	})
	if !c.found(problems) {
		return nil
	}
	c.check(e.Refs())
	if typed {
		t := e.Type()
		switch {
		case t != expression.TypeUnknown && t != want && !(want == expression.TypeList && t == expression.TypeObject): // one XML element is a list of one
			c.problem(c.pos(n), spec.CodeWrongType, "`"+f.Key+":` must be "+spec.Noun(f)+", but this expression returns "+t.String(), spec.Expects(f))
			return nil
		}
	}
	return e
}

// quotedIfPlain returns the text in quotes, unless the value that it replaces
// has some.
func quotedIfPlain(n *yaml.Node, text string) string {
	if n.Style&(yaml.SingleQuotedStyle|yaml.DoubleQuotedStyle) == 0 {
		return `"` + text + `"`
	}
	return text
}

// constantText reports a string in place of an expression of another type.
func (c *compiler) constantText(d *spec.Decoder, f *spec.Info, n *yaml.Node) {
	if spec.IsQuoted(n) && (f.Want == spec.Number) == spec.IsNumber(n.Value) {
		d.Quoted(n, f)
		return
	}
	key := d.Written(n, f.Key)
	d.Problem(n, spec.CodeWrongType, "`"+key+": "+cut(n.Value)+"` is a string, not an expression", "write `"+key+": \"${"+cut(n.Value)+"}\"`").
		Correct(n.Value, quotedIfPlain(n, "${"+n.Value+"}"))
}

func (c *compiler) exprScope(f *spec.Info) *expression.Scope {
	sc := c.names()
	if f.Want == spec.Text {
		sc = &expression.Scope{Names: sc.Names, Library: sc.Library, Text: true}
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
	problems = c.narrowed(problems, func(sc *expression.Scope) fault.Problems {
		_, ps := expression.CompileTemplate(source, sc)
		return ps
	})
	if !c.found(problems) {
		return nil
	}
	c.check(t.Refs())
	return t
}

// setsNames checks a template whose keys are the names of variables to set.
func (c *compiler) setsNames(d *spec.Decoder, f *spec.Info, n *yaml.Node) bool {
	if spec.ShapeOf(n) != spec.MapShape || len(n.Content) == 0 {
		d.Problem(n, spec.CodeWrongType, "`"+f.Key+":` must be a map of values, not "+spec.DescribeNode(n), "write `"+f.Key+": { total: \"${doc.total}\" }`")
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

func (c *compiler) tracks(d *spec.Decoder, f *spec.Info, n *yaml.Node) []processes.Track {
	if spec.ShapeOf(n) != spec.MapShape {
		d.Problem(n, spec.CodeWrongType, "`"+f.Key+":` must be "+spec.Noun(f)+", not "+spec.DescribeNode(n), spec.Expects(f))
		return nil
	}
	list := make([]processes.Track, 0, len(n.Content)/2)
	for i := 0; i+1 < len(n.Content); i += 2 {
		k := n.Content[i]
		if !spec.IsName(k.Value) {
			d.BadName(k, k.Value)
			continue
		}
		if e := c.expr(d, &spec.Info{Key: k.Value, Kind: spec.KindExpr}, n.Content[i+1]); e != nil {
			list = append(list, processes.Track{Name: k.Value, Value: e})
		}
	}
	return list
}

// with compiles the settings of a call.
func (c *compiler) with(d *spec.Decoder, n *yaml.Node) *expression.Template {
	var fields []spec.Field
	n = c.options(d, n)
	if c.called != nil && c.called.Operation != nil {
		fields = c.called.Operation.With
		if !c.checkWith(d, n) {
			return &expression.Template{} // present, but already reported
		}
	}
	in := *c
	in.context = inWith
	return in.compileTemplate(n, fields)
}

// options decodes the settings that every `with:` may contain, and returns the
// other ones, which belong to the operation.
func (c *compiler) options(d *spec.Decoder, n *yaml.Node) *yaml.Node {
	if n.Kind != yaml.MappingNode || valueAt(n, "idempotent") == nil {
		return n
	}
	var options language.CallOptions
	own := func(key string) bool { return isField(language.CallOptionFields, key) }
	sub := &spec.Decoder{File: d.File, Report: d.Report}
	sub.Mapping(pick(n, own), &spec.Keys{What: "`with:`", Fields: language.CallOptionFields, Target: &options})
	if c.step != nil {
		c.step.Idempotent = processes.Idempotency(options.Idempotent)
	}
	return pick(n, func(key string) bool { return !own(key) })
}

// checkWith checks the settings of a call against the declaration of its operation.
func (c *compiler) checkWith(d *spec.Decoder, n *yaml.Node) bool {
	op := c.called.Operation
	pages := n.Kind == yaml.MappingNode && valueAt(n, "pages") != nil
	loop := c.kind.Flow == processes.Loop
	switch {
	case op.Streams != nil:
		if !c.checkStreamed(d, n, loop) {
			return false
		}
	case loop && !op.Paged:
		d.Problem(n, processes.CodeNoEffect, "the operation `"+op.Name+"` has no pages", "call it in a separate step, and iterate over its result: `for_each: ${doc}`")
		return false
	case loop && !pages:
		d.Problem(n, spec.CodeMissingKey, "a loop over a call needs `pages:` in its `with:`", "describe how to find the next page, such as `pages: { items: items, cursor: next }`")
		return false
	case !loop && op.Paged && pages:
		d.Problem(valueAt(n, "pages"), processes.CodeNoEffect, "`pages:` is allowed only in a loop over the call", "write `for_each: { call: …, with: … }`")
		return false
	}
	if spec.IsDynamic(n) && hasStatement(op.With) {
		d.Problem(n, spec.CodeNotFixed, "`with:` of "+op.Name+" cannot be an expression: it contains SQL, which must be written in the project", "write the keys of `with:` here, with ${…} for the values in the statement")
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
	if sub.Fails() == 0 && op.ByKey != nil && op.ByKey(target) && c.step != nil && c.step.Idempotent == "" {
		c.step.Idempotent = processes.ByKey
	}
	if sub.Fails() == 0 && op.Check != nil {
		for _, wrong := range op.Check(target) {
			d.Problem(n, processes.CodeWrongSettings, wrong, "see the operation "+op.Name+" in the reference")
		}
	}
	return sub.Fails() == 0
}

// checkStreamed checks the keys of a call that streams in a loop.
func (c *compiler) checkStreamed(d *spec.Decoder, n *yaml.Node, loop bool) bool {
	keys, where := c.called.Operation.Streams.Only, "only in a loop over the call: `for_each: { call: … }`"
	if loop {
		keys, where = c.called.Operation.Streams.Not, "only in a step of its own: a loop over the call has no limit"
	}
	ok := true
	for _, key := range keys {
		if n.Kind == yaml.MappingNode && valueAt(n, key) != nil {
			d.Problem(keyAt(n, key), processes.CodeNoEffect, "`"+key+":` has an effect "+where, "remove `"+key+":`")
			ok = false
		}
	}
	return ok
}

// hasStatement reports whether a map contains an SQL statement.
func hasStatement(fields []spec.Field) bool {
	for _, f := range fields {
		if i := f.Info(); i.Kind == spec.KindSQL || hasStatement(i.Fields) {
			return true
		}
	}
	return false
}
