package yamltree

import "strings"

// flow reads a value in { } or [ ].
type flow struct {
	p     *parser
	pos   int
	limit int
	depth int
}

// container reads the entries or elements of a node, whose bracket is at pos.
func (f *flow) container(n *Node) {
	list := f.p.text[f.pos] == '['
	close := byte('}')
	if list {
		close = ']'
	}
	f.pos++
	if f.depth++; f.depth > maxDepth {
		f.pos = f.limit
		return
	}
	defer func() { f.depth-- }()
	for {
		f.space()
		switch {
		case f.pos >= f.limit:
			f.cursor(n, list, f.limit)
			return
		case f.p.text[f.pos] == close:
			f.cursor(n, list, f.pos)
			f.pos++
			return
		case f.p.text[f.pos] == ',':
			f.cursor(n, list, f.pos)
			f.pos++
		case f.p.text[f.pos] == '}' || f.p.text[f.pos] == ']':
			f.pos++ // of another level: ignored
		default:
			f.member(n, list)
		}
	}
}

// cursor adds an empty member at the cursor, if it is between the previous member
// and an offset.
func (f *flow) cursor(n *Node, list bool, at int) {
	c := f.p.cursor
	if c < 0 || c > at {
		return
	}
	from := n.From
	if len(n.Children) > 0 {
		from = n.Children[len(n.Children)-1].To
	}
	between := f.p.text[min(from, c):c]
	if c <= from || strings.TrimLeft(between, " \t\r\n") != "" && !strings.HasSuffix(strings.TrimRight(between, " \t\r\n"), ",") &&
		!strings.HasSuffix(strings.TrimRight(between, " \t\r\n"), "{") && !strings.HasSuffix(strings.TrimRight(between, " \t\r\n"), "[") {
		return
	}
	n.Children = append(n.Children, &Node{Parent: n, Item: list, Flow: true, From: c, To: c, Span: Span{c, c}, Indent: n.Indent + 1})
}

func (f *flow) space() {
	for f.pos < f.limit {
		switch c := f.p.text[f.pos]; {
		case c == ' ' || c == '\t' || c == '\n' || c == '\r':
			f.pos++
		case c == '#' && f.pos > 0 && (f.p.text[f.pos-1] == ' ' || f.p.text[f.pos-1] == '\n'):
			for f.pos < f.limit && f.p.text[f.pos] != '\n' {
				f.pos++
			}
		default:
			return
		}
	}
}

// member reads one entry or element.
func (f *flow) member(parent *Node, list bool) {
	start := f.pos
	n := &Node{Parent: parent, Item: list, Flow: true, Indent: parent.Indent + 1, From: start}
	parent.Children = append(parent.Children, n)
	member := n
	defer func() { member.To = max(f.pos, start+1) }()
	if c := f.p.text[f.pos]; c == '{' || c == '[' {
		f.container(n)
		return
	}
	text, span := f.word()
	if f.pos == start {
		f.pos++ // no progress is possible
		return
	}
	save := f.pos
	f.space()
	if f.pos < f.limit && f.p.text[f.pos] == ':' {
		f.pos++
		if list { // [ a: b ] is a list of maps with one entry
			n = f.single(n, start)
		}
		n.Key, n.KeySpan = text, span
		f.value(n)
		n.To = max(n.To, f.pos)
		return
	}
	f.pos = save
	n.Value, n.Span = text, span
}

// single returns the entry of an element that is a map with one entry.
func (f *flow) single(item *Node, start int) *Node {
	n := &Node{Parent: item, Flow: true, Indent: item.Indent + 1, From: start, To: f.pos}
	item.Children = append(item.Children, n)
	return n
}

// value reads the value after the colon of an entry.
func (f *flow) value(n *Node) {
	defer func() { n.To = max(n.To, f.pos) }()
	colon := f.pos
	for f.pos < f.limit && f.p.text[f.pos] == ' ' {
		f.pos++
	}
	n.Span = f.p.gap(colon, f.pos)
	f.space()
	if f.pos >= f.limit {
		return
	}
	switch c := f.p.text[f.pos]; c {
	case '{', '[':
		f.container(n)
	case ',', '}', ']':
	default:
		n.Value, n.Span = f.word()
	}
}

// word reads a scalar. An expression in it may contain commas and brackets only
// if it is quoted, but they are read as part of it while it is being written.
func (f *flow) word() (string, Span) {
	at := f.pos
	if q := f.p.text[at]; q == '"' || q == '\'' {
		close := closing(f.p.text, at, f.limit)
		if close < 0 {
			close = f.p.end(at)
			close = min(close, f.limit)
			f.pos = close
		} else {
			f.pos = close + 1
		}
		s := Span{at + 1, max(at+1, close)}
		return f.p.text[s.From:s.To], s
	}
	for f.pos < f.limit {
		c := f.p.text[f.pos]
		if c == ',' || c == '}' || c == ']' || c == '\n' || c == '{' && f.p.text[f.pos-1] != '$' ||
			c == ':' && (f.pos+1 >= f.limit || strings.IndexByte(" \t\n,}]", f.p.text[f.pos+1]) >= 0) || c == '#' && f.p.text[f.pos-1] == ' ' {
			break
		}
		if c == '{' {
			f.expression()
			continue
		}
		f.pos++
	}
	text := strings.TrimRight(f.p.text[at:f.pos], " \t\r")
	return text, Span{at, at + len(text)}
}

// expression skips an expression from its bracket to the closing one in the line.
func (f *flow) expression() {
	end := min(f.p.end(f.pos), f.limit)
	if i := strings.IndexByte(f.p.text[f.pos:end], '}'); i >= 0 {
		f.pos += i + 1
		return
	}
	f.pos = end
}
