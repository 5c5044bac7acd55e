package profile

import (
	"encoding/json"
	"strconv"
	"strings"

	"github.com/santhosh-tekuri/jsonschema/v6"
)

// list is a list somewhere below a document's root whose elements are checked
// one by one. The library collects every violation before it returns, so a
// list of a million bad elements would cost a thousand times its own size;
// this way checking ends at MaxViolations.
type list struct {
	path []string // names of properties from the value that the schema is for
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

// split takes the items of plain lists out of a schema: those reached through
// properties and references alone. Lists below allOf, anyOf and the like, and
// schemas that refer to themselves, stay as they are.
func split(s *jsonschema.Schema, above map[*jsonschema.Schema]bool) (*jsonschema.Schema, []list) {
	if above[s] || !separable(s) {
		return s, nil
	}
	above[s] = true
	defer delete(above, s)
	outer := *s
	var lists []list
	if s.Ref != nil {
		var found []list
		outer.Ref, found = split(s.Ref, above)
		lists = append(lists, found...)
	}
	if len(s.Properties) > 0 {
		outer.Properties = make(map[string]*jsonschema.Schema, len(s.Properties))
		for name, sub := range s.Properties {
			rest, found := split(sub, above)
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
		sub.outer, sub.lists = split(item, above)
		lists = append(lists, list{nil, sub})
	}
	if len(lists) == 0 {
		return s, nil
	}
	return &outer, lists
}

// separable is false where what a part of the schema finds decides over another part.
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

// Numbers beyond these are refused, because comparing them as exact fractions
// costs time and memory without measure: 1e1000000 is nine bytes long.
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
			out.add(at, "is a number out of the range that can be checked")
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
