// Package pgdb connects to PostgreSQL for stores that several programs share:
// sessions with timeouts, errors with hints, migrations and notifications. It
// alone imports the driver.
package pgdb

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgtype"
	"github.com/jackc/pgx/v5/pgxpool"
)

// Types and functions of the driver that stores use.
type (
	Conn  = pgx.Conn
	Tx    = pgx.Tx
	Rows  = pgx.Rows
	Row   = pgx.Row
	Batch = pgx.Batch
	Pool  = pgxpool.Pool
	// DriverBytes is a value that is valid until the next row.
	DriverBytes = pgtype.DriverBytes
)

// ErrNoRows is returned by Row.Scan if there is no row.
var ErrNoRows = pgx.ErrNoRows

// MinVersion is the oldest supported major version of PostgreSQL.
const MinVersion = 14

// ConnectTime is the longest time to connect.
const ConnectTime = 10 * time.Second

// Session is how a program uses a database.
type Session struct {
	// Name is shown in pg_stat_activity, and in error messages.
	Name string
	// Connections is the size of a pool unless the URL sets pool_max_conns.
	Connections int32
	// Statement and Lock limit statements and their waits for locks. Idle
	// limits how long a transaction may be silent: afterwards the server ends
	// it, so that a hanging program does not block others.
	Statement, Lock, Idle time.Duration
}

// Server is the address of a database and the options of its connections.
type Server struct {
	config *pgxpool.Config
}

// Parse returns the server with an address as libpq accepts it:
// postgres://user@host:port/database?sslmode=…. PGHOST, PGPASSWORD, PGPASSFILE
// and so on supply the rest, and PGPASSWORD_FILE names a file with the password.
// An invalid address is an *Error.
func Parse(address string, o Session) (*Server, error) {
	config, err := pgxpool.ParseConfig(address)
	if err != nil {
		return nil, &Error{Text: "invalid database address", Hint: "--store postgres://user@host:5432/database", err: err}
	}
	if !strings.Contains(address, "pool_max_conns") {
		config.MaxConns = o.Connections
	}
	config.PingTimeout = ConnectTime / 2
	c := config.ConnConfig
	if err := readPassword(c, address); err != nil {
		return nil, err
	}
	if c.ConnectTimeout == 0 || c.ConnectTimeout > ConnectTime {
		c.ConnectTimeout = ConnectTime
	}
	if c.ValidateConnect == nil { // reject a standby after a failover
		c.ValidateConnect = checkWritable
	}
	for name, value := range map[string]string{
		"application_name": o.Name, "statement_timeout": ms(o.Statement), "lock_timeout": ms(o.Lock),
		"idle_in_transaction_session_timeout": ms(o.Idle), "timezone": "UTC", "client_encoding": "UTF8",
	} {
		if _, said := c.RuntimeParams[name]; !said || name != "application_name" {
			c.RuntimeParams[name] = value
		}
	}
	return &Server{config}, nil
}

// passwordFile is the variable that names a file with the password, such as a
// secret that a container mounts. libpq does not know it.
const passwordFile = "PGPASSWORD_FILE"

// readPassword reads the password from the file of PGPASSWORD_FILE, unless the
// URL has one.
func readPassword(c *pgx.ConnConfig, address string) error {
	path := os.Getenv(passwordFile)
	if path == "" {
		return nil
	}
	if u, err := url.Parse(address); err == nil && u.User != nil {
		if _, said := u.User.Password(); said {
			return nil
		}
	}
	if os.Getenv("PGPASSWORD") != "" {
		return &Error{Text: "PGPASSWORD and " + passwordFile + " are both set", Hint: "set one of them"}
	}
	text, err := os.ReadFile(path)
	if err != nil {
		return &Error{Text: fmt.Sprintf("cannot read the password of the database: %v", err), Hint: "name a readable file in " + passwordFile, err: err}
	}
	if c.Password = strings.TrimRight(string(text), "\r\n"); c.Password == "" {
		return &Error{Text: "the file " + path + " contains no password", Hint: "write the password of the database user into it"}
	}
	return nil
}

// errReadOnly is returned for a server that accepts no writes.
var errReadOnly = errors.New("the server is read-only")

// checkWritable rejects a connection whose transactions are read-only.
func checkWritable(ctx context.Context, conn *pgconn.PgConn) error {
	r := conn.ExecParams(ctx, "SHOW transaction_read_only", nil, nil, nil, nil).Read()
	if r.Err == nil && len(r.Rows) == 1 && string(r.Rows[0][0]) == "on" {
		return errReadOnly
	}
	return r.Err
}

func ms(d time.Duration) string { return strconv.FormatInt(d.Milliseconds(), 10) }

// Connect opens a connection of its own.
func (s *Server) Connect(ctx context.Context) (*Conn, error) {
	return pgx.ConnectConfig(ctx, s.config.ConnConfig)
}

// Pool opens a pool with up to limit connections; 0: as the session says.
func (s *Server) Pool(ctx context.Context, limit int32) (*Pool, error) {
	config := s.config.Copy()
	if limit > 0 {
		config.MaxConns = limit
	}
	return pgxpool.NewWithConfig(ctx, config)
}

// Database returns the name of the database.
func (s *Server) Database() string { return s.config.ConnConfig.Database }

// Place returns the name of the database with its host and port.
func (s *Server) Place() string { return s.Database() + " at " + s.address() }

// address returns the host and port.
func (s *Server) address() string {
	c := s.config.ConnConfig
	return net.JoinHostPort(c.Host, strconv.Itoa(int(c.Port)))
}

// String describes the database for people.
func (s *Server) String() string {
	return fmt.Sprintf("%s at %s, as %s", s.Database(), s.address(), s.config.ConnConfig.User)
}

// Unencrypted reports whether a connection leaves the machine without TLS.
func Unencrypted(conn *Conn) bool {
	c := conn.PgConn().Conn()
	if _, encrypted := c.(*tls.Conn); encrypted {
		return false
	}
	to, ok := c.RemoteAddr().(*net.TCPAddr)
	return ok && !to.IP.IsLoopback()
}

// Begin runs a function in a transaction, and commits it unless the function
// fails.
func Begin(ctx context.Context, on interface {
	Begin(context.Context) (Tx, error)
}, f func(Tx) error) error {
	return pgx.BeginFunc(ctx, on, f)
}

// ForEachRow scans every row and calls f.
func ForEachRow(rows Rows, into []any, f func() error) error {
	_, err := pgx.ForEachRow(rows, into, f)
	return err
}

// Column returns the values of a query with one column.
func Column[T any](rows Rows) ([]T, error) { return pgx.CollectRows(rows, pgx.RowTo[T]) }

// Identifier quotes a name for a statement.
func Identifier(name string) string { return pgx.Identifier{name}.Sanitize() }

// Code returns the SQLSTATE of a server's error, or "".
func Code(err error) string {
	if e := (*pgconn.PgError)(nil); errors.As(err, &e) {
		return e.Code
	}
	return ""
}

// Retryable reports whether a transaction failed without effect: after a
// deadlock, or on a connection that was dead.
func Retryable(err error) bool {
	if pgconn.SafeToRetry(err) {
		return true
	}
	switch Code(err) {
	case "40001", "40P01": // serialization_failure, deadlock_detected
		return true
	}
	return false
}

// Invalid reports whether a statement failed because of its values, so that it
// never succeeds: a data exception, a violated constraint, or a limit.
func Invalid(err error) bool {
	for _, class := range []string{"22", "23", "54"} {
		if strings.HasPrefix(Code(err), class) {
			return true
		}
	}
	return false
}

// Sanitize replaces bytes that PostgreSQL rejects in text: zeros and invalid
// UTF-8.
func Sanitize(s string) string {
	if strings.IndexByte(s, 0) >= 0 {
		s = strings.ReplaceAll(s, "\x00", "\ufffd")
	}
	return strings.ToValidUTF8(s, "\ufffd")
}

// Copy writes rows to a table with COPY.
func Copy(ctx context.Context, tx Tx, table string, columns []string, rows [][]any) error {
	_, err := tx.CopyFrom(ctx, pgx.Identifier{table}, columns, pgx.CopyFromRows(rows))
	return err
}
