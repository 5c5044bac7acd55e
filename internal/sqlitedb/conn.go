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

// conn is a connection with its prepared statements. It bypasses database/sql,
// whose pool, locks and conversions cost more than a small insert. It must be
// used by one goroutine at a time.
type conn struct {
	raw          driver.Conn
	stmts        map[string]*stmt
	bytesWritten int         // approximate number of bytes written by exec; reset by its reader
	observe      func(error) // called with each error of a statement; may be nil
}

// statementBytes is the approximate size that a statement writes in addition to
// its arguments.
const statementBytes = 256

type stmt struct {
	raw     driver.Stmt
	args    []driver.NamedValue
	columns []driver.Value
}

// dsn returns the data source name of a file. busy_timeout comes first, so that
// the other pragmas wait for a lock.
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

// bind converts args for the driver, reusing the statement's slice.
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
			return nil, fmt.Errorf("unsupported argument type %T", a)
		}
	}
	return bound, nil
}

func (s *stmt) unbind() {
	for i := range s.args {
		s.args[i].Value = nil
	}
}

// exec executes a statement and returns the number of rows it changed.
func (c *conn) exec(ctx context.Context, query string, args ...any) (int64, error) {
	n, err := c.execute(ctx, query, args)
	if err != nil && c.observe != nil {
		c.observe(err)
	}
	return n, err
}

func (c *conn) execute(ctx context.Context, query string, args []any) (int64, error) {
	s, err := c.prepare(ctx, query)
	if err != nil {
		return 0, err
	}
	bound, err := s.bind(args)
	if err != nil {
		return 0, err
	}
	defer s.unbind()
	c.bytesWritten += statementBytes
	for i := range bound {
		switch v := bound[i].Value.(type) {
		case []byte:
			c.bytesWritten += len(v)
		case string:
			c.bytesWritten += len(v)
		}
	}
	r, err := s.raw.(driver.StmtExecContext).ExecContext(ctx, bound)
	if err != nil {
		return 0, err
	}
	return r.RowsAffected()
}

// query calls row for each row until it returns false or an error.
func (c *conn) query(ctx context.Context, query string, args []any, row func(Row) (bool, error)) error {
	err := c.each(ctx, query, args, row)
	if err != nil && c.observe != nil {
		c.observe(err)
	}
	return err
}

func (c *conn) each(ctx context.Context, query string, args []any, row func(Row) (bool, error)) (err error) {
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
		if err := ctx.Err(); err != nil { // the driver checks ctx only before the first row
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
// copies.
type Row []driver.Value

// Int returns an integer column, or zero if it is null.
func (r Row) Int(i int) int64 {
	v, _ := r[i].(int64)
	return v
}

// Null reports whether a column is null.
func (r Row) Null(i int) bool { return r[i] == nil }

// Text returns a text column, or "" if it is null.
func (r Row) Text(i int) string {
	v, _ := r[i].(string)
	return v
}

// Bytes returns a blob column, or nil if it is null.
func (r Row) Bytes(i int) []byte {
	switch v := r[i].(type) {
	case []byte:
		return v
	case string:
		return []byte(v)
	}
	return nil
}

// Tx is the transaction of an operation. It is valid while the operation runs.
type Tx struct {
	c   *conn
	ctx context.Context
}

// Exec prepares and caches a statement, executes it, and returns the number of
// rows it changed. Args are nil, int, int64, bool, float64, string or []byte.
func (t *Tx) Exec(query string, args ...any) (int64, error) { return t.c.exec(t.ctx, query, args...) }

// Rows calls row for each row of a result until it returns false or an error.
func (t *Tx) Rows(query string, args []any, row func(Row) (bool, error)) error {
	return t.c.query(t.ctx, query, args, row)
}

// One calls row for the first row of a result, and reports whether there is
// one.
func (t *Tx) One(query string, args []any, row func(Row)) (bool, error) {
	found := false
	err := t.c.query(t.ctx, query, args, func(r Row) (bool, error) {
		found = true
		row(r)
		return false, nil
	})
	return found, err
}

// code returns the primary result code of an SQLite error, or 0 for other
// errors.
func code(err error) int {
	var e *sqlite.Error
	if errors.As(err, &e) {
		return e.Code() & 0xff
	}
	return 0
}

const readLimit = 2 * time.Second
