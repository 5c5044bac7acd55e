package sql

import (
	"context"

	"valence/connectors"
	"valence/internal/document"
	"valence/internal/spec"
)

type query struct {
	SQL     spec.Statement
	One     bool
	MaxRows int
	Key     string
}

var queryOperation = connectors.Define(connectors.Operation{
	Name: "query", Safe: true,
	Doc: "Runs a query. The document is the list of its rows: maps with the columns in their order. Numbers are exact, dates and times are RFC 3339 text, " +
		"bytes are a file `{raw, encoding}`, and JSON columns are their value. A time without a zone is in UTC. A query cannot write, not even through a function: it runs read-only. " +
		"`for_each: { call: … }` iterates over any number of rows with constant memory. The query stays open between pages of 1000 rows. After a restart, or if it was closed, it is run again: with `key` it continues " +
		"after the last key. Otherwise the rows before are read again and left out, and the loop fails with `stream_changed` if the last of them is another one.",
	With: []spec.Field{
		spec.SQL("sql", func(q *query) *spec.Statement { return &q.SQL }, "The query. Each `${}` is a bind parameter; a list in `in (${…})` is one for each element, and an empty list matches nothing.").
			Eg("select * from orders where status = ${vars.status} order by id").Valid(onlyReads).Required(),
		spec.Bool("one", func(q *query) *bool { return &q.One }, "The document is the only row, or null without a row. More rows are an error."),
		spec.Int("max_rows", func(q *query) *int { return &q.MaxRows }, "Maximum number of rows. More are an error.").Or(10_000).Min(1).Max(1_000_000),
		spec.String("key", func(q *query) *string { return &q.Key }, "In a loop over the query: a unique column without nulls, by which the rows are ordered. A loop that was interrupted continues after the last key, whatever has changed since. Not an expression.").Eg("id"),
	},
	Streams: &connectors.Streaming{Only: []string{"key"}, Not: []string{"one", "max_rows"}},
	Sample:  "- call: warehouse.query\n  with:\n    sql: select id, total from orders where customer = ${doc.customer} and status in (${doc.statuses}) order by id\n",
}, func(ctx context.Context, c *connection, w *query, call *connectors.Call) (*connectors.Result, error) {
	if call.Paged {
		return c.page(ctx, w, call.Page)
	}
	text, args, err := c.dialect.render(w.SQL.Texts, w.SQL.Values)
	if err != nil {
		return nil, err
	}
	limit := w.MaxRows
	if w.One {
		limit = 1
	}
	b, err := connectors.Within(ctx, func() ([]byte, error) { return c.read(ctx, text, args, limit) }, func([]byte) {})
	if err != nil {
		return nil, c.failed(ctx, "query", err)
	}
	if w.One {
		b = onlyRow(b)
	}
	return &connectors.Result{Doc: document.FromJSON(b)}, nil
})

// read returns the rows of a query as JSON. SQLite notices the end of ctx only
// between rows.
func (c *connection) read(ctx context.Context, text string, args []any, limit int) ([]byte, error) {
	tx, err := c.begin(ctx, true)
	if err != nil {
		return nil, err
	}
	defer tx.end()
	rows, err := tx.QueryContext(ctx, text, args...)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	result, err := c.dialect.reader(rows)
	if err != nil {
		return nil, err
	}
	return result.all(nil, limit)
}

// onlyRow returns the element of a list of at most one row.
func onlyRow(list []byte) []byte {
	if len(list) == len("[]") {
		return []byte("null")
	}
	return list[1 : len(list)-1]
}
