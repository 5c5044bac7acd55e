package expression

import (
	"sync"

	"valence/internal/expression/exact"
)

// code is a compiled expression.
type code func(m *machine) (any, error)

// node is the compiled form of one node of the syntax tree.
type node struct {
	typ   Type
	run   code
	num   func(m *machine) (exact.Number, error) // returns a number without boxing it; may be nil
	path  *path                                  // a plain path; may be nil
	fixed bool                                   // value is the result of run
	value any
	omits bool   // may return ${omit}
	head  bool   // the headers of request or response
	row   *Table // the value is a row of the table, or nil
	site  site
}

// unit is the state shared by all expressions of one Expr or Template.
type unit struct {
	sources []*source
	vars    int
	refs    []Ref
	// statements are the SQL statements as they are written, by their texts.
	statements map[string]string
	pool       sync.Pool
}

func (u *unit) begin(env *Env) *machine {
	m, _ := u.pool.Get().(*machine)
	if m == nil {
		m = u.machine()
	}
	m.start(env)
	return m
}

// machine returns a machine with room for everything compiled so far.
func (u *unit) machine() *machine {
	places := 0
	for _, s := range u.sources {
		places += s.places
	}
	return &machine{
		cells: make([]cell, len(u.sources)), places: make([]string, places), values: make([]any, places), vars: make([]any, u.vars),
	}
}

// layout assigns each source its range of places.
func (u *unit) layout() {
	at := 0
	for _, s := range u.sources {
		s.first = at
		at += s.places
	}
}

func (u *unit) end(m *machine) {
	m.finish()
	u.pool.Put(m)
}
