package expression

import (
	"strconv"
	"strings"

	"valence/internal/document"
	"valence/internal/expression/exact"
)

// value evaluates a plain path.
func (p *path) value(m *machine) (any, error) {
	text, cell, err := m.find(p)
	if err != nil {
		return nil, err
	}
	if text == "" {
		return m.missing(p, cell)
	}
	known := &m.values[p.source.first+p.place]
	if *known == nil {
		if *known, err = m.fromText(&p.site, text); err != nil {
			return nil, err
		}
	}
	return *known, nil
}

// missing resolves a path that the walk did not find: the result is nil, an
// error, or a value that is not JSON text.
func (m *machine) missing(p *path, c *cell) (any, error) {
	if len(p.steps) == 1 && c.text != "" && c.text[0] == '{' && !p.steps[0].isIndex {
		return nil, nil
	}
	return m.follow(m.value(c), p.steps)
}

func (p *path) number(m *machine) (exact.Number, error) {
	text, cell, err := m.find(p)
	if err != nil {
		return exact.Number{}, err
	}
	if text != "" && (text[0] == '-' || text[0] >= '0' && text[0] <= '9') {
		n, err := exact.Parse(text)
		if err != nil {
			return n, p.site.at(err)
		}
		return n, nil
	}
	var v any
	if text != "" {
		v, err = m.fromText(&p.site, text)
	} else {
		v, err = m.missing(p, cell)
	}
	if err != nil {
		return exact.Number{}, err
	}
	return toNum(&p.site, v)
}

// fromText returns the value of JSON text and charges for its allocation.
func (m *machine) fromText(s *site, text string) (any, error) {
	n := int64(boxBytes)
	if strings.HasPrefix(text, `"`) {
		if err := m.spend(s, int64(len(text))>>7); err != nil {
			return nil, err
		}
		if strings.IndexByte(text, '\\') >= 0 {
			n += int64(len(text))
		}
	}
	if err := m.alloc(s, n); err != nil {
		return nil, err
	}
	return fromText(text), nil
}

// follow applies the steps one after the other.
func (m *machine) follow(v any, steps []step) (any, error) {
	for i := range steps {
		st := &steps[i]
		if v == nil && st.optional {
			return nil, nil
		}
		var err error
		if st.computed != nil {
			v, err = m.computed(v, st)
		} else if st.isIndex {
			v, err = m.index(v, st, st.index)
		} else {
			v, err = m.key(v, st, st.key)
		}
		if err != nil {
			return nil, err
		}
	}
	return v, nil
}

func (m *machine) computed(v any, st *step) (any, error) {
	k, err := st.computed.run(m)
	if err != nil {
		return nil, err
	}
	switch k := k.(type) {
	case string:
		return m.key(v, st, k)
	case document.Number:
		if o := TypeOf(v); o == TypeObject {
			return m.key(v, st, string(k))
		}
		n, err := exact.Parse(string(k))
		if err != nil {
			return nil, st.site.at(err)
		}
		i, ok := n.Int64()
		if !ok || int64(int(i)) != i {
			return nil, st.site.fail("the index of a list must be an integer")
		}
		return m.index(v, st, int(i))
	}
	return nil, st.site.fail("a key must be text or a number, not %s", article(TypeOf(k)))
}

// named returns the key of a step for messages. Computed keys may be secret and
// are not shown.
func (st *step) named() string {
	if st.computed != nil {
		return "a computed key"
	}
	return "`" + st.String() + "`"
}

func (m *machine) key(v any, st *step, key string) (any, error) {
	switch v := v.(type) {
	case nil:
		hint := "?." + key
		if st.computed != nil {
			hint = "?.[…]"
		} else if !plainKey(key) {
			hint = "?.[" + strconv.Quote(key) + "]"
		}
		return nil, st.site.fail("cannot read %s of nil; write `%s` if it may be missing", st.named(), hint)
	case document.Raw:
		if len(v) == 0 || v[0] == '[' {
			break
		}
		if err := m.read(&st.site, len(v)); err != nil {
			return nil, err
		}
		text, ok := "", false
		if st.fold {
			text, ok = lookupFold(string(v), key)
		} else {
			text, ok = lookup(string(v), key)
		}
		if !ok {
			return nil, nil
		}
		return m.fromText(&st.site, text)
	case *document.Object:
		if err := m.spend(&st.site, 1); err != nil {
			return nil, err
		}
		found, ok := v.Get(key)
		for i := 0; !ok && st.fold && i < v.Len(); i++ {
			var k string
			if k, found = v.At(i); strings.EqualFold(k, key) {
				break
			}
			found = nil
		}
		return found, nil
	}
	if t := TypeOf(v); t != TypeList {
		return nil, st.site.fail("cannot read %s of %s", st.named(), article(t))
	}
	return nil, st.site.fail("a list has no key %s; use an index, such as [0], or map(…)", st.named())
}

func lookupFold(s, key string) (text string, ok bool) {
	for it := begin(s); it.next(); {
		if strings.EqualFold(it.key, key) {
			return it.text, true
		}
	}
	return "", false
}

func (m *machine) index(v any, st *step, i int) (any, error) {
	switch v := v.(type) {
	case nil:
		return nil, st.site.fail("cannot read an element of nil; write `?.[…]` if the list may be missing")
	case document.Raw:
		if len(v) == 0 || v[0] == '{' {
			break
		}
		if err := m.read(&st.site, len(v)); err != nil {
			return nil, err
		}
		if i < 0 {
			i += count(string(v))
		}
		if i < 0 {
			return nil, nil
		}
		text, ok := element(string(v), i)
		if !ok {
			return nil, nil
		}
		return m.fromText(&st.site, text)
	case []any:
		if i < 0 {
			i += len(v)
		}
		if i < 0 || i >= len(v) {
			return nil, nil
		}
		return v[i], nil
	}
	t := TypeOf(v)
	if t == TypeObject {
		return nil, st.site.fail("an object has no index; use a key, or list(…) to wrap the object in a list")
	}
	return nil, st.site.fail("cannot read an element of %s", article(t))
}

// plainKey reports whether a key may follow a dot.
func plainKey(key string) bool {
	for i, r := range key {
		if r != '_' && (r|0x20 < 'a' || r|0x20 > 'z') && (i == 0 || r < '0' || r > '9') {
			return false
		}
	}
	return key != ""
}
