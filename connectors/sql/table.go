package sql

import (
	"context"
	"errors"
	"slices"
	"strings"
	"time"

	"valence/connectors"
	"valence/connectors/session"
	"valence/internal/document"
	"valence/internal/spec"
)

// defaultBatch is the default of `batch:`.
const defaultBatch = 100

// queue is a queue table that a subscription reads.
type queue struct {
	*connection
	*listen
	host    *connectors.Host
	table   string          // quoted
	columns []string        // that the statements need
	done    map[string]bool // origins of the last batch
}

// listenTable delivers the rows of a queue table until ctx ends.
func (c *connection) listenTable(ctx context.Context, l *listen, host *connectors.Host) error {
	table, err := c.dialect.name(l.Table)
	if err != nil {
		return badCall("%v", err)
	}
	q := &queue{c, l, host, table, slices.Clone(l.Key), nil}
	for _, v := range l.Done.Values {
		if _, column, ok := spec.IsLate(v); ok && !slices.Contains(q.columns, column) {
			q.columns = append(q.columns, column)
		}
	}
	var measured time.Time
	for setbacks := 0; ctx.Err() == nil; {
		waiting := true
		if c.dialect.claimsAll || time.Since(measured) >= lagEvery {
			n, err := q.waiting(ctx)
			if err != nil {
				return err
			}
			host.Lag(n)
			measured, waiting = time.Now(), n > 0
		}
		more, refused := false, error(nil)
		if waiting {
			if more, refused, err = q.next(ctx); err != nil {
				return err
			}
		}
		host.Up()
		switch {
		case refused != nil:
			setbacks++
			session.Pause(ctx, session.RetryDelay(refused, setbacks))
		case !more:
			setbacks = 0
			session.Pause(ctx, l.every(time.Second))
		default:
			setbacks = 0
		}
	}
	return nil
}

// condition returns a statement with the condition of the rows between two texts.
func (q *queue) condition(before, after string) spec.Statement {
	s := spec.Statement{Texts: []string{before + after}}
	if set(q.Where) {
		s = spec.Statement{Texts: slices.Clone(q.Where.Texts), Values: q.Where.Values}
		s.Texts[0] = before + " where (" + s.Texts[0]
		s.Texts[len(s.Texts)-1] += ")" + after
	}
	return s
}

// waiting returns how many rows wait.
func (q *queue) waiting(ctx context.Context) (n int64, err error) {
	ctx, cancel := context.WithTimeout(ctx, q.pollTimeout)
	defer cancel()
	s := q.condition("select count(*) from "+q.table, "")
	text, args, err := q.dialect.render(s.Texts, s.Values)
	if err != nil {
		return 0, err
	}
	return connectors.Within(ctx, func() (int64, error) {
		tx, err := q.begin(ctx, true)
		if err != nil {
			return 0, err
		}
		defer tx.end()
		err = tx.QueryRowContext(ctx, text, args...).Scan(&n)
		return n, err
	}, func(int64) {})
}

// next claims rows, delivers them and commits `done` for those that are
// accepted. more reports whether further rows may wait. refused is why a row
// must be delivered again.
func (q *queue) next(ctx context.Context) (more bool, refused, err error) {
	life, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	limit := time.AfterFunc(q.pollTimeout, cancel)
	defer limit.Stop()
	stopClaim := context.AfterFunc(ctx, cancel)
	defer stopClaim()
	tx, err := q.begin(life, false)
	if err != nil {
		return false, nil, q.silent(ctx, life, err)
	}
	defer tx.end()
	rows, err := q.claim(life, tx)
	if err != nil || len(rows) == 0 {
		return false, nil, q.silent(ctx, life, err)
	}
	messages := make([]*connectors.Message, len(rows))
	for i, x := range rows {
		messages[i] = x.message()
		if messages[i].Origin, err = q.origin(x); err != nil {
			return false, nil, err
		}
		messages[i].Remember = rememberFor
	}
	if !stopClaim() { // ctx has ended
		return false, nil, nil
	}
	limit.Stop()
	n, refused := accepted(ctx, q.host, messages)
	if n == 0 {
		return false, refused, nil
	}
	limit.Reset(min(q.pollTimeout, commitTimeout))
	if err := q.finish(life, tx, rows[:n]); err != nil {
		return false, nil, q.silent(ctx, life, err)
	}
	q.done = make(map[string]bool, n)
	for _, m := range messages[:n] {
		q.done[m.Origin] = true
	}
	return true, refused, nil
}

// commitTimeout bounds `done` and its commit, also while the atom stops. If it
// passes, the rows are claimed again and recognized.
const commitTimeout = 30 * time.Second

// claim locks rows and returns them.
func (q *queue) claim(ctx context.Context, tx *work) ([]row, error) {
	batch := q.Batch
	if batch == 0 {
		batch = defaultBatch
	}
	order := q.OrderBy
	if !set(order) {
		names, err := q.dialect.names(q.Key)
		if err != nil {
			return nil, badCall("%v", err)
		}
		order = spec.Statement{Texts: []string{strings.Join(names, ", ")}}
	}
	before, after := q.dialect.claim(q.table, batch)
	s := q.condition(before, " order by ")
	s.Texts[len(s.Texts)-1] += order.Texts[0]
	s.Texts = append(s.Texts, order.Texts[1:]...)
	s.Values = append(slices.Clone(s.Values), order.Values...)
	s.Texts[len(s.Texts)-1] += after
	text, args, err := q.dialect.render(s.Texts, s.Values)
	if err != nil {
		return nil, err
	}
	rows, err := tx.QueryContext(ctx, text, args...)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	r, err := q.dialect.reader(rows)
	if err != nil {
		return nil, err
	}
	claimed, _, err := rowsOf(r, batch, q.columns)
	return claimed, errors.Join(err, rows.Close())
}

// origin returns the identity of a row.
func (q *queue) origin(x row) (string, error) {
	key := make([]any, len(q.Key))
	for i, column := range q.Key {
		if key[i] = x.values[column]; key[i] == nil {
			return "", connectors.Failf(CodeBadCall, false, nil, "a row of the table %s has no value in its key column %q", q.Table, column)
		}
		if b, ok := key[i].([]byte); ok {
			key[i] = string(b)
		}
	}
	origin := q.Table + ": " + string(document.AppendJSON(nil, key))
	if q.done[origin] {
		return "", connectors.Failf(CodeUnexpected, false, nil, "the row %s is claimed again although its `done` was committed: `done` must change the row so that `where` no longer matches; "+
			"to run a row again, insert a new one or add a column to `key` that changes", origin)
	}
	return origin, nil
}

// finish runs `done` for rows and commits.
func (q *queue) finish(ctx context.Context, tx *work, rows []row) error {
	x := &executor{connection: q.connection, tx: tx}
	err := x.all(ctx, q.Done.Texts, len(rows), func(i int) ([]any, error) {
		s, err := late(q.Done, func(_, column string) (any, error) { return rows[i].values[column], nil })
		return s.Values, err
	}, func(n int64) error {
		if n == 0 {
			return connectors.Failf(CodeUnexpected, false, nil, "`done` affected no row of the table %s; it must change or delete the row that it is about", q.Table)
		}
		return nil
	})
	if err != nil {
		return err
	}
	if err := tx.Commit(); err != nil {
		return q.uncommitted(err, true)
	}
	return nil
}
