package expression

import (
	"slices"
	"unicode/utf8"

	"valence/internal/document"
	"valence/internal/expression/exact"
)

// listFunctions read and build lists and objects.
var listFunctions = []*Function{
	{
		Name: "len", Usage: "len(value)",
		Doc:     "The number of elements of a list, members of an object, or characters of text.",
		Example: `len(doc.items)`,
		args:    "v", result: TypeNumber, call: length,
	},
	{
		Name: "first", Usage: "first(list)",
		Doc:     "The first element, or nil if the list is empty.",
		Example: `first(doc.items).sku`,
		args:    "l", call: first,
	},
	{
		Name: "last", Usage: "last(list)",
		Doc:     "The last element, or nil if the list is empty.",
		Example: `last([3, 1, 2])`,
		args:    "l", call: last,
	},
	{
		Name: "take", Usage: "take(list, n)",
		Doc:     "The first n elements.",
		Example: `take([3, 1, 2], 2)`,
		args:    "ln", result: TypeList, call: take,
	},
	{
		Name: "reverse", Usage: "reverse(list)",
		Doc:     "The elements in reverse order.",
		Example: `reverse([3, 1, 2])`,
		args:    "l", result: TypeList, call: reverse,
	},
	{
		Name: "concat", Usage: "concat(list, …)",
		Doc:     "The elements of all lists in one list.",
		Example: `concat([1, 2], [3])`,
		args:    "l", anyCount: true, result: TypeList, call: concat,
	},
	{
		Name: "flatten", Usage: "flatten(list)",
		Doc:     "The elements, with nested lists of any depth replaced by their elements.",
		Example: `flatten([1, [2, [3]]])`,
		args:    "l", result: TypeList, call: flatten,
	},
	{
		Name: "uniq", Usage: "uniq(list)",
		Doc:     "The elements without duplicates; the first of equal elements is kept.",
		Example: `uniq(map(doc.items, .sku))`,
		args:    "l", result: TypeList, call: uniq,
	},
	{
		Name: "sort", Usage: `sort(list[, "desc"])`,
		Doc:     "The elements in ascending order: all numbers, or all text by code point.",
		Example: `sort([3, 1, 2], "desc")`,
		args:    "l?t", result: TypeList, call: sortList,
	},
	{
		Name: "list", Usage: "list(value)",
		Doc:     "A list unchanged, nil as an empty list, and any other value as a list of one. Use it for XML elements that may repeat.",
		Example: `list(doc.customer.name)`,
		args:    "*", result: TypeList, call: asList,
	},
	{
		Name: "keys", Usage: "keys(object)",
		Doc:     "The keys in document order.",
		Example: `keys(doc.customer)`,
		args:    "o", result: TypeList, call: keys,
	},
	{
		Name: "values", Usage: "values(object)",
		Doc:     "The values in document order.",
		Example: `values({"a": 1, "b": 2})`,
		args:    "o", result: TypeList, call: values,
	},
	{
		Name: "toPairs", Usage: "toPairs(object)",
		Doc:     "A list of [key, value] pairs.",
		Example: `toPairs({"a": 1, "b": 2})`,
		args:    "o", result: TypeList, call: toPairs,
	},
	{
		Name: "fromPairs", Usage: "fromPairs(list)",
		Doc:     "The object for a list of [key, value] pairs.",
		Example: `fromPairs([["a", 1], ["b", 2]])`,
		args:    "l", result: TypeObject, call: fromPairs,
	},
	{
		Name: "get", Usage: "get(value, key)",
		Doc:     "The value of a key or index, or nil if it is missing. get(nil, key) is nil.",
		Example: `get(doc, "color")`,
		args:    "*v", call: get,
	},
}

func length(c *call) (any, error) {
	switch v := c.args[0].(type) {
	case string:
		return exact.Int(int64(utf8.RuneCountInString(v))).Text(), c.m.read(c.site, len(v))
	case document.Raw:
		return exact.Int(int64(count(string(v)))).Text(), c.m.read(c.site, len(v))
	case []any:
		return exact.Int(int64(len(v))).Text(), nil
	case *document.Object:
		return exact.Int(int64(v.Len())).Text(), nil
	}
	return nil, c.fail("len(…) expects a list, an object or text, not %s", article(TypeOf(c.args[0])))
}

// pathLength counts the elements below a plain path without decoding them.
func pathLength(p *path, other code) func(m *machine) (exact.Number, error) {
	return func(m *machine) (exact.Number, error) {
		text, _, err := m.find(p)
		if err != nil {
			return exact.Number{}, err
		}
		if text != "" && (text[0] == '[' || text[0] == '{') {
			return exact.Int(int64(count(text))), m.read(&p.site, len(text))
		}
		v, err := other(m)
		if err != nil {
			return exact.Number{}, err
		}
		return toNum(&p.site, v)
	}
}

func first(c *call) (any, error) { return c.m.index(c.args[0], &step{site: *c.site}, 0) }

func last(c *call) (any, error) { return c.m.index(c.args[0], &step{site: *c.site}, -1) }

func take(c *call) (any, error) {
	list, err := c.list(0)
	if err != nil {
		return nil, err
	}
	n, err := c.integer(1)
	if err != nil {
		return nil, err
	}
	if n < 0 {
		return nil, c.fail("take(…) needs a count of at least 0")
	}
	return list[:min(n, len(list)):min(n, len(list))], nil
}

// allocList charges for a list of n elements before it is allocated.
func (c *call) allocList(n int) error {
	if err := c.m.spend(c.site, int64(n)>>3); err != nil {
		return err
	}
	return c.m.alloc(c.site, int64(n+1)*boxBytes)
}

func reverse(c *call) (any, error) {
	list, err := c.list(0)
	if err != nil {
		return nil, err
	}
	if err := c.allocList(len(list)); err != nil {
		return nil, err
	}
	out := slices.Clone(list)
	slices.Reverse(out)
	return out, nil
}

func concat(c *call) (any, error) {
	n := 0
	for i := range c.args {
		list, err := c.list(i)
		if err != nil {
			return nil, err
		}
		n += len(list)
	}
	if err := c.allocList(n); err != nil {
		return nil, err
	}
	out := make([]any, 0, n)
	for i := range c.args {
		list, err := c.list(i)
		if err != nil {
			return nil, err
		}
		out = append(out, list...)
	}
	return out, nil
}

func flatten(c *call) (any, error) {
	out := []any{}
	var into func(v any, depth int) error
	into = func(v any, depth int) error {
		list, ok, err := c.m.list(c.site, v)
		if err != nil {
			return err
		}
		if !ok {
			out, err = c.m.push(c.site, out, v)
			return err
		}
		if depth > maxNesting {
			return limitError("the list is nested too deeply")
		}
		if err := c.m.spend(c.site, int64(len(list))>>3+1); err != nil {
			return err
		}
		for _, e := range list {
			if err := into(e, depth+1); err != nil {
				return err
			}
		}
		return nil
	}
	err := into(c.args[0], 0)
	return out, err
}

func uniq(c *call) (any, error) {
	list, err := c.list(0)
	if err != nil {
		return nil, err
	}
	seen := map[string]bool{}
	out := []any{}
	key := c.m.scratch()
	defer func() { c.m.text = key }()
	for _, e := range list {
		if err := c.m.spend(c.site, 1); err != nil {
			return nil, err
		}
		if key, err = c.m.canonical(c.site, key[:0], e, 0); err != nil {
			return nil, err
		}
		if seen[string(key)] {
			continue
		}
		if err := c.m.alloc(c.site, int64(len(key))+memberBytes); err != nil {
			return nil, err
		}
		seen[string(key)] = true
		if out, err = c.m.push(c.site, out, e); err != nil {
			return nil, err
		}
	}
	return out, nil
}

func sortList(c *call) (any, error) {
	list, err := c.list(0)
	if err != nil {
		return nil, err
	}
	descending := false
	if c.has(1) {
		switch c.text(1) {
		case "asc":
		case "desc":
			descending = true
		default:
			return nil, c.fail(`the order must be "asc" or "desc"`)
		}
	}
	if err := c.allocList(len(list)); err != nil {
		return nil, err
	}
	out := slices.Clone(list)
	return out, sortStable(c.m, c.site, out, descending, func(a, b any) (int, error) { return c.m.compare(c.site, a, b) })
}

func asList(c *call) (any, error) {
	switch v := c.args[0]; TypeOf(v) {
	case TypeNull:
		return []any{}, nil
	case TypeList:
		return v, nil
	default:
		return []any{v}, c.allocList(1)
	}
}

// members returns an object argument and charges for a list of its members.
func (c *call) members(i int) (*document.Object, error) {
	o, _, err := c.m.object(c.site, c.args[i])
	if err != nil {
		return nil, err
	}
	return o, c.allocList(4 * o.Len())
}

func keys(c *call) (any, error) {
	o, err := c.members(0)
	if err != nil {
		return nil, err
	}
	out := make([]any, o.Len())
	for i, k := range o.Keys() {
		out[i] = k
	}
	return out, nil
}

func values(c *call) (any, error) {
	o, err := c.members(0)
	if err != nil {
		return nil, err
	}
	out := make([]any, o.Len())
	for i := range out {
		_, out[i] = o.At(i)
	}
	return out, nil
}

func toPairs(c *call) (any, error) {
	o, err := c.members(0)
	if err != nil {
		return nil, err
	}
	out := make([]any, o.Len())
	for i := range out {
		k, v := o.At(i)
		out[i] = []any{k, v}
	}
	return out, nil
}

func fromPairs(c *call) (any, error) {
	list, err := c.list(0)
	if err != nil {
		return nil, err
	}
	if err := c.allocList(6 * len(list)); err != nil {
		return nil, err
	}
	o := &document.Object{}
	for i, e := range list {
		pair, ok, err := c.m.list(c.site, e)
		if err != nil {
			return nil, err
		}
		if !ok || len(pair) != 2 {
			return nil, c.fail("element %d is not [key, value]", i)
		}
		key, ok := scalarKey(pair[0])
		if !ok {
			return nil, c.fail("the key of element %d must be text, not %s", i, article(TypeOf(pair[0])))
		}
		o.Set(key, pair[1])
	}
	return o, nil
}

func get(c *call) (any, error) {
	if c.args[0] == nil {
		return nil, nil
	}
	key := c.args[1]
	return c.m.computed(c.args[0], &step{site: *c.site, computed: constant(key)})
}
