package postgres

import (
	"context"
	"crypto/rand"
	"crypto/subtle"
	"encoding/hex"
	"errors"

	"valence/internal/pgdb"
)

// migrations upgrade the schema, one version each. Control planes of the
// previous version may run meanwhile, so that they can be upgraded one at a
// time: a migration only adds.
//
// An object without a body was deleted. It remains for a while, so that other
// control planes learn of it. The lock of the one row of cloud_turn is the
// write lock of objects.
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

// schema is what this version needs.
var schema = pgdb.Schema{Table: "cloud_schema", Lock: 7308895159113277, Migrations: migrations}

// migrate upgrades the schema and identifies the database.
func (s *Store) migrate(ctx context.Context) error {
	conn, err := s.server.Connect(ctx)
	if err != nil {
		return err
	}
	defer conn.Close(context.WithoutCancel(ctx))
	s.plaintext = pgdb.Unencrypted(conn)
	return s.server.Migrate(ctx, conn, schema, func(tx pgdb.Tx) error { return s.identify(ctx, tx) })
}

// identify reads or sets the identity of this database among those of a server,
// and raises the sequence of instruction ids to the current time, so that ids grow
// even after an older backup was restored.
func (s *Store) identify(ctx context.Context, tx pgdb.Tx) error {
	b := make([]byte, 8)
	rand.Read(b) // never fails: crypto/rand
	id := ""
	_, err := tx.Exec(ctx, "INSERT INTO cloud_cluster(id) VALUES($1) ON CONFLICT DO NOTHING", hex.EncodeToString(b))
	if err == nil {
		err = tx.QueryRow(ctx, "SELECT id FROM cloud_cluster").Scan(&id)
	}
	if err == nil {
		// A second of tolerance: another control plane assigning ids now must
		// not see them decrease.
		_, err = tx.Exec(ctx, `SELECT setval('cloud_message_id', t) FROM (SELECT (extract(epoch FROM clock_timestamp()) * 1000000)::bigint AS t) AS now, cloud_message_id AS s
			WHERE t > s.last_value + 1000000`)
	}
	s.channel = "valence_cloud_" + id
	return err
}

// ErrKey is returned when the secrets in the database are encrypted under
// another key.
var ErrKey = errors.New("the other control planes of this database encrypt secrets with another key")

// HasKey reports whether a key check is stored.
func (s *Store) HasKey(ctx context.Context) (bool, error) {
	check, err := s.keyCheck(ctx)
	return check != nil, err
}

func (s *Store) keyCheck(ctx context.Context) (check []byte, err error) {
	err = s.read(ctx, func(r pgdb.Rows) error { return r.Scan(&check) }, "SELECT key_check FROM cloud_cluster")
	return check, err
}

// AgreeOnKey compares a value derived from this control plane's key with the
// stored one, which the first control plane sets. It returns ErrKey if they
// differ.
func (s *Store) AgreeOnKey(ctx context.Context, check []byte) error {
	err := s.write(ctx, 1, func(ctx context.Context, tx pgdb.Tx) error {
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
