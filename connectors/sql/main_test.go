package sql

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"valence/connectors"
	"valence/internal/document"
	"valence/internal/fault"
	"valence/internal/spec"
	"valence/internal/test/servers"
)

var (
	pg    *servers.Postgres
	maria *servers.MariaDB
)

func TestMain(m *testing.M) {
	if os.Getenv(childDriver) != "" {
		child()
		return
	}
	var err error
	if maria, err = servers.NewMariaDB(); err == nil {
		err = maria.Start()
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	code := servers.RunPostgres(m, &pg)
	maria.Remove()
	os.Exit(code)
}

var databases sync.Map

// database returns settings for an empty database of the driver.
func database(t *testing.T, driver string) *settings {
	t.Helper()
	s := &settings{Driver: driver, ConnectTimeout: 5 * time.Second, Pool: pool{Max: 4, Idle: time.Minute}}
	switch driver {
	case driverPostgres:
		s.Host, s.Port, s.Database, s.User, s.Password = "127.0.0.1", pg.Port, pg.Database(t), servers.PostgresUser, servers.PostgresPassword
	case driverMySQL:
		n := 0
		for {
			if _, taken := databases.LoadOrStore(n, true); !taken {
				break
			}
			n++
		}
		s.Host, s.Port, s.Database, s.User, s.Password = "127.0.0.1", maria.Port, fmt.Sprintf("shop_%d", n), "root", servers.MariaDBPassword
		if err := maria.Exec(t.Context(), "create database "+s.Database+" character set utf8mb4"); err != nil {
			t.Fatal(err)
		}
	case driverSQLite:
		s.Database = filepath.Join(t.TempDir(), "shop.db")
	}
	return s
}

// connect opens a connection and runs statements.
func connect(t *testing.T, s *settings, statements ...string) *connection {
	t.Helper()
	c, err := open(s, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	for _, statement := range statements {
		if _, err := c.db.ExecContext(t.Context(), statement); err != nil {
			t.Fatalf("%s: %v", statement, err)
		}
	}
	return c
}

// each runs a test for every driver.
func each(t *testing.T, f func(t *testing.T, driver string)) {
	for _, driver := range []string{driverPostgres, driverMySQL, driverSQLite} {
		t.Run(driver, func(t *testing.T) { f(t, driver) })
	}
}

// sqlOf returns a statement whose `?` are values.
func sqlOf(text string, values ...any) spec.Statement {
	for i, v := range values {
		values[i] = document.FromPlain(v)
	}
	return spec.Statement{Texts: strings.Split(text, "?"), Values: values}
}

var keys int

func run(ctx context.Context, c *connection, name string, with any) (string, error) {
	keys++
	return runKey(ctx, c, name, with, fmt.Sprintf("key-%d", keys))
}

func runKey(ctx context.Context, c *connection, name string, with any, key string) (string, error) {
	op, ok := Connector("").Operation(name)
	if !ok {
		return "", errors.New("no operation " + name)
	}
	r, err := op.Run(ctx, c, with, &connectors.Call{IdempotencyKey: key})
	if err != nil {
		return "", err
	}
	return r.Doc.Text(), nil
}

// must returns the document of a call.
func must(t *testing.T, c *connection, name string, with any) string {
	t.Helper()
	text, err := run(t.Context(), c, name, with)
	if err != nil {
		t.Fatalf("%s: got %v, want nil", name, err)
	}
	return text
}

// rows returns the result of a query.
func rows(t *testing.T, c *connection, text string, values ...any) string {
	t.Helper()
	return must(t, c, "query", &query{SQL: sqlOf(text, values...), MaxRows: 1000})
}

func is(t *testing.T, what, got, want string) {
	t.Helper()
	if got != want {
		t.Errorf("%s: got %s, want %s", what, got, want)
	}
}

// fails checks the failure of a call.
func fails(t *testing.T, err error, code string, retryable bool) *fault.Failure {
	t.Helper()
	var f *fault.Failure
	if !errors.As(err, &f) || f.Code != code || f.Retryable != retryable {
		t.Fatalf("got %v (%+v), want code %s, retryable %v", err, f, code, retryable)
	}
	return f
}

// duplicates are the codes of a duplicate key.
var duplicates = map[string]string{driverPostgres: "23505", driverMySQL: "23000", driverSQLite: "23505"}
