package expression

import (
	"valence/internal/document"
	"valence/internal/fault"
)

// field is one key of a mapping at compile time.
type field struct {
	name  string
	quote string // the key as JSON, with its colon
	pos   fault.Pos
	value *writer
}

func (c *compiler) fieldsOf(keys []Key, depth int) []field {
	out := make([]field, len(keys))
	for i, k := range keys {
		out[i] = field{
			name:  k.Name,
			quote: string(append(document.AppendString(nil, k.Name), ':')),
			pos:   k.Pos,
			value: c.tree(k.Value, depth+1),
		}
	}
	return out
}

// fields compiles a mapping without directives. Constant output is joined into
// one text.
func (c *compiler) fields(n *Node, keys []Key, depth int) *writer {
	fields := c.fieldsOf(keys, depth)
	for _, f := range fields {
		if f.value.omits {
			return optionalFields(n, fields)
		}
	}
	type piece struct {
		before string
		value  func(m *machine, dst []byte) ([]byte, error)
	}
	var pieces []piece
	constant := []byte("{")
	for i, f := range fields {
		if i > 0 {
			constant = append(constant, ',')
		}
		constant = append(constant, f.quote...)
		if f.value.fixed != nil {
			constant = append(constant, f.value.fixed...)
			continue
		}
		pieces = append(pieces, piece{string(constant), f.value.write})
		constant = constant[:0]
	}
	text := string(append(constant, '}'))
	out := &writer{site: site{pos: n.Pos}, shape: objectShape(fields)}
	if len(pieces) == 0 {
		out.fixed = []byte(text)
		out.write = func(m *machine, dst []byte) ([]byte, error) { return m.literal(&out.site, dst, text) }
		return out
	}
	out.write = func(m *machine, dst []byte) ([]byte, error) {
		var err error
		for i := range pieces {
			p := &pieces[i]
			if dst, err = m.literal(&out.site, dst, p.before); err != nil {
				return dst, err
			}
			if dst, err = p.value(m, dst); err != nil {
				return dst, err
			}
		}
		return m.literal(&out.site, dst, text)
	}
	return out
}

// literal appends text and charges for it.
func (m *machine) literal(s *site, dst []byte, text string) ([]byte, error) {
	if m.bytes -= int64(len(text)); m.bytes < 0 {
		return dst, m.alloc(s, 0)
	}
	return append(dst, text...), nil
}

// optionalFields returns a writer for a mapping with keys that may be omitted.
func optionalFields(n *Node, fields []field) *writer {
	out := &writer{site: site{pos: n.Pos}, shape: objectShape(fields)}
	out.write = func(m *machine, dst []byte) ([]byte, error) {
		dst, err := m.literal(&out.site, dst, "{")
		start := len(dst)
		for i := range fields {
			if err != nil {
				return dst, err
			}
			dst, err = m.field(&out.site, dst, start, &fields[i])
		}
		if err != nil {
			return dst, err
		}
		return m.literal(&out.site, dst, "}")
	}
	return out
}

// field writes a key with its value, or nothing if the value is omitted.
func (m *machine) field(s *site, dst []byte, start int, f *field) ([]byte, error) {
	before := len(dst)
	if before > start {
		dst = append(dst, ',')
	}
	dst, err := m.literal(s, dst, f.quote)
	if err != nil {
		return dst, err
	}
	if dst, err = f.value.append(m, dst); err != nil {
		return dst, err
	}
	if m.omit {
		m.omit = false
		dst = dst[:before]
	}
	return dst, nil
}

func (w *writer) append(m *machine, dst []byte) ([]byte, error) {
	if w.fixed != nil {
		return m.literal(&w.site, dst, string(w.fixed))
	}
	return w.write(m, dst)
}

// merged returns a writer for an object with some keys replaced and others
// added.
func (c *compiler) merged(n *Node, base *node, keys []Key, depth int) *writer {
	fields := c.fieldsOf(keys, depth)
	index := make(map[string]int, len(fields))
	for i, f := range fields {
		index[f.name] = i
	}
	out := &writer{site: base.site, shape: objectShape(fields)}
	out.shape.Open = true
	out.write = func(m *machine, dst []byte) ([]byte, error) {
		v, err := base.run(m)
		if err != nil {
			return dst, err
		}
		return m.merge(&base.site, dst, v, fields, index)
	}
	return out
}

func (m *machine) merge(s *site, dst []byte, v any, fields []field, index map[string]int) ([]byte, error) {
	switch t := TypeOf(v); t {
	case TypeObject:
	case TypeNull:
		return dst, s.fail("$merge needs an object, got nil; write … ?? {} if it may be missing")
	default:
		return dst, s.fail("$merge needs an object, got %s", article(t))
	}
	dst, err := m.literal(s, dst, "{")
	if err != nil {
		return dst, err
	}
	start := len(dst)
	if err := m.alloc(s, int64(len(fields))); err != nil {
		return dst, err
	}
	written := make([]bool, len(fields))
	copied := func(key string, write func(dst []byte) ([]byte, error)) error {
		if i, ok := index[key]; ok {
			written[i] = true
			dst, err = m.field(s, dst, start, &fields[i])
			return err
		}
		if err := m.alloc(s, int64(len(key))+4); err != nil {
			return err
		}
		if len(dst) > start {
			dst = append(dst, ',')
		}
		dst = append(document.AppendString(dst, key), ':')
		dst, err = write(dst)
		return err
	}
	if err := m.eachMember(s, v, copied); err != nil {
		return dst, err
	}
	for i := range fields {
		if !written[i] {
			if dst, err = m.field(s, dst, start, &fields[i]); err != nil {
				return dst, err
			}
		}
	}
	return m.literal(s, dst, "}")
}

// eachMember calls f for the members of an object, with a function that appends
// the value.
func (m *machine) eachMember(s *site, v any, f func(key string, write func(dst []byte) ([]byte, error)) error) error {
	switch v := v.(type) {
	case document.Raw:
		if err := m.read(s, len(v)); err != nil {
			return err
		}
		for it := begin(string(v)); it.next(); {
			if err := f(it.key, func(dst []byte) ([]byte, error) { return m.literal(s, dst, it.text) }); err != nil {
				return err
			}
		}
	case *document.Object:
		for i := range v.Len() {
			key, e := v.At(i)
			if err := f(key, func(dst []byte) ([]byte, error) { return m.json(s, dst, e) }); err != nil {
				return err
			}
		}
	}
	return nil
}

// guarded returns a writer that omits a mapping if its $when is false.
func guarded(body *writer, when *node) *writer {
	cond := when.boolean("$when")
	return &writer{omits: true, site: body.site, shape: body.shape, write: func(m *machine, dst []byte) ([]byte, error) {
		ok, err := cond(m)
		if err != nil {
			return dst, err
		}
		if !ok {
			m.omit = true
			return dst, nil
		}
		return body.append(m, dst)
	}}
}

// repeated returns a writer for a list with one body per element.
func repeated(body *writer, list *node, element int) *writer {
	out := &writer{spreads: true, site: list.site, shape: &Shape{Type: TypeList, Item: body.shape}}
	s := &list.site
	out.write = func(m *machine, dst []byte) ([]byte, error) {
		v, err := list.run(m)
		if err != nil {
			return dst, err
		}
		if dst, err = m.literal(s, dst, "["); err != nil {
			return dst, err
		}
		start := len(dst)
		one := func() (bool, error) {
			before := len(dst)
			if before > start {
				dst = append(dst, ',')
			}
			if dst, err = body.append(m, dst); err != nil {
				return false, err
			}
			if m.omit {
				m.omit = false
				dst = dst[:before]
			}
			return true, nil
		}
		switch TypeOf(v) {
		case TypeNull:
			return dst, s.fail("$each needs a list, got nil; write … ?? [] if it may be missing")
		case TypeObject: // XML has no list for a single element
			m.cells[element].setValue(v, 0)
			_, err = one()
		case TypeList:
			err = m.each(s, v, element, one)
		default:
			return dst, s.fail("$each needs a list, got %s", article(TypeOf(v)))
		}
		if err != nil {
			return dst, err
		}
		return m.literal(s, dst, "]")
	}
	return out
}

// sequence compiles a list.
func (c *compiler) sequence(n *Node, depth int) *writer {
	items := make([]*writer, len(n.Items))
	fixed := []byte{'['}
	for i, item := range n.Items {
		items[i] = c.tree(item, depth+1)
		if i > 0 && fixed != nil {
			fixed = append(fixed, ',')
		}
		if items[i].fixed == nil {
			fixed = nil
		} else if fixed != nil {
			fixed = append(fixed, items[i].fixed...)
		}
	}
	out := &writer{site: site{pos: n.Pos}, shape: listShape(items)}
	if fixed != nil {
		out.fixed = append(fixed, ']')
	}
	out.write = func(m *machine, dst []byte) ([]byte, error) {
		dst, err := m.literal(&out.site, dst, "[")
		if err != nil {
			return dst, err
		}
		start := len(dst)
		for _, item := range items {
			before := len(dst)
			if before > start {
				dst = append(dst, ',')
			}
			if dst, err = item.append(m, dst); err != nil {
				return dst, err
			}
			switch {
			case m.omit:
				m.omit = false
				dst = dst[:before]
			case item.spreads:
				dst = spread(dst, before, start)
			}
		}
		return m.literal(&out.site, dst, "]")
	}
	return out
}

// spread removes the brackets of a list that was written after a comma at
// before, and the comma as well if the list is empty.
func spread(dst []byte, before, start int) []byte {
	open := before
	if before > start {
		open++
	}
	if len(dst)-open == 2 {
		return dst[:before]
	}
	copy(dst[open:], dst[open+1:len(dst)-1])
	return dst[:len(dst)-2]
}

// scalarWriter returns a writer for a scalar. A plain path is copied from the
// document's text.
func (c *compiler) scalarWriter(s *scalar) *writer {
	out := &writer{omits: s.omits, site: s.site, shape: &Shape{}}
	if len(s.parts) > 0 {
		out.shape.Type = TypeText
	}
	if s.fixed {
		out.fixed = document.AppendJSON(nil, s.value)
		out.shape = &Shape{Type: TypeOf(s.value), Fixed: out.fixed}
		return out
	}
	switch {
	case s.path != nil:
		p := s.path
		out.write = func(m *machine, dst []byte) ([]byte, error) {
			text, cell, err := m.find(p)
			if err != nil {
				return dst, err
			}
			if text == "" && len(p.steps) == 0 {
				text = cell.text
			}
			if text != "" {
				return m.literal(&p.site, dst, text)
			}
			v, err := m.missing(p, cell)
			if err != nil {
				return dst, err
			}
			return m.json(&p.site, dst, v)
		}
	case s.num != nil:
		out.write = func(m *machine, dst []byte) ([]byte, error) {
			n, err := s.num(m)
			if err != nil {
				return dst, err
			}
			if n.Small() {
				return n.Append(dst), m.alloc(&out.site, 20)
			}
			return m.literal(&out.site, dst, string(n.Text()))
		}
	default:
		out.write = func(m *machine, dst []byte) ([]byte, error) {
			v, err := s.run(m)
			if err != nil {
				return dst, err
			}
			if _, ok := v.(omitted); ok {
				m.omit = true
				return dst, nil
			}
			return m.json(&out.site, dst, v)
		}
	}
	return out
}

// json appends a value as JSON text and charges for it first.
func (m *machine) json(s *site, dst []byte, v any) ([]byte, error) {
	n, err := m.jsonSize(s, v, 0)
	if err != nil {
		return dst, s.at(err)
	}
	if err := m.alloc(s, int64(n)); err != nil {
		return dst, err
	}
	return document.AppendJSON(dst, v), nil
}
