package expression

import (
	"fmt"
	"math/bits"
	"slices"
	"strings"

	"valence/internal/expression/exact"

	"github.com/expr-lang/expr/ast"
)

// Helper describes a function that expressions may call.
type Helper struct {
	Name  string
	Usage string
	Doc   string

	args     string // what it takes: see parameters
	result   Type
	alias    bool // another spelling, not listed
	impure   bool // gives another value each time it runs
	call     func(c *call) (any, error)
	prepare  func(c *compiler, args []*node) any // made while compiling, from arguments that are written out
	anyCount bool                                // the last parameter may repeat
}

// call is one call of a helper: its arguments are there and have the right types.
type call struct {
	m    *machine
	site *site
	args []any
	made any // what prepare made of the call
}

// has reports whether an argument is given and not nil.
func (c *call) has(i int) bool { return i < len(c.args) && c.args[i] != nil }

// text gives an argument that is text, "" where it is not given.
func (c *call) text(i int) string {
	if !c.has(i) {
		return ""
	}
	s, _ := c.args[i].(string)
	return s
}

func (c *call) fail(format string, args ...any) error { return c.site.fail(format, args...) }

// list gives the elements of a list argument.
func (c *call) list(i int) ([]any, error) {
	list, _, err := c.m.list(c.site, c.args[i])
	return list, err
}

func (c *call) num(i int) (exact.Number, error) { return toNum(c.site, c.args[i]) }

// integer gives an argument that must be an integer of a bearable size.
func (c *call) integer(i int) (int, error) {
	n, err := c.num(i)
	if err != nil {
		return 0, err
	}
	v, ok := n.Int64()
	if !ok || v > 1<<40 || v < -1<<40 {
		return 0, c.fail("argument %d must be an integer of ordinary size", i+1)
	}
	return int(v), nil
}

// making charges for text that is about to be made.
func (c *call) making(n int) error {
	if err := c.m.alloc(c.site, int64(n)+boxBytes); err != nil {
		return err
	}
	return c.m.read(c.site, n)
}

// helpers is every function by name. It is complete before main and never changes.
var helpers = index(listHelpers, textHelpers, numberHelpers, encodingHelpers, dateHelpers, predicateHelpers)

func index(groups ...[]*Helper) map[string]*Helper {
	all := map[string]*Helper{}
	for _, g := range groups {
		for _, h := range g {
			all[h.Name] = h
		}
	}
	return all
}

// Helpers gives every function that expressions may call, by name, for the
// reference.
func Helpers() []Helper {
	var out []Helper
	for _, h := range helpers {
		if !h.alias {
			out = append(out, *h)
		}
	}
	slices.SortFunc(out, func(a, b Helper) int { return strings.Compare(a.Name, b.Name) })
	return out
}

// predicateHelpers describe the functions that loops.go compiles.
var predicateHelpers = []*Helper{
	{Name: "all", Usage: "all(list, condition)", Doc: "Whether the condition holds for every element."},
	{Name: "any", Usage: "any(list, condition)", Doc: "Whether the condition holds for some element."},
	{Name: "none", Usage: "none(list, condition)", Doc: "Whether the condition holds for no element."},
	{Name: "one", Usage: "one(list, condition)", Doc: "Whether the condition holds for exactly one element."},
	{Name: "filter", Usage: "filter(list, condition)", Doc: "The elements for which the condition holds."},
	{Name: "map", Usage: "map(list, expression)", Doc: "What the expression gives for each element."},
	{Name: "count", Usage: "count(list[, condition])", Doc: "How many elements the condition holds for; without one, how many are true."},
	{Name: "sum", Usage: "sum(list[, expression])", Doc: "The sum of the elements, or of what the expression gives for each."},
	{Name: "find", Usage: "find(list, condition)", Doc: "The first element for which the condition holds, or nil."},
	{Name: "findIndex", Usage: "findIndex(list, condition)", Doc: "The index of that element, or nil."},
	{Name: "findLast", Usage: "findLast(list, condition)", Doc: "The last element for which the condition holds, or nil."},
	{Name: "findLastIndex", Usage: "findLastIndex(list, condition)", Doc: "The index of that element, or nil."},
	{Name: "groupBy", Usage: "groupBy(list, key)", Doc: "An object of lists, by what the key gives for each element."},
	{Name: "sortBy", Usage: `sortBy(list, key[, "desc"])`, Doc: "The elements in the order of the key; equal ones keep theirs."},
	{Name: "reduce", Usage: "reduce(list, expression[, first])", Doc: "What the expression gives at last, with `#acc` what it gave before and `#` the element."},
}

// parameters of a helper are written as letters: t text, n number, l list, o
// object, b boolean, v any value but nil, * anything; those after ? may be
// left out.
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
	case 'v':
		return t != TypeNull
	}
	return true
}

func wanted(kind byte) Type {
	return map[byte]Type{'t': TypeText, 'n': TypeNumber, 'l': TypeList, 'o': TypeObject, 'b': TypeBoolean}[kind]
}

// call compiles a call.
func (c *compiler) call(name string, t ast.Node, args []ast.Node) *node {
	if _, ok := predicates[name]; ok {
		return c.predicate(name, t, args)
	}
	h := helpers[name]
	if h == nil {
		known := make([]string, 0, len(helpers))
		for k, h := range helpers {
			if !h.alias {
				known = append(known, k)
			}
		}
		slices.Sort(known)
		c.problemAt(t.Location(), CodeName, didYouMean(name, known), "there is no function %s", name)
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
		c.problemAt(t.Location(), CodeSyntax, "write "+h.Usage, "%s(…) does not take %s", name, counted(len(args)))
		return c.broken()
	}
	for i, n := range nodes {
		k := kinds[min(i, len(kinds)-1)]
		if n.typ != TypeUnknown && !fits(k, n.typ) && !(n.typ == TypeNull && i >= least) {
			c.problem(n.site.pos, CodeType, argumentHint(k, n.typ), "%s(…) takes %s here, not %s", name, parameter(k), article(n.typ))
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
	case 't':
		switch got {
		case TypeNumber:
			return "string(…) makes text of a number"
		case TypeList, TypeObject:
			return "json(…) writes it as JSON"
		}
	case 'n':
		return numberHint(got)
	case 'l':
		return listHint(got)
	}
	if got == TypeNull {
		return "give another value with ?? where it may be missing"
	}
	return ""
}

// note records the call and whether its value is known beforehand.
func (c *compiler) note(h *Helper, t ast.Node, args []*node) {
	ref := Ref{Call: h.Name, Pos: c.src.pos(t.Location()), Complete: true}
	if len(args) > 0 && args[0].fixed {
		ref.Text, _ = args[0].value.(string)
	}
	c.u.refs = append(c.u.refs, ref)
	if h.impure {
		c.impure = true
	}
}

// code gives the function that evaluates the arguments and calls the helper.
func (h *Helper) code(args []*node, kinds string, least int, s site, made any) code {
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
					return nil, a.site.fail("%s(…) takes a value here, not nil; give another value with ?? where it may be missing", h.Name)
				}
				return nil, a.site.notA(wanted(k), v)
			}
			m.stack = append(m.stack, v)
		}
		c := call{m: m, site: &s, args: m.stack[base:len(m.stack):len(m.stack)], made: made}
		v, err := h.call(&c)
		m.stack = m.stack[:base]
		if err != nil {
			return nil, s.at(err)
		}
		return v, nil
	}
}

// sortStable sorts by a comparison that may fail.
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

// order reads "asc" or "desc".
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
