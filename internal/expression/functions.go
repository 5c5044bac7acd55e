package expression

import (
	"errors"
	"fmt"
	"math/bits"
	"slices"
	"strings"

	"valence/internal/blob"
	"valence/internal/expression/exact"
	"valence/internal/fault"

	"github.com/expr-lang/expr/ast"
)

// Function describes a function that expressions can call.
type Function struct {
	Name  string
	Usage string
	Doc   string
	// Example is an expression over the sample document of the reference.
	Example string

	args     string // parameter types; see parameters
	result   Type
	alias    bool // an alternative name that the reference omits
	impure   bool // may return a different value each time it runs
	call     func(c *call) (any, error)
	prepare  func(c *compiler, args []*node) any // evaluated at compile time with the constant arguments
	anyCount bool                                // the last parameter may repeat
}

// call is one call of a function. Its arguments are evaluated and have the
// right types.
type call struct {
	m        *machine
	site     *site
	args     []any
	prepared any // the value that prepare returned
}

// has reports whether argument i is present and not nil.
func (c *call) has(i int) bool { return i < len(c.args) && c.args[i] != nil }

// text returns a text argument, or "" if it is missing.
func (c *call) text(i int) string {
	if !c.has(i) {
		return ""
	}
	s, _ := c.args[i].(string)
	return s
}

// content returns the bytes of an argument that is text or a file.
func (c *call) content(i int) ([]byte, error) {
	if text, ok := c.args[i].(string); ok {
		return []byte(text), nil
	}
	file, isFile, err := blob.Of(c.m.env.Ctx, c.args[i])
	var content []byte
	if isFile && err == nil {
		content, err = file.Bytes(c.m.bytes)
	}
	var known *fault.Failure
	switch {
	case errors.As(err, &known):
		return nil, c.site.failure(known.Code, known.Message, known)
	case !isFile:
		return nil, c.fail("argument %d must be text or a file (an object with raw and filename, type or encoding), not %s", i+1, article(TypeOf(c.args[i])))
	case err != nil:
		return nil, c.fail("argument %d is a file that cannot be read: %v", i+1, err)
	}
	return content, c.allocText(len(content))
}

func (c *call) fail(format string, args ...any) error { return c.site.fail(format, args...) }

// list returns the elements of a list argument.
func (c *call) list(i int) ([]any, error) {
	list, _, err := c.m.list(c.site, c.args[i])
	return list, err
}

func (c *call) num(i int) (exact.Number, error) { return toNum(c.site, c.args[i]) }

// integer returns an argument that must be an integer within ±2^40.
func (c *call) integer(i int) (int, error) {
	n, err := c.num(i)
	if err != nil {
		return 0, err
	}
	v, ok := n.Int64()
	if !ok || v > 1<<40 || v < -1<<40 {
		return 0, c.fail("argument %d must be an integer within ±2^40", i+1)
	}
	return int(v), nil
}

// allocText charges for n bytes of text before they are allocated.
func (c *call) allocText(n int) error {
	if err := c.m.alloc(c.site, int64(n)+boxBytes); err != nil {
		return err
	}
	return c.m.read(c.site, n)
}

// functionGroups holds all functions in the order of the reference.
var functionGroups = []struct {
	title     string
	functions []*Function
}{
	{"Lists and objects", slices.Concat(listFunctions, []*Function{mergeFunction, lookupFunction})},
	{"Each element", predicateFunctions},
	{"Text", slices.Concat(textFunctions, patternFunctions)},
	{"Numbers and types", numberFunctions},
	{"Dates", dateFunctions},
	{"Formats, hashes and identifiers", encodingFunctions},
}

// functions maps names to functions. It never changes after initialization.
var functions = func() map[string]*Function {
	all := map[string]*Function{}
	for _, g := range functionGroups {
		for _, f := range g.functions {
			all[f.Name] = f
		}
	}
	return all
}()

// predicateFunctions documents the functions that loops.go compiles.
var predicateFunctions = []*Function{
	{
		Name: "all", Usage: "all(list, condition)",
		Doc:     "Whether the condition is true for every element.",
		Example: `all(doc.items, .quantity > 0)`,
	},
	{
		Name: "any", Usage: "any(list, condition)",
		Doc:     "Whether the condition is true for at least one element.",
		Example: `any(doc.items, .price > 10)`,
	},
	{
		Name: "none", Usage: "none(list, condition)",
		Doc:     "Whether the condition is true for no element.",
		Example: `none(doc.items, .price > 100)`,
	},
	{
		Name: "one", Usage: "one(list, condition)",
		Doc:     "Whether the condition is true for exactly one element.",
		Example: `one(doc.items, .sku == "B-200")`,
	},
	{
		Name: "filter", Usage: "filter(list, condition)",
		Doc:     "The elements for which the condition is true.",
		Example: `map(filter(doc.items, .price > 10), .sku)`,
	},
	{
		Name: "map", Usage: "map(list, expression)",
		Doc:     "The value of the expression for each element.",
		Example: `map(doc.items, .price * .quantity)`,
	},
	{
		Name: "count", Usage: "count(list[, condition])",
		Doc:     "The number of elements for which the condition is true. Without a condition, the elements must be boolean.",
		Example: `count(doc.items, .sku == "A-100")`,
	},
	{
		Name: "sum", Usage: "sum(list[, expression])",
		Doc:     "The sum of the elements, or of the expression for each element.",
		Example: `sum(doc.items, .price * .quantity)`,
	},
	{
		Name: "find", Usage: "find(list, condition)",
		Doc:     "The first element for which the condition is true, or nil.",
		Example: `find(doc.items, .quantity > 1).sku`,
	},
	{
		Name: "findIndex", Usage: "findIndex(list, condition)",
		Doc:     "The index of the first element for which the condition is true, or nil.",
		Example: `findIndex(doc.items, .sku == "B-200")`,
	},
	{
		Name: "findLast", Usage: "findLast(list, condition)",
		Doc:     "The last element for which the condition is true, or nil.",
		Example: `findLast(doc.items, .sku == "A-100").quantity`,
	},
	{
		Name: "findLastIndex", Usage: "findLastIndex(list, condition)",
		Doc:     "The index of the last element for which the condition is true, or nil.",
		Example: `findLastIndex(doc.items, .sku == "A-100")`,
	},
	{
		Name: "groupBy", Usage: "groupBy(list, key)",
		Doc:     "An object of lists: the elements grouped by the value of key.",
		Example: `groupBy([1, 2, 3], # > 1 ? "many" : "one")`,
	},
	{
		Name: "sortBy", Usage: `sortBy(list, key[, "desc"])`,
		Doc:     "The elements sorted by the value of key; equal elements keep their order.",
		Example: `map(sortBy(doc.items, .price, "desc"), .price)`,
	},
	{
		Name: "reduce", Usage: "reduce(list, expression[, initial])",
		Doc:     "The last value of the expression, which reads the previous value as `#acc` and the element as `#`. Without an initial value, the first element is used.",
		Example: `reduce([1, 2, 3], #acc * 10 + #, 0)`,
	},
}

// parameters splits a specification into one letter per parameter and the
// number of required ones: t text, n number, l list, o object, b boolean, v any
// value except nil, d text or a file, * anything. Parameters after ? are
// optional.
func parameters(spec string) (kinds string, least int) {
	if i := strings.IndexByte(spec, '?'); i >= 0 {
		return spec[:i] + spec[i+1:], i
	}
	return spec, len(spec)
}

func fits(kind byte, t Type) bool {
	switch kind {
	case 't':
		return t == TypeText
	case 'n':
		return t == TypeNumber
	case 'l':
		return t == TypeList
	case 'o':
		return t == TypeObject
	case 'b':
		return t == TypeBoolean
	case 'd':
		return t == TypeText || t == TypeObject
	case 'v':
		return t != TypeNull
	}
	return true
}

func wanted(kind byte) Type {
	return map[byte]Type{'t': TypeText, 'd': TypeText, 'n': TypeNumber, 'l': TypeList, 'o': TypeObject, 'b': TypeBoolean}[kind]
}

// call compiles a function call.
func (c *compiler) call(name string, t ast.Node, args []ast.Node) *node {
	if _, ok := predicates[name]; ok {
		return c.predicate(name, t, args)
	}
	if name == lookupFunction.Name {
		return c.lookup(t, args)
	}
	if f := c.scope.Library.function(name); f != nil {
		nodes := make([]*node, len(args))
		for i, a := range args {
			nodes[i] = c.compile(a)
		}
		return c.projectCall(f, t, nodes)
	}
	h := functions[name]
	if h == nil {
		known := make([]string, 0, len(functions))
		for k, h := range functions {
			if !h.alias {
				known = append(known, k)
			}
		}
		known = append(known, c.scope.Library.functionNames()...)
		slices.Sort(known)
		c.unknownFunction(name, t, known)
		return c.broken()
	}
	if h.impure && c.scope.pure {
		c.problemAt(t.Location(), CodeName, "pass its result as a parameter", "a function cannot call %s(…): its result depends only on its parameters", name)
		return c.broken()
	}
	if name == "hmac" {
		c.hidden++
		defer func() { c.hidden-- }()
	}
	nodes := make([]*node, len(args))
	for i, a := range args {
		nodes[i] = c.compile(a)
	}
	kinds, least := parameters(h.args)
	if len(args) < least || len(args) > len(kinds) && !h.anyCount {
		c.problemAt(t.Location(), CodeSyntax, "write "+h.Usage, "%s(…) cannot be called with %s", name, counted(len(args)))
		return c.broken()
	}
	for i, n := range nodes {
		k := kinds[min(i, len(kinds)-1)]
		if n.typ != TypeUnknown && !fits(k, n.typ) && !(n.typ == TypeNull && i >= least) {
			c.problem(n.site.pos, CodeType, argumentHint(k, n.typ), "%s(…) expects %s here, not %s", name, parameter(k), article(n.typ))
		}
	}
	c.note(h, t, nodes)
	var made any
	if h.prepare != nil {
		made = h.prepare(c, nodes)
	}
	if name == "len" && nodes[0].path != nil {
		return numeric(pathLength(nodes[0].path, h.code(nodes, kinds, least, c.src.site(t.Location()), nil)))
	}
	return &node{typ: h.result, run: h.code(nodes, kinds, least, c.src.site(t.Location()), made)}
}

func counted(n int) string {
	switch n {
	case 0:
		return "no arguments"
	case 1:
		return "one argument"
	}
	return fmt.Sprintf("%d arguments", n)
}

func parameter(kind byte) string {
	if kind == 'v' {
		return "a value"
	}
	return article(wanted(kind))
}

func argumentHint(kind byte, got Type) string {
	switch kind {
	case 't', 'd':
		switch got {
		case TypeNumber:
			return "use string(…) to convert a number to text"
		case TypeList, TypeObject:
			return "use json(…) to convert it to JSON text"
		}
	case 'n':
		return numberHint(got)
	case 'l':
		return listHint(got)
	}
	if got == TypeNull {
		return "add a default with ?? if it may be missing"
	}
	return ""
}

// note records a call, and whether it makes the expression depend on the run.
func (c *compiler) note(h *Function, t ast.Node, args []*node) {
	ref := Ref{Call: h.Name, Pos: c.src.pos(t.Location()), Complete: true}
	if len(args) > 0 && args[0].fixed {
		ref.Text, _ = args[0].value.(string)
	}
	c.u.refs = append(c.u.refs, ref)
	if h.impure {
		c.impure = true
	}
}

// code returns the code that evaluates the arguments and calls the function.
func (h *Function) code(args []*node, kinds string, least int, s site, made any) code {
	return func(m *machine) (any, error) {
		if err := m.spend(&s, 1); err != nil {
			return nil, err
		}
		base := len(m.stack)
		for i, a := range args {
			v, err := a.run(m)
			if err != nil {
				return nil, err
			}
			k := kinds[min(i, len(kinds)-1)]
			if t := TypeOf(v); !fits(k, t) && !(v == nil && i >= least) {
				if k == 'v' {
					return nil, a.site.fail("%s(…) expects a value here, not nil; add a default with ?? if it may be missing", h.Name)
				}
				return nil, a.site.mismatch(wanted(k), v)
			}
			m.stack = append(m.stack, v)
		}
		c := call{m: m, site: &s, args: m.stack[base:len(m.stack):len(m.stack)], prepared: made}
		v, err := h.call(&c)
		m.stack = m.stack[:base]
		if err != nil {
			return nil, s.at(err)
		}
		return v, nil
	}
}

// sortStable sorts list with a comparison that can fail.
func sortStable[T any](m *machine, s *site, list []T, descending bool, compare func(a, b T) (int, error)) error {
	n := int64(len(list))
	if err := m.spend(s, n*int64(bits.Len64(uint64(n)))>>2); err != nil {
		return err
	}
	var failed error
	slices.SortStableFunc(list, func(a, b T) int {
		if failed != nil {
			return 0
		}
		order, err := compare(a, b)
		if err != nil {
			failed = err
		}
		if descending {
			return -order
		}
		return order
	})
	return failed
}

// order evaluates a node to "asc" or "desc".
func (m *machine) order(n *node) (descending bool, err error) {
	if n == nil {
		return false, nil
	}
	v, err := n.run(m)
	if err != nil {
		return false, err
	}
	switch v {
	case "asc":
		return false, nil
	case "desc":
		return true, nil
	}
	return false, n.site.fail(`the order must be "asc" or "desc"`)
}
