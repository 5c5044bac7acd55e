package expression

import (
	"strings"

	"valence/internal/expression/exact"

	"github.com/expr-lang/expr/ast"
)

func (c *compiler) equality(t *ast.BinaryNode) *node {
	a, b := c.compile(t.Left), c.compile(t.Right)
	if a.typ != TypeUnknown && b.typ != TypeUnknown && a.typ != b.typ && a.typ != TypeNull && b.typ != TypeNull {
		c.problemAt(t.Location(), CodeType, numberHintFor(a.typ, b.typ), "%s never equals %s", article(a.typ), article(b.typ))
	}
	want := t.Operator == "=="
	s := c.src.site(t.Location())
	if b.path == nil && a.path != nil {
		a, b = b, a
	}
	if text, ok := a.value.(string); ok && a.fixed && b.path != nil {
		return &node{typ: TypeBoolean, run: func(m *machine) (any, error) {
			same, err := m.isText(&s, b.path, text)
			return same == want, err
		}}
	}
	return &node{typ: TypeBoolean, run: func(m *machine) (any, error) {
		x, err := a.run(m)
		if err != nil {
			return nil, err
		}
		y, err := b.run(m)
		if err != nil {
			return nil, err
		}
		if err := m.spend(&s, 1); err != nil {
			return nil, err
		}
		same, err := m.equal(&s, x, y, 0)
		return same == want, err
	}}
}

// isText compares the value at a path with a text without decoding it.
func (m *machine) isText(s *site, p *path, want string) (bool, error) {
	text, cell, err := m.find(p)
	if err != nil {
		return false, err
	}
	if err := m.spend(s, 1); err != nil {
		return false, err
	}
	var v any
	switch raw := len(text) - 2; {
	case text == "":
		if v, err = m.missing(p, cell); err != nil {
			return false, err
		}
	case text[0] != '"' || raw < len(want): // an escape is longer than the character it encodes
		return false, nil
	case raw == len(want):
		return text[1:len(text)-1] == want && strings.IndexByte(want, '\\') < 0, nil
	default:
		if v, err = p.value(m); err != nil {
			return false, err
		}
	}
	got, ok := v.(string)
	return ok && got == want, nil
}

func numberHintFor(a, b Type) string {
	if a == TypeText && b == TypeNumber || a == TypeNumber && b == TypeText {
		return "use number(…) or string(…) to convert one of them"
	}
	return ""
}

func (c *compiler) ordering(t *ast.BinaryNode) *node {
	a, b := c.compile(t.Left), c.compile(t.Right)
	s := c.src.site(t.Location())
	for _, n := range []*node{a, b} {
		if n.typ != TypeUnknown && n.typ != TypeNumber && n.typ != TypeText {
			c.problem(n.site.pos, CodeType, numberHint(n.typ), "`%s` compares numbers or text, not %s", t.Operator, article(n.typ))
			return c.broken()
		}
	}
	if a.typ != TypeUnknown && b.typ != TypeUnknown && a.typ != b.typ {
		c.problem(s.pos, CodeType, numberHintFor(a.typ, b.typ), "cannot compare %s with %s", article(a.typ), article(b.typ))
		return c.broken()
	}
	var holds func(order int) bool
	switch t.Operator {
	case "<":
		holds = func(o int) bool { return o < 0 }
	case ">":
		holds = func(o int) bool { return o > 0 }
	case "<=":
		holds = func(o int) bool { return o <= 0 }
	default:
		holds = func(o int) bool { return o >= 0 }
	}
	if a.typ == TypeNumber && b.typ == TypeNumber {
		x, y := a.number(), b.number()
		return &node{typ: TypeBoolean, run: func(m *machine) (any, error) {
			p, err := x(m)
			if err != nil {
				return nil, err
			}
			q, err := y(m)
			if err != nil {
				return nil, err
			}
			return holds(exact.Compare(p, q)), m.spend(&s, cost(p, q))
		}}
	}
	return &node{typ: TypeBoolean, run: func(m *machine) (any, error) {
		x, err := a.run(m)
		if err != nil {
			return nil, err
		}
		y, err := b.run(m)
		if err != nil {
			return nil, err
		}
		if err := m.spend(&s, 1); err != nil {
			return nil, err
		}
		order, err := m.compare(&s, x, y)
		return holds(order), err
	}}
}

func (c *compiler) in(t *ast.BinaryNode) *node {
	a, b := c.compile(t.Left), c.compile(t.Right)
	s := c.src.site(t.Location())
	switch b.typ {
	case TypeUnknown, TypeList, TypeObject:
	case TypeText:
		c.problem(b.site.pos, CodeType, "use `contains` to search text", "`in` searches a list or an object, not text")
	default:
		c.problem(b.site.pos, CodeType, "", "`in` searches a list or an object, not %s", article(b.typ))
	}
	return &node{typ: TypeBoolean, run: func(m *machine) (any, error) {
		x, err := a.run(m)
		if err != nil {
			return nil, err
		}
		y, err := b.run(m)
		if err != nil {
			return nil, err
		}
		return m.in(&s, x, y, b.head)
	}}
}

func (m *machine) in(s *site, x, y any, fold bool) (any, error) {
	list, ok, err := m.list(s, y)
	if err != nil {
		return nil, err
	}
	if ok {
		for i, e := range list {
			if i&3 == 0 {
				if err := m.spend(s, 1); err != nil {
					return nil, err
				}
			}
			if same, err := m.equal(s, x, e, 0); same || err != nil {
				return same, err
			}
		}
		return false, nil
	}
	if t := TypeOf(y); t != TypeObject {
		hint := ""
		switch t {
		case TypeText:
			hint = "; use `contains` to search text"
		case TypeNull:
			hint = "; write … ?? [] if it may be missing"
		}
		return nil, s.fail("`in` searches a list or an object, not %s%s", article(t), hint)
	}
	key, ok := x.(string)
	if !ok {
		return nil, s.fail("`in` searches the keys of an object for text, not for %s", article(TypeOf(x)))
	}
	o, _, err := m.object(s, y)
	if err != nil {
		return nil, err
	}
	if _, ok := o.Get(key); ok || !fold {
		return ok, m.spend(s, 1)
	}
	for _, k := range o.Keys() {
		if strings.EqualFold(k, key) {
			return true, nil
		}
	}
	return false, nil
}

// textTest compiles contains, startsWith and endsWith.
func (c *compiler) textTest(t *ast.BinaryNode) *node {
	a, b := c.text(t.Left, "`"+t.Operator+"`"), c.text(t.Right, "`"+t.Operator+"`")
	s := c.src.site(t.Location())
	test := map[string]func(s, part string) bool{
		"contains": strings.Contains, "startsWith": strings.HasPrefix, "endsWith": strings.HasSuffix,
	}[t.Operator]
	return &node{typ: TypeBoolean, run: func(m *machine) (any, error) {
		x, err := a(m)
		if err != nil {
			return nil, err
		}
		y, err := b(m)
		if err != nil {
			return nil, err
		}
		return test(x, y), m.read(&s, len(x))
	}}
}
