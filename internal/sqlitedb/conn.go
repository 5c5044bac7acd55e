package sqlitedb

import (
	"context"
	"database/sql/driver"
	"errors"
	"fmt"
	"io"
	"net/url"
	"strings"
	"time"

	"modernc.org/sqlite"
)

// conn is one connection of the driver with its prepared statements. It goes
// past database/sql, whose pool, locks and conversions cost more than a small
// insert. One goroutine at a time may use it.
type conn struct {
	raw   driver.Conn
	stmts map[string]*stmt
	wrote int // bytes given to exec, roughly; whoever looks at it sets it back
}

// statementBytes is what a statement writes beside its arguments, roughly.
const statementBytes = 256

type stmt struct {
	raw     driver.Stmt
	args    []driver.NamedValue
	columns []driver.Value
}

// dsn names the file with its pragmas; busy_timeout comes first so that the
// others wait for a lock instead of failing.
func dsn(path, vfs string, pragmas ...string) string {
	v := url.Values{}
	for _, p := range append([]string{"busy_timeout(5000)"}, pragmas...) {
		v.Add("_pragma", p)
	}
	v.Set("_txlock", "immediate")
	if vfs != "" {
		v.Set("vfs", vfs)
	}
	return "file:" + strings.NewReplacer("%", "%25", "?", "%3f", "#", "%23").Replace(path) + "?" + v.Encode()
}

func connect(ctx context.Context, name string) (*conn, error) {
	c, err := sqlite.NewConnector(name)
	if err != nil {
		return nil, err
	}
	raw, err := c.Connect(ctx)
	if err != nil {
		return nil, err
	}
	return &conn{raw: raw, stmts: map[string]*stmt{}}, nil
}

func (c *conn) close() error {
	var errs []error
	for _, s := range c.stmts {
		errs = append(errs, s.raw.Close())
	}
	c.stmts = nil
	return errors.Join(append(errs, c.raw.Close())...)
}

func (c *conn) prepare(ctx context.Context, query string) (*stmt, error) {
	if s := c.stmts[query]; s != nil {
		return s, nil
	}
	raw, err := c.raw.(driver.ConnPrepareContext).PrepareContext(ctx, query)
	if err != nil {
		return nil, fmt.Errorf("prepare %q: %w", query, err)
	}
	s := &stmt{raw: raw}
	c.stmts[query] = s
	return s, nil
}

// bind puts args into the form of the driver, reusing the statement's own.
func (s *stmt) bind(args []any) ([]driver.NamedValue, error) {
	if cap(s.args) < len(args) {
		s.args = make([]driver.NamedValue, len(args))
		for i := range s.args {
			s.args[i].Ordinal = i + 1
		}
	}
	bound := s.args[:len(args)]
	for i, a := range args {
		switch v := a.(type) {
		case nil, int64, string, []byte, float64:
			bound[i].Value = v
		case int:
			bound[i].Value = int64(v)
		case bool:
			bound[i].Value = int64(0)
			if v {
				bound[i].Value = int64(1)
			}
		default:
			return nil, fmt.Errorf("a %T cannot be stored", a)
		}
	}
	return bound, nil
}

func (s *stmt) unbind() {
	for i := range s.args {
		s.args[i].Value = nil
	}
}

// exec runs a statement and gives the number of rows it changed.
func (c *conn) exec(ctx context.Context, query string, args ...any) (int64, error) {
	s, err := c.prepare(ctx, query)
	if err != nil {
		return 0, err
	}
	bound, err := s.bind(args)
	if err != nil {
		return 0, err
	}
	defer s.unbind()
	c.wrote += statementBytes
	for i := range bound {
		switch v := bound[i].Value.(type) {
		case []byte:
			c.wrote += len(v)
		case string:
			c.wrote += len(v)
		}
	}
	r, err := s.raw.(driver.StmtExecContext).ExecContext(ctx, bound)
	if err != nil {
		return 0, err
	}
	return r.RowsAffected()
}

// query calls row for each row until it gives false or an error.
func (c *conn) query(ctx context.Context, query string, args []any, row func(Row) (bool, error)) (err error) {
	s, err := c.prepare(ctx, query)
	if err != nil {
		return err
	}
	bound, err := s.bind(args)
	if err != nil {
		return err
	}
	defer s.unbind()
	rows, err := s.raw.(driver.StmtQueryContext).QueryContext(ctx, bound)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	if s.columns == nil {
		s.columns = make([]driver.Value, len(rows.Columns()))
	}
	for {
		if err := ctx.Err(); err != nil { // the driver looks only up to the first row
			return err
		}
		if err := rows.Next(s.columns); err == io.EOF {
			return nil
		} else if err != nil {
			return err
		}
		more, err := row(Row(s.columns))
		if err != nil || !more {
			return err
		}
	}
}

// Row is one row of a result, valid until the next. Its blobs and texts are
// copies that may be kept.
type Row []driver.Value

// Int gives an integer column, zero for null.
func (r Row) Int(i int) int64 {
	v, _ := r[i].(int64)
	return v
}

// Null reports whether a column is null.
func (r Row) Null(i int) bool { return r[i] == nil }

// Text gives a text column, "" for null.
func (r Row) Text(i int) string {
	v, _ := r[i].(string)
	return v
}

// Bytes gives a blob column, nil for null.
func (r Row) Bytes(i int) []byte {
	switch v := r[i].(type) {
	case []byte:
		return v
	case string:
		return []byte(v)
	}
	return nil
}

// Tx is the transaction that an operation writes in. It is only valid while
// the operation runs.
type Tx struct {
	c   *conn
	ctx context.Context
}

// Exec runs a statement, which is prepared once and kept, and gives the number
// of rows it changed. Args are nil, int, int64, bool, float64, string and []byte.
func (t *Tx) Exec(query string, args ...any) (int64, error) { return t.c.exec(t.ctx, query, args...) }

// Rows calls row for each row of a result until it gives false or an error.
func (t *Tx) Rows(query string, args []any, row func(Row) (bool, error)) error {
	return t.c.query(t.ctx, query, args, row)
}

// One calls row for the first row of a result and reports whether there was one.
func (t *Tx) One(query string, args []any, row func(Row)) (bool, error) {
	found := false
	err := t.c.query(t.ctx, query, args, func(r Row) (bool, error) {
		found = true
		row(r)
		return false, nil
	})
	return found, err
}

// code gives the primary result code of an SQLite error, 0 for other errors.
func code(err error) int {
	var e *sqlite.Error
	if errors.As(err, &e) {
		return e.Code() & 0xff
	}
	return 0
}

const readLimit = 2 * time.Second
