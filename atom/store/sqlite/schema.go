package sqlite

import (
	"valence/atom/store"
	"valence/internal/sqlitedb"
)

// The schema stores new executions in packs and older ones in rows. The
// messages that one commit accepts for one process are a row of intake. Its
// changes to executions in packs are a row of change. An execution that ends
// within seconds, as nearly all do, so costs a share of two inserts and two
// deletes. One that is suspended, fails or lives longer gets a row of
// execution, and rows of journal from then on.
var migrations = []sqlitedb.Migration{{
	Name: "packs, rows, keys",
	SQL: `
CREATE TABLE setting(name TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE content(hash TEXT PRIMARY KEY, body BLOB NOT NULL);

CREATE TABLE intake(first INTEGER PRIMARY KEY, last INTEGER NOT NULL, process TEXT NOT NULL, head BLOB NOT NULL, docs BLOB NOT NULL);
CREATE INDEX intake_process ON intake(process, first, last);
CREATE TABLE change(id INTEGER PRIMARY KEY, body BLOB NOT NULL);

CREATE TABLE execution(seq INTEGER PRIMARY KEY, process TEXT NOT NULL, state INTEGER NOT NULL, due INTEGER,
  received INTEGER NOT NULL, attempt INTEGER NOT NULL, unclean INTEGER NOT NULL, head BLOB NOT NULL, outcome BLOB, docs BLOB NOT NULL);
CREATE INDEX execution_ready ON execution(process, seq) WHERE state = 1 AND due IS NULL;
CREATE INDEX execution_due ON execution(process, due, seq) WHERE due IS NOT NULL AND state < 4;
CREATE INDEX execution_state ON execution(state, seq, process);
CREATE TABLE journal(id INTEGER PRIMARY KEY, body BLOB NOT NULL);

CREATE TABLE dedupe(process TEXT NOT NULL, key BLOB NOT NULL, until INTEGER NOT NULL, seq INTEGER NOT NULL, received INTEGER NOT NULL,
  reply BLOB, PRIMARY KEY(process, key)) WITHOUT ROWID;
CREATE TABLE origin(key BLOB PRIMARY KEY, seq INTEGER NOT NULL, received INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE file(seq INTEGER NOT NULL, hash BLOB NOT NULL, PRIMARY KEY(seq, hash)) WITHOUT ROWID;
CREATE INDEX file_hash ON file(hash);
`,
}, {
	Name: "failures by cause",
	SQL: `
CREATE TABLE failure(seq INTEGER PRIMARY KEY, process TEXT NOT NULL, fingerprint TEXT NOT NULL, ended INTEGER NOT NULL);
CREATE INDEX failure_cause ON failure(fingerprint, process, seq);
`,
}, {
	Name: "replies",
	SQL: `
CREATE TABLE reply(seq INTEGER PRIMARY KEY, until INTEGER, body BLOB, file BLOB);
CREATE INDEX reply_until ON reply(until);
`,
}, {
	Name: "waits",
	SQL: `
ALTER TABLE execution ADD COLUMN why TEXT;
CREATE TABLE wait(seq INTEGER NOT NULL, place INTEGER NOT NULL, state INTEGER NOT NULL, path TEXT NOT NULL, match BLOB, until INTEGER, body BLOB,
  PRIMARY KEY(seq, place)) WITHOUT ROWID;
CREATE INDEX wait_match ON wait(match, seq) WHERE match IS NOT NULL;
CREATE INDEX wait_until ON wait(until) WHERE until IS NOT NULL;
CREATE TABLE kept(id INTEGER PRIMARY KEY, match BLOB NOT NULL, until INTEGER NOT NULL, body BLOB NOT NULL);
CREATE INDEX kept_match ON kept(match, id);
CREATE INDEX kept_until ON kept(until);
`,
}, {
	Name: "lanes",
	SQL:  migrationLanes,
}, {
	Name: "state",
	SQL:  migrationStates,
}, {
	Name: "expiry",
	SQL:  migrationExpiry,
}, {
	Name: "holds",
	SQL:  migrationHolds,
}, {
	Name: "idle contents",
	SQL:  `ALTER TABLE content ADD COLUMN idle INTEGER;`,
}, {
	Name: "events of one record",
	SQL:  migrationEvents,
}, {
	Name: "holds of live executions",
	SQL:  migrationHoldsEnd,
}, {
	Name: "large snapshots",
	SQL:  migrationStages,
}, {
	Name: "holders of dedupe keys",
	SQL:  `ALTER TABLE dedupe ADD COLUMN holder BLOB;`,
}, {
	Name: "cursors of sources",
	SQL:  migrationSources,
}, {
	Name: "suspects",
	SQL:  migrationSuspects,
}, {
	Name: "size of kept failures",
	SQL:  migrationKept,
}, {
	Name: "stored files",
	SQL:  migrationFiles,
}}

// Stored codes of states and statuses. Codes below firstEndedCode are live
// states. Failed and expired executions stay in the database.
const (
	codeAccepted = 1 + iota
	codeWaiting
	codeHeld
	firstEndedCode
)

const (
	codeFailed = firstEndedCode + iota
	codeExpired
	codeCompleted
	codeWarnings
	codeSuperseded
	codeCancelled
	codeRejected
)

// statusName returns the state or status with a code, or "" if it is unknown.
func statusName(n uint8) string {
	switch n {
	case codeAccepted:
		return string(store.Accepted)
	case codeWaiting:
		return string(store.Waiting)
	case codeHeld:
		return string(store.Held)
	case codeFailed:
		return string(store.Failed)
	case codeExpired:
		return string(store.Expired)
	case codeCompleted:
		return string(store.Completed)
	case codeWarnings:
		return string(store.CompletedWithWarnings)
	case codeSuperseded:
		return string(store.Superseded)
	case codeCancelled:
		return string(store.Cancelled)
	case codeRejected:
		return string(store.Rejected)
	}
	return ""
}

// statusCode returns the code of a state or status, or 0 if it is unknown.
func statusCode(w string) uint8 {
	for n := uint8(codeAccepted); n <= codeRejected; n++ {
		if statusName(n) == w && w != "" {
			return n
		}
	}
	return 0
}

// journalBits is the size of the range of journal ids of one execution.
const journalBits = 16
