package pgdb

import (
	"context"
	"fmt"
	"strconv"
)

// Schema is a schema and its history. Programs of the previous version may run
// while it is upgraded, so that they can be upgraded one at a time: a migration
// only adds.
type Schema struct {
	Table      string // holds the version
	Lock       int64  // advisory lock of the whole database, held while migrating
	Migrations []string
}

// Migrate upgrades the schema, and then calls f in the same transaction.
// Programs that start at once wait for each other. A server that is too old, or
// a schema that a newer version wrote, is an *Error, and nothing is written.
func (s *Server) Migrate(ctx context.Context, conn *Conn, schema Schema, f func(Tx) error) error {
	if err := checkVersion(conn.PgConn().ParameterStatus("server_version")); err != nil {
		return err
	}
	return Begin(ctx, conn, func(tx Tx) error {
		_, err := tx.Exec(ctx, fmt.Sprintf("SET LOCAL statement_timeout = 0; SET LOCAL lock_timeout = '60s'; SELECT pg_advisory_xact_lock(%d)", schema.Lock))
		if err != nil {
			return err
		}
		if err := schema.upgrade(ctx, tx, s.Database()); err != nil {
			return err
		}
		return f(tx)
	})
}

// checkVersion rejects a server that is too old.
func checkVersion(version string) error {
	n := 0
	for n < len(version) && version[n] >= '0' && version[n] <= '9' {
		n++
	}
	if major, err := strconv.Atoi(version[:n]); err == nil && major < MinVersion {
		return &Error{Text: fmt.Sprintf("the server runs PostgreSQL %s; the oldest supported version is %d", version, MinVersion), Hint: fmt.Sprintf("upgrade to PostgreSQL %d or newer", MinVersion)}
	}
	return nil
}

func (s Schema) upgrade(ctx context.Context, tx Tx, database string) error {
	if _, err := tx.Exec(ctx, "CREATE TABLE IF NOT EXISTS "+s.Table+"(version int NOT NULL)"); err != nil {
		return err
	}
	have := 0
	if err := tx.QueryRow(ctx, "SELECT coalesce(max(version), 0) FROM "+s.Table).Scan(&have); err != nil {
		return err
	}
	if have > len(s.Migrations) {
		return &Error{Hint: "run the newer version, or restore a backup made before the upgrade",
			Text: fmt.Sprintf("the database %s has schema version %d, newer than the %d this program supports", database, have, len(s.Migrations))}
	}
	for i := have; i < len(s.Migrations); i++ {
		if _, err := tx.Exec(ctx, s.Migrations[i]); err != nil {
			return fmt.Errorf("migrate to version %d: %w", i+1, err)
		}
		if _, err := tx.Exec(ctx, "INSERT INTO "+s.Table+" VALUES($1)", i+1); err != nil {
			return err
		}
	}
	return nil
}
