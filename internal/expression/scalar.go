package expression

import (
	"strings"
	"unicode"

	"valence/internal/fault"
)

// Expr is a compiled scalar: a constant, one expression, or text that contains
// expressions.
type Expr struct {
	u      *unit
	pos    fault.Pos
	source string
	scalar *scalar
	typ    Type
	text   bool // the result must become text
}

// Compile compiles a scalar. The Expr must not be used if any problem is an
// error. If sc is nil, all names of the language are known.
func Compile(n *Node, sc *Scope) (*Expr, fault.Problems) {
	c := newCompiler(sc)
	e := &Expr{u: c.u, pos: n.Pos, text: sc != nil && sc.Text}
	if n.Kind != Scalar {
		c.problem(n.Pos, CodeType, "write one value, such as ${doc.id}", "expected an expression, got a mapping or a list")
		return e, c.problems
	}
	e.source, _ = n.Value.(string)
	e.scalar = c.scalar(n)
	c.u.layout()
	e.typ = e.scalar.typ
	if e.text {
		switch e.typ {
		case TypeNull, TypeList, TypeObject:
			c.problem(n.Pos, CodeType, textHint(e.typ), "expected text, not %s", article(e.typ))
		}
	}
	return e, c.problems
}

func textHint(t Type) string {
	if t == TypeNull {
		return "add a default with ?? if it may be missing"
	}
	return "use json(…) to convert it to JSON text"
}

// Eval returns the value. If the scope demands text, other values are errors.
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
	if err := m.export(&e.scalar.site, v); err != nil {
		return nil, err
	}
	if e.text {
		if _, err := Text(v); err != nil {
			return nil, e.scalar.site.fail("%s", err)
		}
	}
	return v, nil
}

// Text returns the value as text. Nil, lists and objects are errors.
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

// Bool returns the value of a condition. Other values are errors.
func (e *Expr) Bool(env *Env) (bool, error) {
	v, err := e.Eval(env)
	if err != nil {
		return false, err
	}
	b, ok := v.(bool)
	if !ok {
		return false, e.scalar.site.mismatch(TypeBoolean, v)
	}
	return b, nil
}

// Type returns the statically known type of the value.
func (e *Expr) Type() Type { return e.typ }

// Source returns the scalar as written, or "" if it is not text.
func (e *Expr) Source() string { return e.source }

// Pos returns the position of the scalar.
func (e *Expr) Pos() fault.Pos { return e.pos }

// Refs returns the names that the expression reads and the functions it calls.
func (e *Expr) Refs() []Ref { return e.u.refs }

// Constant returns the value and true if it does not depend on a run.
func (e *Expr) Constant() (any, bool) { return e.scalar.value, e.scalar.fixed }

// scalar is a compiled scalar of an Expr or a Template.
type scalar struct {
	node
	parts []textPart // of text with expressions; nil for one expression or a constant
	kind  Path
}

// textPart is literal text or an expression within a text.
type textPart struct {
	text string
	expr *node
	// whole says that an expression in a path is an entire segment.
	whole bool
}

// scalar compiles a scalar.
func (c *compiler) scalar(n *Node) *scalar {
	text, isText := n.Value.(string)
	if !isText {
		return &scalar{node: *constant(n.Value)}
	}
	if n.Path >= SQL && !hasExpression(text) {
		return &scalar{node: *c.statement(n.Path, strings.ReplaceAll(text, "$${", "${"))}
	}
	if !hasExpression(text) {
		c.notExpression(n, text, text, 0, true)
		return &scalar{node: *constant(text)}
	}
	if len(text) > MaxText {
		c.problem(n.Pos, CodeTooLarge, "split it with set:", "text with expressions is limited to 256 KiB")
		return &scalar{node: *c.broken()}
	}
	if n.Path >= SQL {
		return c.sql(n, text)
	}
	parts, badAt, msg, hint := split(text)
	if msg != "" {
		c.problem(n.locate(text, badAt), CodeSyntax, hint, "%s", msg)
		return &scalar{node: *c.broken()}
	}
	if len(parts) == 1 && !parts[0].expr {
		return &scalar{node: *constant(parts[0].text)}
	}
	if len(parts) == 1 && n.Path == NoPath {
		return &scalar{node: *c.expression(n, text, parts[0], true)}
	}
	return c.joined(n, text, parts)
}

// joined compiles text that contains expressions.
func (c *compiler) joined(n *Node, text string, parts []part) *scalar {
	out := &scalar{kind: n.Path}
	out.typ, out.site = TypeText, site{pos: n.Pos, text: shorten(text)}
	fixed := true
	for i, p := range parts {
		if !p.expr {
			c.notExpression(n, text, p.text, p.at, false)
			out.parts = append(out.parts, textPart{text: p.text})
			continue
		}
		e := c.expression(n, text, p, false)
		switch e.typ {
		case TypeNull, TypeList, TypeObject:
			c.problem(e.site.pos, CodeType, textHint(e.typ), "%s cannot be embedded in text", article(e.typ))
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

// segment reports whether part i is an entire path segment.
func segment(parts []part, i int) bool {
	before := i == 0 || !parts[i-1].expr && strings.HasSuffix(parts[i-1].text, "/")
	after := i == len(parts)-1 || !parts[i+1].expr && strings.ContainsRune("/?#", rune(parts[i+1].text[0]))
	return before && after
}

// problem returns why a value cannot be a segment of a path, or a part of it
// unless it is the whole segment.
func (p Path) problem(value string, whole bool) string {
	switch {
	case p == NoPath:
		return ""
	case whole && value == "":
		return "a path segment cannot be empty"
	case p != File:
		return ""
	case whole && (value == "." || value == ".."):
		return "a path segment cannot be `" + value + "`"
	case strings.ContainsFunc(value, notInSegment):
		return "the value is one segment of a path and must not contain `/`, `\\` or control characters; write the folders before the expression"
	}
	return ""
}

// notInSegment reports whether a character separates the segments of a path, or
// makes it look like another one.
func notInSegment(r rune) bool {
	return r == '/' || r == '\\' || unicode.In(r, unicode.Cc, unicode.Cf)
}

// appendText appends the text with its expressions evaluated.
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
			if why := s.kind.problem(text, p.whole); why != "" {
				return dst, p.expr.site.fail("%s", why)
			}
		}
		n := len(text)
		if s.kind == URL {
			n *= 3
		}
		if err := m.alloc(&s.site, 2*int64(n)); err != nil {
			return dst, err
		}
		switch {
		case p.expr == nil || s.kind != URL:
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
