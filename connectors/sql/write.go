package sql

import (
	"context"
	"database/sql"
	"regexp"
	"strconv"

	"valence/connectors"
	"valence/internal/document"
	"valence/internal/spec"
)

// maxReturned is the maximum number of rows that a writing statement returns.
const maxReturned = 100_000

// onceField declares `once:`.
func onceField[T any](once func(*T) *bool) spec.Field {
	return spec.Bool("once", once, "Write exactly once, also if the call is repeated after a crash: the transaction records the call in the table `valence_done`, which `valence connection prepare` creates.")
}

// transaction runs f in a transaction, whose result is JSON. It makes one
// attempt. With once, a call that was committed before returns its recorded
// result and does not run f.
func (c *connection) transaction(ctx context.Context, call *connectors.Call, once bool, f func(tx *work) ([]byte, error)) (*connectors.Result, error) {
	if once && call.IdempotencyKey == "" {
		return nil, badCall("`once: true` needs the idempotency key of the call")
	}
	w, err := c.begin(ctx, false)
	if err != nil {
		return nil, c.failed(ctx, "write to", err)
	}
	defer w.end()
	if once {
		recorded, done, err := c.remember(ctx, w, call.IdempotencyKey)
		if err != nil {
			return nil, c.failed(ctx, "write to", err)
		}
		if done {
			return &connectors.Result{Doc: document.FromJSON(recorded)}, nil
		}
	}
	result, err := f(w)
	if err == nil && once {
		err = c.record(ctx, w, call.IdempotencyKey, result)
	}
	if err != nil {
		return nil, c.failed(ctx, "write to", err)
	}
	if f := connectors.Interrupted(ctx, "cannot write to "+c.where); f != nil {
		return nil, f
	}
	if err := w.Commit(); err != nil {
		return nil, c.uncommitted(err, once)
	}
	return &connectors.Result{Doc: document.FromJSON(result)}, nil
}

var (
	quoted      = regexp.MustCompile(`(?s)'(?:[^']|'')*'|"(?:[^"]|"")*"|--[^\n]*|/\*.*?\*/`)
	returnsRows = regexp.MustCompile(`(?i)^\s*(?:select|values|show|table|explain)\b|\breturning\b|\boutput\s+(?:inserted|deleted)\b`)
	inserts     = regexp.MustCompile(`(?i)^\s*(?:insert|replace)\b`)
)

// effect is the outcome of statements.
type effect struct {
	affected int64
	lastID   any
	rows     []byte // the elements of a list, or nil if they return no rows
	count    int
}

// json returns the effect as a document.
func (e *effect) json() []byte {
	if e.rows != nil {
		return append(append([]byte{'['}, e.rows...), ']')
	}
	o := &document.Object{}
	o.Set("rows_affected", integer(e.affected))
	o.Set("last_id", e.lastID)
	return document.AppendJSON(nil, o)
}

// executor runs one statement, perhaps with many values.
type executor struct {
	connection *connection
	tx         *work
	prepare    bool
	forms      map[string]*form
	effect
}

// form is a statement of an executor. There are several if lists of different
// lengths are in it.
type form struct {
	text             string
	returns, inserts bool
	stmt             *sql.Stmt // nil: not prepared
}

// maxForms bounds the forms that an executor remembers.
const maxForms = 16

// form returns the form of a statement with this text.
func (x *executor) form(ctx context.Context, text string) (*form, error) {
	if f := x.forms[text]; f != nil {
		return f, nil
	}
	bare := quoted.ReplaceAllString(text, " ")
	f := &form{text: text, returns: returnsRows.MatchString(bare), inserts: inserts.MatchString(bare)}
	if len(x.forms) == maxForms {
		return f, nil
	}
	if x.prepare {
		var err error
		if f.stmt, err = x.tx.PrepareContext(ctx, text); err != nil {
			return nil, err
		}
	}
	if x.forms == nil {
		x.forms = map[string]*form{}
	}
	x.forms[text] = f
	return f, nil
}

// run runs the statement with values and returns how many rows it affected.
func (x *executor) run(ctx context.Context, texts []string, values []any) (int64, error) {
	text, args, err := x.connection.dialect.render(texts, values)
	if err != nil {
		return 0, err
	}
	f, err := x.form(ctx, text)
	if err != nil {
		return 0, err
	}
	return x.runForm(ctx, f, args)
}

func (x *executor) runForm(ctx context.Context, f *form, args []any) (int64, error) {
	if f.returns {
		return x.query(ctx, f, args)
	}
	var result sql.Result
	var err error
	if f.stmt != nil {
		result, err = f.stmt.ExecContext(ctx, args...)
	} else {
		result, err = x.tx.ExecContext(ctx, f.text, args...)
	}
	if err != nil {
		return 0, err
	}
	n, err := result.RowsAffected()
	if err != nil {
		return 0, err
	}
	if f.inserts && x.connection.dialect.hasLastID {
		if id, err := result.LastInsertId(); err == nil && id != 0 {
			x.lastID = integer(id)
		}
	}
	x.affected += n
	return n, nil
}

// query runs a statement that returns rows.
func (x *executor) query(ctx context.Context, f *form, args []any) (int64, error) {
	var rows *sql.Rows
	var err error
	if f.stmt != nil {
		rows, err = f.stmt.QueryContext(ctx, args...)
	} else {
		rows, err = x.tx.QueryContext(ctx, f.text, args...)
	}
	if err != nil {
		return 0, err
	}
	defer rows.Close()
	r, err := x.connection.dialect.reader(rows)
	if err != nil {
		return 0, err
	}
	if x.rows == nil {
		x.rows = []byte{}
	}
	for n := int64(0); ; n++ {
		before := len(x.rows)
		if before > 0 {
			x.rows = append(x.rows, ',')
		}
		var more bool
		if x.rows, more, err = r.next(x.rows); err != nil {
			return 0, err
		}
		if !more {
			x.rows = x.rows[:before]
			x.affected += n
			return n, nil
		}
		if x.count++; x.count > maxReturned || len(x.rows) > maxResult {
			return 0, badCall("the statement returns more than %d rows or 64 MiB", maxReturned)
		}
	}
}

func integer(n int64) document.Number { return document.Number(strconv.FormatInt(n, 10)) }
