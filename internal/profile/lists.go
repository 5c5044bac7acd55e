package profile

import (
	"encoding/json"
	"strconv"
	"strings"

	"github.com/santhosh-tekuri/jsonschema/v6"
)

// list is a list whose elements are checked one by one. The library collects all
// violations before it returns, so a list of a million invalid elements would use
// a thousand times its own memory. Checking elements separately stops at
// MaxViolations.
type list struct {
	path []string // property names, from the value that the schema describes
	item *Schema
}

func (l list) check(v any, at []string, out *report) {
	for _, name := range l.path {
		o, ok := v.(map[string]any)
		if !ok {
			return
		}
		if v, ok = o[name]; !ok {
			return
		}
	}
	elements, ok := v.([]any)
	if !ok {
		return
	}
	at = append(append(make([]string, 0, len(at)+len(l.path)+1), at...), l.path...)
	for i, e := range elements {
		l.item.check(e, append(at, strconv.Itoa(i)), out)
		if out.full() {
			return
		}
	}
}

// maxSplit bounds the schemas that are split. A schema that several others refer
// to counts for each of them, and their number can be exponential; the rest of
// the schema is then checked as a whole.
const maxSplit = 5_000

// division is the splitting of one schema.
type division struct {
	above map[*jsonschema.Schema]bool // schemas that are being split
	left  int                         // how many more may be split
}

// split removes the items of plain lists from a schema, which are those below
// properties and references only. Lists below allOf, anyOf and the like, and
// schemas that refer to themselves, stay in the schema.
func (d *division) split(s *jsonschema.Schema) (*jsonschema.Schema, []list) {
	if d.above[s] || d.left == 0 || !separable(s) {
		return s, nil
	}
	d.left--
	d.above[s] = true
	defer delete(d.above, s)
	outer := *s
	var lists []list
	if s.Ref != nil {
		var found []list
		outer.Ref, found = d.split(s.Ref)
		lists = append(lists, found...)
	}
	if len(s.Properties) > 0 {
		outer.Properties = make(map[string]*jsonschema.Schema, len(s.Properties))
		for name, sub := range s.Properties {
			rest, found := d.split(sub)
			outer.Properties[name] = rest
			for _, l := range found {
				lists = append(lists, list{append([]string{name}, l.path...), l.item})
			}
		}
	}
	if item := itemsOf(s); item != nil {
		if s.DraftVersion >= 2020 {
			outer.Items2020 = nil
		} else {
			outer.Items = nil
		}
		sub := &Schema{}
		sub.outer, sub.lists = d.split(item)
		lists = append(lists, list{nil, sub})
	}
	if len(lists) == 0 {
		return s, nil
	}
	return &outer, lists
}

// separable reports whether the parts of a schema can be checked independently.
func separable(s *jsonschema.Schema) bool {
	return s.UnevaluatedItems == nil && s.UnevaluatedProperties == nil && (s.DraftVersion >= 2019 || s.Ref == nil)
}

func itemsOf(s *jsonschema.Schema) *jsonschema.Schema {
	if s.DraftVersion >= 2020 {
		if len(s.PrefixItems) > 0 {
			return nil
		}
		return s.Items2020
	}
	item, _ := s.Items.(*jsonschema.Schema)
	return item
}

// Limits of numbers. Comparing larger ones as exact fractions needs unbounded
// time and memory: 1e1000000 has nine bytes.
const (
	maxDigits   = 1000
	maxExponent = 1000
)

func checkNumbers(v any, at []string, out *report) {
	if out.full() {
		return
	}
	switch v := v.(type) {
	case map[string]any:
		for k, e := range v {
			checkNumbers(e, append(at, k), out)
		}
	case []any:
		for i, e := range v {
			if n, ok := e.(json.Number); ok && len(n) < 4 {
				continue
			}
			checkNumbers(e, append(at, strconv.Itoa(i)), out)
		}
	case json.Number:
		if !reasonable(string(v)) {
			out.add(at, "is outside the supported range of numbers")
		}
	}
}

func reasonable(n string) bool {
	mantissa, exponent := n, ""
	if i := strings.IndexAny(n, "eE"); i >= 0 {
		mantissa, exponent = n[:i], n[i+1:]
	}
	if len(mantissa) > maxDigits {
		return false
	}
	if exponent == "" {
		return true
	}
	e, err := strconv.Atoi(exponent)
	return err == nil && e >= -maxExponent && e <= maxExponent
}
