// Package sql is the connector for SQL databases: PostgreSQL, MySQL, MariaDB and
// SQLite, and, untested against a server, SQL Server and Oracle.
//
// Statements are written in the project. Each ${} in a statement is a bind
// parameter, so that no value can change the statement.
//
// # Failures
//
//	code             when                                              retryable
//	SQLSTATE         the database rejected the statement               deadlocks, serialization failures,
//	                                                                   locks, resources, shutdown
//	connect          no connection; nothing was sent                   yes
//	connection_lost  the connection was lost before the commit, so     yes
//	                 nothing was written
//	outcome_unknown  the connection was lost during the commit         only with `once: true`
//	timeout          the call timed out before the commit              yes
//	too_many_rows    a query has more rows than max_rows               no
//	too_large        a result exceeds 64 MiB                           no
//	unexpected_rows  a statement did not affect `expect` rows          no
//	stream_changed   an interrupted loop over a query found other rows  no
//	no_done_table    `once: true` without its table                    no
//	bad_call         the call cannot be made; nothing was sent         no
//	refused          the policy does not allow the host or the file    no
//
// Every writing call is one transaction. With `once: true` the transaction also
// writes the idempotency key of the call and its result to the table
// valence_done. A repeated call returns that result and writes nothing.
package sql

import (
	"time"

	"valence/connectors"
	"valence/internal/access"
	"valence/internal/spec"
)

// Failure codes besides those of package fault.
const (
	CodeUnknown    = "outcome_unknown"
	CodeTooMany    = "too_many_rows"
	CodeUnexpected = "unexpected_rows"
	CodeNoTable    = "no_done_table"
	CodeChanged    = "stream_changed"
	CodeBadCall    = "bad_call"
	CodeRefused    = "refused"
)

// settings holds the settings of a connection.
type settings struct {
	Driver         string
	URL            string
	Host           string
	Port           int
	Database       string
	User           string
	Password       string
	TLS            string
	CA             string
	ConnectTimeout time.Duration
	Pool           pool
	Session        []string
}

type pool struct {
	Max  int
	Idle time.Duration
}

// Connector declares the connector.
func Connector(string) *connectors.Connector {
	return &connectors.Connector{
		Name: "sql",
		Doc:  "Queries and changes databases, and reads tables as queues: PostgreSQL, MySQL, MariaDB, SQLite, SQL Server and Oracle. Each `${}` in a statement is a bind parameter.",
		Settings: []spec.Field{
			spec.Enum("driver", func(s *settings) *string { return &s.Driver }, "The database: `mysql` is also for MariaDB. `sqlserver` and `oracle` are untested against a server; `oracle` needs a program that was built with `-tags oracle`. On these two a query is rolled back instead of running read-only.", driverPostgres, driverMySQL, driverSQLite, driverSQLServer, driverOracle).Required(),
			spec.String("url", func(s *settings) *string { return &s.URL }, "URL of the database, instead of `host`, `port` and `database`. Not for SQLite.").Eg("postgres://warehouse@db.example/warehouse"),
			spec.String("host", func(s *settings) *string { return &s.Host }, "Host of the database.").Eg("db.example"),
			spec.Int("port", func(s *settings) *int { return &s.Port }, "Port of the database. Defaults to 5432 for PostgreSQL, 3306 for MySQL, 1433 for SQL Server and 1521 for Oracle.").Min(1).Max(65535),
			spec.String("database", func(s *settings) *string { return &s.Database }, "Name of the database, for Oracle of the service. For SQLite the path of its file, relative to the folder of the project; the file is created if it is missing.").Eg("warehouse").LocalIf("driver", driverSQLite),
			spec.String("user", func(s *settings) *string { return &s.User }, "User of the database.").Eg("valence"),
			spec.String("password", func(s *settings) *string { return &s.Password }, "Password of the user.").Secret(),
			spec.Enum("tls", func(s *settings) *string { return &s.TLS }, "`required` encrypts and verifies the server's certificate, `none` does not encrypt.", tlsRequired, tlsNone).OrAs("", "`none` for a host of this machine, otherwise `required`"),
			spec.String("ca", func(s *settings) *string { return &s.CA }, "CA certificates to trust instead of the system's: PEM or the path of a PEM file, relative to the folder of the project.").Local(),
			spec.Duration("connect_timeout", func(s *settings) *time.Duration { return &s.ConnectTimeout }, "Timeout for establishing a connection.").Or(10 * time.Second).Min(time.Millisecond),
			spec.Object("pool", func(s *settings) *pool { return &s.Pool }, "Connections that are kept open.",
				spec.Int("max", func(p *pool) *int { return &p.Max }, "Maximum number of connections to the database. Further calls wait.").Or(10).Min(1).Max(10_000),
				spec.Duration("idle", func(p *pool) *time.Duration { return &p.Idle }, "How long to keep an unused connection open.").Or(time.Minute).Min(time.Second)),
			spec.Strings("session", func(s *settings) *[]string { return &s.Session }, "Statements that every new connection runs first.").Eg("[\"set statement_timeout = '30s'\"]"),
		},
		NewSettings:  func() any { return &settings{} },
		Operations:   []connectors.Operation{queryOperation, execOperation, transactionOperation, upsertOperation, procedureOperation},
		Subscription: subscription(),
		Check:        check,
		Open: func(v any, policy *access.Policy) (connectors.Connection, error) {
			return open(v.(*settings), policy)
		},
	}
}
