package sql

import (
	"context"
	"crypto/tls"
	"database/sql/driver"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/stdlib"

	"valence/internal/access"
	"valence/internal/document"
)

var postgres = dialect{
	quote: '"',
	// The server knows the types of its parameters and reads every value from
	// its text, so that numbers stay exact.
	param: func(n int, v any) (string, any) {
		switch x := v.(type) {
		case bool:
			v = strconv.FormatBool(x)
		case document.Number:
			v = string(x)
		}
		return "$" + strconv.Itoa(n), v
	},
	emptyIn: func(not bool) string {
		if not {
			return "<> all ('{}')"
		}
		return "= any ('{}')"
	},
	column:    postgresColumn,
	claim:     skipLocked,
	pipeline:  pipelinePostgres,
	call:      callPostgres,
	state:     postgresState,
	doneTable: "create table valence_done (\n  id varchar(200) primary key,\n  result text,\n  done_at timestamp with time zone not null default now()\n)",
	noTable:   "42P01",
	remember:  "insert into valence_done (id) values (%s) on conflict (id) do nothing",
}

// openPostgres returns a connector that reads nothing from the environment of
// the atom.
func openPostgres(s *settings, secure *tls.Config, dial access.DialFunc) (driver.Connector, error) {
	config, err := pgx.ParseConfig("host=localhost port=5432 user=nobody dbname=none sslmode=disable passfile=/dev/null application_name=valence")
	if err != nil {
		return nil, err
	}
	config.Host, config.Port, config.Database, config.User, config.Password = s.Host, uint16(s.port()), s.Database, s.User, s.Password
	config.TLSConfig, config.Fallbacks, config.ValidateConnect, config.KerberosSrvName = secure, nil, nil, ""
	config.ConnectTimeout = s.ConnectTimeout
	config.RuntimeParams = map[string]string{"application_name": "valence", "timezone": "UTC", "datestyle": "ISO"}
	config.DialFunc = pgconn.DialFunc(dial)
	config.LookupFunc = func(_ context.Context, host string) ([]string, error) { return []string{host}, nil } // the policy judges names
	return stdlib.GetConnector(*config), nil
}

// postgresColumn returns a value of a result.
func postgresColumn(typ string, v any) any {
	switch v := v.(type) {
	case time.Time:
		if typ == "DATE" {
			return v.Format(time.DateOnly)
		}
		return v.Format(time.RFC3339Nano)
	case float64:
		if typ == "FLOAT4" {
			return float(v, 32)
		}
		return float(v, 64)
	case string:
		if typ == "NUMERIC" {
			return decimal(v)
		}
		return v
	case []byte:
		switch typ {
		case "JSON", "JSONB":
			return document.Parse(string(v))
		case "XML":
			return string(v)
		}
	}
	return v
}

func postgresState(err error) (code string, retryable, ok bool) {
	var e *pgconn.PgError
	if !errors.As(err, &e) {
		return "", false, false
	}
	switch {
	case strings.HasPrefix(e.Code, "40"), strings.HasPrefix(e.Code, "08"), strings.HasPrefix(e.Code, "53"):
		retryable = true
	case e.Code == "55P03", e.Code == "57P01", e.Code == "57P02", e.Code == "57P03", e.Code == "57P05":
		retryable = true
	}
	return e.Code, retryable, true
}

// pipelinePostgres sends statements without waiting for the answers before.
func pipelinePostgres(ctx context.Context, tx *work, text string, args [][]any, affected func(n int64) error) error {
	return tx.conn.Raw(func(driverConn any) error {
		conn, ok := driverConn.(*stdlib.Conn)
		if !ok {
			return fmt.Errorf("%T cannot pipeline", driverConn)
		}
		batch := &pgx.Batch{}
		for _, a := range args {
			batch.Queue(text, a...)
		}
		results := conn.Conn().SendBatch(ctx, batch)
		for range args {
			tag, err := results.Exec()
			if err == nil {
				err = affected(tag.RowsAffected())
			}
			if err != nil {
				return errors.Join(err, results.Close())
			}
		}
		return results.Close()
	})
}
