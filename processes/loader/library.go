package loader

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"

	"gopkg.in/yaml.v3"

	"valence/internal/convert"
	"valence/internal/document"
	"valence/internal/expression"
	"valence/internal/spec"
	"valence/processes"
	"valence/processes/language"
)

// The limits of a table. A CSV file repeats its header in every row of the
// table.
const (
	maxTableRows = 100_000
	maxTableSize = 64 << 20
)

// library compiles the tables and functions of the project, which its other
// components use.
func (l *loader) library() {
	var list []*projectFunction
	for _, c := range l.components {
		switch {
		case c.root == nil && c.kind == "table":
			l.lib.DeclareTable(c.name())
		case c.root == nil && c.kind == "function":
			l.lib.Declare(c.name(), nil)
		case c.kind == "table":
			l.table(c)
		case c.kind == "function":
			if f := l.function(c); f != nil {
				list = append(list, f)
			}
		default:
			continue
		}
		c.root = nil
	}
	l.define(list)
}

func (l *loader) table(c *component) {
	var decl language.Table
	d := l.decoder(c, nil, nil)
	l.lib.DeclareTable(c.name())
	d.Mapping(c.root, &spec.Keys{What: "a table", Fields: language.TableFields, Target: &decl})
	rows, file := valueAt(c.root, "rows"), valueAt(c.root, "file")
	switch {
	case rows != nil && file != nil:
		d.Problem(file, processes.CodeNoEffect, "`rows:` and `file:` exclude each other", "remove one of them")
		return
	case rows == nil && file == nil:
		d.Problem(c.key, spec.CodeMissingKey, "a table needs `rows:` or `file:`", "add `file:` with a CSV or JSON file, or `rows:` with a list of maps")
		return
	case d.Fails() > 0 || l.named["table"][c.name()] != c:
		return
	}
	data, ok := "", false
	if rows != nil {
		data, ok = l.tableRows(d, rows)
	} else {
		data, ok = l.tableFile(d, c, file, &decl)
	}
	if !ok {
		return
	}
	_, err := l.lib.AddTable(c.name(), decl.Key, data)
	var wrong *expression.RowError
	switch {
	case errors.As(err, &wrong) && wrong.Row >= 0 && rows != nil:
		d.Problem(rows.Content[wrong.Row], processes.CodeBadTable, wrong.Msg, "correct the row")
	case errors.As(err, &wrong) && wrong.Row >= 0:
		d.Problem(file, processes.CodeBadTable, fmt.Sprintf("row %d of the file: %s", wrong.Row+1, wrong.Msg), "correct the row")
	case err != nil:
		d.Problem(valueAt(c.root, "key"), processes.CodeBadTable, err.Error(), "name columns that every row has")
	}
	sum := sha256.Sum256(fmt.Appendf(nil, "%q %s", decl.Key, data))
	l.uses["table "+c.name()] = string(sum[:])
}

// tableRows returns the rows of a table as JSON.
func (l *loader) tableRows(d *spec.Decoder, rows *yaml.Node) (string, bool) {
	if spec.ShapeOf(rows) != spec.ListShape {
		d.Problem(rows, spec.CodeWrongType, "`rows:` must be a list of maps, not "+spec.DescribeNode(rows), "write `rows: [{ code: PT, name: Portugal }]`")
		return "", false
	}
	if len(rows.Content) > maxTableRows {
		d.Problem(rows, processes.CodeTooLarge, fmt.Sprintf("the table has more than %d rows", maxTableRows), "keep large tables in a database, and read it with a call")
		return "", false
	}
	for _, row := range rows.Content {
		for _, v := range row.Content {
			if spec.HoldsExpression(v.Value) {
				d.Problem(v, spec.CodeNotFixed, "a value of a table cannot be an expression", "write a constant, or `$${` for a literal `${`")
				return "", false
			}
		}
	}
	return string(appendJSON(nil, rows)), true
}

// tableFile returns the rows of a table's file as JSON.
func (l *loader) tableFile(d *spec.Decoder, c *component, at *yaml.Node, decl *language.Table) (string, bool) {
	text, ok := l.namedFile(d, c, at, decl.File)
	if !ok {
		return "", false
	}
	fail := func(msg, hint string) (string, bool) {
		d.Problem(at, processes.CodeBadTable, "the file `"+cut(decl.File)+"`: "+msg, hint)
		return "", false
	}
	if strings.HasSuffix(strings.ToLower(decl.File), ".json") {
		if err := convert.CheckJSON(text); err != nil {
			return fail(err.Error(), "write a list of objects")
		}
		if text = bytes.TrimSpace(text); len(text) == 0 || text[0] != '[' {
			return fail("the JSON is not a list", "write a list of objects, such as [{\"code\": \"PT\", \"name\": \"Portugal\"}]")
		}
		return string(text), true
	}
	if utf8.RuneCountInString(decl.Delimiter) != 1 {
		d.Problem(valueAt(c.root, "delimiter"), spec.CodeWrongValue, "`delimiter:` must be one character", "write a single character; for a tab, write `delimiter: \"\\t\"`")
		return "", false
	}
	delimiter, _ := utf8.DecodeRuneInString(decl.Delimiter)
	const hint = "write a header and rows with the same number of columns; set `delimiter:` if it is not a comma"
	cells, err := convert.CSVToJSON(context.Background(), text, false, delimiter)
	if err != nil {
		return fail(err.Error(), hint)
	}
	header, rows := 0, 0
	document.EachElement(string(cells), func(row string) bool {
		if rows == 0 {
			header = len(row)
		}
		rows++
		return true
	})
	if rows-1 > maxTableRows || rows*header > maxTableSize {
		return fail(fmt.Sprintf("it has %d rows; a table has at most %d, and fewer with long column names", rows-1, maxTableRows), "keep large tables in a database, and read it with a call")
	}
	if rows == 0 {
		return fail("it is empty", hint)
	}
	out, err := convert.CSVToJSON(context.Background(), text, true, delimiter)
	if err != nil {
		return fail(err.Error(), hint)
	}
	return string(out), true
}

// projectFunction is a function while the project is compiled.
type projectFunction struct {
	comp   *component
	name   string
	params []string
	body   *expression.Node
	at     *yaml.Node // the body
	digest digest
	state  int // 0 new, 1 being defined, 2 defined
}

// function decodes a function. It returns nil after an error.
func (l *loader) function(c *component) *projectFunction {
	var decl language.Function
	d := l.decoder(c, nil, nil)
	d.Mapping(c.root, &spec.Keys{What: "a function", Fields: language.FunctionFields, Target: &decl})
	if l.named["function"][c.name()] != c {
		return nil
	}
	f := &projectFunction{comp: c, name: c.name(), params: decl.Params, at: valueAt(c.root, "returns"), digest: digestOf(c.root)}
	if expression.IsFunction(f.name) {
		d.Problem(c.val, processes.CodeDuplicateName, "`"+f.name+"` is a function of the language", "choose another name")
	}
	params := valueAt(c.root, "params")
	for i, p := range f.params {
		at := params
		if params.Kind == yaml.SequenceNode {
			at = params.Content[i]
		}
		switch {
		case !spec.IsName(p):
			d.BadName(at, p)
		case slices.Contains(f.params[:i], p):
			d.Problem(at, processes.CodeDuplicateName, "the parameter `"+p+"` is listed twice", "rename one of them")
		}
	}
	l.lib.Declare(f.name, f.params)
	switch {
	case d.Fails() > 0:
		return nil
	case f.at.Kind == yaml.ScalarNode && !spec.HoldsExpression(f.at.Value):
		d.Problem(f.at, spec.CodeWrongType, "`returns:` has no expression", "write `returns: \"${"+cut(f.at.Value)+"}\"`")
		return nil
	}
	f.body = node(c.src, f.at, nil)
	return f
}

// define compiles the functions, called ones first.
func (l *loader) define(list []*projectFunction) {
	byName := map[string]*projectFunction{}
	for _, f := range list {
		byName[f.name] = f
	}
	var visit func(f *projectFunction)
	visit = func(f *projectFunction) {
		f.state = 1
		sum := f.digest
		use := func(name string) {
			sum = sha256.Sum256(append(append(sum[:], name...), l.uses[name]...))
		}
		for _, r := range l.lib.Calls(f.name, f.body) {
			if r.Call == "lookup" {
				use("table " + r.Text)
				continue
			}
			called := byName[r.Call]
			if called == nil {
				continue
			}
			if called.state == 1 {
				l.report(nil, r.Pos, processes.CodeCallCycle, "the function `"+f.name+"` calls "+itself(f.name, called.name), "a function cannot call itself, also through others; use map, filter or reduce to repeat something")
				continue
			}
			if called.state == 0 {
				visit(called)
			}
			use("function " + called.name)
		}
		_, problems := l.lib.Define(f.name, f.body)
		l.problems = append(l.problems, problems...)
		l.uses["function "+f.name] = string(sum[:])
		f.state = 2
	}
	for _, f := range list {
		if f.state == 0 {
			visit(f)
		}
	}
}

func itself(name, called string) string {
	if name == called {
		return "itself"
	}
	return "`" + called + "`, which calls it"
}

// use records that a process depends on a function or a table.
func (b *processBuilder) use(r *expression.Ref) {
	key := "function " + r.Call
	if r.Call == "lookup" {
		key = "table " + r.Text
	}
	if digest, ok := b.l.uses[key]; ok && !slices.Contains(b.uses, digest) {
		b.uses = append(b.uses, digest)
	}
}

// used returns the digest of the functions and tables that a process uses.
func (b *processBuilder) used() []byte {
	list := slices.Clone(b.uses)
	slices.Sort(list)
	return []byte(strings.Join(list, ""))
}
