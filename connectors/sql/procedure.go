package sql

import (
	"context"
	"database/sql"
	"slices"
	"strconv"
	"strings"

	"valence/connectors"
	"valence/internal/document"
	"valence/internal/spec"
)

type procedure struct {
	Name string
	In   any
	Out  []string
	Once bool
}

var procedureOperation = connectors.Define(connectors.Operation{
	Name:  "procedure",
	ByKey: func(v any) bool { return v.(*procedure).Once },
	Doc: "Calls a stored procedure in a transaction; the procedure itself cannot commit. The document is `{out, results}`: the values of the output parameters, and the lists of rows " +
		"of its result sets. SQLite has no procedures. Call a function with `exec`: `select total(${doc.id})`.",
	With: []spec.Field{
		spec.String("name", func(p *procedure) *string { return &p.Name }, "The procedure, such as `close_month` or `sales.close_month`. Not an expression.").Eg("close_month").Required(),
		spec.Any("in", func(p *procedure) *any { return &p.In }, "The input parameters: a map by name, or a list by position.").Eg("{ year: \"${doc.year}\", month: \"${doc.month}\" }"),
		spec.Strings("out", func(p *procedure) *[]string { return &p.Out }, "Names of the output parameters. If `in` is a list, they follow its parameters. A name that is also in the map `in` is of an `inout` parameter. Not an expression.").Eg("[total]"),
		onceField(func(p *procedure) *bool { return &p.Once }),
	},
	Check: func(v any) (wrong []string) {
		p := v.(*procedure)
		for _, name := range append([]string{p.Name}, p.Out...) {
			if strings.Contains(name, "${") {
				wrong = append(wrong, "the name of a procedure or parameter cannot be an expression: `"+spec.Clip(name)+"`; write the name")
			}
		}
		return wrong
	},
	Sample: "- call: warehouse.procedure\n  with:\n    name: close_month\n    in: { year: \"${doc.year}\", month: \"${doc.month}\" }\n    out: [total]\n    once: true\n",
}, func(ctx context.Context, c *connection, w *procedure, call *connectors.Call) (*connectors.Result, error) {
	if c.dialect.call == nil {
		return nil, badCall("the database has no procedures; use `exec` or `transaction`")
	}
	p, err := c.dialect.procedure(w)
	if err != nil {
		return nil, badCall("%v", err)
	}
	return c.transaction(ctx, call, w.Once, func(tx *work) ([]byte, error) { return c.dialect.call(ctx, c, tx, p) })
})

// procedureCall is a call of a procedure.
type procedureCall struct {
	name       string // quoted
	schema     string // "" is the default one
	bare       string // the name without its schema
	parameters []parameter
	positional bool
}

// parameter is a parameter of a call. in and out say how it is used.
type parameter struct {
	name    string // empty: by position
	value   any    // as plain returns it
	in, out bool
}

// procedure returns a call with its parameters: those of `in` and then the
// others of `out`.
func (d *dialect) procedure(w *procedure) (*procedureCall, error) {
	name, err := d.name(w.Name)
	if err != nil {
		return nil, err
	}
	p := &procedureCall{name: name, bare: w.Name}
	if i := strings.LastIndexByte(w.Name, '.'); i >= 0 {
		p.schema, p.bare = w.Name[:i], w.Name[i+1:]
	}
	add := func(name string, v any) error {
		v, err := plain(v)
		p.parameters = append(p.parameters, parameter{name: name, value: v, in: true, out: name != "" && slices.Contains(w.Out, name)})
		return err
	}
	switch in := document.Decode(w.In).(type) {
	case nil:
	case *document.Object:
		for i := range in.Len() {
			name, v := in.At(i)
			if err := add(name, v); err != nil {
				return nil, err
			}
		}
	case []any:
		p.positional = true
		for _, v := range in {
			if err := add("", v); err != nil {
				return nil, err
			}
		}
	default:
		return nil, badCall("`in` must be a map or a list, not %s", document.TypeName(w.In))
	}
	for _, name := range w.Out {
		if !slices.ContainsFunc(p.parameters, func(x parameter) bool { return x.name == name }) {
			p.parameters = append(p.parameters, parameter{name: name, out: true})
		}
	}
	return p, nil
}

// outcome collects the results of a procedure.
type outcome struct {
	out     *document.Object
	results []any // document.Raw
	size    int
}

// json returns the document of a call.
func (o *outcome) json() []byte {
	doc := &document.Object{}
	doc.Set("out", o.out)
	doc.Set("results", o.results)
	return document.AppendJSON(nil, doc)
}

// sets reads the result sets of rows.
func (o *outcome) sets(d *dialect, rows *sql.Rows) error {
	for more := true; more; more = rows.NextResultSet() {
		columns, err := rows.Columns()
		if err != nil {
			return err
		}
		if len(columns) == 0 { // of a statement that returns no rows
			continue
		}
		r, err := d.reader(rows)
		if err != nil {
			return err
		}
		list, err := r.all(nil, maxReturned)
		if err != nil {
			return err
		}
		if o.size += len(list); o.size > maxResult {
			return badCall("the procedure returns more than 64 MiB")
		}
		o.results = append(o.results, document.Raw(list))
	}
	return rows.Err()
}

// callPostgres calls a procedure whose output parameters are the columns of its
// only row.
func callPostgres(ctx context.Context, c *connection, tx *work, p *procedureCall) ([]byte, error) {
	var list []string
	var args []any
	var outs []string
	for _, x := range p.parameters {
		text := "null"
		if x.in {
			var arg any
			text, arg = c.dialect.param(len(args)+1, x.value)
			args = append(args, arg)
		}
		if x.out {
			outs = append(outs, x.name)
		}
		if x.name != "" && !p.positional {
			names, err := c.dialect.names([]string{x.name})
			if err != nil {
				return nil, badCall("%v", err)
			}
			text = names[0] + " => " + text
		}
		list = append(list, text)
	}
	rows, err := tx.QueryContext(ctx, "call "+p.name+"("+strings.Join(list, ", ")+")", args...)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var o outcome
	if err := o.sets(c.dialect, rows); err != nil {
		return nil, err
	}
	all := &document.Object{}
	if len(o.results) > 0 {
		if list, _ := document.Decode(o.results[0]).([]any); len(list) > 0 {
			all, _ = document.Decode(list[0]).(*document.Object)
		}
	}
	o.out, o.results = &document.Object{}, []any{}
	for _, name := range outs {
		v, ok := all.Get(name)
		if !ok {
			return nil, badCall("the procedure has no output parameter %q; it has %s", spec.Clip(name), spec.Clip(strings.Join(all.Keys(), ", ")))
		}
		o.out.Set(name, v)
	}
	return o.json(), nil
}

// callMySQL calls a procedure whose output parameters are variables of the
// session.
func callMySQL(ctx context.Context, c *connection, tx *work, p *procedureCall) ([]byte, error) {
	parameters := p.parameters
	if !p.positional && len(parameters) > 0 {
		var err error
		if parameters, err = inOrder(ctx, tx, p); err != nil {
			return nil, err
		}
	}
	var list, outs []string
	var args []any
	for i, x := range parameters {
		text, arg := c.dialect.param(0, x.value)
		if x.out {
			variable := "@valence_" + strconv.Itoa(i)
			if x.in {
				if _, err := tx.ExecContext(ctx, "set "+variable+" = "+text, arg); err != nil {
					return nil, err
				}
			}
			names, err := c.dialect.names([]string{x.name})
			if err != nil {
				return nil, badCall("%v", err)
			}
			outs = append(outs, variable+" as "+names[0])
			list = append(list, variable)
			continue
		}
		list, args = append(list, text), append(args, arg)
	}
	rows, err := tx.QueryContext(ctx, "call "+p.name+"("+strings.Join(list, ", ")+")", args...)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	o := outcome{out: &document.Object{}, results: []any{}}
	if err := o.sets(c.dialect, rows); err != nil {
		return nil, err
	}
	if err := rows.Close(); err != nil || len(outs) == 0 {
		return o.json(), err
	}
	values, err := tx.QueryContext(ctx, "select "+strings.Join(outs, ", "))
	if err != nil {
		return nil, err
	}
	defer values.Close()
	r, err := c.dialect.reader(values)
	if err != nil {
		return nil, err
	}
	row, _, err := r.next(nil)
	if err != nil {
		return nil, err
	}
	o.out, _ = document.Decode(document.Raw(row)).(*document.Object)
	return o.json(), nil
}

// inOrder returns the parameters in the order in which the procedure declares
// them.
func inOrder(ctx context.Context, tx *work, p *procedureCall) ([]parameter, error) {
	rows, err := tx.QueryContext(ctx, "select parameter_name from information_schema.parameters where specific_schema = coalesce(nullif(?, ''), database()) and specific_name = ? "+
		"and routine_type = 'PROCEDURE' and ordinal_position > 0 order by ordinal_position", p.schema, p.bare)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	left := slices.Clone(p.parameters)
	var ordered []parameter
	var declared []string
	for rows.Next() {
		var name string
		if err := rows.Scan(&name); err != nil {
			return nil, err
		}
		declared = append(declared, name)
		i := slices.IndexFunc(left, func(x parameter) bool { return strings.EqualFold(x.name, name) })
		if i < 0 {
			return nil, badCall("the procedure needs the parameter %q, which is neither in `in` nor in `out`", name)
		}
		ordered = append(ordered, left[i])
		left = slices.Delete(left, i, i+1)
	}
	if err := rows.Err(); err != nil {
		return nil, err
	}
	if len(left) > 0 {
		return nil, badCall("the procedure has no parameter %q; it has %s", spec.Clip(left[0].name), spec.Clip(strings.Join(declared, ", ")))
	}
	return ordered, nil
}
