package importer

import (
	"errors"
	"fmt"
	"regexp"
	"strings"

	"gopkg.in/yaml.v3"
)

// assignment is the tree of targets of a mapping.
type assignment struct {
	value *yaml.Node
	names []string
	below map[string]*assignment
}

func (a *assignment) at(name string) *assignment {
	if a.below == nil {
		a.below = map[string]*assignment{}
	}
	if a.below[name] == nil {
		a.below[name] = &assignment{}
		a.names = append(a.names, name)
	}
	return a.below[name]
}

// node returns the template of a tree. base is the expression whose object it
// extends, or "".
func (a *assignment) node(base string) (*yaml.Node, error) {
	if len(a.names) == 0 {
		return a.value, nil
	}
	if a.value != nil {
		if a.value.Kind != yaml.ScalarNode || !strings.HasPrefix(a.value.Value, "${") {
			return nil, errors.New("a target that is assigned as a whole and in parts is not translated")
		}
		base = strings.TrimSuffix(strings.TrimPrefix(a.value.Value, "${"), "}")
	}
	out := mapping()
	if base != "" {
		from := base
		if base != "doc" && !strings.HasPrefix(base, "vars.original") || strings.Contains(base, "?.") {
			from = "(" + base + ") ?? {}"
		}
		set(out, "$merge", "${"+from+"}")
	}
	for _, name := range a.names {
		below := ""
		if base != "" {
			below = member(value{text: base}, name).text
		}
		n, err := a.below[name].node(below)
		if err != nil {
			return nil, err
		}
		if strings.HasPrefix(name, "$") {
			name = "$" + name
		}
		set(out, name, n)
	}
	return out, nil
}

// mapping translates a mapping to steps. extend is whether it changes an
// object, which base reads, in place of building a new one.
func (b *bloblang) mapping(at *yaml.Node, part, src string, extend bool, base string) ([]*yaml.Node, error) {
	tokens, err := scan(src)
	if err != nil {
		return nil, err
	}
	b.read = map[string]bool{}
	m := &mapper{b: b, at: at, part: part, extend: extend, base: base, p: &parser{dialect: b, tokens: tokens, named: map[string]string{}}}
	return m.statements(false)
}

// mapper translates the statements of a mapping.
type mapper struct {
	b      *bloblang
	p      *parser
	at     *yaml.Node
	part   string
	extend bool
	base   string
	root   assignment
	meta   *yaml.Node
	steps  []*yaml.Node
	done   bool // a statement that must be the last was translated
}

func (m *mapper) step(keysAndValues ...any) {
	m.steps = append(m.steps, m.b.r.helper(m.at, m.part, keysAndValues...))
}

// stop ends the process: the document is deleted.
func (m *mapper) stop() {
	if m.b.replies {
		m.step("reply", "")
	}
	m.step("stop", "filtered out")
}

// statements translates statements up to the end, or up to the end of a block.
func (m *mapper) statements(block bool) ([]*yaml.Node, error) {
	for {
		m.p.skipLines()
		t := m.p.peek()
		if t.kind == tokenEnd || block && t.text == "}" {
			break
		}
		if m.done {
			return nil, errors.New("statements after a condition are not translated")
		}
		if err := m.statement(); err != nil {
			return nil, err
		}
		if t := m.p.peek(); t.kind != tokenLine && t.kind != tokenEnd && !(block && t.text == "}") {
			return nil, fmt.Errorf("`%s` is not translated", shorten(t.text, 30))
		}
	}
	if m.meta != nil {
		for i := 0; i < len(m.meta.Content); i += 2 {
			name := m.meta.Content[i].Value
			if m.b.read[name] {
				return nil, fmt.Errorf("the metadata `%s` are read and set in one mapping", shorten(name, 40))
			}
			m.b.assigned["meta "+name] = true
			m.meta.Content[i].Value = variable(name)
		}
		m.step("set", m.meta)
	}
	base := ""
	if m.extend {
		base = m.base
	}
	n, err := m.root.node(base)
	if err != nil {
		return nil, err
	}
	if n != nil && n.Value != "${doc}" {
		m.step("map", n)
	}
	return m.steps, nil
}

func (m *mapper) statement() error {
	t := m.p.next()
	if t.kind != tokenName && t.kind != tokenString {
		return fmt.Errorf("`%s` is not translated", shorten(strings.TrimSpace(t.text), 30))
	}
	switch t.text {
	case "let":
		name := m.p.next()
		if err := m.equals(); err != nil {
			return err
		}
		v, err := m.p.expression(0)
		if err != nil {
			return err
		}
		m.step("set", mapping("let_"+variable(name.text), "${"+v.text+"}"))
		return nil
	case "meta":
		name := m.p.next()
		if name.kind != tokenName && name.kind != tokenString {
			return errors.New("an assignment of all metadata is not translated")
		}
		if err := m.equals(); err != nil {
			return err
		}
		n, err := m.template()
		if err != nil {
			return err
		}
		if strings.Contains(n.Value, "omit") {
			n = text(strings.ReplaceAll(n.Value, "omit", "nil"))
		}
		if m.meta == nil {
			m.meta = mapping()
		}
		set(m.meta, name.text, n)
		return nil
	case "if":
		return m.branch(func(p *parser) ([]*yaml.Node, error) {
			inner := &mapper{b: m.b, p: p, at: m.at, part: m.part, extend: m.extend, base: m.base}
			return inner.statements(true)
		})
	case "import", "map", "match", "from":
		return fmt.Errorf("`%s` is not translated", t.text)
	}
	return m.assign(t.text)
}

func (m *mapper) equals() error {
	if !m.p.sign("=") {
		return errors.New("`=` is missing")
	}
	m.p.skipLines()
	return nil
}

// assign translates `root.a.b = …`.
func (m *mapper) assign(first string) error {
	var names []string
	if first != "root" {
		names = append(names, first)
	}
	for m.p.sign(".") {
		t := m.p.next()
		if t.kind != tokenName && t.kind != tokenNumber && t.kind != tokenString {
			return fmt.Errorf("the target `%s` is not translated", shorten(t.text, 30))
		}
		names = append(names, t.text)
	}
	if len(names) > 20 {
		return errors.New("a target of more than 20 parts is not translated")
	}
	if strings.HasPrefix(first, "@") || strings.HasPrefix(first, "$") {
		return fmt.Errorf("the target `%s` is not translated", shorten(first, 30))
	}
	if err := m.equals(); err != nil {
		return err
	}
	if len(names) == 0 && m.p.peek().text == "if" {
		return m.rootIf()
	}
	n, err := m.template()
	if err != nil {
		return err
	}
	target := &m.root
	for _, name := range names {
		target = target.at(name)
	}
	if len(names) == 0 && n.Value == "${omit}" {
		m.stop()
		m.done = true
		return nil
	}
	if len(names) == 0 && strings.Contains(n.Value, "omit") {
		return errors.New("a document that is deleted under a condition is not translated")
	}
	*target = assignment{value: n}
	return nil
}

// rootIf translates `root = if …`: a step if a branch deletes the document,
// otherwise an expression.
func (m *mapper) rootIf() error {
	at := m.p.at
	if n, err := m.template(); err == nil && !strings.Contains(n.Value, "omit") {
		m.root = assignment{value: n}
		return nil
	}
	m.p.at = at + 1
	return m.branch(func(p *parser) ([]*yaml.Node, error) {
		p.skipLines()
		inner := &mapper{b: m.b, p: p, at: m.at, part: m.part}
		n, err := inner.template()
		if err != nil {
			return nil, err
		}
		p.skipLines()
		if n.Value == "${omit}" {
			inner.stop()
		} else if n.Value != "${doc}" {
			inner.step("map", n)
		}
		return inner.steps, nil
	})
}

// branch translates a condition with blocks to an `if` step.
func (m *mapper) branch(block func(*parser) ([]*yaml.Node, error)) error {
	if len(m.root.names) > 0 || m.root.value != nil && m.root.value.Value != "${doc}" || m.meta != nil {
		return errors.New("a condition after assignments is not translated")
	}
	condition, err := m.p.expression(0)
	if err != nil {
		return err
	}
	read := func() ([]*yaml.Node, error) {
		if err := m.p.expect("{"); err != nil {
			return nil, err
		}
		steps, err := block(m.p)
		if err != nil {
			return nil, err
		}
		return m.b.r.atLeastOne(m.at, m.part, steps), m.p.expect("}")
	}
	then, err := read()
	if err != nil {
		return err
	}
	step := m.b.r.helper(m.at, m.part, "if", "${"+condition.text+"}", "then", then)
	line := m.p.at
	m.p.skipLines()
	if m.p.peek().text == "else" {
		m.p.next()
		m.p.skipLines()
		if m.p.peek().text == "if" {
			return errors.New("`else if` is not translated")
		}
		otherwise, err := read()
		if err != nil {
			return err
		}
		set(step, "else", otherwise)
	} else {
		m.p.at = line
	}
	m.steps = append(m.steps, step)
	m.done = true
	return nil
}

// template translates a value; an object that is written out becomes a map.
func (m *mapper) template() (*yaml.Node, error) {
	at := m.p.at
	if m.p.peek().text == "{" && m.p.peek().kind == tokenSign {
		if n, ok := m.objectTemplate(); ok {
			return n, nil
		}
		m.p.at = at
	}
	t := m.p.peek()
	v, err := m.p.expression(0)
	if err != nil {
		return nil, err
	}
	switch {
	case m.p.at != at+1:
	case t.kind == tokenString:
		return literal(t.text), nil
	case t.text == "true" || t.text == "false":
		return boolean(t.text == "true"), nil
	case t.kind == tokenNumber && jsonNumber.MatchString(t.text):
		return &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!int", Value: t.text}, nil
	}
	return text("${" + v.text + "}"), nil
}

var jsonNumber = regexp.MustCompile(`^(0|[1-9][0-9]{0,15})$`)

func (m *mapper) objectTemplate() (*yaml.Node, bool) {
	if m.p.depth++; m.p.depth > 40 {
		return nil, false
	}
	defer func() { m.p.depth-- }()
	m.p.next()
	out := mapping()
	for {
		m.p.skipLines()
		if m.p.sign("}") {
			break
		}
		key := m.p.next()
		if key.kind != tokenString && key.kind != tokenName || m.p.expect(":") != nil || key.text == "" || child(out, key.text) != nil {
			return nil, false
		}
		m.p.skipLines()
		n, err := m.template()
		if err != nil {
			return nil, false
		}
		name := key.text
		if strings.HasPrefix(name, "$") {
			name = "$" + name
		}
		set(out, name, n)
		m.p.skipLines()
		if !m.p.sign(",") && m.p.peek().text != "}" {
			return nil, false
		}
	}
	switch t := m.p.peek(); t.text {
	case "", "\n", ",", "}", ")":
		return out, len(out.Content) > 0
	}
	return nil, false
}
