package profile

import (
	"encoding/json"
	"fmt"
	"math/big"
	"sort"
	"strings"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"github.com/santhosh-tekuri/jsonschema/v6/kind"

	"valence/internal/fault"
)

// report collects violations up to MaxViolations.
type report struct{ found []fault.Violation }

func (r *report) full() bool { return len(r.found) >= MaxViolations }

func (r *report) add(at []string, detail string) {
	if !r.full() {
		r.found = append(r.found, fault.Violation{Pointer: pointer(at), Detail: detail})
	}
}

// sorted returns the violations sorted by pointer, without duplicates.
func (r *report) sorted() []fault.Violation {
	sort.SliceStable(r.found, func(i, j int) bool {
		a, b := r.found[i], r.found[j]
		if a.Pointer != b.Pointer {
			return before(a.Pointer, b.Pointer)
		}
		return a.Detail < b.Detail
	})
	out := r.found[:0]
	for i, v := range r.found {
		if i == 0 || v != r.found[i-1] {
			out = append(out, v)
		}
	}
	return out
}

// before reports whether pointer a sorts before b. Indexes are compared as numbers.
func before(a, b string) bool {
	as, bs := strings.Split(a, "/"), strings.Split(b, "/")
	for i := 0; i < len(as) && i < len(bs); i++ {
		x, y := as[i], bs[i]
		if x == y {
			continue
		}
		if isIndex(x) && isIndex(y) && len(x) != len(y) {
			return len(x) < len(y)
		}
		return x < y
	}
	return len(as) < len(bs)
}

func isIndex(s string) bool {
	for i := 0; i < len(s); i++ {
		if s[i] < '0' || s[i] > '9' {
			return false
		}
	}
	return s != ""
}

// flatten adds the innermost errors of a validation error, which describe values
// rather than the keywords that lead to them.
func (r *report) flatten(e *jsonschema.ValidationError, base []string) {
	if r.full() {
		return
	}
	at := append(append(make([]string, 0, len(base)+len(e.InstanceLocation)+1), base...), e.InstanceLocation...)
	switch k := e.ErrorKind.(type) {
	case *kind.AnyOf:
		r.add(at, "matches none of the allowed schemas"+alternatives(e))
	case *kind.OneOf:
		if len(k.Subschemas) > 1 {
			r.add(at, fmt.Sprintf("matches the allowed schemas %d and %d, but must match exactly one", k.Subschemas[0]+1, k.Subschemas[1]+1))
		} else {
			r.add(at, "matches none of the allowed schemas"+alternatives(e))
		}
	case *kind.Required:
		for _, name := range k.Missing {
			r.add(at, fmt.Sprintf("%s is missing", quote(name)))
		}
	case *kind.AdditionalProperties:
		sort.Strings(k.Properties)
		for _, name := range k.Properties {
			r.add(append(at, name), "is not allowed here")
		}
	case *kind.Contains, *kind.MinContains, *kind.PropertyNames:
		r.add(at, describe(k))
	default:
		if len(e.Causes) == 0 {
			r.add(at, describe(k))
		}
		for _, cause := range e.Causes {
			r.flatten(cause, base)
		}
	}
}

// alternatives returns the first violation of each alternative.
func alternatives(e *jsonschema.ValidationError) string {
	var parts []string
	for _, cause := range e.Causes {
		var sub report
		sub.flatten(cause, nil)
		found := sub.sorted()
		if len(found) == 0 {
			continue
		}
		part := found[0].Detail
		if rest := strings.TrimPrefix(found[0].Pointer, pointer(e.InstanceLocation)); rest != "" {
			part = rest + " " + part
		}
		if parts = append(parts, part); len(parts) == 4 {
			break
		}
	}
	if len(parts) == 0 {
		return ""
	}
	return ": " + strings.Join(parts, "; or ")
}

func describe(k jsonschema.ErrorKind) string {
	switch k := k.(type) {
	case *kind.Type:
		return fmt.Sprintf("must be %s, not %s", strings.Join(k.Want, " or "), k.Got)
	case *kind.Enum:
		return "must be one of " + oneOf(k.Want)
	case *kind.Const:
		return "must be " + show(k.Want)
	case *kind.Format:
		return fmt.Sprintf("is not a valid %s", k.Want)
	case *kind.FalseSchema:
		return "is not allowed here"
	case *kind.Not:
		return "matches a schema that is not allowed"
	case *kind.MinLength:
		return fmt.Sprintf("must be at least %d characters long, has %d", k.Want, k.Got)
	case *kind.MaxLength:
		return fmt.Sprintf("must be at most %d characters long, has %d", k.Want, k.Got)
	case *kind.Pattern:
		return fmt.Sprintf("must match %s", cut(k.Want))
	case *kind.Minimum:
		return "must be at least " + number(k.Want)
	case *kind.Maximum:
		return "must be at most " + number(k.Want)
	case *kind.ExclusiveMinimum:
		return "must be greater than " + number(k.Want)
	case *kind.ExclusiveMaximum:
		return "must be less than " + number(k.Want)
	case *kind.MultipleOf:
		return "must be a multiple of " + number(k.Want)
	case *kind.MinItems:
		return fmt.Sprintf("must have at least %d elements, has %d", k.Want, k.Got)
	case *kind.MaxItems:
		return fmt.Sprintf("must have at most %d elements, has %d", k.Want, k.Got)
	case *kind.UniqueItems:
		return fmt.Sprintf("must not repeat an element: %d and %d are equal", k.Duplicates[0], k.Duplicates[1])
	case *kind.AdditionalItems:
		return fmt.Sprintf("has %d elements too many", k.Count)
	case *kind.Contains:
		return "has no element that matches `contains`"
	case *kind.MinContains:
		return fmt.Sprintf("must have at least %d elements that match `contains`, has %d", k.Want, len(k.Got))
	case *kind.MaxContains:
		return fmt.Sprintf("must have at most %d elements that match `contains`, has %d", k.Want, len(k.Got))
	case *kind.MinProperties:
		return fmt.Sprintf("must have at least %d keys, has %d", k.Want, k.Got)
	case *kind.MaxProperties:
		return fmt.Sprintf("must have at most %d keys, has %d", k.Want, k.Got)
	case *kind.PropertyNames:
		return fmt.Sprintf("must not have the key %s", quote(k.Property))
	case *kind.Dependency:
		return fmt.Sprintf("must have %s because it has %s", quotes(k.Missing), quote(k.Prop))
	case *kind.DependentRequired:
		return fmt.Sprintf("must have %s because it has %s", quotes(k.Missing), quote(k.Prop))
	case *kind.RefCycle:
		return "cannot be checked: the schema refers to itself endlessly"
	}
	if k == nil {
		return "does not match"
	}
	return "does not match " + strings.Join(k.KeywordPath(), "/")
}

func oneOf(values []any) string {
	const most = 10
	parts := make([]string, 0, most)
	for i, v := range values {
		if i == most {
			return strings.Join(parts, ", ") + fmt.Sprintf(" and %d more", len(values)-most)
		}
		parts = append(parts, show(v))
	}
	return strings.Join(parts, ", ")
}

func quotes(names []string) string {
	out := make([]string, len(names))
	for i, n := range names {
		out[i] = quote(n)
	}
	return strings.Join(out, ", ")
}

func quote(s string) string { return show(s) }

func show(v any) string {
	text, err := json.Marshal(v)
	if err != nil {
		return "the given value"
	}
	return cut(string(text))
}

// cut shortens a long string.
func cut(s string) string {
	const most = 120
	if len(s) <= most {
		return s
	}
	return strings.ToValidUTF8(s[:most], "") + "…"
}

func number(r *big.Rat) string {
	if r.IsInt() {
		return cut(r.Num().String())
	}
	if n, exact := r.FloatPrec(); exact && n < 100 {
		return r.FloatString(n)
	}
	return cut(r.RatString())
}

func pointer(at []string) string {
	if len(at) == 0 {
		return ""
	}
	var b strings.Builder
	for _, tok := range at {
		b.WriteByte('/')
		b.WriteString(escape(tok))
	}
	return b.String()
}

func escape(tok string) string {
	return strings.ReplaceAll(strings.ReplaceAll(tok, "~", "~0"), "/", "~1")
}
