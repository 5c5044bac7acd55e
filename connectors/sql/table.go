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
	table   string             // quoted
	columns []string           // that the statements need
	done    [2]map[string]bool // origins of the last batches
	ahead   chan *claimed      // the next rows; nil: they are not claimed yet
}

// listenTable delivers the rows of a queue table until ctx ends.
func (c *connection) listenTable(ctx context.Context, l *listen, host *connectors.Host) error {
	table, err := c.dialect.name(l.Table)
	if err != nil {
		return badCall("%v", err)
	}
	q := &queue{c, l, host, table, slices.Clone(l.Key), [2]map[string]bool{}, nil}
	defer q.dropAhead()
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
func (q *queue) waiting(ctx context.Context) (int64, error) {
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
		var n int64
		err = tx.QueryRowContext(ctx, text, args...).Scan(&n)
		return n, err
	}, func(int64) {})
}

// claimed are rows that a transaction has locked.
type claimed struct {
	life      context.Context // of the transaction
	cancel    context.CancelFunc
	limit     *time.Timer // cancels life
	stopClaim func() bool // after it the end of the subscription does not cancel life
	tx        *work       // nil: it could not begin
	rows      []row
	err       error
}

// take claims the next rows. The caller ends the result.
func (q *queue) take(ctx context.Context) *claimed {
	c := &claimed{}
	c.life, c.cancel = context.WithCancel(context.WithoutCancel(ctx))
	c.limit = time.AfterFunc(q.pollTimeout, c.cancel)
	c.stopClaim = context.AfterFunc(ctx, c.cancel)
	if c.tx, c.err = q.begin(c.life, false); c.err == nil {
		c.rows, c.err = q.claim(c.life, c.tx)
	}
	return c
}

func (c *claimed) end() {
	if c.tx != nil {
		c.tx.end()
	}
	c.limit.Stop()
	c.stopClaim()
	c.cancel()
}

// takeAhead claims the rows after those that are being delivered. The database
// passes over the rows that are locked.
func (q *queue) takeAhead(ctx context.Context) {
	ahead := make(chan *claimed, 1)
	q.ahead = ahead
	go func() { ahead <- q.take(ctx) }()
}

// dropAhead leaves the rows that were claimed ahead to the next claim.
func (q *queue) dropAhead() {
	if q.ahead != nil {
		(<-q.ahead).end()
		q.ahead = nil
	}
}

// next claims rows, delivers them and commits `done` for those that are
// accepted. more reports whether further rows may wait. refused is why a row
// must be delivered again.
func (q *queue) next(ctx context.Context) (more bool, refused, err error) {
	var c *claimed
	if q.ahead != nil {
		c, q.ahead = <-q.ahead, nil
	} else {
		c = q.take(ctx)
	}
	defer c.end()
	if c.err != nil || len(c.rows) == 0 {
		return false, nil, q.silent(ctx, c.life, c.err)
	}
	messages := make([]*connectors.Message, len(c.rows))
	for i, x := range c.rows {
		messages[i] = x.message()
		if messages[i].Origin, err = q.origin(x); err != nil {
			return false, nil, err
		}
		messages[i].Remember = rememberFor
	}
	if !c.stopClaim() { // ctx has ended
		return false, nil, nil
	}
	if !c.limit.Stop() { // its locks are gone
		return true, nil, nil
	}
	if len(c.rows) == q.batch() && !q.dialect.claimsAll {
		q.takeAhead(ctx)
	}
	n, refused := accepted(ctx, q.host, messages)
	if n < len(messages) { // the rest is first in the next claim
		q.dropAhead()
	}
	if n == 0 {
		return false, refused, nil
	}
	c.limit.Reset(min(q.pollTimeout, commitTimeout))
	if err := q.finish(c.life, c.tx, c.rows[:n]); err != nil {
		q.dropAhead()
		return false, nil, q.silent(ctx, c.life, err)
	}
	q.done[0], q.done[1] = make(map[string]bool, n), q.done[0]
	for _, m := range messages[:n] {
		q.done[0][m.Origin] = true
	}
	return true, refused, nil
}

// batch returns how many rows are claimed at once.
func (q *queue) batch() int {
	if q.Batch == 0 {
		return defaultBatch
	}
	return q.Batch
}

// commitTimeout bounds `done` and its commit, also while the atom stops. If it
// passes, the rows are claimed again and recognized.
const commitTimeout = 30 * time.Second

// claim locks rows and returns them.
func (q *queue) claim(ctx context.Context, tx *work) ([]row, error) {
	batch := q.batch()
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
	if q.done[0][origin] || q.done[1][origin] {
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
