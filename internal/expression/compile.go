package expression

import (
	"fmt"
	"slices"
	"strings"

	"github.com/expr-lang/expr/ast"
	"github.com/expr-lang/expr/file"

	"valence/internal/document"
	"valence/internal/expression/exact"
	"valence/internal/fault"
)

// compiler turns syntax trees into code. One compiler serves a whole unit.
type compiler struct {
	u        *unit
	scope    *Scope
	problems fault.Problems
	src      *sourceText
	locals   []local
	loops    []loop // enclosing loops, innermost last
	visits   int
	found    int // number of problems before this expression
	depth    int
	hidden   int  // number of enclosing hmac() calls
	uuids    int  // number of calls of uuid() so far
	impure   bool // the code compiled so far depends on the run
	template bool
	// wholeValue says that the template is one scalar.
	wholeValue bool
	tail       bool // the node is the whole result, so omit is allowed
}

// local is a name bound by the expression or template itself.
type local struct {
	name string
	typ  Type
	src  int // the cell of a $each element
	slot int // the variable of a let
	kind localKind
}

type localKind int

const (
	letName localKind = iota
	elementName
	indexName
)

// loop is the scope of a predicate.
type loop struct {
	src int // the cell of # and #index
	acc int // the variable of #acc, or -1
}

func newCompiler(sc *Scope) *compiler {
	if sc == nil {
		sc = standardScope()
	}
	return &compiler{u: &unit{}, scope: sc}
}

// standardScope returns a scope with all names of the language.
func standardScope() *Scope {
	sc := &Scope{Names: map[string]Type{}}
	for _, name := range standardNames {
		sc.Names[name] = TypeUnknown
	}
	return sc
}

var standardNames = []string{
	"doc", "raw", "input", "request", "response", "props", "vars", "steps", "item", "index",
	"error", "state", "env", "secret", "execution",
}

// Limits for one expression. The parser shares the middle of a < b < c, so it
// is compiled twice and counts twice.
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

// corrected adds a correction to the last problem.
func (c *compiler) corrected(old, corrected string) {
	if corrected != "" {
		c.problems[len(c.problems)-1].Fix = fault.Edit{Old: old, New: corrected}
	}
}

// broken returns a node for invalid source. Nothing is known about it.
func (c *compiler) broken() *node {
	c.impure = true
	return &node{run: func(*machine) (any, error) { return nil, rangeError("not compiled") }}
}

// expression compiles one expression of a text.
func (c *compiler) expression(n *Node, whole string, p part, tail bool) *node {
	c.src = newSourceText(n, whole, p)
	if len(p.text) > MaxSource {
		c.problem(c.src.start, CodeTooLarge, "split it with set:", "an expression is limited to 16 KiB")
		return c.broken()
	}
	if strings.TrimSpace(p.text) == "" {
		c.problem(c.src.start, CodeSyntax, "write an expression, such as ${doc.id}, or $${} for the literal characters", "the expression is empty")
		return c.broken()
	}
	tree, bad := parse(p.text)
	if bad != nil {
		c.syntax(p.text, bad)
		return c.broken()
	}
	c.visits, c.depth, c.tail, c.found = 0, 0, tail, len(c.problems)
	c.impure = false
	out := c.compile(tree)
	if c.visits > maxVisits {
		c.problem(c.src.start, CodeTooLarge, "split it with set:", "the expression is too large")
	} else if len(c.problems) == c.found {
		c.fold(out)
	}
	return out
}

// fold evaluates a constant expression with a small budget. Expressions that
// always fail are thus reported before they run.
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
	if m.export(&n.site, v) != nil {
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

// compile compiles one node of the syntax tree and everything below it.
func (c *compiler) compile(t ast.Node) *node {
	c.visits++
	if c.visits > maxVisits || len(c.problems)-c.found > maxProblems {
		return c.broken()
	}
	if c.depth++; c.depth > MaxDepth {
		if c.depth == MaxDepth+1 && !c.tooDeep() {
			c.problemAt(t.Location(), CodeTooLarge, "split it with set:", "the expression is nested deeper than %d levels", MaxDepth)
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

// tooDeep reports whether excessive depth was already reported.
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
		c.problemAt(t.Location(), CodeSyntax, "use text", "byte strings are not supported")
		return c.broken()
	case *ast.IdentifierNode:
		if t.Value == "omit" {
			return c.omit(t, tail)
		}
		if _, declared := c.scope.Names[t.Value]; t.Value == "null" && !declared && !c.bound(t.Value) {
			return constant(nil)
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
		c.problemAt(t.Location(), CodeSyntax, "keep the last expression, or name the others with let", "only the last of several expressions has an effect")
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
		c.method(t)
		return c.broken()
	}
	c.problemAt(t.Location(), CodeSyntax, "", "this is not allowed in an expression")
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

// literal reads a number from the source, because the parser drops digits.
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
		hint := "use omit alone, such as ${omit} or ${doc.vat ?? omit}, as the value of a key in a template"
		c.problemAt(t.Location(), CodeTemplate, hint, "omit must be the whole value of a key")
		return c.broken()
	}
	return &node{omits: true, run: func(*machine) (any, error) { return omitted{}, nil }}
}

// omitted is the value of ${omit}. It never leaves this package.
type omitted struct{}
