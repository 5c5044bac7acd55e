// Package yamltree parses YAML text that is being written: it never fails, and
// unfinished lines do not hide the rest of the file. Its trees have the positions
// of keys and values, and are for editors only. Package strictyaml decides which
// text is valid.
package yamltree

import "strings"

// Span is a part of a text, as byte offsets.
type Span struct{ From, To int }

// Has reports whether an offset is in the span or directly after it.
func (s Span) Has(offset int) bool { return s.From <= offset && offset <= s.To }

// Node is a document, an entry of a map, an element of a list, or a scalar.
type Node struct {
	Parent   *Node
	Children []*Node
	Key      string // of an entry of a map; empty if there is none
	KeySpan  Span   // without quotes
	Value    string // of a scalar, without quotes
	Span     Span   // of the scalar: without quotes, and for a block with its lines
	Item     bool   // an element of a list
	Indent   int    // columns before it
	From, To int    // the whole node
	Flow     bool   // within { } or [ ]
	Block    bool   // the scalar is a | or > block
}

// Entry returns the child with a key, or nil.
func (n *Node) Entry(key string) *Node {
	if n == nil {
		return nil
	}
	for _, c := range n.Children {
		if c.Key == key && !c.Item {
			return c
		}
	}
	return nil
}

// Text returns the scalar value of the child with a key, or "".
func (n *Node) Text(key string) string {
	if e := n.Entry(key); e != nil {
		return e.Value
	}
	return ""
}

// Items returns the elements of a list.
func (n *Node) Items() []*Node {
	if n == nil {
		return nil
	}
	var out []*Node
	for _, c := range n.Children {
		if c.Item {
			out = append(out, c)
		}
	}
	return out
}

// Walk calls f for the node and everything below it, in the order of the text.
// If f returns false, the nodes below are skipped.
func (n *Node) Walk(f func(*Node) bool) {
	if !f(n) {
		return
	}
	for _, c := range n.Children {
		c.Walk(f)
	}
}

// At returns the innermost node whose key or scalar has the offset, or nil.
func At(docs []*Node, offset int) *Node {
	for _, d := range docs {
		if offset < d.From || offset > d.To {
			continue
		}
		if n := d.at(offset); n != nil {
			return n
		}
	}
	return nil
}

func (n *Node) at(offset int) *Node {
	for _, c := range n.Children {
		if offset < c.From || offset > c.To {
			continue
		}
		if found := c.at(offset); found != nil {
			return found
		}
	}
	if n.Key != "" && n.KeySpan.Has(offset) || n.Span.To > n.Span.From && n.Span.Has(offset) {
		return n
	}
	return nil
}

// Parse returns the documents of a text.
func Parse(text string) []*Node { return ParseWith(text, -1) }

// ParseWith is Parse for a text with a cursor. An empty line with the cursor
// has an empty node, whose indent is the column of the cursor.
func ParseWith(text string, cursor int) []*Node {
	p := &parser{text: text, cursor: cursor}
	p.begin(0)
	for p.pos < len(text) {
		p.line()
	}
	if cursor == len(text) && (text == "" || strings.HasSuffix(text, "\n")) {
		p.empty(p.pos, 0)
	}
	p.finish(len(text))
	return p.docs
}

// maxDepth is the number of levels that are read; deeper ones are invalid anyway.
const maxDepth = 100

// parser reads a text line by line.
type parser struct {
	text   string
	cursor int
	pos    int
	docs   []*Node
	stack  []*Node // the open nodes, from the document inwards
}

func (p *parser) begin(at int) {
	d := &Node{Indent: -1, From: at, To: at}
	p.docs = append(p.docs, d)
	p.stack = []*Node{d}
}

func (p *parser) finish(at int) {
	for _, n := range p.stack {
		n.To = max(n.To, at)
	}
}

// end returns the offset of the end of the line at an offset, without its break.
func (p *parser) end(at int) int {
	if i := strings.IndexByte(p.text[at:], '\n'); i >= 0 {
		at += i
		if at > 0 && p.text[at-1] == '\r' {
			return at - 1
		}
		return at
	}
	return len(p.text)
}

// next returns the offset of the next line.
func (p *parser) next(at int) int {
	if i := strings.IndexByte(p.text[at:], '\n'); i >= 0 {
		return at + i + 1
	}
	return len(p.text)
}

// line reads one line, and all lines of a value that begins in it.
func (p *parser) line() {
	start, end := p.pos, p.end(p.pos)
	if end < start {
		end = start
	}
	line := p.text[start:end]
	if strings.HasPrefix(line, "---") && (len(line) == 3 || line[3] == ' ') {
		p.finish(start)
		p.begin(start)
		p.pos = p.next(start)
		return
	}
	indent := 0
	for indent < len(line) && (line[indent] == ' ' || line[indent] == '\t') {
		indent++
	}
	rest := line[indent:]
	if strings.TrimSpace(rest) == "" {
		if p.cursor >= start && p.cursor <= end {
			p.empty(p.cursor, p.cursor-start)
		}
		p.pos = p.next(start)
		return
	}
	if rest[0] == '#' {
		p.pos = p.next(start)
		return
	}
	p.pos = p.next(start)
	p.entry(start+indent, indent, end)
}

// empty adds an empty node for the cursor.
func (p *parser) empty(at, indent int) {
	parent := p.open(indent, false)
	n := &Node{Parent: parent, Indent: indent, From: at, To: at, Span: Span{at, at}}
	parent.Children = append(parent.Children, n)
}

// open closes the nodes that end before a node with an indent, and returns its parent.
func (p *parser) open(indent int, item bool) *Node {
	for len(p.stack) > 1 {
		top := p.stack[len(p.stack)-1]
		if top.Indent < indent || item && top.Indent == indent && !top.Item && top.Value == "" {
			break
		}
		p.stack = p.stack[:len(p.stack)-1]
	}
	return p.stack[len(p.stack)-1]
}

// push adds a node below its parent and opens it.
func (p *parser) push(n *Node) {
	n.Parent = p.open(n.Indent, n.Item)
	n.Parent.Children = append(n.Parent.Children, n)
	p.stack = append(p.stack, n)
	p.cover(n)
}

// cover extends the ancestors of a node to its end.
func (p *parser) cover(n *Node) {
	for a := n; a != nil; a = a.Parent {
		a.To = max(a.To, n.To)
	}
}

// entry reads an element, an entry or a scalar that begins at an offset.
func (p *parser) entry(at, indent, end int) {
	if len(p.stack) > maxDepth && p.stack[len(p.stack)-1].Indent < indent {
		return
	}
	rest := p.text[at:end]
	if rest[0] == '-' && (len(rest) == 1 || rest[1] == ' ' || rest[1] == '\t') {
		n := &Node{Item: true, Indent: indent, From: at, To: end}
		p.push(n)
		skip := 1
		for skip < len(rest) && rest[skip] == ' ' {
			skip++
		}
		if skip == len(rest) || rest[skip] == '#' {
			if p.cursor > at && p.cursor <= end {
				p.empty(p.cursor, indent+max(2, p.cursor-at))
			}
			return
		}
		p.entry(at+skip, indent+skip, end)
		return
	}
	key, keySpan, after := keyOf(p.text, at, end)
	if after < 0 {
		p.scalar(&Node{Indent: indent, From: at, To: end}, at, end)
		return
	}
	n := &Node{Key: key, KeySpan: keySpan, Indent: indent, From: at, To: end}
	colon := after
	for after < end && (p.text[after] == ' ' || p.text[after] == '\t') {
		after++
	}
	if after >= end || p.text[after] == '#' {
		n.Span = p.gap(colon, after)
		p.push(n)
		return
	}
	p.scalar(n, after, end)
}

// gap returns the place of a missing value: at the cursor if it is in the gap.
func (p *parser) gap(from, to int) Span {
	if p.cursor >= from && p.cursor <= to {
		return Span{p.cursor, p.cursor}
	}
	return Span{to, to}
}

// keyOf returns the key of an entry in a line, and the offset after its colon;
// -1 if there is none.
func keyOf(text string, at, end int) (string, Span, int) {
	if q := text[at]; q == '"' || q == '\'' {
		close := closing(text, at, end)
		if close < 0 || close+1 >= end || text[close+1] != ':' {
			return "", Span{}, -1
		}
		return text[at+1 : close], Span{at + 1, close}, close + 2
	}
	if text[at] == '{' || text[at] == '[' {
		return "", Span{}, -1
	}
	for i := at; i < end; i++ {
		switch {
		case text[i] == '#' && i > at && text[i-1] == ' ':
			return "", Span{}, -1
		case text[i] == ':' && (i+1 == end || text[i+1] == ' ' || text[i+1] == '\t'):
			return text[at:i], Span{at, i}, i + 1
		case text[i] == '$' && i+1 < end && text[i+1] == '{':
			return "", Span{}, -1
		}
	}
	return "", Span{}, -1
}

// closing returns the offset of the quote that closes the one at an offset, or -1.
func closing(text string, at, end int) int {
	q := text[at]
	for i := at + 1; i < end; i++ {
		switch {
		case q == '"' && text[i] == '\\':
			i++
		case text[i] == q && q == '\'' && i+1 < end && text[i+1] == q:
			i++
		case text[i] == q:
			return i
		}
	}
	return -1
}

// scalar reads a value other than a nested block: a scalar or a flow value.
func (p *parser) scalar(n *Node, at, end int) {
	switch c := p.text[at]; c {
	case '{', '[':
		p.push(n)
		f := &flow{p: p, pos: at, limit: p.limit(n.Indent)}
		f.container(n)
		n.To = max(n.To, f.pos)
		p.skipTo(f.pos)
	case '"', '\'':
		close := closing(p.text, at, end)
		if close < 0 {
			close = closing(p.text, at, p.limit(n.Indent))
		}
		if close < 0 {
			close = end
		}
		n.Span = Span{at + 1, max(at+1, close)}
		n.Value = p.text[n.Span.From:n.Span.To]
		n.To = max(n.To, close)
		p.push(n)
		p.skipTo(close)
	case '|', '>':
		limit := p.limit(n.Indent)
		n.Block, n.Span = true, Span{at, limit}
		n.Value, n.To = p.text[at:limit], limit
		p.push(n)
		p.skipTo(limit)
	default:
		stop := end
		if i := strings.Index(p.text[at:end], " #"); i >= 0 {
			stop = at + i
		}
		n.Value = strings.TrimRight(p.text[at:stop], " \t")
		n.Span = Span{at, at + len(n.Value)}
		p.push(n)
	}
	p.cover(n)
}

// limit returns the end of the lines that may continue a value of a node with an
// indent: those that are indented more, or blank.
func (p *parser) limit(indent int) int {
	last := p.end(max(p.pos-1, 0))
	if p.pos == len(p.text) {
		last = len(p.text)
	}
	for at := p.pos; at < len(p.text); at = p.next(at) {
		end := p.end(at)
		line := p.text[at:max(at, end)]
		trimmed := strings.TrimLeft(line, " \t")
		if trimmed == "" {
			continue
		}
		if len(line)-len(trimmed) <= indent {
			break
		}
		last = end
	}
	return last
}

// skipTo continues with the line after an offset.
func (p *parser) skipTo(at int) {
	for p.pos < len(p.text) && p.pos <= at {
		p.pos = p.next(p.pos)
	}
}
