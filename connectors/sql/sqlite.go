package sql

import (
	"context"
	"database/sql/driver"
	"errors"
	"fmt"
	"net/url"
	"strconv"
	"strings"
	"time"

	driverpkg "modernc.org/sqlite"
	codes "modernc.org/sqlite/lib"

	"valence/internal/access"
	"valence/internal/document"
)

var sqlite = dialect{
	quote: '"',
	param: func(n int, v any) (string, any) {
		arg := number(v)
		if text, ok := arg.(string); ok {
			if _, isNumber := v.(document.Number); isNumber {
				if f, err := strconv.ParseFloat(text, 64); err == nil && strconv.FormatFloat(f, 'f', -1, 64) == strings.TrimSuffix(strings.TrimRight(text, "0"), ".") {
					return "?", f
				}
			}
		}
		return "?", arg
	},
	emptyIn: func(not bool) string {
		if not {
			return "not in ()"
		}
		return "in ()"
	},
	column: func(_ string, v any) any {
		switch v := v.(type) {
		case time.Time:
			return v.Format(time.RFC3339Nano)
		case float64:
			return float(v, 64)
		}
		return v
	},
	claim: func(table string, n int) (before, after string) {
		return "select * from " + table, " limit " + strconv.Itoa(n)
	},
	claimsAll: true,
	state:     sqliteState,
	doneTable: "create table valence_done (\n  id text primary key,\n  result text,\n  done_at text not null default current_timestamp\n)",
	tables:    "select name from sqlite_master where type = 'table' and name = 'valence_done'",
	remember:  "insert into valence_done (id) values (%s) on conflict (id) do nothing",
	hasLastID: true,
	writable: func(writes bool) string {
		if writes {
			return "pragma query_only = off"
		}
		return "pragma query_only = on"
	},
}

// sqliteConnector opens the file of a database.
type sqliteConnector struct {
	path   string
	policy *access.Policy
}

func openSQLite(s *settings, policy *access.Policy) (driver.Connector, error) {
	if s.Database == "" || strings.ContainsRune(s.Database, 0) || strings.HasPrefix(s.Database, ":") || strings.HasPrefix(s.Database, "file:") {
		return nil, errors.New("`database:` must be the path of a file")
	}
	_, err := policy.Path(s.Database)
	var refusal *access.Refusal
	if errors.As(err, &refusal) {
		return nil, err
	}
	return &sqliteConnector{s.Database, policy}, nil
}

// Driver implements driver.Connector.
func (c *sqliteConnector) Driver() driver.Driver { return &driverpkg.Driver{} }

// Connect implements driver.Connector.
func (c *sqliteConnector) Connect(context.Context) (driver.Conn, error) {
	path, err := c.policy.Path(c.path)
	if err != nil {
		return nil, err
	}
	dsn := (&url.URL{Scheme: "file", Opaque: (&url.URL{Path: path}).EscapedPath()}).String() +
		"?_pragma=busy_timeout(5000)&_pragma=synchronous(FULL)&_pragma=foreign_keys(ON)&_txlock=immediate"
	conn, err := (&driverpkg.Driver{}).Open(dsn)
	if err != nil {
		return nil, err
	}
	guarded, ok := conn.(driverpkg.AuthorizerRegisterer)
	if !ok {
		_ = conn.Close()
		return nil, fmt.Errorf("%T cannot be restricted", conn)
	}
	if err := guarded.RegisterAuthorizer(confine); err != nil {
		_ = conn.Close()
		return nil, err
	}
	return conn, nil
}

// confine rejects statements that open other files than the database.
func confine(action driverpkg.AuthorizerActionCode, arg1, _, _, _ string) driverpkg.AuthorizerReturnCode {
	switch int(action) {
	case codes.SQLITE_ATTACH: // also of vacuum, which can write another file
		return driverpkg.AuthorizerReturnCode(codes.SQLITE_DENY)
	case codes.SQLITE_PRAGMA:
		if name := strings.ToLower(arg1); name == "temp_store_directory" || name == "data_store_directory" {
			return driverpkg.AuthorizerReturnCode(codes.SQLITE_DENY)
		}
	}
	return driverpkg.AuthorizerReturnCode(codes.SQLITE_OK)
}

// sqliteStates maps result codes to SQLSTATEs.
var sqliteStates = map[int]string{
	codes.SQLITE_CONSTRAINT_UNIQUE: "23505", codes.SQLITE_CONSTRAINT_PRIMARYKEY: "23505", codes.SQLITE_CONSTRAINT_NOTNULL: "23502",
	codes.SQLITE_CONSTRAINT_FOREIGNKEY: "23503", codes.SQLITE_CONSTRAINT_CHECK: "23514", codes.SQLITE_AUTH: "42501", codes.SQLITE_FULL: "53100",
}

func sqliteState(err error) (code string, retryable, ok bool) {
	var e *driverpkg.Error
	if !errors.As(err, &e) {
		return "", false, false
	}
	switch primary := e.Code() & 0xff; {
	case sqliteStates[e.Code()] != "":
		return sqliteStates[e.Code()], e.Code() == codes.SQLITE_FULL, true
	case primary == codes.SQLITE_CONSTRAINT:
		return "23000", false, true
	case primary == codes.SQLITE_READONLY:
		return codeReadOnly, false, true
	case primary == codes.SQLITE_BUSY, primary == codes.SQLITE_LOCKED:
		return "55P03", true, true
	case primary == codes.SQLITE_CANTOPEN, primary == codes.SQLITE_IOERR:
		return "58030", true, true
	}
	return "HY000", false, true
}
