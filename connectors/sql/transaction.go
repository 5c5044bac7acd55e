package sql

import (
	"context"

	"valence/connectors"
	"valence/internal/document"
	"valence/internal/spec"
)

type transaction struct {
	Statements []statement
	Once       bool
}

type statement struct {
	SQL    spec.Statement
	Each   any
	Into   string
	Expect int
}

// anyRows is the value of `expect:` if it is missing.
const anyRows = -1

var transactionOperation = connectors.Define(connectors.Operation{
	Name:  "transaction",
	ByKey: func(v any) bool { return v.(*transaction).Once },
	Doc:   "Runs several statements in one transaction: all of them or none. The document has the result of each statement with `into`: `{rows_affected, last_id}`, or the list of its rows.",
	With: []spec.Field{
		spec.Objects("statements", func(t *transaction) *[]statement { return &t.Statements }, "The statements, in their order.",
			spec.SQL("sql", func(s *statement) *spec.Statement { return &s.SQL }, "The statement. Each `${}` is a bind parameter.").Required(),
			spec.Each("each", func(s *statement) *any { return &s.Each }, "The list for whose elements, `item`, the statement runs."),
			spec.Name("into", func(s *statement) *string { return &s.Into }, "Name of the result in the document."),
			spec.Int("expect", func(s *statement) *int { return &s.Expect }, "How many rows the statement must affect or return. Otherwise nothing is written, and the call fails with `unexpected_rows`.").OrAs(anyRows, "any number").Min(0)).Required(),
		onceField(func(t *transaction) *bool { return &t.Once }),
	},
	Check: func(v any) []string {
		t := v.(*transaction)
		if len(t.Statements) == 0 {
			return []string{"`statements:` is empty"}
		}
		return nil
	},
	Sample: "- call: warehouse.transaction\n  with:\n    statements:\n" +
		"      - { sql: \"update stock set n = n - ${doc.n} where sku = ${doc.sku} and n >= ${doc.n}\", expect: 1 }\n" +
		"      - { sql: \"insert into orders (sku, n) values (${doc.sku}, ${doc.n}) returning id\", into: order }\n",
}, func(ctx context.Context, c *connection, w *transaction, call *connectors.Call) (*connectors.Result, error) {
	return c.transaction(ctx, call, w.Once, func(tx *work) ([]byte, error) {
		out := &document.Object{}
		for i, s := range w.Statements {
			x := &executor{connection: c, tx: tx}
			n, err := x.each(ctx, s.SQL, s.Each)
			if err != nil {
				return nil, err
			}
			if s.Expect != anyRows && n != int64(s.Expect) {
				return nil, connectors.Failf(CodeUnexpected, false, nil, "statement %d affected %d rows, expected %d; nothing was written", i+1, n, s.Expect)
			}
			if s.Into != "" {
				out.Set(s.Into, document.Raw(x.json()))
			}
		}
		return document.AppendJSON(nil, out), nil
	})
})
