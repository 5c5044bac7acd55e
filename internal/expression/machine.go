package expression

import (
	"errors"
	"fmt"

	"valence/internal/document"
	"valence/internal/expression/exact"
	"valence/internal/fault"
)

// site is the position of an evaluated expression in an author's file.
type site struct {
	pos  fault.Pos
	text string // of the expression, shortened for messages
}

// rangeError and limitError are failures without a site.
type (
	rangeError string
	limitError string
)

func (e rangeError) Error() string { return string(e) }
func (e limitError) Error() string { return string(e) }

// fail returns the failure of an expression at the site. Messages never contain
// values, which may be secret.
func (s *site) fail(format string, args ...any) error {
	return s.failure(fault.CodeExpression, fmt.Sprintf(format, args...), nil)
}

func (s *site) failure(code, msg string, cause error) *fault.Failure {
	if s.text != "" {
		msg += ": `" + s.text + "`"
	}
	return &fault.Failure{Code: code, Source: fault.FromProcess, Pos: s.pos, Message: msg, Cause: cause}
}

// at adds the site to err unless err already has one.
func (s *site) at(err error) error {
	var failure *fault.Failure
	if errors.As(err, &failure) {
		return err
	}
	var limit limitError
	var digits exact.LimitError
	if errors.As(err, &limit) || errors.As(err, &digits) {
		return s.failure(fault.CodeLimit, err.Error(), nil)
	}
	return s.failure(fault.CodeExpression, err.Error(), nil)
}

// machine is the state of one evaluation.
type machine struct {
	env    *Env
	steps  int64 // remaining
	bytes  int64 // remaining
	look   int64 // steps until the context is checked
	cells  []cell
	places []string // texts found by the tries of the cells
	values []any    // decoded values of places; nil if not decoded yet
	vars   []any    // values of let
	stack  []any    // arguments of the running calls
	uuids  map[string]int
	lists  [4]decoded
	oldest int
	omit   bool   // the last write omitted itself
	text   []byte // see scratch
}

// decoded remembers the list that a Raw was decoded to.
type decoded struct {
	raw  document.Raw
	list []any
}

// cell holds the value of a name, or the element of a loop, during one
// evaluation.
type cell struct {
	text   string // JSON text of an object or an array; if empty, val holds the value
	val    any
	index  int64 // of an element
	known  bool  // text and val are set
	boxed  bool  // val is set although text is too
	walked bool  // the trie's places are filled
}

// source describes a cell at compile time.
type source struct {
	name   string // a name; empty for the element of a loop
	trie   *trie
	first  int // the first of its places
	places int
}

const lookEvery = 1024

// start prepares the machine for one evaluation.
func (m *machine) start(env *Env) {
	m.env = env
	if m.steps = env.Steps; m.steps == 0 {
		m.steps = DefaultSteps
	}
	if m.bytes = env.Bytes; m.bytes == 0 {
		m.bytes = DefaultBytes
	}
	m.look = lookEvery
}

// finish drops all references, so that the machine can be pooled.
func (m *machine) finish() {
	m.env = nil
	clear(m.cells)
	clear(m.places)
	clear(m.values)
	clear(m.vars)
	clear(m.stack[:cap(m.stack)])
	m.stack = m.stack[:0]
	if m.uuids != nil {
		clear(m.uuids)
	}
	if m.oldest > 0 || m.lists[0].list != nil {
		m.lists, m.oldest = [4]decoded{}, 0
	}
	m.omit = false
	if cap(m.text) > 64<<10 {
		m.text = nil
	}
}

// spend charges n steps.
func (m *machine) spend(s *site, n int64) error {
	m.steps -= n
	m.look -= n
	if m.steps < 0 || m.look < 0 {
		return m.exhausted(s)
	}
	return nil
}

func (m *machine) exhausted(s *site) error {
	if m.steps < 0 {
		limit := m.env.Steps
		if limit == 0 {
			limit = DefaultSteps
		}
		m.steps = 0
		return s.failure(fault.CodeLimit, fmt.Sprintf("the expression exceeds %d steps", limit), nil)
	}
	m.look = lookEvery
	if ctx := m.env.Ctx; ctx != nil && ctx.Err() != nil {
		return s.failure(fault.CodeLimit, "the execution ran out of time while evaluating an expression", ctx.Err())
	}
	return nil
}

// alloc charges n bytes. It is called before they are allocated.
func (m *machine) alloc(s *site, n int64) error {
	if m.bytes -= n; m.bytes >= 0 && n >= 0 {
		return nil
	}
	limit := m.env.Bytes
	if limit == 0 {
		limit = DefaultBytes
	}
	m.bytes = 0
	return s.failure(fault.CodeLimit, fmt.Sprintf("the expression exceeds %d bytes of memory", limit), nil)
}

// read charges the steps for reading n bytes of text.
func (m *machine) read(s *site, n int) error { return m.spend(s, int64(n)>>7+1) }

// Approximate memory of a value.
const (
	boxBytes    = 16
	memberBytes = 48
)

// setText sets a cell to the JSON text of an element.
func (c *cell) setText(text string, index int64) {
	*c = cell{index: index, known: true}
	if text != "" && (text[0] == '{' || text[0] == '[') {
		c.text = text
	} else {
		c.val = fromText(text)
	}
}

func (c *cell) setValue(v any, index int64) {
	*c = cell{val: v, index: index, known: true}
	if raw, ok := v.(document.Raw); ok {
		c.text, c.boxed = string(raw), true
	}
}

// cell returns the cell of a path with its value set.
func (m *machine) cell(p *path) (*cell, error) {
	c := &m.cells[p.src]
	if c.known {
		return c, nil
	}
	name := p.source.name
	if m.env.Names == nil {
		return nil, p.site.fail("%s is not available here", name)
	}
	v, ok := m.env.Names.Name(name)
	if !ok {
		return nil, p.site.fail("%s is not available here", name)
	}
	c.setValue(v, 0)
	return c, nil
}

// value returns the value of a cell.
func (m *machine) value(c *cell) any {
	if c.text != "" && !c.boxed {
		c.val, c.boxed = document.Raw(c.text), true
	}
	return c.val
}

// find returns the JSON text at a plain path, or "" if the path does not lead
// to JSON text.
func (m *machine) find(p *path) (string, *cell, error) {
	c := &m.cells[p.src]
	if !c.known {
		var err error
		if c, err = m.cell(p); err != nil {
			return "", nil, err
		}
	}
	if c.text == "" || p.place < 0 {
		return "", c, nil
	}
	if !c.walked {
		src := p.source
		places := m.places[src.first : src.first+src.places]
		clear(places)
		clear(m.values[src.first : src.first+src.places])
		end := src.trie.walk(c.text, 0, false, places)
		if end < 0 {
			end = len(c.text)
		}
		c.walked = true
		if err := m.read(&p.site, end); err != nil {
			return "", nil, err
		}
	}
	return m.places[p.source.first+p.place], c, nil
}

// scratch returns the machine's buffer, empty. The caller must put it back into
// text.
func (m *machine) scratch() []byte {
	b := m.text[:0]
	m.text = nil
	return b
}
