package expression

import (
	"fmt"
	"slices"

	"github.com/expr-lang/expr/ast"

	"valence/internal/document"
)

func (c *compiler) conditional(t *ast.ConditionalNode, tail bool) *node {
	cond := c.condition(t.Cond, "the condition before `?`")
	c.tail = tail
	yes := c.compile(t.Exp1)
	c.tail = tail
	no := c.compile(t.Exp2)
	c.tail = false
	out := &node{omits: yes.omits || no.omits}
	if yes.typ == no.typ && !out.omits {
		out.typ = yes.typ
	}
	out.run = func(m *machine) (any, error) {
		ok, err := cond(m)
		if err != nil {
			return nil, err
		}
		if ok {
			return yes.run(m)
		}
		return no.run(m)
	}
	return out
}

// condition compiles a node that must be boolean.
func (c *compiler) condition(t ast.Node, what string) func(m *machine) (bool, error) {
	n := c.compile(t)
	if n.typ != TypeUnknown && n.typ != TypeBoolean {
		c.problemAt(t.Location(), CodeType, booleanHint(n.typ), "%s must be boolean, not %s", what, article(n.typ))
	}
	return n.boolean(what)
}

func (n *node) boolean(what string) func(m *machine) (bool, error) {
	return func(m *machine) (bool, error) {
		v, err := n.run(m)
		if err != nil {
			return false, err
		}
		b, ok := v.(bool)
		if !ok {
			t := TypeOf(v)
			msg := fmt.Sprintf("%s must be boolean, not %s", what, article(t))
			if hint := booleanHint(t); hint != "" {
				msg += "; " + hint
			}
			return false, n.site.fail("%s", msg)
		}
		return b, nil
	}
}

func booleanHint(t Type) string {
	switch t {
	case TypeNull:
		return "compare it, such as … == true, or write … ?? false"
	case TypeNumber:
		return "compare it, such as … > 0"
	case TypeText:
		return `compare it, such as … == "yes", or use bool(…)`
	case TypeList:
		return "check its length, such as len(…) > 0"
	}
	return ""
}

// article returns a type with its article: "a number", "an object", "text",
// "nil".
func article(t Type) string {
	switch t {
	case TypeNull:
		return "nil"
	case TypeText:
		return "text"
	case TypeObject, TypeUnknown:
		return "an " + t.String()
	}
	return "a " + t.String()
}

func (c *compiler) let(t *ast.VariableDeclaratorNode, tail bool) *node {
	if _, ok := c.scope.Names[t.Name]; ok || c.bound(t.Name) || functions[t.Name] != nil || t.Name == "omit" {
		c.problemAt(t.Location(), CodeName, "choose another name", "the name %s is already in use", t.Name)
	}
	value := c.compile(t.Value)
	slot := c.u.vars
	c.u.vars++
	c.locals = append(c.locals, local{name: t.Name, typ: value.typ, slot: slot})
	c.tail = tail
	body := c.compile(t.Expr)
	c.locals = c.locals[:len(c.locals)-1]
	return &node{typ: body.typ, omits: body.omits, run: func(m *machine) (any, error) {
		v, err := value.run(m)
		if err != nil {
			return nil, err
		}
		m.vars[slot] = v
		return body.run(m)
	}}
}

func (c *compiler) bound(name string) bool {
	return slices.ContainsFunc(c.locals, func(l local) bool { return l.name == name })
}

func (c *compiler) array(t *ast.ArrayNode) *node {
	items := make([]*node, len(t.Nodes))
	for i, e := range t.Nodes {
		items[i] = c.compile(e)
	}
	s := c.src.site(t.Location())
	return &node{typ: TypeList, run: func(m *machine) (any, error) {
		if err := m.alloc(&s, int64(len(items)+2)*boxBytes); err != nil {
			return nil, err
		}
		list := make([]any, len(items))
		for i, e := range items {
			v, err := e.run(m)
			if err != nil {
				return nil, err
			}
			list[i] = v
		}
		return list, nil
	}}
}

func (c *compiler) object(t *ast.MapNode) *node {
	type pair struct{ key, value *node }
	pairs := make([]pair, len(t.Pairs))
	for i, p := range t.Pairs {
		p := p.(*ast.PairNode)
		pairs[i] = pair{c.pairKey(p.Key), c.compile(p.Value)}
		if k := pairs[i].key; k.typ != TypeUnknown && k.typ != TypeText && k.typ != TypeNumber {
			c.problemAt(p.Key.Location(), CodeType, "", "the key of an object must be text, not %s", article(k.typ))
		}
	}
	s := c.src.site(t.Location())
	return &node{typ: TypeObject, run: func(m *machine) (any, error) {
		if err := m.alloc(&s, int64(len(pairs)+1)*memberBytes); err != nil {
			return nil, err
		}
		o := &document.Object{}
		for _, p := range pairs {
			k, err := p.key.run(m)
			if err != nil {
				return nil, err
			}
			name, ok := scalarKey(k)
			if !ok {
				return nil, p.key.site.fail("the key of an object must be text, not %s", article(TypeOf(k)))
			}
			v, err := p.value.run(m)
			if err != nil {
				return nil, err
			}
			o.Set(name, v)
		}
		return o, nil
	}}
}

// pairKey compiles a key of an object. The digits of a number are read from the
// source.
func (c *compiler) pairKey(t ast.Node) *node {
	if _, ok := t.(*ast.StringNode); ok {
		if token := c.src.token(t.Location()); token != "" && token[0] >= '0' && token[0] <= '9' {
			return c.literal(t)
		}
	}
	return c.compile(t)
}
