package sql

import (
	"context"
	"database/sql"
	"errors"
	"regexp"
	"strconv"
	"strings"
	"time"

	"valence/connectors"
	"valence/connectors/session"
	"valence/internal/document"
	"valence/internal/spec"
)

// chunk is how many rows of a watermark are delivered in one commit.
const chunk = 250

// watermark is a query that a subscription reads from a position.
type watermark struct {
	*connection
	*listen
	host   *connectors.Host
	stream string
}

// listenQuery delivers the rows of a query from the last position until ctx
// ends.
func (c *connection) listenQuery(ctx context.Context, l *listen, host *connectors.Host) error {
	w := &watermark{c, l, host, l.stream()}
	var measured time.Time
	for setbacks := 0; ctx.Err() == nil; {
		at, err := w.position(ctx)
		if err != nil {
			return err
		}
		if time.Since(measured) >= lagEvery && !c.dialect.unordered {
			if err := w.measure(ctx, at); err != nil {
				return err
			}
			measured = time.Now()
		}
		n, refused, err := w.poll(ctx, at)
		if err != nil {
			return err
		}
		host.Up()
		switch {
		case refused != nil:
			setbacks++
			session.Pause(ctx, session.RetryDelay(refused, setbacks))
			continue
		case n == 0:
			host.Lag(0)
			measured = time.Now()
			session.Pause(ctx, l.every(5*time.Second))
		}
		setbacks = 0
	}
	return nil
}

var fromClause = regexp.MustCompile(`(?is)\bfrom\b(.*?)(?:\bwhere\b|\border\s+by\b|\blimit\b|$)`)

// stream returns the name of the rows to which the position belongs: the column
// and the tables.
func (l *listen) stream() string {
	text := strings.Join(l.SQL.Texts, "?")
	if m := fromClause.FindStringSubmatch(text); m != nil {
		text = m[1]
	}
	return l.Cursor + " of " + strings.ToLower(strings.Join(strings.Fields(text), " "))
}

// position returns the last position, or the first one.
func (w *watermark) position(ctx context.Context) (any, error) {
	b, err := w.host.Cursor(ctx, w.stream)
	switch {
	case err != nil:
		return nil, err
	case b != nil:
		return document.Decode(document.Parse(string(b))), nil
	case w.Start == nil:
		return document.Number("0"), nil
	}
	return document.Decode(w.Start), nil
}

// after returns the query for the rows after a position, with a text before and
// after it.
func (w *watermark) after(at any, before, end string) (string, []any, error) {
	s, err := late(w.SQL, func(string, string) (any, error) { return at, nil })
	if err != nil {
		return "", nil, err
	}
	text, args, err := w.dialect.render(s.Texts, s.Values)
	return before + strings.TrimRight(text, "; \t\r\n") + end, args, err
}

// measure reports how many rows the query returns.
func (w *watermark) measure(ctx context.Context, at any) error {
	ctx, cancel := context.WithTimeout(ctx, w.pollTimeout)
	defer cancel()
	text, args, err := w.after(at, "select count(*) from (", ") valence_rows")
	if err != nil {
		return err
	}
	n, err := connectors.Within(ctx, func() (n int64, err error) {
		err = w.reading(ctx, text, args, func(rows *sql.Rows) error {
			if !rows.Next() {
				return rows.Err()
			}
			return rows.Scan(&n)
		})
		return n, err
	}, func(int64) {})
	if err == nil {
		w.host.Lag(n)
	}
	return err
}

// reading calls f with the rows of a query.
func (c *connection) reading(ctx context.Context, text string, args []any, f func(rows *sql.Rows) error) error {
	tx, err := c.begin(ctx, true)
	if err != nil {
		return err
	}
	defer tx.end()
	rows, err := tx.QueryContext(ctx, text, args...)
	if err != nil {
		return err
	}
	return errors.Join(f(rows), rows.Close())
}

// poll delivers the rows after a position and returns how many were accepted.
// refused is why a row must be delivered again.
func (w *watermark) poll(ctx context.Context, at any) (n int, refused, err error) {
	text, args, err := w.after(at, "", "")
	if err != nil {
		return 0, nil, err
	}
	life, cancel := context.WithCancel(ctx)
	defer cancel()
	limit := time.AfterFunc(w.pollTimeout, cancel)
	defer limit.Stop()
	err = w.reading(life, text, args, func(rows *sql.Rows) error {
		r, err := w.dialect.reader(rows)
		if err != nil {
			return err
		}
		for more := true; more && refused == nil && ctx.Err() == nil; {
			var read []row
			if read, more, err = rowsOf(r, chunk, []string{w.Cursor}); err != nil || len(read) == 0 {
				return err
			}
			limit.Stop()
			var k int
			if k, refused, err = w.deliver(ctx, at, read); err != nil {
				return err
			}
			n, at = n+k, read[len(read)-1].values[w.Cursor]
			limit.Reset(w.pollTimeout)
		}
		return nil
	})
	return n, refused, w.silent(ctx, life, err)
}

// deliver delivers rows that follow a position.
func (w *watermark) deliver(ctx context.Context, at any, rows []row) (n int, refused, err error) {
	messages := make([]*connectors.Message, len(rows))
	for i, x := range rows {
		v := x.values[w.Cursor]
		if err := w.follows(at, v); err != nil {
			return 0, nil, err
		}
		messages[i] = x.message()
		messages[i].Stream, messages[i].Cursor = w.stream, document.AppendJSON(nil, v)
		at = v
	}
	n, refused = accepted(ctx, w.host, messages)
	return n, refused, nil
}

// follows checks that a row is after a position.
func (w *watermark) follows(at, v any) error {
	problem := ""
	a, aIsNumber := at.(document.Number)
	b, bIsNumber := v.(document.Number)
	switch {
	case v == nil:
		problem = "is null"
	case isBytes(v):
		problem = "has bytes, which cannot be a position"
	case string(document.AppendJSON(nil, at)) == string(document.AppendJSON(nil, v)):
		problem = "has the value " + spec.Clip(string(document.AppendJSON(nil, v))) + " again; it must be unique, and the query must exclude rows that are not after `${cursor}`"
	case aIsNumber && bIsNumber && less(string(b), string(a)):
		problem = "has " + string(b) + " after " + string(a) + "; the query must be in its order: `order by " + w.Cursor + "`"
	}
	if problem == "" {
		return nil
	}
	return connectors.Failf(CodeBadCall, false, nil, "the column %q, the cursor, %s", w.Cursor, problem)
}

func isBytes(v any) bool {
	_, ok := v.([]byte)
	return ok
}

// less compares numbers.
func less(a, b string) bool {
	i, errI := strconv.ParseInt(a, 10, 64)
	j, errJ := strconv.ParseInt(b, 10, 64)
	if errI == nil && errJ == nil {
		return i < j
	}
	x, errX := strconv.ParseFloat(a, 64)
	y, errY := strconv.ParseFloat(b, 64)
	return errX == nil && errY == nil && x < y
}
