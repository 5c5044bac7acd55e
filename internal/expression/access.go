package expression

import (
	"math"
	"slices"
	"strconv"
	"strings"

	"github.com/expr-lang/expr/ast"

	"valence/internal/blob"
	"valence/internal/document"
	"valence/internal/expression/exact"
	"valence/internal/fault"
)

// path is a name, or the element of a loop, followed by constant keys and
// indexes. Within JSON text, all paths of one source are read in a single walk.
type path struct {
	src    int
	source *source
	place  int // index of its text in the source's places; -1 if it is not part of the walk
	steps  []step
	site   site
}

// step is one key or index of an access.
type step struct {
	key      string
	index    int
	isIndex  bool
	optional bool // written as ?.
	fold     bool // a header name: case is ignored
	computed *node
	site     site
}

func (st *step) String() string {
	if st.isIndex {
		return "[" + strconv.Itoa(st.index) + "]"
	}
	return st.key
}

// access compiles a name and the keys after it.
func (c *compiler) access(t ast.Node) *node {
	base, members := chain(t)
	steps := make([]step, len(members))
	for i, m := range members {
		steps[i] = c.step(m)
	}
	var out *node
	switch b := base.(type) {
	case *ast.IdentifierNode:
		out = c.name(b, steps)
	case *ast.PointerNode:
		out = c.pointer(b, steps)
	default:
		out = c.follow(c.compile(base), steps)
	}
	if n := len(steps); n > 0 && (steps[n-1].key == "raw" || steps[n-1].key == "encoding") {
		return ofFile(out, steps[n-1].key)
	}
	return out
}

// ofFile returns an access to `raw` or `encoding` that reads a file whose content
// is stored as if the content were in the document.
func ofFile(in *node, key string) *node {
	s := in.site
	return &node{typ: in.typ, site: in.site, run: func(m *machine) (any, error) {
		v, err := in.run(m)
		text, ok := v.(string)
		switch {
		case err != nil || !ok:
		case key == "raw" && blob.IsName(text):
			return m.content(&s, text)
		case key == "encoding" && text == blob.EncodingBinary:
			return "base64", nil
		case key == "encoding" && text == blob.EncodingText:
			return nil, nil
		}
		return v, err
	}}
}

// content returns the stored content of a file as text or Base64.
func (m *machine) content(s *site, name string) (any, error) {
	text, err := blob.Load(m.env.Ctx, name, m.bytes/2)
	if err == nil {
		err = m.alloc(s, 2*int64(len(text)))
	}
	if err != nil {
		f := fault.AsFailure(err)
		return nil, s.failure(f.Code, f.Message, f)
	}
	return text, nil
}

// chain splits an access into its base and the members after it.
func chain(t ast.Node) (base ast.Node, members []*ast.MemberNode) {
	for {
		switch n := t.(type) {
		case *ast.ChainNode:
			t = n.Node
			continue
		case *ast.MemberNode:
			members = append(members, n)
			t = n.Node
			continue
		}
		slices.Reverse(members)
		return t, members
	}
}

func (c *compiler) step(m *ast.MemberNode) step {
	st := step{optional: m.Optional, site: c.src.site(m.Property.Location())}
	switch p := m.Property.(type) {
	case *ast.StringNode:
		st.key = p.Value
		return st
	case *ast.IntegerNode:
		st.index, st.isIndex = c.literalIndex(p, 1), true
		return st
	case *ast.UnaryNode:
		if n, ok := p.Node.(*ast.IntegerNode); ok && p.Operator == "-" {
			st.index, st.isIndex = c.literalIndex(n, -1), true
			return st
		}
	}
	st.computed = c.compile(m.Property)
	if n := st.computed; n.typ != TypeUnknown && n.typ != TypeText && n.typ != TypeNumber {
		c.problemAt(m.Property.Location(), CodeType, "", "a key must be text or a number, not %s", article(n.typ))
	}
	if n := st.computed; n.fixed {
		if key, ok := n.value.(string); ok {
			st.key, st.computed = key, nil
		}
	}
	return st
}

// literalIndex reads an index from the source; see blankNumbers.
func (c *compiler) literalIndex(t *ast.IntegerNode, sign int) int {
	text, err := literalNumber(c.src.token(t.Location()))
	i, convErr := strconv.Atoi(string(text))
	if err != nil || convErr != nil || i > math.MaxInt32 {
		c.problemAt(t.Location(), CodeValue, "", "the index is too large")
	}
	return sign * i
}

// name compiles an access that starts with a name.
func (c *compiler) name(b *ast.IdentifierNode, steps []step) *node {
	for i := len(c.locals) - 1; i >= 0; i-- {
		l := c.locals[i]
		if l.name != b.Value {
			continue
		}
		switch l.kind {
		case elementName:
			c.impure = true
			return c.plain(l.src, steps, TypeUnknown, c.src.site(b.Location()))
		case indexName:
			c.impure = true
			return c.follow(indexNode(l.src), steps)
		}
		return c.follow(&node{typ: l.typ, site: c.src.site(b.Location()), run: func(m *machine) (any, error) {
			return m.vars[l.slot], nil
		}}, steps)
	}
	typ, ok := c.scope.Names[b.Value]
	if !ok {
		c.unknownName(b)
		return c.broken()
	}
	c.impure = true
	c.reference(b, steps)
	if len(steps) > 1 && (b.Value == "request" || b.Value == "response") && steps[0].key == "headers" {
		steps[1].fold = true
	}
	out := c.plain(c.root(b.Value), steps, typ, c.src.site(b.Location()))
	out.head = len(steps) == 1 && (b.Value == "request" || b.Value == "response") && steps[0].key == "headers"
	return out
}

func (c *compiler) unknownName(b *ast.IdentifierNode) {
	if h := functions[b.Value]; h != nil {
		c.problemAt(b.Location(), CodeName, "write "+h.Usage, "%s is a function", b.Value)
		return
	}
	if f := c.scope.Library.function(b.Value); f != nil {
		c.problemAt(b.Location(), CodeName, "write "+f.usage(), "%s is a function", b.Value)
		return
	}
	known := make([]string, 0, len(c.scope.Names)+len(c.locals))
	for name := range c.scope.Names {
		known = append(known, name)
	}
	for _, l := range c.locals {
		known = append(known, l.name)
	}
	slices.Sort(known)
	hint, near := nearest(b.Value, known)
	if ours, ok := foreignNames[b.Value]; ok {
		if root, _, _ := strings.Cut(ours, "."); ours == "true" || ours == "false" || ours == "nil" || c.declares(root) {
			hint, near = "write `"+ours+"`", ours
		}
	}
	c.problemAt(b.Location(), CodeName, hint, "unknown name %s", b.Value)
	c.corrected(b.Value, near)
}

// reference records a read of a name and the keys below it.
func (c *compiler) reference(b *ast.IdentifierNode, steps []step) {
	ref := Ref{Optional: len(steps) > 0 && steps[0].optional, Path: []string{b.Value}, Pos: c.src.pos(b.Location()), Complete: true}
	if c.hidden > 0 {
		ref.Call = "hmac"
	}
	for _, st := range steps {
		if st.computed != nil {
			ref.Complete = false
			break
		}
		if st.isIndex {
			ref.Path = append(ref.Path, strconv.Itoa(st.index))
		} else {
			ref.Path = append(ref.Path, st.key)
		}
	}
	c.u.refs = append(c.u.refs, ref)
}

// root returns the index of the cell for a name.
func (c *compiler) root(name string) int {
	for i, s := range c.u.sources {
		if s.name == name {
			return i
		}
	}
	return c.newSource(name)
}

func (c *compiler) newSource(name string) int {
	c.u.sources = append(c.u.sources, &source{name: name, trie: newTrie()})
	return len(c.u.sources) - 1
}

// pointer compiles #, #index and #acc, and the keys after them.
func (c *compiler) pointer(p *ast.PointerNode, steps []step) *node {
	if len(c.loops) == 0 {
		c.problemAt(p.Location(), CodeSyntax, "use it inside map(…), filter(…) or a similar function", "# has no meaning here")
		return c.broken()
	}
	in := c.loops[len(c.loops)-1]
	switch {
	case p.Name == "":
		return c.plain(in.src, steps, TypeUnknown, c.src.site(p.Location()))
	case p.Name == "index":
		return c.follow(indexNode(in.src), steps)
	case p.Name == "acc" && in.acc >= 0:
		return c.follow(&node{site: c.src.site(p.Location()), run: func(m *machine) (any, error) { return m.vars[in.acc], nil }}, steps)
	}
	c.problemAt(p.Location(), CodeName, "available: #, #index and, in reduce(…), #acc", "unknown name #%s", p.Name)
	return c.broken()
}

func indexNode(src int) *node {
	return &node{
		typ: TypeNumber,
		run: func(m *machine) (any, error) {
			return document.Number(strconv.FormatInt(m.cells[src].index, 10)), nil
		},
		num: func(m *machine) (exact.Number, error) { return exact.Int(m.cells[src].index), nil },
	}
}

// plain compiles an access below a cell: as one path if every key is constant,
// otherwise as a path followed by the remaining steps.
func (c *compiler) plain(src int, steps []step, typ Type, at site) *node {
	n := 0
	for n < len(steps) && steps[n].computed == nil && !steps[n].fold {
		n++
	}
	p := &path{src: src, source: c.u.sources[src], place: -1, steps: steps[:n], site: at}
	if n > 0 {
		p.site = steps[n-1].site
		typ = c.below(typ, steps)
		if !slices.ContainsFunc(p.steps, func(st step) bool { return st.isIndex && st.index < 0 }) {
			p.place = p.source.add(p.steps)
		}
	}
	out := &node{typ: typ, path: p, site: p.site, run: p.value}
	if n < len(steps) {
		return c.follow(out, steps[n:])
	}
	out.num = func(m *machine) (exact.Number, error) { return p.number(m) }
	return out
}

// below reports accesses that a known type does not allow.
func (c *compiler) below(typ Type, steps []step) Type {
	st := steps[0]
	switch typ {
	case TypeNumber, TypeText, TypeBoolean:
		c.problem(st.site.pos, CodeType, "", "cannot read %s of %s", st.String(), article(typ))
	case TypeList:
		if !st.isIndex && st.computed == nil {
			c.problem(st.site.pos, CodeType, "use an index, such as [0], or map(…)", "a list has no key %s", st.key)
		}
	case TypeObject:
		if st.isIndex {
			c.problem(st.site.pos, CodeType, "use a key, which is text", "an object has no index %d", st.index)
		}
	}
	return TypeUnknown
}

// add returns the index of the place for a path.
func (s *source) add(steps []step) int {
	t := s.trie.add(steps)
	if t.place < 0 {
		t.place = s.places
		s.places++
	}
	return t.place
}

// follow compiles an access below any value.
func (c *compiler) follow(base *node, steps []step) *node {
	if len(steps) == 0 {
		return base
	}
	c.below(base.typ, steps)
	if st := steps[0]; base.row != nil && !st.isIndex && st.computed == nil && !slices.Contains(base.row.columns, st.key) {
		c.problem(st.site.pos, CodeName, didYouMean(st.key, base.row.columns), "the table %s has no column %s", base.row.name, shorten(st.key))
	}
	return &node{site: steps[len(steps)-1].site, run: func(m *machine) (any, error) {
		v, err := base.run(m)
		if err != nil {
			return nil, err
		}
		return m.follow(v, steps)
	}}
}
