// Package store keeps a control plane in one folder: a database, and the
// archives of packages as files named by their content.
package store

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"time"

	"valence/cloud"
	"valence/internal/sqlitedb"
)

// Options of a store.
type Options struct {
	Log *slog.Logger
	// OnCommit observes each commit: operations in it, and how long it took.
	OnCommit func(operations int, took time.Duration)
	VFS      string // a registered SQLite VFS, for tests
}

// Store is a folder. Its methods may be called from any goroutine.
type Store struct {
	dir      string
	lock     *sqlitedb.Lock
	db       *sqlitedb.DB
	archives *archives
}

var _ cloud.Store = (*Store)(nil)

// The schema. Objects are read once, at the start; the other tables are read
// by the columns that have an index.
var migrations = []sqlitedb.Migration{{
	Name: "objects, outbox, history",
	SQL: `
CREATE TABLE object(kind TEXT NOT NULL, id TEXT NOT NULL, account TEXT NOT NULL, body BLOB NOT NULL, PRIMARY KEY(kind, id)) WITHOUT ROWID;
CREATE TABLE audit(id INTEGER PRIMARY KEY AUTOINCREMENT, account TEXT NOT NULL, at INTEGER NOT NULL, body BLOB NOT NULL);
CREATE INDEX audit_account ON audit(account, id);

CREATE TABLE message(id INTEGER PRIMARY KEY AUTOINCREMENT, account TEXT NOT NULL, atom TEXT NOT NULL, request TEXT NOT NULL,
  created INTEGER NOT NULL, body BLOB NOT NULL);
CREATE TABLE request(id TEXT PRIMARY KEY, account TEXT NOT NULL, atom TEXT NOT NULL, created INTEGER NOT NULL, delivered INTEGER,
  idempotency TEXT, body BLOB NOT NULL) WITHOUT ROWID;
CREATE UNIQUE INDEX request_idempotency ON request(account, idempotency) WHERE idempotency IS NOT NULL;
CREATE INDEX request_created ON request(created);

CREATE TABLE record(seq INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL UNIQUE, account TEXT NOT NULL, time INTEGER NOT NULL,
  atom TEXT NOT NULL, execution TEXT NOT NULL, request TEXT, environment TEXT NOT NULL, process TEXT NOT NULL, status TEXT NOT NULL, body BLOB NOT NULL);
CREATE UNIQUE INDEX record_execution ON record(atom, execution);
CREATE INDEX record_account ON record(account, time, seq);
CREATE INDEX record_request ON record(request) WHERE request IS NOT NULL;
CREATE INDEX record_time ON record(time);
CREATE TABLE result(deployment TEXT NOT NULL, atom TEXT NOT NULL, at INTEGER NOT NULL, body BLOB NOT NULL, PRIMARY KEY(deployment, atom)) WITHOUT ROWID;
CREATE TABLE seen(atom TEXT PRIMARY KEY, at INTEGER NOT NULL) WITHOUT ROWID;
`,
}, {
	// Most executions are complete: who asks for those finds some at once, and
	// the index of the others stays small.
	Name: "records by what people look for",
	SQL: `
CREATE INDEX record_atom ON record(atom, time, seq);
CREATE INDEX record_process ON record(process, time, seq);
CREATE INDEX record_status ON record(account, status, time, seq) WHERE status <> 'COMPLETE';
`,
}}

// Open takes the folder, creating it if it does not exist. It fails with a
// *sqlitedb.LockedError if another process uses it and with a
// *sqlitedb.NewerSchemaError if a newer version wrote it.
func Open(dir string, o Options) (*Store, error) {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	lock, err := sqlitedb.LockDir(dir)
	if err != nil {
		return nil, err
	}
	s := &Store{dir: dir, lock: lock}
	if err := s.open(o); err != nil {
		return nil, errors.Join(fmt.Errorf("open the store in %s: %w", dir, err), lock.Release())
	}
	return s, nil
}

func (s *Store) open(o Options) (err error) {
	if s.archives, err = openArchives(filepath.Join(s.dir, "packages")); err != nil {
		return err
	}
	s.db, err = sqlitedb.Open(filepath.Join(s.dir, "cloud.db"), sqlitedb.Options{Migrations: migrations, OnCommit: o.OnCommit, Log: o.Log, VFS: o.VFS})
	return err
}

// Run commits until ctx ends. Nothing is written before it runs.
func (s *Store) Run(ctx context.Context) error { return s.db.Run(ctx) }

// Close gives the folder back. Run must have ended.
func (s *Store) Close() error { return errors.Join(s.db.Close(), s.lock.Release()) }

// Err is nil while writes are taken.
func (s *Store) Err() error { return s.db.Err() }
