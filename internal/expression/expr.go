package expression

import (
	"strings"

	"valence/internal/fault"
)

// Expr is a compiled scalar: a constant, one expression, or a text with some.
type Expr struct {
	u      *unit
	pos    fault.Pos
	source string
	scalar *scalar
	typ    Type
	text   bool // must become text
}

// Compile compiles a scalar. The Expr may be used only if none of the
// problems is an error. A nil Scope knows every first name of the language.
func Compile(n *Node, sc *Scope) (*Expr, fault.Problems) {
	c := newCompiler(sc)
	e := &Expr{u: c.u, pos: n.Pos, text: sc != nil && sc.Text}
	if n.Kind != Scalar {
		c.problem(n.Pos, CodeType, "write one value, such as ${doc.id}", "an expression is needed here, not a mapping or a list")
		return e, c.problems
	}
	e.source, _ = n.Value.(string)
	e.scalar = c.scalar(n)
	c.u.layout()
	e.typ = e.scalar.typ
	if e.text {
		switch e.typ {
		case TypeNull, TypeList, TypeObject:
			c.problem(n.Pos, CodeType, textHint(e.typ), "text is needed here, not %s", article(e.typ))
		}
	}
	return e, c.problems
}

func textHint(t Type) string {
	if t == TypeNull {
		return "give another value with ?? where it may be missing"
	}
	return "json(…) writes it as JSON"
}

// Eval gives the value; what becomes text here is refused if it cannot.
func (e *Expr) Eval(env *Env) (any, error) {
	if e.scalar.fixed {
		return e.scalar.value, nil
	}
	m := e.u.begin(env)
	defer e.u.end(m)
	return e.eval(m)
}

func (e *Expr) eval(m *machine) (any, error) {
	v, err := e.scalar.run(m)
	if err != nil {
		return nil, e.scalar.site.at(err)
	}
	if err := m.leaves(&e.scalar.site, v); err != nil {
		return nil, err
	}
	if e.text {
		if _, err := Text(v); err != nil {
			return nil, e.scalar.site.fail("%s", err)
		}
	}
	return v, nil
}

// Text gives the value as text; nil, lists and objects are errors.
func (e *Expr) Text(env *Env) (string, error) {
	v, err := e.Eval(env)
	if err != nil {
		return "", err
	}
	text, err := Text(v)
	if err != nil {
		return "", e.scalar.site.fail("%s", err)
	}
	return text, nil
}

// Bool gives the value of a condition; anything but a boolean is an error.
func (e *Expr) Bool(env *Env) (bool, error) {
	v, err := e.Eval(env)
	if err != nil {
		return false, err
	}
	b, ok := v.(bool)
	if !ok {
		return false, e.scalar.site.notA(TypeBoolean, v)
	}
	return b, nil
}

// Type is what is known of the value beforehand.
func (e *Expr) Type() Type { return e.typ }

// Source is the scalar as it is written, "" if it is no text.
func (e *Expr) Source() string { return e.source }

// Pos is where the scalar stands.
func (e *Expr) Pos() fault.Pos { return e.pos }

// Refs are the names that the expression reads and the functions it calls.
func (e *Expr) Refs() []Ref { return e.u.refs }

// Constant gives the value if it does not depend on anything.
func (e *Expr) Constant() (any, bool) { return e.scalar.value, e.scalar.fixed }

// scalar is a compiled scalar of an Expr or a Template.
type scalar struct {
	node
	parts  []textPart // of a text with expressions; nil: one expression or a constant
	escape bool
}

// textPart is characters, or an expression, of a text.
type textPart struct {
	text string
	expr *node
	// whole is true where an escaped expression is a segment of its own.
	whole bool
}

// scalar compiles a scalar.
func (c *compiler) scalar(n *Node) *scalar {
	text, isText := n.Value.(string)
	if !isText {
		return &scalar{node: *constant(n.Value)}
	}
	if !hasExpression(text) {
		return &scalar{node: *constant(text)}
	}
	if len(text) > MaxText {
		c.problem(n.Pos, CodeTooLarge, "split it with set: into smaller ones", "a text with expressions may not be longer than 256 KiB")
		return &scalar{node: *c.broken()}
	}
	parts, badAt, msg, hint := split(text)
	if msg != "" {
		c.problem(n.locate(text, badAt), CodeSyntax, hint, "%s", msg)
		return &scalar{node: *c.broken()}
	}
	if len(parts) == 1 && !parts[0].expr {
		return &scalar{node: *constant(parts[0].text)}
	}
	if len(parts) == 1 && !n.Escape {
		return &scalar{node: *c.expression(n, text, parts[0], true)}
	}
	return c.joined(n, text, parts)
}

// joined compiles a text with expressions in it.
func (c *compiler) joined(n *Node, text string, parts []part) *scalar {
	out := &scalar{escape: n.Escape}
	out.typ, out.site = TypeText, site{pos: n.Pos, text: shorten(text)}
	fixed := true
	for i, p := range parts {
		if !p.expr {
			out.parts = append(out.parts, textPart{text: p.text})
			continue
		}
		e := c.expression(n, text, p, false)
		switch e.typ {
		case TypeNull, TypeList, TypeObject:
			c.problem(e.site.pos, CodeType, textHint(e.typ), "%s cannot stand inside a text", article(e.typ))
		}
		fixed = fixed && e.fixed
		out.parts = append(out.parts, textPart{expr: e, whole: segment(parts, i)})
	}
	out.run = func(m *machine) (any, error) {
		b, err := out.appendText(m, m.scratch())
		if err != nil {
			return nil, err
		}
		m.text = b
		return string(b), nil
	}
	if fixed && !c.problems.HasErrors() {
		m := c.u.machine()
		m.start(&Env{})
		v, err := out.run(m)
		if err != nil {
			f := fault.AsFailure(err)
			c.problem(f.Pos, CodeValue, "", "%s", f.Message)
			return out
		}
		return &scalar{node: *constant(v)}
	}
	return out
}

// segment reports whether the i-th part is all of a path's segment.
func segment(parts []part, i int) bool {
	before := i == 0 || !parts[i-1].expr && strings.HasSuffix(parts[i-1].text, "/")
	after := i == len(parts)-1 || !parts[i+1].expr && strings.ContainsRune("/?#", rune(parts[i+1].text[0]))
	return before && after
}

// appendText writes the text.
func (s *scalar) appendText(m *machine, dst []byte) ([]byte, error) {
	for i := range s.parts {
		p := &s.parts[i]
		text := p.text
		if p.expr != nil {
			v, err := p.expr.run(m)
			if err != nil {
				return dst, err
			}
			if text, err = Text(v); err != nil {
				return dst, p.expr.site.fail("%s", err)
			}
			if s.escape && text == "" && p.whole {
				return dst, p.expr.site.fail("a segment of a path cannot be empty")
			}
		}
		n := len(text)
		if s.escape {
			n *= 3
		}
		if err := m.alloc(&s.site, 2*int64(n)); err != nil {
			return dst, err
		}
		switch {
		case p.expr == nil || !s.escape:
			dst = append(dst, text...)
		case text == ".":
			dst = append(dst, "%2E"...)
		case text == "..":
			dst = append(dst, "%2E%2E"...)
		default:
			dst = appendEscaped(dst, text)
		}
	}
	return dst, nil
}
