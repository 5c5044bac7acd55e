package expression

import (
	"errors"
	"sort"
	"strings"

	"valence/internal/document"
	"valence/internal/expression/exact"
	"valence/internal/fault"
)

// Equal reports whether two values are equal: numbers by value, objects
// regardless of key order. Values of different types are never equal.
func Equal(a, b any) bool {
	m := &machine{}
	m.start(&Env{Steps: 1 << 60, Bytes: 1 << 60})
	same, err := m.equal(&site{}, a, b, 0)
	return err == nil && same
}

// Text returns a value as it appears within text: text itself, the digits of a
// number, true or false. Nil, lists and objects are errors.
func Text(v any) (string, error) {
	switch v := v.(type) {
	case string:
		return v, nil
	case document.Number:
		return string(v), nil
	case bool:
		if v {
			return "true", nil
		}
		return "false", nil
	case nil:
		return "", errors.New("nil cannot be converted to text; add a default with ?? if it may be missing")
	}
	return "", errors.New(article(TypeOf(v)) + " cannot be converted to text; use json(…) to get JSON text")
}

// maxNesting is the maximum depth of a value that an expression builds.
const maxNesting = 512

// export charges for a value that leaves the expression. The caller will write
// it in full, even if it contains the same list many times. It must therefore
// fit the budget and the maximum depth of a document.
func (m *machine) export(s *site, v any) error {
	switch v.(type) {
	case []any, *document.Object:
		n, err := m.jsonSize(s, v, 0)
		if err != nil {
			return s.at(err)
		}
		return m.alloc(s, int64(n))
	}
	return nil
}

// list returns the elements of a list; ok is false for other values. The caller
// must not modify the slice.
func (m *machine) list(s *site, v any) (list []any, ok bool, err error) {
	switch v := v.(type) {
	case []any:
		return v, true, nil
	case document.Raw:
		if len(v) == 0 || v[0] != '[' {
			return nil, false, nil
		}
		list, err := m.decode(s, v)
		return list, true, err
	}
	return nil, false, nil
}

// decode returns the elements of a list that is still text. It remembers the
// last few lists for nested loops.
func (m *machine) decode(s *site, raw document.Raw) ([]any, error) {
	for _, d := range m.lists {
		if d.list != nil && sameText(string(d.raw), string(raw)) {
			return d.list, nil
		}
	}
	if err := m.read(s, len(raw)); err != nil {
		return nil, err
	}
	n := count(string(raw))
	if err := m.alloc(s, int64(n)*2*boxBytes+boxBytes); err != nil {
		return nil, err
	}
	list := make([]any, 0, n)
	for it := begin(string(raw)); it.next(); {
		v, err := m.fromText(s, it.text)
		if err != nil {
			return nil, err
		}
		list = append(list, v)
	}
	m.lists[m.oldest] = decoded{raw, list}
	m.oldest = (m.oldest + 1) % len(m.lists)
	return list, nil
}

// object returns an object; ok is false for other values.
func (m *machine) object(s *site, v any) (o *document.Object, ok bool, err error) {
	switch v := v.(type) {
	case *document.Object:
		return v, true, nil
	case document.Raw:
		if len(v) == 0 || v[0] != '{' {
			return nil, false, nil
		}
		if err := m.read(s, len(v)); err != nil {
			return nil, false, err
		}
		if err := m.alloc(s, int64(count(string(v)))*2*memberBytes+int64(len(v))); err != nil {
			return nil, false, err
		}
		o, ok := document.Decode(v).(*document.Object)
		return o, ok, nil
	}
	return nil, false, nil
}

func toNum(s *site, v any) (exact.Number, error) {
	if text, ok := v.(document.Number); ok {
		n, err := exact.Parse(string(text))
		if err != nil {
			return n, s.at(err)
		}
		return n, nil
	}
	return exact.Number{}, s.mismatch(TypeNumber, v)
}

// mismatch returns the failure of a value that does not have the type want.
func (s *site) mismatch(want Type, v any) error {
	switch t := TypeOf(v); {
	case v == nil:
		return s.fail("expected %s, got nil; add a default with ?? if it may be missing", article(want))
	case want == TypeNumber && t == TypeText:
		return s.fail("expected a number, got text; use number(…) to convert it")
	case want == TypeText && t == TypeNumber:
		return s.fail("expected text, got a number; use string(…) to convert it")
	case want == TypeText && (t == TypeList || t == TypeObject):
		return s.fail("expected text, got %s; use json(…) to convert it", article(t))
	case want == TypeList && t == TypeObject:
		return s.fail("expected a list, got an object; use list(…) to wrap it in a list, or toPairs(…) to list its members")
	default:
		return s.fail("expected %s, got %s", article(want), article(t))
	}
}

// equal compares two values of any depth.
func (m *machine) equal(s *site, a, b any, depth int) (bool, error) {
	if depth > 2*maxNesting {
		return false, s.failure(fault.CodeLimit, "the values are nested too deeply to compare", nil)
	}
	switch a := a.(type) {
	case nil:
		return b == nil, nil
	case bool:
		y, ok := b.(bool)
		return ok && a == y, nil
	case string:
		y, ok := b.(string)
		if !ok || len(a) != len(y) {
			return false, nil
		}
		if len(a) < 1024 {
			return a == y, nil
		}
		return a == y, m.read(s, len(a))
	case document.Number:
		y, ok := b.(document.Number)
		if !ok || a == y {
			return ok, nil
		}
		return m.equalNumbers(s, a, y)
	}
	x, xok, err := m.list(s, a)
	if err != nil {
		return false, err
	}
	y, yok, err := m.list(s, b)
	if err != nil || xok != yok {
		return false, err
	}
	if xok {
		return m.equalLists(s, x, y, depth)
	}
	return m.equalObjects(s, a, b, depth)
}

func (m *machine) equalNumbers(s *site, a, b document.Number) (bool, error) {
	x, err := exact.Parse(string(a))
	if err != nil {
		return false, s.at(err)
	}
	y, err := exact.Parse(string(b))
	if err != nil {
		return false, s.at(err)
	}
	return exact.Compare(x, y) == 0, m.spend(s, cost(x, y)-1)
}

func (m *machine) equalLists(s *site, x, y []any, depth int) (bool, error) {
	if len(x) != len(y) {
		return false, nil
	}
	if err := m.spend(s, int64(len(x))>>2+1); err != nil {
		return false, err
	}
	for i := range x {
		if same, err := m.equal(s, x[i], y[i], depth+1); !same || err != nil {
			return false, err
		}
	}
	return true, nil
}

func (m *machine) equalObjects(s *site, a, b any, depth int) (bool, error) {
	x, ok, err := m.object(s, a)
	if err != nil || !ok {
		return false, err
	}
	y, ok, err := m.object(s, b)
	if err != nil || !ok || x.Len() != y.Len() {
		return false, err
	}
	if err := m.spend(s, int64(x.Len())>>2+1); err != nil {
		return false, err
	}
	for i := range x.Len() {
		k, v := x.At(i)
		w, ok := y.Get(k)
		if !ok {
			return false, nil
		}
		if same, err := m.equal(s, v, w, depth+1); !same || err != nil {
			return false, err
		}
	}
	return true, nil
}

// compare orders two numbers or two texts, text by code points. The caller
// charges the step for the comparison.
func (m *machine) compare(s *site, a, b any) (int, error) {
	switch x := a.(type) {
	case document.Number:
		if y, ok := b.(document.Number); ok {
			p, err := toNum(s, x)
			if err != nil {
				return 0, err
			}
			q, err := toNum(s, y)
			if err != nil {
				return 0, err
			}
			return exact.Compare(p, q), m.spend(s, cost(p, q)-1)
		}
	case string:
		if y, ok := b.(string); ok {
			return strings.Compare(x, y), m.spend(s, int64(min(len(x), len(y)))>>7)
		}
	}
	return 0, s.unordered(TypeOf(a), TypeOf(b))
}

func (s *site) unordered(a, b Type) error {
	if a == b && a != TypeNull {
		return s.fail("%ss cannot be ordered: only numbers and text can", a)
	}
	hint := ""
	switch {
	case a == TypeNull || b == TypeNull:
		hint = "; add a default with ?? if it may be missing"
	case a == TypeText && b == TypeNumber || a == TypeNumber && b == TypeText:
		hint = "; use number(…) to convert text to a number"
	}
	return s.fail("cannot compare %s with %s%s", article(a), article(b), hint)
}

// canonical appends text that is equal exactly for equal values.
func (m *machine) canonical(s *site, dst []byte, v any, depth int) ([]byte, error) {
	if depth > 2*maxNesting {
		return nil, s.failure(fault.CodeLimit, "the values are nested too deeply to compare", nil)
	}
	switch v := v.(type) {
	case nil, bool:
		return document.AppendJSON(dst, v), nil
	case string:
		if err := m.alloc(s, int64(len(v))); err != nil {
			return nil, err
		}
		return document.AppendString(dst, v), m.read(s, len(v))
	case document.Number:
		n, err := exact.Parse(string(v))
		if err != nil {
			return nil, s.at(err)
		}
		if err := m.charge(s, n, n); err != nil {
			return nil, err
		}
		return append(dst, n.Text()...), nil
	}
	list, ok, err := m.list(s, v)
	if err != nil {
		return nil, err
	}
	if ok {
		if err := m.spend(s, int64(len(list))>>2+1); err != nil {
			return nil, err
		}
		dst = append(dst, '[')
		for _, e := range list {
			if dst, err = m.canonical(s, dst, e, depth+1); err != nil {
				return nil, err
			}
			dst = append(dst, ',')
		}
		return append(dst, ']'), nil
	}
	o, _, err := m.object(s, v)
	if err != nil {
		return nil, err
	}
	return m.canonicalObject(s, dst, o, depth)
}

// canonicalObject appends an object with its keys sorted.
func (m *machine) canonicalObject(s *site, dst []byte, o *document.Object, depth int) ([]byte, error) {
	if err := m.spend(s, int64(o.Len())>>2+1); err != nil {
		return nil, err
	}
	order := make([]int, o.Len())
	for i := range order {
		order[i] = i
	}
	sort.Slice(order, func(i, j int) bool {
		a, _ := o.At(order[i])
		b, _ := o.At(order[j])
		return a < b
	})
	dst = append(dst, '{')
	for _, i := range order {
		k, e := o.At(i)
		dst = append(document.AppendString(dst, k), ':')
		var err error
		if dst, err = m.canonical(s, dst, e, depth+1); err != nil {
			return nil, err
		}
		dst = append(dst, ',')
	}
	return append(dst, '}'), nil
}

// cost returns the steps of one arithmetic operation.
func cost(a, b exact.Number) int64 {
	if a.Small() && b.Small() {
		return 1
	}
	d := a.Digits() + b.Digits()
	return 1 + d*d/16_384
}

// charge charges for one arithmetic operation.
func (m *machine) charge(s *site, a, b exact.Number) error {
	if err := m.spend(s, cost(a, b)); err != nil {
		return err
	}
	if a.Small() && b.Small() {
		return nil
	}
	return m.alloc(s, 4*(a.Digits()+b.Digits())+256)
}

// scalarKey returns text, or the digits of a number, as a key.
func scalarKey(v any) (string, bool) {
	switch v := v.(type) {
	case string:
		return v, true
	case document.Number:
		return string(v), true
	}
	return "", false
}
