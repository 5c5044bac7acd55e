package sql

import (
	"context"

	"valence/connectors"
	"valence/internal/document"
	"valence/internal/spec"
)

type exec struct {
	SQL  spec.Statement
	Each any
	Once bool
}

var execOperation = connectors.Define(connectors.Operation{
	Name:  "exec",
	ByKey: func(v any) bool { return v.(*exec).Once },
	Doc: "Runs a statement that writes, in a transaction. The document is `{rows_affected, last_id}`, or the list of rows of `returning`. With `each`, " +
		"the statement is prepared once and runs for each element of a list, which is `item` in it, all in one transaction.",
	With: []spec.Field{
		spec.SQL("sql", func(e *exec) *spec.Statement { return &e.SQL }, "The statement. Each `${}` is a bind parameter.").Eg("update orders set status = 'paid' where id = ${doc.id}").Required(),
		spec.Each("each", func(e *exec) *any { return &e.Each }, "The list for whose elements the statement runs."),
		onceField(func(e *exec) *bool { return &e.Once }),
	},
	Sample: "- call: warehouse.exec\n  with:\n    sql: insert into orders (id, total) values (${item.id}, ${item.total})\n    each: ${doc.orders}\n    once: true\n",
}, func(ctx context.Context, c *connection, w *exec, call *connectors.Call) (*connectors.Result, error) {
	return c.transaction(ctx, call, w.Once, func(tx *work) ([]byte, error) {
		x := &executor{connection: c, tx: tx}
		_, err := x.each(ctx, w.SQL, w.Each)
		return x.json(), err
	})
})

// each runs a statement, for each element of a list unless that is nil, and
// returns how many rows it affected.
func (x *executor) each(ctx context.Context, s spec.Statement, list any) (int64, error) {
	if list == nil {
		return x.run(ctx, s.Texts, s.Values)
	}
	elements, ok := document.Decode(list).([]any)
	if !ok {
		return 0, badCall("`each` must be a list, not %s", document.TypeName(list))
	}
	err := x.all(ctx, s.Texts, len(elements), func(i int) ([]any, error) {
		v, _ := document.Key(elements[i], spec.EachValues)
		values, ok := document.Decode(v).([]any)
		if !ok {
			return nil, badCall("`each` is not the list of a statement")
		}
		return values, nil
	}, func(int64) error { return nil })
	return x.affected, err
}

// pipelined is how many statements are sent before the first answer is read.
const pipelined = 256

// all runs the statement, once for each of n values, and calls affected with the
// number of rows of each.
func (x *executor) all(ctx context.Context, texts []string, n int, values func(i int) ([]any, error), affected func(n int64) error) error {
	d := x.connection.dialect
	x.prepare = d.pipeline == nil
	var text string
	var queued [][]any
	flush := func() error {
		args := queued
		queued = nil
		if len(args) == 0 {
			return nil
		}
		return d.pipeline(ctx, x.tx, text, args, func(n int64) error { x.affected += n; return affected(n) })
	}
	for i := range n {
		v, err := values(i)
		if err != nil {
			return err
		}
		next, args, err := d.render(texts, v)
		if err != nil {
			return err
		}
		f, err := x.form(ctx, next)
		if err != nil {
			return err
		}
		if next != text || len(queued) == pipelined {
			if err := flush(); err != nil {
				return err
			}
			text = next
		}
		if d.pipeline != nil && !f.returns {
			queued = append(queued, args)
			continue
		}
		k, err := x.runForm(ctx, f, args)
		if err == nil {
			err = affected(k)
		}
		if err != nil {
			return err
		}
	}
	return flush()
}
