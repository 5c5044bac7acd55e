package expression

import (
	"github.com/expr-lang/expr/ast"

	"valence/internal/document"
	"valence/internal/expression/exact"
)

// each calls f for every element of a list, which it stores in the cell src. f
// returns false to stop.
func (m *machine) each(s *site, v any, src int, f func() (bool, error)) error {
	c := &m.cells[src]
	var index int64
	step := func() (bool, error) {
		index++
		if err := m.spend(s, 1); err != nil {
			return false, err
		}
		return f()
	}
	switch v := v.(type) {
	case []any:
		for _, e := range v {
			c.setValue(e, index)
			if more, err := step(); !more || err != nil {
				return err
			}
		}
		return nil
	case document.Raw:
		if len(v) == 0 || v[0] != '[' {
			break
		}
		if err := m.read(s, len(v)); err != nil {
			return err
		}
		for it := begin(string(v)); it.next(); {
			c.setText(it.text, index)
			if more, err := step(); !more || err != nil {
				return err
			}
		}
		return nil
	}
	return s.mismatch(TypeList, v)
}

// iteration is a call with a predicate at compile time.
type iteration struct {
	list  *node
	pred  *node // may be nil
	extra *node // the last argument of sortBy and reduce; may be nil
	src   int
	acc   int
	site  site
}

// predicates are the functions that evaluate an expression per element, with
// their result types.
var predicates = map[string]struct {
	result  Type
	boolean bool // the predicate is a condition
	compile func(l *iteration) code
}{
	"all":           {TypeBoolean, true, quantifier(false, false)},
	"any":           {TypeBoolean, true, quantifier(true, true)},
	"none":          {TypeBoolean, true, quantifier(true, false)},
	"one":           {TypeBoolean, true, one},
	"filter":        {TypeList, true, filter},
	"map":           {TypeList, false, mapping},
	"count":         {TypeNumber, true, counting},
	"sum":           {TypeNumber, false, nil},
	"find":          {TypeUnknown, true, finding(false, false)},
	"findIndex":     {TypeUnknown, true, finding(true, false)},
	"findLast":      {TypeUnknown, true, finding(false, true)},
	"findLastIndex": {TypeUnknown, true, finding(true, true)},
	"groupBy":       {TypeObject, false, groupBy},
	"sortBy":        {TypeList, false, sortBy},
	"reduce":        {TypeUnknown, false, reduce},
}

// predicate compiles a call such as filter(list, condition).
func (c *compiler) predicate(name string, t ast.Node, args []ast.Node) *node {
	kind := predicates[name]
	if len(args) == 0 {
		c.problemAt(t.Location(), CodeSyntax, "", "%s(…) needs a list", name)
		return c.broken()
	}
	l := &iteration{list: c.compile(args[0]), acc: -1, site: c.src.site(t.Location())}
	if typ := l.list.typ; typ != TypeUnknown && typ != TypeList {
		c.problemAt(args[0].Location(), CodeType, listHint(typ), "%s(…) expects a list, not %s", name, article(typ))
	}
	l.src = c.newSource("")
	if name == "reduce" {
		l.acc = c.u.vars
		c.u.vars++
	}
	if len(args) > 1 {
		body := args[1]
		if p, ok := body.(*ast.PredicateNode); ok {
			body = p.Node
		}
		c.loops = append(c.loops, loop{src: l.src, acc: l.acc})
		l.pred = c.compile(body)
		c.loops = c.loops[:len(c.loops)-1]
		if typ := l.pred.typ; kind.boolean && typ != TypeUnknown && typ != TypeBoolean {
			c.problemAt(body.Location(), CodeType, booleanHint(typ), "the condition of %s(…) must be boolean, not %s", name, article(typ))
		}
	}
	if len(args) > 2 {
		l.extra = c.compile(args[2])
	}
	c.note(functions[name], t, nil)
	if l.pred == nil { // count and sum of the elements themselves
		src := c.u.sources[l.src]
		p := &path{src: l.src, source: src, place: -1, site: l.list.site}
		l.pred = &node{path: p, run: p.value, num: p.number, site: l.list.site}
	}
	if name == "sum" {
		out := numeric(l.sum)
		out.site = l.site
		return out
	}
	return &node{typ: kind.result, run: kind.compile(l), site: l.site}
}

func listHint(t Type) string {
	switch t {
	case TypeObject:
		return "use list(…) to wrap the object in a list, or toPairs(…) to list its members"
	case TypeNull:
		return "write … ?? [] if it may be missing"
	case TypeText:
		return "use split(…) to split text into a list"
	}
	return ""
}

// each evaluates the list and calls f for every element.
func (l *iteration) each(m *machine, f func() (bool, error)) error {
	v, err := l.list.run(m)
	if err != nil {
		return err
	}
	if v == nil {
		return l.list.site.fail("expected a list, got nil; write … ?? [] if it may be missing")
	}
	if t := TypeOf(v); t != TypeList {
		return l.list.site.mismatch(TypeList, v)
	}
	return m.each(&l.site, v, l.src, f)
}

func (l *iteration) condition() func(m *machine) (bool, error) {
	return l.pred.boolean("the condition")
}

// element returns the current element of the loop.
func (l *iteration) element(m *machine) any { return m.value(&m.cells[l.src]) }

// quantifier stops at the first element whose condition equals stopAt.
func quantifier(stopAt, result bool) func(l *iteration) code {
	return func(l *iteration) code {
		cond := l.condition()
		return func(m *machine) (any, error) {
			found := false
			err := l.each(m, func() (bool, error) {
				ok, err := cond(m)
				found = ok == stopAt
				return !found, err
			})
			return found == result, err
		}
	}
}

func one(l *iteration) code {
	cond := l.condition()
	return func(m *machine) (any, error) {
		n := 0
		err := l.each(m, func() (bool, error) {
			ok, err := cond(m)
			if ok {
				n++
			}
			return n < 2, err
		})
		return n == 1, err
	}
}

func counting(l *iteration) code {
	cond := l.condition()
	return func(m *machine) (any, error) {
		var n int64
		err := l.each(m, func() (bool, error) {
			ok, err := cond(m)
			if ok {
				n++
			}
			return true, err
		})
		return exact.Int(n).Text(), err
	}
}

func filter(l *iteration) code {
	cond := l.condition()
	return func(m *machine) (any, error) {
		out := []any{}
		err := l.each(m, func() (bool, error) {
			ok, err := cond(m)
			if ok && err == nil {
				out, err = m.push(&l.site, out, l.element(m))
			}
			return true, err
		})
		return out, err
	}
}

func mapping(l *iteration) code {
	return func(m *machine) (any, error) {
		out := []any{}
		err := l.each(m, func() (bool, error) {
			v, err := l.pred.run(m)
			if err == nil {
				out, err = m.push(&l.site, out, v)
			}
			return true, err
		})
		return out, err
	}
}

// push appends to a growing list. Each element is charged twice, because
// growing copies.
func (m *machine) push(s *site, list []any, v any) ([]any, error) {
	if err := m.alloc(s, 3*boxBytes); err != nil {
		return nil, err
	}
	return append(list, v), nil
}

func (l *iteration) sum(m *machine) (exact.Number, error) {
	total, value := exact.Int(0), l.pred.number()
	err := l.each(m, func() (bool, error) {
		n, err := value(m)
		if err == nil {
			total, err = m.arithmetic(&l.site, total, n, exact.Add)
		}
		return true, err
	})
	return total, err
}

func finding(index, last bool) func(l *iteration) code {
	return func(l *iteration) code {
		cond := l.condition()
		return func(m *machine) (any, error) {
			var found any
			err := l.each(m, func() (bool, error) {
				ok, err := cond(m)
				if ok && index {
					found = exact.Int(m.cells[l.src].index).Text()
				} else if ok {
					found = l.element(m)
				}
				return !ok || last, err
			})
			return found, err
		}
	}
}

func groupBy(l *iteration) code {
	return func(m *machine) (any, error) {
		out := &document.Object{}
		err := l.each(m, func() (bool, error) {
			k, err := l.pred.run(m)
			if err != nil {
				return false, err
			}
			key, err := Text(k)
			if err != nil {
				return false, l.pred.site.fail("the key of a group must be text, a number or a boolean, not %s", article(TypeOf(k)))
			}
			group, ok := out.Get(key)
			if !ok {
				if err := m.alloc(&l.site, 2*memberBytes+int64(len(key))); err != nil {
					return false, err
				}
			}
			list, _ := group.([]any)
			list, err = m.push(&l.site, list, l.element(m))
			out.Set(key, list)
			return true, err
		})
		return out, err
	}
}

func sortBy(l *iteration) code {
	return func(m *machine) (any, error) {
		type entry struct{ key, value any }
		var entries []entry
		err := l.each(m, func() (bool, error) {
			k, err := l.pred.run(m)
			if err == nil {
				err = m.alloc(&l.site, 8*boxBytes)
			}
			if err == nil {
				entries = append(entries, entry{k, l.element(m)})
			}
			return true, err
		})
		if err != nil {
			return nil, err
		}
		descending, err := m.order(l.extra)
		if err != nil {
			return nil, err
		}
		err = sortStable(m, &l.site, entries, descending, func(a, b entry) (int, error) {
			return m.compare(&l.pred.site, a.key, b.key)
		})
		if err != nil {
			return nil, err
		}
		out := make([]any, len(entries))
		for i, e := range entries {
			out[i] = e.value
		}
		return out, nil
	}
}

func reduce(l *iteration) code {
	return func(m *machine) (any, error) {
		started := false
		if l.extra != nil {
			v, err := l.extra.run(m)
			if err != nil {
				return nil, err
			}
			m.vars[l.acc], started = v, true
		}
		err := l.each(m, func() (bool, error) {
			if !started {
				m.vars[l.acc], started = l.element(m), true
				return true, nil
			}
			v, err := l.pred.run(m)
			m.vars[l.acc] = v
			return true, err
		})
		if err != nil {
			return nil, err
		}
		if !started {
			return nil, l.site.fail("reduce(…) of an empty list needs an initial value as its third argument")
		}
		return m.vars[l.acc], nil
	}
}
