package expression

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"

	"github.com/expr-lang/expr/ast"

	"valence/internal/document"
	"valence/internal/expression/exact"
	"valence/internal/fault"
)

// Library holds the functions and tables of a project, which its expressions can
// use. Functions and tables must be added before the expressions that use them
// are compiled; those may be compiled concurrently.
type Library struct {
	functions map[string]*projectFunction
	tables    map[string]*Table // nil for a table with errors
	mu        sync.Mutex        // of the tables' indexes
}

// NewLibrary returns an empty library.
func NewLibrary() *Library {
	return &Library{functions: map[string]*projectFunction{}, tables: map[string]*Table{}}
}

// projectFunction is a function of a project: an expression over its parameters.
type projectFunction struct {
	name    string
	params  []string
	body    *Expr
	sources []int // the cells of the parameters; -1 if a parameter is not read
}

// function returns a function of the project, or nil.
func (l *Library) function(name string) *projectFunction {
	if l == nil {
		return nil
	}
	return l.functions[name]
}

// table returns a table of the project; it is nil if the table has errors.
func (l *Library) table(name string) (t *Table, declared bool) {
	if l == nil {
		return nil, false
	}
	t, declared = l.tables[name]
	return t, declared
}

func (l *Library) tableNames() []string {
	if l == nil {
		return nil
	}
	return slices.Sorted(maps.Keys(l.tables))
}

func (l *Library) functionNames() []string {
	if l == nil {
		return nil
	}
	return slices.Collect(maps.Keys(l.functions))
}

func (f *projectFunction) usage() string { return f.name + "(" + strings.Join(f.params, ", ") + ")" }

// IsFunction reports whether the language has a function with this name.
func IsFunction(name string) bool { return functions[name] != nil }

// DeclareTable adds a table with errors, so that lookups in it are not reported too.
func (l *Library) DeclareTable(name string) { l.tables[name] = nil }

// Declare adds a function whose body is not yet defined, so that others can call
// it.
func (l *Library) Declare(name string, params []string) {
	l.functions[name] = &projectFunction{name: name, params: params}
}

// Define compiles the body of a declared function. The functions that it calls
// must be defined before. The function cannot be called if a problem is an
// error.
func (l *Library) Define(name string, body *Node) (*Expr, fault.Problems) {
	f := l.functions[name]
	e, problems := Compile(body, l.scope(f))
	if problems.HasErrors() {
		return e, problems
	}
	f.sources = make([]int, len(f.params))
	for i, p := range f.params {
		f.sources[i] = slices.IndexFunc(e.u.sources, func(s *source) bool { return s.name == p })
	}
	f.body = e
	return e, problems
}

// Calls returns the functions and tables that the body of a declared function
// uses.
func (l *Library) Calls(name string, body *Node) []Ref {
	e, _ := Compile(body, l.scope(l.functions[name]))
	var calls []Ref
	for _, r := range e.Refs() {
		if r.Call == lookupFunction.Name || l.function(r.Call) != nil {
			calls = append(calls, r)
		}
	}
	return calls
}

// scope returns the scope of a function's body.
func (l *Library) scope(f *projectFunction) *Scope {
	sc := &Scope{Names: map[string]Type{}, Library: l, pure: true}
	for _, p := range f.params {
		sc.Names[p] = TypeUnknown
	}
	return sc
}

// projectCall compiles a call of a project's function.
func (c *compiler) projectCall(f *projectFunction, t ast.Node, args []*node) *node {
	if len(args) != len(f.params) && f.body != nil {
		c.problemAt(t.Location(), CodeSyntax, "write "+f.usage(), "%s(…) cannot be called with %s", f.name, counted(len(args)))
		return c.broken()
	}
	c.u.refs = append(c.u.refs, Ref{Call: f.name, Pos: c.src.pos(t.Location()), Complete: true})
	if f.body == nil {
		return c.broken() // its problems are reported at its declaration
	}
	s := c.src.site(t.Location())
	return &node{typ: f.body.typ, run: func(m *machine) (any, error) {
		if err := m.spend(&s, 2); err != nil {
			return nil, err
		}
		v, err := m.apply(f, args)
		if failure, ok := err.(*fault.Failure); ok && err != nil {
			inner := *failure
			inner.Pos, inner.Message = s.pos, "in "+f.name+"(…): "+failure.Message
			return nil, &inner
		}
		return v, err
	}}
}

// apply evaluates a function with the budget of the machine that calls it.
func (m *machine) apply(f *projectFunction, args []*node) (any, error) {
	base := len(m.stack)
	for _, a := range args {
		v, err := a.run(m)
		if err != nil {
			m.stack = m.stack[:base]
			return nil, err
		}
		m.stack = append(m.stack, v)
	}
	inner := f.body.u.begin(&Env{Ctx: m.env.Ctx, Steps: m.env.Steps, Bytes: m.env.Bytes})
	inner.steps, inner.bytes, inner.look = m.steps, m.bytes, m.look
	for i, src := range f.sources {
		if src >= 0 {
			inner.cells[src].setValue(m.stack[base+i], 0)
		}
	}
	m.stack = m.stack[:base]
	v, err := f.body.scalar.run(inner)
	m.steps, m.bytes, m.look = inner.steps, inner.bytes, inner.look
	f.body.u.end(inner)
	if err != nil {
		return nil, f.body.scalar.site.at(err)
	}
	return v, nil
}

// Table is a lookup table of a project.
type Table struct {
	name    string
	columns []string
	rows    []document.Raw
	key     *tableIndex
	others  map[string]*tableIndex
}

// tableIndex finds the rows of a table by the values of some columns. It is built
// when it is first used, because checking a project needs no rows.
type tableIndex struct {
	columns []string
	once    sync.Once
	rows    map[string]int // the first row with these values
}

// Limits of tables.
const (
	MaxTableColumns = 500
	maxTableIndexes = 16 // sets of columns that the lookups of a project use, per table
)

// RowError is the problem of one row of a table, counted from 0.
type RowError struct {
	Row int
	Msg string
}

func (e *RowError) Error() string { return e.Msg }

// AddTable adds a table: a JSON list of objects with the same kind of scalar
// values. The columns are the keys of all rows; they include the key. A
// *RowError reports a row without a key, or with the key of another row.
func (l *Library) AddTable(name string, key []string, data string) (columns []string, err error) {
	t := &Table{name: name, key: &tableIndex{columns: key}, others: map[string]*tableIndex{}}
	l.tables[name] = nil
	seen := map[string]bool{}
	for it := begin(data); it.next(); {
		n, bad := len(t.rows), ""
		if it.text == "" || it.text[0] != '{' {
			return nil, &RowError{n, "a row must be a map of values by column"}
		}
		document.Each(it.text, func(column string, v any) bool {
			if !seen[column] {
				seen[column] = true
				t.columns = append(t.columns, column)
			}
			if typ := TypeOf(v); typ == TypeList || typ == TypeObject {
				bad = "the column `" + column + "` must be text, a number or a boolean, not " + article(typ)
			}
			return bad == "" && len(t.columns) <= MaxTableColumns
		})
		if bad != "" {
			return nil, &RowError{n, bad}
		}
		if len(t.columns) > MaxTableColumns {
			return nil, &RowError{n, "the table has more than 500 columns"}
		}
		t.rows = append(t.rows, document.Raw(it.text))
	}
	if err := t.checkKeys(); err != nil {
		return t.columns, err
	}
	l.tables[name] = t
	return t.columns, nil
}

// checkKeys builds the index of the key and rejects rows that share one.
func (t *Table) checkKeys() error {
	x := t.key
	for _, k := range x.columns {
		if len(t.rows) > 0 && !slices.Contains(t.columns, k) {
			return &RowError{-1, "no row has the column `" + k + "`; the columns are " + strings.Join(t.columns, ", ")}
		}
	}
	x.rows = make(map[string]int, len(t.rows))
	for i, row := range t.rows {
		key, ok := rowKey(row, x.columns)
		if !ok {
			return &RowError{i, "the row has no value for its key `" + strings.Join(x.columns, "`, `") + "`"}
		}
		if first, taken := x.rows[key]; taken {
			return &RowError{i, fmt.Sprintf("the row has the same key as row %d", first+1)}
		}
		x.rows[key] = i
	}
	x.once.Do(func() {})
	return nil
}

// indexOf returns the index of some columns of a table, or nil if there are too
// many.
func (l *Library) indexOf(t *Table, columns []string) *tableIndex {
	if slices.Equal(columns, t.key.columns) {
		return t.key
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	id := strings.Join(columns, "\x00")
	x := t.others[id]
	if x == nil && len(t.others) < maxTableIndexes {
		x = &tableIndex{columns: columns}
		t.others[id] = x
	}
	return x
}

// find returns the first row with these values, or nil.
func (t *Table) find(x *tableIndex, key string) any {
	x.once.Do(func() {
		x.rows = make(map[string]int, len(t.rows))
		for i, row := range t.rows {
			key, ok := rowKey(row, x.columns)
			if _, taken := x.rows[key]; ok && !taken {
				x.rows[key] = i
			}
		}
	})
	if i, ok := x.rows[key]; ok {
		return t.rows[i]
	}
	return nil
}

// rowKey returns the values of a row's columns as one text; ok is false if one
// is missing.
func rowKey(row document.Raw, columns []string) (key string, ok bool) {
	var b []byte
	for _, c := range columns {
		v, _ := document.Key(row, c)
		text, ok := lookupText(v)
		if !ok {
			return "", false
		}
		b = append(append(b, text...), 0)
	}
	return string(b), true
}

// lookupText returns a value as keys compare it: a number and the text of its
// digits are equal, because tables in CSV have only text.
func lookupText(v any) (string, bool) {
	if n, ok := v.(document.Number); ok {
		if x, err := exact.Parse(string(n)); err == nil {
			return string(x.Text()), true
		}
	}
	text, err := Text(v)
	return text, err == nil
}

// lookupFunction documents the function that lookup compiles.
var lookupFunction = &Function{
	Name: "lookup", Usage: `lookup("table", key)`,
	Doc: "The row of a table of the project with this key, or nil. The key is a value, a list of values for a table with several key columns, or `{ column: value }` " +
		"for any columns; of several rows, the first. A number and text with the same digits are equal.",
	Example: `lookup("countries", "PT")?.name`,
	args:    "tv",
}

// sampleLibrary holds the table of the reference.
func sampleLibrary() *Library {
	l := NewLibrary()
	if _, err := l.AddTable("countries", []string{"code"}, `[{"code": "PT", "name": "Portugal"}, {"code": "DE", "name": "Germany"}]`); err != nil {
		panic(err) // a constant
	}
	return l
}

// lookup compiles a call of lookup.
func (c *compiler) lookup(t ast.Node, args []ast.Node) *node {
	h := lookupFunction
	if len(args) != 2 {
		c.problemAt(t.Location(), CodeSyntax, "write "+h.Usage, "lookup(…) cannot be called with %s", counted(len(args)))
		return c.broken()
	}
	name, ok := args[0].(*ast.StringNode)
	if !ok {
		c.problemAt(args[0].Location(), CodeSyntax, "write "+h.Usage, "the name of the table must be constant text")
		return c.broken()
	}
	table, declared := c.scope.Library.table(name.Value)
	if !declared {
		c.problemAt(args[0].Location(), CodeName, didYouMean(name.Value, c.scope.Library.tableNames()), "the project has no table `%s`", shorten(name.Value))
	}
	if table == nil {
		return c.broken()
	}
	c.u.refs = append(c.u.refs, Ref{Call: "lookup", Text: table.name, Pos: c.src.pos(t.Location()), Complete: true})
	index, values := c.lookupKey(table, args[1])
	if index == nil {
		return c.broken()
	}
	s := c.src.site(t.Location())
	return &node{row: table, run: func(m *machine) (any, error) {
		if err := m.spend(&s, int64(len(index.columns))+1); err != nil {
			return nil, err
		}
		list, err := values(m)
		if err != nil {
			return nil, err
		}
		if len(list) != len(index.columns) {
			return nil, s.fail("the table %s has the key columns %s; pass a list with a value for each", table.name, strings.Join(index.columns, ", "))
		}
		var key []byte
		for _, v := range list {
			text, ok := lookupText(v)
			if !ok {
				return nil, s.fail("a key must be text, a number or a boolean, not %s", article(TypeOf(v)))
			}
			if err := m.alloc(&s, int64(len(text))); err != nil {
				return nil, err
			}
			key = append(append(key, text...), 0)
		}
		return table.find(index, string(key)), m.read(&s, len(key))
	}}
}

// lookupKey compiles the second argument of lookup. It returns the index to use
// and the code of the values, or nil after a problem.
func (c *compiler) lookupKey(table *Table, t ast.Node) (*tableIndex, func(m *machine) ([]any, error)) {
	if object, ok := t.(*ast.MapNode); ok {
		return c.lookupColumns(table, object)
	}
	n := c.compile(t)
	if n.typ == TypeObject {
		c.problemAt(t.Location(), CodeType, `write the columns in the call, such as lookup("units", {erp: doc.unit})`, "the columns of a lookup must be constant")
		return nil, nil
	}
	return table.key, func(m *machine) ([]any, error) {
		v, err := n.run(m)
		if err != nil {
			return nil, err
		}
		if list, ok, err := m.list(&n.site, v); ok || err != nil {
			return list, err
		}
		if v == nil {
			return nil, n.site.fail("the key of a lookup is nil; add a default with ?? if it may be missing")
		}
		return []any{v}, nil
	}
}

func (c *compiler) lookupColumns(table *Table, object *ast.MapNode) (*tableIndex, func(m *machine) ([]any, error)) {
	var columns []string
	var nodes []*node
	for _, p := range object.Pairs {
		pair := p.(*ast.PairNode)
		key, ok := pair.Key.(*ast.StringNode)
		if !ok {
			c.problemAt(pair.Key.Location(), CodeType, "write a name of a column", "the columns of a lookup must be constant")
			return nil, nil
		}
		if !slices.Contains(table.columns, key.Value) {
			c.problemAt(pair.Key.Location(), CodeName, didYouMean(key.Value, table.columns), "the table %s has no column %s", table.name, shorten(key.Value))
			return nil, nil
		}
		columns = append(columns, key.Value)
		nodes = append(nodes, c.compile(pair.Value))
	}
	if len(columns) == 0 {
		c.problemAt(object.Location(), CodeValue, "name at least one column", "the lookup names no column")
		return nil, nil
	}
	index := c.scope.Library.indexOf(table, columns)
	if index == nil {
		c.problemAt(object.Location(), CodeTooLarge, "use fewer sets of columns", "the lookups in the table %s use more than %d sets of columns", table.name, maxTableIndexes)
		return nil, nil
	}
	c.impure = true // folding would build the index when the project is checked
	return index, func(m *machine) ([]any, error) {
		if err := m.alloc(&nodes[0].site, int64(len(nodes))*boxBytes); err != nil {
			return nil, err
		}
		list := make([]any, len(nodes))
		for i, n := range nodes {
			v, err := n.run(m)
			if err != nil {
				return nil, err
			}
			if list[i] = v; v == nil {
				return nil, n.site.fail("the key of a lookup is nil; add a default with ?? if it may be missing")
			}
		}
		return list, nil
	}
}
