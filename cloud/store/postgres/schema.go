package postgres

import (
	"context"
	"crypto/rand"
	"crypto/subtle"
	"crypto/tls"
	"encoding/hex"
	"errors"
	"fmt"
	"net"
	"strconv"

	"github.com/jackc/pgx/v5"
)

// migrations take a database from one version of the schema to the next. Control
// planes of the version before may run while one is made, so that they can be
// upgraded one at a time: a migration only adds.
//
// An object without a body was deleted; it stays for a while, so that others
// hear of it. The one row of cloud_turn is the turn: who changes objects holds
// its lock.
var migrations = []string{`
CREATE TABLE cloud_cluster(one boolean PRIMARY KEY DEFAULT true CHECK (one), id text NOT NULL, key_check bytea);
CREATE TABLE cloud_turn(one boolean PRIMARY KEY DEFAULT true CHECK (one), position bigint NOT NULL, floor bigint NOT NULL);
INSERT INTO cloud_turn(position, floor) VALUES(0, 0);

CREATE TABLE cloud_object(kind text, id text, account text NOT NULL, body bytea, position bigint NOT NULL, dropped timestamptz, PRIMARY KEY(kind, id));
CREATE INDEX cloud_object_position ON cloud_object(position);
CREATE INDEX cloud_object_dropped ON cloud_object(dropped) WHERE dropped IS NOT NULL;
CREATE TABLE cloud_audit(id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, account text NOT NULL, at bigint NOT NULL, body bytea NOT NULL);
CREATE INDEX cloud_audit_account ON cloud_audit(account, id);

CREATE SEQUENCE cloud_message_id;
CREATE TABLE cloud_message(id bigint PRIMARY KEY, account text NOT NULL, atom text NOT NULL, request text NOT NULL, created bigint NOT NULL, body bytea NOT NULL);
CREATE INDEX cloud_message_atom ON cloud_message(atom, id);
CREATE TABLE cloud_request(id text PRIMARY KEY, account text NOT NULL, atom text NOT NULL, created bigint NOT NULL, delivered bigint, idempotency text, body bytea NOT NULL);
CREATE UNIQUE INDEX cloud_request_idempotency ON cloud_request(account, idempotency) WHERE idempotency IS NOT NULL;
CREATE INDEX cloud_request_created ON cloud_request(created);

CREATE TABLE cloud_record(seq bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, id text NOT NULL UNIQUE, account text NOT NULL, time bigint NOT NULL,
  atom text NOT NULL, execution text NOT NULL, request text, environment text NOT NULL, process text NOT NULL, status text NOT NULL, body bytea NOT NULL);
CREATE UNIQUE INDEX cloud_record_execution ON cloud_record(atom, execution);
CREATE INDEX cloud_record_account ON cloud_record(account, time, seq);
CREATE INDEX cloud_record_request ON cloud_record(request) WHERE request IS NOT NULL;
CREATE INDEX cloud_record_time ON cloud_record(time);
CREATE INDEX cloud_record_atom ON cloud_record(atom, time, seq);
CREATE INDEX cloud_record_process ON cloud_record(process, time, seq);
CREATE INDEX cloud_record_status ON cloud_record(account, status, time, seq) WHERE status <> 'COMPLETE';
CREATE TABLE cloud_result(deployment text, atom text, at bigint NOT NULL, body bytea NOT NULL, PRIMARY KEY(deployment, atom));

CREATE TABLE cloud_seen(atom text PRIMARY KEY, at timestamptz NOT NULL, applied bigint NOT NULL, beat bytea, plane text NOT NULL, batch bigint NOT NULL) WITH (fillfactor = 50);
CREATE TABLE cloud_run(atom text PRIMARY KEY, run text NOT NULL);
CREATE UNLOGGED TABLE cloud_log(question bigint PRIMARY KEY, at timestamptz NOT NULL DEFAULT now(), body bytea NOT NULL);

CREATE TABLE cloud_archive(sha text PRIMARY KEY, size bigint NOT NULL);
CREATE TABLE cloud_chunk(sha text, n int, body bytea NOT NULL, PRIMARY KEY(sha, n));
ALTER TABLE cloud_chunk ALTER COLUMN body SET STORAGE EXTERNAL;
`}

// migrate brings the schema up to date. Control planes that start at once do so
// one after the other.
func (s *Store) migrate(ctx context.Context) error {
	conn, err := pgx.ConnectConfig(ctx, s.config)
	if err != nil {
		return err
	}
	defer conn.Close(context.WithoutCancel(ctx))
	s.open = readable(conn.PgConn().Conn())
	if err := oldEnough(conn.PgConn().ParameterStatus("server_version")); err != nil {
		return err
	}
	return pgx.BeginFunc(ctx, conn, func(tx pgx.Tx) error {
		// The lock is for the whole database and is held for moments.
		_, err := tx.Exec(ctx, "SET LOCAL statement_timeout = 0; SET LOCAL lock_timeout = '60s'; SELECT pg_advisory_xact_lock(7308895159113277)")
		if err != nil {
			return err
		}
		if err := upgrade(ctx, tx, s.config.Database); err != nil {
			return err
		}
		return s.identify(ctx, tx)
	})
}

// readable reports whether others can read a connection: it leaves the machine
// without TLS.
func readable(c net.Conn) bool {
	if _, encrypted := c.(*tls.Conn); encrypted {
		return false
	}
	to, ok := c.RemoteAddr().(*net.TCPAddr)
	return ok && !to.IP.IsLoopback()
}

// oldEnough refuses a server that is too old.
func oldEnough(version string) error {
	n := 0
	for n < len(version) && version[n] >= '0' && version[n] <= '9' {
		n++
	}
	if major, err := strconv.Atoi(version[:n]); err == nil && major < Oldest {
		return &Error{Text: fmt.Sprintf("the server is PostgreSQL %s; %d is the oldest that is taken", version, Oldest), Hint: fmt.Sprintf("PostgreSQL %d or newer", Oldest)}
	}
	return nil
}

func upgrade(ctx context.Context, tx pgx.Tx, database string) error {
	if _, err := tx.Exec(ctx, "CREATE TABLE IF NOT EXISTS cloud_schema(version int NOT NULL)"); err != nil {
		return err
	}
	have := 0
	if err := tx.QueryRow(ctx, "SELECT coalesce(max(version), 0) FROM cloud_schema").Scan(&have); err != nil {
		return err
	}
	if have > len(migrations) {
		return &Error{Hint: "the newer version, or a backup made before the upgrade",
			Text: fmt.Sprintf("the database %s has schema version %d and this program knows versions up to %d: it was written by a newer version", database, have, len(migrations))}
	}
	for i := have; i < len(migrations); i++ {
		if _, err := tx.Exec(ctx, migrations[i]); err != nil {
			return fmt.Errorf("migrate to version %d: %w", i+1, err)
		}
		if _, err := tx.Exec(ctx, "INSERT INTO cloud_schema VALUES($1)", i+1); err != nil {
			return err
		}
	}
	return nil
}

// identify finds out, or says, what this database is called among those that
// share a server, and has messages' ids go on above the time: they grow after
// an older backup was restored, too.
func (s *Store) identify(ctx context.Context, tx pgx.Tx) error {
	b := make([]byte, 8)
	rand.Read(b) // never fails: crypto/rand
	id := ""
	_, err := tx.Exec(ctx, "INSERT INTO cloud_cluster(id) VALUES($1) ON CONFLICT DO NOTHING", hex.EncodeToString(b))
	if err == nil {
		err = tx.QueryRow(ctx, "SELECT id FROM cloud_cluster").Scan(&id)
	}
	if err == nil {
		// A second behind the time is not behind: another control plane that
		// takes ids at this moment must not see them go back.
		_, err = tx.Exec(ctx, `SELECT setval('cloud_message_id', t) FROM (SELECT (extract(epoch FROM clock_timestamp()) * 1000000)::bigint AS t) AS now, cloud_message_id AS s
			WHERE t > s.last_value + 1000000`)
	}
	s.channel = "valence_cloud_" + id
	return err
}

// ErrKey says that secrets in the database are kept under another key.
var ErrKey = errors.New("the control planes of this database keep secrets under another key")

// HasKey reports whether a key was agreed on.
func (s *Store) HasKey(ctx context.Context) (bool, error) {
	check, err := s.keyCheck(ctx)
	return check != nil, err
}

func (s *Store) keyCheck(ctx context.Context) (check []byte, err error) {
	err = s.read(ctx, func(r pgx.Rows) error { return r.Scan(&check) }, "SELECT key_check FROM cloud_cluster")
	return check, err
}

// AgreeOnKey holds what follows from this control plane's key against what
// follows from the others'. The first one says what it is; later another one
// gives ErrKey.
func (s *Store) AgreeOnKey(ctx context.Context, check []byte) error {
	err := s.write(ctx, 1, func(ctx context.Context, tx pgx.Tx) error {
		_, err := tx.Exec(ctx, "UPDATE cloud_cluster SET key_check = $1 WHERE key_check IS NULL", check)
		return err
	})
	if err != nil {
		return err
	}
	agreed, err := s.keyCheck(ctx)
	if err == nil && subtle.ConstantTimeCompare(agreed, check) != 1 {
		return ErrKey
	}
	return err
}
