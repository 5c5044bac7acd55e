package sql

import (
	"context"
	"errors"
	"regexp"
	"strings"
	"time"

	"valence/connectors"
	"valence/internal/document"
	"valence/internal/fault"
	"valence/internal/spec"
)

const (
	rememberFor   = 24 * time.Hour // an accepted row whose `done` has not been committed
	lagEvery      = 10 * time.Second
	maxBatchBytes = 8 << 20 // of one commit, unless one row is larger
)

// listen holds the settings of a subscription.
type listen struct {
	Table   string
	Key     []string
	Where   spec.Statement
	OrderBy spec.Statement
	Done    spec.Statement
	Batch   int

	SQL    spec.Statement
	Cursor string
	Start  any

	Notify string

	Every time.Duration
}

func subscription() *connectors.Subscription {
	return &connectors.Subscription{
		Doc: "Delivers the rows of a table or a query, or the notifications of PostgreSQL. One of these three:\n\n" +
			"- **Queue table**: `table:`, `key:` and `done:`. Rows are claimed with `for update skip locked`, so that several programs can share a table; SQLite claims them in a " +
			"transaction that excludes other writers. `done` runs for each accepted row in the same transaction, after the row is on disk in the atom, and must change the row so that `where` no longer matches it. A row that is " +
			"claimed again within 24 hours of its acceptance, because `done` was not committed, is recognized by its key and not run again. To run a row again on purpose, insert a new one, or " +
			"include a column in `key` that changes, such as the number of the attempt.\n" +
			"- **Watermark**: `sql:` and `cursor:`. The query reads the rows after `${cursor}`, in the order of the column `cursor`, and runs again until it returns no rows. The last value is committed " +
			"with the message, so that each row runs once. The column must be unique and increase. Rows with a lower value that are committed later are not read, so exclude the newest rows if several transactions write " +
			"at once: `and created_at < now() - interval '1 minute'`. The position belongs to the column and to the text after `from`: another table starts at `start`.\n" +
			"- **Change notification** (PostgreSQL): `notify:`. Each notification of the channel is a message. Notifications that are sent while the atom is not connected are lost. So, whenever it has connected, " +
			"the process runs once with `props.gap: true` and should read everything that may have changed.\n\n" +
			"Bytes, numbers and times are as in a `query`.",
		Sample: "subscribe:\n  connection: warehouse\n  table: outbox\n  key: id\n  where: status = 'new'\n  order_by: id\n  done: update outbox set status = 'done' where id = ${row.id}\n",
		With: []spec.Field{
			spec.String("table", func(l *listen) *string { return &l.Table }, "Queue table. Its rows are the messages.").Eg("outbox"),
			spec.Strings("key", func(l *listen) *[]string { return &l.Key }, "Columns that identify a row of the table.").Eg("id"),
			spec.SQL("where", func(l *listen) *spec.Statement { return &l.Where }, "Condition of the rows that wait. By default all rows.").Eg("status = 'new'"),
			spec.SQL("order_by", func(l *listen) *spec.Statement { return &l.OrderBy }, "Order in which rows are claimed. By default that of the key.").Eg("priority desc, id"),
			spec.SQL("done", func(l *listen) *spec.Statement { return &l.Done }, "Statement that changes or deletes an accepted row, `row`.").
				Eg("update outbox set status = 'done' where id = ${row.id}").Late(spec.LateRow).Valid(validDone),
			spec.Int("batch", func(l *listen) *int { return &l.Batch }, "Maximum number of rows that are claimed at once.").OrAs(0, "100").Min(1).Max(10_000),
			spec.SQL("sql", func(l *listen) *spec.Statement { return &l.SQL }, "Query that reads the rows after `${cursor}`.").
				Eg("select * from orders where id > ${cursor} order by id limit 500").Late(spec.LateCursor).Valid(validPoll),
			spec.String("cursor", func(l *listen) *string { return &l.Cursor }, "Column of the query whose value is the position.").Eg("id"),
			spec.Any("start", func(l *listen) *any { return &l.Start }, "First position. By default 0, so that everything is read from the beginning.").Eg("0"),
			spec.String("notify", func(l *listen) *string { return &l.Notify }, "Channel of PostgreSQL, as in `notify orders_changed`. The payload is the document: JSON if it is valid JSON, otherwise text.").Eg("orders_changed"),
			spec.Duration("every", func(l *listen) *time.Duration { return &l.Every }, "How often to look for rows.").OrAs(0, "1s for a table and 5s for a query").Min(10 * time.Millisecond),
		},
		NewWith:   func() any { return &listen{} },
		Check:     func(v any) []string { return v.(*listen).check() },
		Exclusive: func(v any) bool { return v.(*listen).Table == "" }, // atoms share the rows of a queue table
		Props:     "The process reads, for a notification, its `channel` and `gap` as `props`. The other messages have none.",
	}
}

// set reports whether a statement is present.
func set(s spec.Statement) bool { return len(s.Texts) > 0 }

// check returns the problems of the settings. Values may be expressions.
func (l *listen) check() (wrong []string) {
	kinds := map[string]bool{"table": l.Table != "", "sql": set(l.SQL), "notify": l.Notify != ""}
	var kind string
	n := 0
	for _, name := range []string{"table", "sql", "notify"} {
		if kinds[name] {
			kind = name
			n++
		}
	}
	if n != 1 {
		return []string{"one of `table:`, `sql:` and `notify:` is needed, and only one"}
	}
	keys := []struct {
		name, kind string
		set, must  bool
	}{
		{"key", "table", len(l.Key) > 0, true}, {"done", "table", set(l.Done), true}, {"where", "table", set(l.Where), false},
		{"order_by", "table", set(l.OrderBy), false}, {"batch", "table", l.Batch != 0, false},
		{"cursor", "sql", l.Cursor != "", true}, {"start", "sql", l.Start != nil, false},
	}
	for _, k := range keys {
		switch {
		case k.set && k.kind != kind:
			wrong = append(wrong, "`"+k.name+":` has no effect with `"+kind+":`")
		case !k.set && k.must && k.kind == kind:
			wrong = append(wrong, "`"+kind+":` needs `"+k.name+":`")
		}
	}
	if l.Every != 0 && kind == "notify" {
		wrong = append(wrong, "`every:` has no effect with `notify:`")
	}
	if strings.Contains(l.Table, "${") {
		wrong = append(wrong, "the name of a table cannot be an expression: `"+spec.Clip(l.Table)+"`; write the name")
	}
	return wrong
}

var (
	rowValue    = regexp.MustCompile(`\$\{\s*row\b`)
	cursorValue = regexp.MustCompile(`\$\{\s*cursor\s*\}`)
)

// validDone returns the problem of the statement for accepted rows.
func validDone(s spec.Statement) (problem, hint string) {
	if text := strings.Join(s.Texts, "?"); !rowValue.MatchString(text) {
		return "must name the row", "add a condition with the key, such as `where id = ${row.id}`"
	}
	return "", ""
}

// validPoll returns the problem of the query of a watermark.
func validPoll(s spec.Statement) (problem, hint string) {
	if text := strings.Join(s.Texts, "?"); !cursorValue.MatchString(text) {
		return "must read the rows after the position", "add a condition such as `where id > ${cursor} order by id limit 500`"
	}
	return onlyReads(s)
}

// late returns a statement with the values that the connector sets.
func late(s spec.Statement, value func(name, column string) (any, error)) (spec.Statement, error) {
	out := spec.Statement{Texts: s.Texts, Values: make([]any, len(s.Values))}
	for i, v := range s.Values {
		if name, column, ok := spec.IsLate(v); ok {
			var err error
			if v, err = value(name, column); err != nil {
				return out, err
			}
		}
		out.Values[i] = v
	}
	return out, nil
}

var _ connectors.Listener = (*connection)(nil)

// Listen implements connectors.Listener.
func (c *connection) Listen(ctx context.Context, v any, host *connectors.Host) error {
	l := v.(*listen)
	var err error
	switch {
	case l.Table != "":
		err = c.listenTable(ctx, l, host)
	case set(l.SQL):
		err = c.listenQuery(ctx, l, host)
	default:
		err = c.listenNotify(ctx, l, host)
	}
	if ctx.Err() != nil {
		return nil
	}
	return c.failed(ctx, "read", err)
}

// silent returns the failure of a statement that was ended because the database
// did not answer in time, and otherwise err.
func (c *connection) silent(ctx, life context.Context, err error) error {
	var f *fault.Failure
	if err == nil || life.Err() == nil || ctx.Err() != nil || errors.As(err, &f) {
		return err
	}
	return connectors.Failf(fault.CodeTimeout, true, err, "cannot read %s: no answer in time", c.where)
}

// every returns the pause between polls.
func (l *listen) every(otherwise time.Duration) time.Duration {
	if l.Every > 0 {
		return l.Every
	}
	return otherwise
}

// accepted delivers messages and returns how many of them, from the first on,
// belong to the runtime. err is why the next one must be delivered again.
func accepted(ctx context.Context, host *connectors.Host, messages []*connectors.Message) (n int, err error) {
	for _, err := range host.DeliverBatch(ctx, messages) {
		if err != nil {
			return n, err
		}
		n++
	}
	return n, nil
}

// row is a row of a subscription.
type row struct {
	doc    []byte
	values map[string]any // of the columns that the subscription needs, for bind parameters
}

// rowsOf reads at most limit rows, and at most maxBatchBytes unless one is
// larger. more reports whether it has stopped before the end.
func rowsOf(r *reader, limit int, columns []string) (out []row, more bool, err error) {
	at := map[string]int{}
	for _, column := range columns {
		i := r.column(column)
		if i < 0 {
			return nil, false, connectors.Failf(CodeBadCall, false, nil, "there is no column %q; the columns are %s", spec.Clip(column), spec.Clip(strings.Join(r.plain, ", ")))
		}
		at[column] = i
	}
	for size := 0; len(out) < limit && size < maxBatchBytes; {
		doc, more, err := r.next(nil)
		if err != nil || !more {
			return out, false, err
		}
		x := row{doc, make(map[string]any, len(at))}
		for column, i := range at {
			x.values[column] = r.bindable(i)
		}
		out, size = append(out, x), size+len(doc)
	}
	return out, true, nil
}

func (x row) message() *connectors.Message {
	return &connectors.Message{Doc: document.FromJSON(x.doc)}
}
