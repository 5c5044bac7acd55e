package postgres

import (
	"valence/atom/store"
	"valence/internal/pgdb"
)

// schema is one table of executions, live and ended, with partial indexes for
// the live ones, and tables of keys. Times are nanoseconds since 1970. Values
// that come from messages are bytea, because text holds neither zeros nor
// invalid UTF-8.
//
// Every lock is taken in the order: epoch, match, execution, lane, and rows of
// one table in the order of their key within a batch.
var schema = pgdb.Schema{Table: "atom_schema", Lock: 7308895159113278, Migrations: []string{`
CREATE TABLE atom_group(one boolean PRIMARY KEY DEFAULT true CHECK (one), name text NOT NULL, id text NOT NULL, key bytea NOT NULL);
CREATE SEQUENCE atom_epoch;
CREATE SEQUENCE atom_block_id;
CREATE TABLE atom_member(epoch bigint PRIMARY KEY, name text NOT NULL, version text NOT NULL, joined timestamptz NOT NULL, until timestamptz NOT NULL, adopts boolean NOT NULL);
CREATE TABLE atom_running(epoch bigint PRIMARY KEY, seqs bigint[] NOT NULL) WITH (fillfactor = 50);
CREATE TABLE atom_block(id bigint PRIMARY KEY, holder bigint NOT NULL);
CREATE INDEX atom_block_holder ON atom_block(holder);

CREATE TABLE atom_execution(seq bigint PRIMARY KEY, process text NOT NULL, plan text NOT NULL, env text NOT NULL, received bigint NOT NULL,
  state smallint NOT NULL, due bigint, reason text NOT NULL DEFAULT '', attempt int NOT NULL DEFAULT 0, crashes int NOT NULL DEFAULT 0,
  suspended boolean NOT NULL DEFAULT false, waits boolean NOT NULL DEFAULT false, expires bigint, origin bytea, meta bytea, track bytea, tags text[], doc_type text NOT NULL,
  lane_scope text, lane_key bytea, lane_pos bigint, lane_block boolean, trims int NOT NULL DEFAULT 0, doc bytea, data bytea,
  started bigint, ended bigint, fingerprint text, error bytea, trace bytea, resolved bytea, drop_documents boolean, keep bigint, documents bigint,
  keep_until bigint, documents_until bigint, kept bigint);
ALTER TABLE atom_execution ALTER COLUMN doc SET STORAGE EXTERNAL;
CREATE INDEX atom_execution_ready ON atom_execution(process, seq) WHERE state = 1 AND due IS NULL AND NOT suspended AND NOT waits;
CREATE INDEX atom_execution_due ON atom_execution(process, due, seq) WHERE due IS NOT NULL AND state < 4;
CREATE INDEX atom_execution_live ON atom_execution(process, state) WHERE state < 4;
CREATE INDEX atom_execution_old ON atom_execution(process, received) WHERE state IN (1, 3);
CREATE INDEX atom_execution_expires ON atom_execution(expires) WHERE expires IS NOT NULL AND state < 4;
CREATE INDEX atom_execution_failed ON atom_execution(process, fingerprint, seq) WHERE state IN (4, 5) AND resolved IS NULL;
CREATE INDEX atom_execution_received ON atom_execution(received, seq);
CREATE INDEX atom_execution_process ON atom_execution(process, received, seq);
CREATE INDEX atom_execution_tags ON atom_execution USING gin(tags) WHERE tags IS NOT NULL;
CREATE INDEX atom_execution_keep ON atom_execution(keep_until) WHERE keep_until IS NOT NULL;
CREATE INDEX atom_execution_documents ON atom_execution(documents_until) WHERE documents_until IS NOT NULL;
CREATE TABLE atom_journal(seq bigint, id bigint GENERATED ALWAYS AS IDENTITY, path text NOT NULL, kind text NOT NULL, at bigint, body bytea, PRIMARY KEY(seq, id));

CREATE TABLE atom_lane(scope text, key bytea, tail bigint NOT NULL, since bigint, free bigint NOT NULL DEFAULT 0, PRIMARY KEY(scope, key));
CREATE INDEX atom_lane_blocked ON atom_lane(since, scope, key) WHERE since IS NOT NULL;
CREATE TABLE atom_lane_item(scope text, key bytea, pos bigint, seq bigint NOT NULL, process text NOT NULL, due bigint, PRIMARY KEY(scope, key, pos));

CREATE TABLE atom_dedupe(process text, key bytea, until bigint NOT NULL, seq bigint NOT NULL, received bigint NOT NULL, holder bytea, reply bytea, claim bigint, PRIMARY KEY(process, key));
CREATE INDEX atom_dedupe_until ON atom_dedupe(until);
CREATE INDEX atom_dedupe_claim ON atom_dedupe(claim) WHERE claim IS NOT NULL;
CREATE TABLE atom_origin(key bytea PRIMARY KEY, seq bigint NOT NULL, received bigint NOT NULL, until bigint);
CREATE INDEX atom_origin_until ON atom_origin(coalesce(until, received));
CREATE TABLE atom_newest(process text, key bytea, seq bigint NOT NULL, PRIMARY KEY(process, key));
CREATE INDEX atom_newest_seq ON atom_newest(seq);

CREATE TABLE atom_wait(seq bigint, place bigint, state smallint NOT NULL, path text NOT NULL, match bytea, kind text, at bigint, body bytea, until bigint, PRIMARY KEY(seq, place));
CREATE INDEX atom_wait_match ON atom_wait(match, seq, place) WHERE match IS NOT NULL AND state = 1;
CREATE INDEX atom_wait_until ON atom_wait(until) WHERE until IS NOT NULL;
CREATE TABLE atom_signal(id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, match bytea NOT NULL, until bigint NOT NULL, kind text NOT NULL, at bigint, body bytea);
CREATE INDEX atom_signal_match ON atom_signal(match, id);
CREATE INDEX atom_signal_until ON atom_signal(until);

CREATE TABLE atom_hold(cause text, seq bigint, PRIMARY KEY(cause, seq));
CREATE INDEX atom_hold_seq ON atom_hold(seq);
CREATE TABLE atom_reply(seq bigint PRIMARY KEY, until bigint, body bytea NOT NULL);
CREATE INDEX atom_reply_until ON atom_reply(until) WHERE until IS NOT NULL;
CREATE TABLE atom_state(process text, name text, version bigint NOT NULL, PRIMARY KEY(process, name));
CREATE TABLE atom_value(process text, name text, key bytea, value bytea NOT NULL, PRIMARY KEY(process, name, key));
CREATE TABLE atom_cursor(source bytea PRIMARY KEY, position bytea);
CREATE TABLE atom_content(hash text PRIMARY KEY, body bytea NOT NULL);
CREATE TABLE atom_mark(hash bytea PRIMARY KEY, until bigint NOT NULL);
CREATE INDEX atom_mark_until ON atom_mark(until);
CREATE TABLE atom_write(seq bigint, path text, system text NOT NULL, record text NOT NULL, until bigint NOT NULL, PRIMARY KEY(seq, path));
CREATE INDEX atom_write_until ON atom_write(until);
`, `
CREATE TABLE atom_claim(name text PRIMARY KEY, epoch bigint NOT NULL);
`, `
CREATE TABLE atom_migration(one boolean PRIMARY KEY DEFAULT true CHECK (one), source text NOT NULL, store text NOT NULL, use text NOT NULL,
  at bigint NOT NULL, next bigint NOT NULL, kinds int NOT NULL DEFAULT 0, after bigint NOT NULL DEFAULT 0, done boolean NOT NULL DEFAULT false);
CREATE TABLE atom_moved(one boolean PRIMARY KEY DEFAULT true CHECK (one), target text NOT NULL, at timestamptz NOT NULL);
`, `
ALTER TABLE atom_execution ADD COLUMN cancelled boolean NOT NULL DEFAULT false;
CREATE INDEX atom_execution_cancelled ON atom_execution(seq) WHERE cancelled AND state < 4;
`, `
ALTER TABLE atom_group ADD COLUMN token text;
`, `
CREATE TABLE atom_file(id bytea PRIMARY KEY, name text UNIQUE, size bigint, epoch bigint);
CREATE TABLE atom_file_chunk(id bytea REFERENCES atom_file ON DELETE CASCADE, n int, body bytea NOT NULL, PRIMARY KEY(id, n));
ALTER TABLE atom_file_chunk ALTER COLUMN body SET STORAGE EXTERNAL;
CREATE TABLE atom_file_use(seq bigint, name text REFERENCES atom_file(name), PRIMARY KEY(seq, name));
CREATE INDEX atom_file_use_name ON atom_file_use(name);
`}}

// Stored codes of states and statuses. Codes below firstEnded are live states.
var codes = map[string]int16{
	string(store.Accepted): codeAccepted, string(store.Waiting): codeWaiting, string(store.Held): codeHeld,
	string(store.Failed): codeFailed, string(store.Expired): codeExpired, string(store.Completed): 6, string(store.CompletedWithWarnings): 7,
	string(store.Superseded): 8, string(store.Cancelled): 9, string(store.Rejected): 10,
}

const (
	codeAccepted int16 = 1
	codeWaiting  int16 = 2
	codeHeld     int16 = 3
	firstEnded   int16 = 4
	codeFailed   int16 = 4
	codeExpired  int16 = 5
)

var names = func() map[int16]string {
	all := map[int16]string{}
	for name, code := range codes {
		all[code] = name
	}
	return all
}()
