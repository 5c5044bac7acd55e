package expression

import (
	"strings"

	"github.com/expr-lang/expr/ast"

	"valence/internal/document"
	"valence/internal/expression/exact"
)

func (c *compiler) unary(t *ast.UnaryNode) *node {
	switch t.Operator {
	case "not", "!":
		yes := c.condition(t.Node, "the operand of `not`")
		return &node{typ: TypeBoolean, run: func(m *machine) (any, error) {
			b, err := yes(m)
			return !b, err
		}}
	}
	operand := c.number(t.Node, "`"+t.Operator+"`")
	if t.Operator == "+" {
		return numeric(operand)
	}
	if lit, ok := t.Node.(*ast.IntegerNode); ok {
		if text, err := literalNumber(c.src.token(lit.Location())); err == nil {
			return constant(negative(text))
		}
	}
	if lit, ok := t.Node.(*ast.FloatNode); ok {
		if text, err := literalNumber(c.src.token(lit.Location())); err == nil {
			return constant(negative(text))
		}
	}
	return numeric(func(m *machine) (exact.Number, error) {
		n, err := operand(m)
		if err != nil {
			return n, err
		}
		return exact.Negate(n)
	})
}

func negative(n document.Number) document.Number {
	if strings.Trim(string(n), "0.") == "" {
		return n
	}
	return "-" + n
}

// number compiles a node that must be a number.
func (c *compiler) number(t ast.Node, what string) func(m *machine) (exact.Number, error) {
	n := c.compile(t)
	if n.typ != TypeUnknown && n.typ != TypeNumber {
		c.problemAt(t.Location(), CodeType, numberHint(n.typ), "%s needs numbers, not %s", what, article(n.typ))
	}
	return n.number()
}

func numberHint(t Type) string {
	switch t {
	case TypeText:
		return "use number(…) to convert text to a number"
	case TypeNull:
		return "add a default with ?? if it may be missing"
	}
	return ""
}

func (n *node) number() func(m *machine) (exact.Number, error) {
	if n.num != nil {
		return n.num
	}
	return func(m *machine) (exact.Number, error) {
		v, err := n.run(m)
		if err != nil {
			return exact.Number{}, err
		}
		return toNum(&n.site, v)
	}
}

// numeric returns a node that computes a number.
func numeric(f func(m *machine) (exact.Number, error)) *node {
	return &node{typ: TypeNumber, num: f, run: func(m *machine) (any, error) {
		n, err := f(m)
		if err != nil {
			return nil, err
		}
		return n.Text(), nil
	}}
}

var arithmetic = map[string]func(a, b exact.Number) (exact.Number, error){
	"+": exact.Add, "-": exact.Sub, "*": exact.Mul, "/": exact.Div, "%": exact.Mod, "**": exact.Power, "^": exact.Power,
}

func (c *compiler) binary(t *ast.BinaryNode, tail bool) *node {
	switch op := t.Operator; op {
	case "and", "&&", "or", "||":
		return c.logic(t)
	case "??":
		return c.coalesce(t, tail)
	case "==", "!=":
		return c.equality(t)
	case "<", ">", "<=", ">=":
		return c.ordering(t)
	case "+":
		return c.plus(t)
	case "-", "*", "/", "%", "**", "^":
		if op == "-" && c.hyphenated(t) {
			return c.broken()
		}
		a, b := c.number(t.Left, "`"+op+"`"), c.number(t.Right, "`"+op+"`")
		s := c.src.site(t.Location())
		return numeric(compute(&s, a, b, arithmetic[op]))
	case "..":
		return c.rangeOf(t)
	case "in":
		return c.in(t)
	case "contains", "startsWith", "endsWith":
		return c.textTest(t)
	case "matches":
		return c.matches(t)
	}
	c.problemAt(t.Location(), CodeSyntax, "", "unknown operator %s", t.Operator)
	return c.broken()
}

func compute(s *site, a, b func(m *machine) (exact.Number, error), f func(a, b exact.Number) (exact.Number, error)) func(m *machine) (exact.Number, error) {
	return func(m *machine) (exact.Number, error) {
		x, err := a(m)
		if err != nil {
			return x, err
		}
		y, err := b(m)
		if err != nil {
			return y, err
		}
		return m.arithmetic(s, x, y, f)
	}
}

func (m *machine) arithmetic(s *site, x, y exact.Number, f func(a, b exact.Number) (exact.Number, error)) (exact.Number, error) {
	if err := m.charge(s, x, y); err != nil {
		return x, err
	}
	out, err := f(x, y)
	if err != nil {
		return out, s.at(err)
	}
	return out, nil
}

// plus compiles +, which adds numbers and joins text.
func (c *compiler) plus(t *ast.BinaryNode) *node {
	a, b := c.compile(t.Left), c.compile(t.Right)
	s := c.src.site(t.Location())
	for _, n := range []*node{a, b} {
		if n.typ != TypeUnknown && n.typ != TypeNumber && n.typ != TypeText {
			c.problem(n.site.pos, CodeType, plusHint(n.typ), "`+` adds numbers or joins text, not %s", article(n.typ))
			return c.broken()
		}
	}
	if a.typ == TypeNumber || b.typ == TypeNumber {
		if a.typ == TypeText || b.typ == TypeText {
			c.problem(s.pos, CodeType, "use string(…) or number(…) to convert one of them", "`+` cannot add a number and text")
			return c.broken()
		}
	}
	out := &node{site: s}
	if a.typ == b.typ {
		out.typ = a.typ
	}
	if out.typ == TypeNumber {
		return numeric(compute(&s, a.number(), b.number(), exact.Add))
	}
	out.run = func(m *machine) (any, error) {
		x, err := a.run(m)
		if err != nil {
			return nil, err
		}
		y, err := b.run(m)
		if err != nil {
			return nil, err
		}
		return m.plus(&s, x, y)
	}
	return out
}

func plusHint(t Type) string {
	if t == TypeList {
		return "use concat(…) to join lists"
	}
	return numberHint(t)
}

func (m *machine) plus(s *site, x, y any) (any, error) {
	switch x := x.(type) {
	case document.Number:
		if y, ok := y.(document.Number); ok {
			p, err := toNum(s, x)
			if err != nil {
				return nil, err
			}
			q, err := toNum(s, y)
			if err != nil {
				return nil, err
			}
			n, err := m.arithmetic(s, p, q, exact.Add)
			return n.Text(), err
		}
	case string:
		if y, ok := y.(string); ok {
			n := len(x) + len(y)
			if err := m.alloc(s, int64(n)+boxBytes); err != nil {
				return nil, err
			}
			return x + y, m.read(s, n)
		}
	}
	a, b := TypeOf(x), TypeOf(y)
	hint := ""
	switch {
	case a == TypeNull || b == TypeNull:
		hint = "; add a default with ?? if it may be missing"
	case a == TypeList && b == TypeList:
		hint = "; use concat(…) to join lists"
	case a == TypeText && b == TypeNumber || a == TypeNumber && b == TypeText:
		hint = "; use string(…) or number(…) to convert one of them"
	}
	return nil, s.fail("`+` cannot add %s and %s%s", article(a), article(b), hint)
}

func (c *compiler) logic(t *ast.BinaryNode) *node {
	what := "an operand of `" + t.Operator + "`"
	a, b := c.condition(t.Left, what), c.condition(t.Right, what)
	until := t.Operator == "or" || t.Operator == "||"
	return &node{typ: TypeBoolean, run: func(m *machine) (any, error) {
		x, err := a(m)
		if err != nil || x == until {
			return x, err
		}
		return b(m)
	}}
}

// coalesce compiles ??.
func (c *compiler) coalesce(t *ast.BinaryNode, tail bool) *node {
	a := c.compile(t.Left)
	c.tail = tail
	b := c.compile(t.Right)
	c.tail = false
	out := &node{omits: b.omits}
	if a.typ == b.typ {
		out.typ = a.typ
	}
	out.run = func(m *machine) (any, error) {
		v, err := a.run(m)
		if v != nil || err != nil {
			return v, err
		}
		return b.run(m)
	}
	return out
}

// rangeOf compiles a..b.
func (c *compiler) rangeOf(t *ast.BinaryNode) *node {
	a, b := c.number(t.Left, "`..`"), c.number(t.Right, "`..`")
	s := c.src.site(t.Location())
	return &node{typ: TypeList, run: func(m *machine) (any, error) {
		x, err := a(m)
		if err != nil {
			return nil, err
		}
		y, err := b(m)
		if err != nil {
			return nil, err
		}
		from, ok := x.Int64()
		to, ok2 := y.Int64()
		if !ok || !ok2 {
			return nil, s.fail("`..` needs 64-bit integers")
		}
		if to < from {
			return []any{}, nil
		}
		n := to - from + 1
		if n <= 0 || n > DefaultBytes {
			n = 1 << 40 // exceeds every budget
		}
		if err := m.spend(&s, n); err != nil {
			return nil, err
		}
		if err := m.alloc(&s, n*3*boxBytes); err != nil {
			return nil, err
		}
		list := make([]any, n)
		for i := range list {
			list[i] = exact.Int(from + int64(i)).Text()
		}
		return list, nil
	}}
}

// text compiles a node that must be text.
func (c *compiler) text(t ast.Node, what string) func(m *machine) (string, error) {
	n := c.compile(t)
	if n.typ != TypeUnknown && n.typ != TypeText {
		hint := ""
		switch n.typ {
		case TypeNumber:
			hint = "use string(…) to convert a number to text"
		case TypeList:
			hint = "use `in` to search a list"
		case TypeNull:
			hint = `add a default with ?? if it may be missing`
		}
		c.problemAt(t.Location(), CodeType, hint, "%s needs text, not %s", what, article(n.typ))
	}
	return func(m *machine) (string, error) {
		v, err := n.run(m)
		if err != nil {
			return "", err
		}
		text, ok := v.(string)
		if !ok {
			return "", n.site.mismatch(TypeText, v)
		}
		return text, nil
	}
}
