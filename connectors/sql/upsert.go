package sql

import (
	"context"
	"slices"
	"strings"

	"valence/connectors"
	"valence/internal/document"
	"valence/internal/spec"
)

type upsert struct {
	Table   string
	Key     []string
	Columns []string
	Rows    any
	Once    bool
}

var upsertOperation = connectors.Define(connectors.Operation{
	Name:  "upsert",
	ByKey: func(any) bool { return true },
	Doc: "Updates the rows of a table that have the same key, and inserts the others, in one transaction. It works alike on every database. The document is `{inserted, updated}`. " +
		"A repeated call writes the same again.",
	With: []spec.Field{
		spec.String("table", func(u *upsert) *string { return &u.Table }, "The table, such as `orders` or `public.orders`. Not an expression.").Eg("orders").Required(),
		spec.Strings("key", func(u *upsert) *[]string { return &u.Key }, "The columns that identify a row. They need a unique index. Not an expression.").Eg("[id]").Required(),
		spec.Any("rows", func(u *upsert) *any { return &u.Rows }, "The list of rows, each a map of columns. A missing column is null.").Eg("${doc.orders}").Required(),
		spec.Strings("columns", func(u *upsert) *[]string { return &u.Columns }, "The columns to write, with or without those of the key. Others in `rows` are ignored. Not an expression. Defaults to the keys of the first row, so name the columns if others decide what is in the rows.").Eg("[total, status]"),
		onceField(func(u *upsert) *bool { return &u.Once }),
	},
	Check: func(v any) (wrong []string) {
		u := v.(*upsert)
		for _, name := range append(append([]string{u.Table}, u.Key...), u.Columns...) {
			if strings.Contains(name, "${") {
				wrong = append(wrong, "the name of a table or column cannot be an expression: `"+spec.Clip(name)+"`; write the name")
			}
		}
		return wrong
	},
	Sample: "- call: warehouse.upsert\n  with: { table: orders, key: id, columns: [total, status], rows: \"${doc.orders}\" }\n",
}, func(ctx context.Context, c *connection, w *upsert, call *connectors.Call) (*connectors.Result, error) {
	rows, ok := document.Decode(w.Rows).([]any)
	if !ok {
		return nil, badCall("`rows` must be a list, not %s", document.TypeName(w.Rows))
	}
	if len(w.Columns) == 0 && len(rows) > 0 {
		if first, ok := document.Decode(rows[0]).(*document.Object); ok {
			w.Columns = first.Keys()
		}
	}
	u, err := c.dialect.upserting(w)
	if err != nil {
		return nil, badCall("%v", err)
	}
	return c.transaction(ctx, call, w.Once, func(tx *work) ([]byte, error) {
		x := &executor{connection: c, tx: tx, prepare: true}
		inserted, updated := int64(0), int64(0)
		for i, row := range rows {
			o, ok := document.Decode(row).(*document.Object)
			if !ok {
				return nil, badCall("row %d is %s, not a map", i+1, document.TypeName(row))
			}
			n, err := x.run(ctx, u.update, valuesOf(o, u.updated))
			if err != nil {
				return nil, err
			}
			if n > 1 {
				return nil, connectors.Failf(CodeUnexpected, false, nil, "row %d: %d rows have its key; nothing was written", i+1, n)
			}
			if updated += n; n == 1 {
				continue
			}
			if _, err := x.run(ctx, u.insert, valuesOf(o, u.inserted)); err != nil {
				return nil, err
			}
			inserted++
		}
		out := &document.Object{}
		out.Set("inserted", integer(inserted))
		out.Set("updated", integer(updated))
		return document.AppendJSON(nil, out), nil
	})
})

// upserting holds the two statements of an upsert and the columns of their
// values.
type upserting struct {
	update, insert    []string
	updated, inserted []string
}

func (d *dialect) upserting(w *upsert) (*upserting, error) {
	table, err := d.name(w.Table)
	if err != nil {
		return nil, err
	}
	u := &upserting{}
	for _, column := range w.Columns {
		if !slices.Contains(w.Key, column) {
			u.updated = append(u.updated, column)
		}
	}
	u.inserted = append(append([]string{}, w.Key...), u.updated...)
	names, err := d.names(u.inserted)
	if err != nil {
		return nil, err
	}
	keys, others := names[:len(w.Key)], names[len(w.Key):]
	text := "update " + table + " set "
	if len(others) == 0 { // the columns of the key keep their values
		others, u.updated = keys, append([]string{}, w.Key...)
	}
	u.updated = append(u.updated, w.Key...)
	u.update = append(texts(text, others, ", "), texts(" where ", keys, " and ")...)
	u.update = append(u.update, "")
	u.insert = append([]string{"insert into " + table + " (" + strings.Join(names, ", ") + ") values ("}, slices.Repeat([]string{", "}, len(names)-1)...)
	u.insert = append(u.insert, ")")
	return u, nil
}

// texts returns the texts before the values of `a = …, b = …`.
func texts(first string, names []string, joiner string) []string {
	out := make([]string, len(names))
	for i, name := range names {
		before := joiner
		if i == 0 {
			before = first
		}
		out[i] = before + name + " = "
	}
	return out
}

// valuesOf returns the values of columns in a row.
func valuesOf(o *document.Object, columns []string) []any {
	values := make([]any, len(columns))
	for i, column := range columns {
		values[i], _ = o.Get(column)
	}
	return values
}
