package expression

import (
	"fmt"
	"slices"
	"strings"
	"sync"

	"github.com/expr-lang/expr/ast"
	"github.com/expr-lang/expr/file"

	"valence/internal/document"
	"valence/internal/expression/exact"
	"valence/internal/fault"
)

// code is a compiled expression.
type code func(m *machine) (any, error)

// node is what a part of the tree was compiled to.
type node struct {
	typ   Type
	run   code
	num   func(m *machine) (exact.Number, error) // gives a number without making a value of it; may be nil
	path  *path                                  // a plain path; may be nil
	fixed bool                                   // value is what run gives
	value any
	omits bool // may give ${omit}
	head  bool // the headers of request or response
	site  site
}

// unit is what one Expr or one Template shares between its expressions.
type unit struct {
	sources []*source
	vars    int
	refs    []Ref
	pool    sync.Pool
}

func (u *unit) begin(env *Env) *machine {
	m, _ := u.pool.Get().(*machine)
	if m == nil {
		m = u.machine()
	}
	m.start(env)
	return m
}

// machine makes room for what has been compiled.
func (u *unit) machine() *machine {
	places := 0
	for _, s := range u.sources {
		places += s.places
	}
	return &machine{
		cells: make([]cell, len(u.sources)), places: make([]string, places), values: make([]any, places), vars: make([]any, u.vars),
	}
}

// layout gives each source its places.
func (u *unit) layout() {
	at := 0
	for _, s := range u.sources {
		s.first = at
		at += s.places
	}
}

func (u *unit) end(m *machine) {
	m.finish()
	u.pool.Put(m)
}

// compiler turns trees into code. One serves a whole unit.
type compiler struct {
	u        *unit
	scope    *Scope
	problems fault.Problems
	src      *sourceText
	locals   []local
	loops    []loop // predicates around what is compiled
	visits   int
	found    int // problems before this expression
	depth    int
	hidden   int  // inside so many hmac() calls
	uuids    int  // calls of uuid() so far
	impure   bool // something compiled so far reads or calls what only running gives
	template bool
	tail     bool // what is compiled is the whole result, so omit may stand there
}

// local is a name that the expression or template itself binds.
type local struct {
	name string
	typ  Type
	src  int // a cell: the element of a $each
	slot int // a let
	kind localKind
}

type localKind int

const (
	letName localKind = iota
	elementName
	indexName
)

// loop is a predicate's own scope.
type loop struct {
	src int // cell of # and #index
	acc int // slot of #acc, -1: there is none
}

func newCompiler(sc *Scope) *compiler {
	if sc == nil {
		sc = &Scope{Names: map[string]Type{}}
		for _, name := range standardNames {
			sc.Names[name] = TypeUnknown
		}
	}
	return &compiler{u: &unit{}, scope: sc}
}

var standardNames = []string{
	"doc", "raw", "input", "request", "response", "props", "vars", "steps", "item", "index",
	"error", "state", "env", "secret", "execution",
}

// Compiling an expression stops after so many nodes (the parser shares the
// middle of a < b < c, which compiles it twice) and so many problems.
const (
	maxVisits   = 10_000
	maxProblems = 20
)

func (c *compiler) problem(pos fault.Pos, code fault.Code, hint, format string, args ...any) {
	c.problems = append(c.problems, &fault.Problem{Pos: pos, Code: code, Msg: fmt.Sprintf(format, args...), Hint: hint})
}

func (c *compiler) problemAt(l file.Location, code fault.Code, hint, format string, args ...any) {
	c.problem(c.src.pos(l), code, hint, format, args...)
}

// broken stands for what has a problem: nothing further is known of it.
func (c *compiler) broken() *node {
	c.impure = true
	return &node{run: func(*machine) (any, error) { return nil, rangeError("not compiled") }}
}

// expression compiles one expression of a text.
func (c *compiler) expression(n *Node, whole string, p part, tail bool) *node {
	c.src = newSourceText(n, whole, p)
	if len(p.text) > MaxSource {
		c.problem(c.src.start, CodeTooLarge, "split it with set: into smaller ones", "an expression may not be longer than 16 KiB")
		return c.broken()
	}
	if strings.TrimSpace(p.text) == "" {
		c.problem(c.src.start, CodeSyntax, "write what to read, such as ${doc.id}, or $${} for the characters", "the expression is empty")
		return c.broken()
	}
	tree, bad := parse(p.text)
	if bad != nil {
		msg, hint := explain(bad.Message)
		c.problemAt(bad.Location, CodeSyntax, hint, "%s", msg)
		return c.broken()
	}
	c.visits, c.depth, c.tail, c.found = 0, 0, tail, len(c.problems)
	c.impure = false
	out := c.compile(tree)
	if c.visits > maxVisits {
		c.problem(c.src.start, CodeTooLarge, "split it with set: into smaller ones", "the expression is too large")
	} else if len(c.problems) == c.found {
		c.fold(out)
	}
	return out
}

// fold evaluates what depends on nothing, with a small budget, so that what
// always fails is found before it runs.
func (c *compiler) fold(n *node) {
	if c.impure || n.fixed || n.omits || n.run == nil {
		return
	}
	c.u.layout()
	m := c.u.machine()
	m.start(&Env{Steps: 10_000, Bytes: 64 << 10})
	v, err := n.run(m)
	if err != nil {
		if f := fault.AsFailure(err); f.Code == fault.CodeExpression {
			c.problem(f.Pos, CodeValue, "", "%s", f.Message)
		}
		return
	}
	if m.leaves(&n.site, v) != nil {
		return
	}
	n.fixed, n.value, n.typ = true, v, TypeOf(v)
	n.run = func(*machine) (any, error) { return v, nil }
	if t, ok := v.(document.Number); ok {
		if x, err := exact.Parse(string(t)); err == nil {
			n.num = func(*machine) (exact.Number, error) { return x, nil }
		}
	}
}

// compile turns one node of the tree, and what is below it, into code.
func (c *compiler) compile(t ast.Node) *node {
	c.visits++
	if c.visits > maxVisits || len(c.problems)-c.found > maxProblems {
		return c.broken()
	}
	if c.depth++; c.depth > MaxDepth {
		if c.depth == MaxDepth+1 && !c.tooDeep() {
			c.problemAt(t.Location(), CodeTooLarge, "split it with set: into smaller ones", "the expression is nested deeper than %d levels", MaxDepth)
		}
		c.depth--
		return c.broken()
	}
	tail := c.tail
	c.tail = false
	out := c.node(t, tail)
	c.depth--
	if out.run == nil {
		out = c.broken()
	}
	if out.site.text == "" {
		out.site = c.src.site(t.Location())
	}
	return out
}

// tooDeep reports whether the depth was found too large already.
func (c *compiler) tooDeep() bool {
	return slices.ContainsFunc(c.problems, func(p *fault.Problem) bool { return p.Code == CodeTooLarge })
}

func (c *compiler) node(t ast.Node, tail bool) *node {
	switch t := t.(type) {
	case *ast.NilNode:
		return constant(nil)
	case *ast.BoolNode:
		return constant(t.Value)
	case *ast.StringNode:
		return constant(strings.ToValidUTF8(t.Value, "\uFFFD"))
	case *ast.IntegerNode, *ast.FloatNode:
		return c.literal(t)
	case *ast.BytesNode:
		c.problemAt(t.Location(), CodeSyntax, "write it as text", "there are no byte strings")
		return c.broken()
	case *ast.IdentifierNode:
		if t.Value == "omit" {
			return c.omit(t, tail)
		}
		return c.access(t)
	case *ast.PointerNode, *ast.MemberNode, *ast.ChainNode:
		return c.access(t)
	case *ast.UnaryNode:
		return c.unary(t)
	case *ast.BinaryNode:
		return c.binary(t, tail)
	case *ast.ConditionalNode:
		return c.conditional(t, tail)
	case *ast.VariableDeclaratorNode:
		return c.let(t, tail)
	case *ast.SequenceNode:
		c.problemAt(t.Location(), CodeSyntax, "keep the last expression, or name the others with let", "only the last of several expressions has a use")
		return c.broken()
	case *ast.SliceNode:
		return c.slice(t)
	case *ast.ArrayNode:
		return c.array(t)
	case *ast.MapNode:
		return c.object(t)
	case *ast.BuiltinNode:
		return c.call(t.Name, t, t.Arguments)
	case *ast.CallNode:
		if callee, ok := t.Callee.(*ast.IdentifierNode); ok {
			return c.call(callee.Value, t, t.Arguments)
		}
		hint := ""
		if m, ok := t.Callee.(*ast.MemberNode); ok {
			if name, ok := m.Property.(*ast.StringNode); ok {
				hint = "write " + name.Value + "(…) with the value as the first argument, or … | " + name.Value + "()"
			}
		}
		c.problemAt(t.Location(), CodeName, hint, "values have no methods")
		return c.broken()
	}
	c.problemAt(t.Location(), CodeSyntax, "", "this cannot stand in an expression")
	return c.broken()
}

func constant(v any) *node {
	n := &node{typ: TypeOf(v), fixed: true, value: v, run: func(*machine) (any, error) { return v, nil }}
	if t, ok := v.(document.Number); ok {
		if x, err := exact.Parse(string(t)); err == nil {
			n.num = func(*machine) (exact.Number, error) { return x, nil }
		}
	}
	return n
}

// literal reads a number from the source, which has digits that the parser drops.
func (c *compiler) literal(t ast.Node) *node {
	text, err := literalNumber(c.src.token(t.Location()))
	if err != nil {
		c.problemAt(t.Location(), CodeSyntax, "", "%s", err)
		return c.broken()
	}
	return constant(text)
}

func (c *compiler) omit(t ast.Node, tail bool) *node {
	if !tail || !c.template {
		hint := "let omit stand alone, such as ${omit} or ${doc.vat ?? omit}, as the value of a key in a template"
		c.problemAt(t.Location(), CodeTemplate, hint, "omit may only be the whole value of a key")
		return c.broken()
	}
	return &node{omits: true, run: func(*machine) (any, error) { return omitted{}, nil }}
}

// omitted is the value of ${omit}; it never leaves this package.
type omitted struct{}

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

// condition compiles what must be boolean.
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
		return "ask for its length, such as len(…) > 0"
	}
	return ""
}

// article puts the right word before a type: a number, an object, null.
func article(t Type) string {
	switch t {
	case TypeNull:
		return "nil"
	case TypeObject, TypeUnknown:
		return "an " + t.String()
	}
	return "a " + t.String()
}

func (c *compiler) let(t *ast.VariableDeclaratorNode, tail bool) *node {
	if _, ok := c.scope.Names[t.Name]; ok || c.bound(t.Name) || helpers[t.Name] != nil || t.Name == "omit" {
		c.problemAt(t.Location(), CodeName, "choose another name", "%s has a meaning already", t.Name)
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

// pairKey compiles a key of an object; the digits of a number are read from the
// source.
func (c *compiler) pairKey(t ast.Node) *node {
	if _, ok := t.(*ast.StringNode); ok {
		if token := c.src.token(t.Location()); token != "" && token[0] >= '0' && token[0] <= '9' {
			return c.literal(t)
		}
	}
	return c.compile(t)
}
