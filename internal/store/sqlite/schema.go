package sqlite

import (
	"valence/atom"
	"valence/internal/sqlitedb"
)

// The schema keeps young executions in packs and older ones in rows. What one
// commit accepts for one process is one row of intake; what it does to young
// executions is one row of change. So an execution that is accepted and ends
// within seconds, as nearly all do, costs a share of two inserts and two
// deletes. One that is parked, fails, or lives longer gets a row of its own in
// execution, and from then on rows in journal.
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
	Name: "what executions are held for",
	SQL:  migrationHolds,
}, {
	Name: "idle contents",
	SQL:  `ALTER TABLE content ADD COLUMN idle INTEGER;`,
}, {
	Name: "events of one record",
	SQL:  migrationEvents,
}, {
	Name: "what was held",
	SQL:  migrationHoldsEnd,
}, {
	Name: "large snapshots",
	SQL:  migrationStages,
}}

// How states and statuses are stored. Those under live are executions that
// have not ended; failed and expired ones stay in the database.
const (
	stAccepted = 1 + iota
	stWaiting
	stHeld
	live
)

const (
	stFailed = live + iota
	stExpired
	stCompleted
	stWarnings
	stSuperseded
	stCancelled
)

// word gives a state or status as it is stored, "" for one that is not known.
func word(n uint8) string {
	switch n {
	case stAccepted:
		return string(atom.Accepted)
	case stWaiting:
		return string(atom.Waiting)
	case stHeld:
		return string(atom.Held)
	case stFailed:
		return string(atom.Failed)
	case stExpired:
		return string(atom.Expired)
	case stCompleted:
		return string(atom.Completed)
	case stWarnings:
		return string(atom.CompletedWithWarnings)
	case stSuperseded:
		return string(atom.Superseded)
	case stCancelled:
		return string(atom.Cancelled)
	}
	return ""
}

// number is the reverse of word, 0 for what is not known.
func number(w string) uint8 {
	for n := uint8(stAccepted); n <= stCancelled; n++ {
		if word(n) == w && w != "" {
			return n
		}
	}
	return 0
}

// journalBits is the room for the rows of one execution's journal.
const journalBits = 16
