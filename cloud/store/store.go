// Package store stores a control plane in one folder: a database, and the
// archives of packages as files named by their hash.
package store

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"time"

	"valence/cloud"
	"valence/internal/datafolder"
	"valence/internal/sqlitedb"
)

// Options of a store.
type Options struct {
	// KeyFile is the name of the file in the folder with the key of the
	// secrets; see SetKey. Empty: it is elsewhere.
	KeyFile string
	// AcceptLoss opens a folder that lacks some of its files or records. The losses
	// are logged and recorded in the folder.
	AcceptLoss bool
	Log        *slog.Logger
	// OnCommit observes the number of operations and the duration of each
	// commit.
	OnCommit func(operations int, took time.Duration)
	VFS      string // a registered SQLite VFS, for tests
}

// Store is an open folder. Its methods are safe for concurrent use.
type Store struct {
	dir       string
	lock      *sqlitedb.Lock
	db        *sqlitedb.DB
	archives  *archives
	inventory datafolder.Inventory
}

var _ cloud.Store = (*Store)(nil)

// The schema. Objects are read once, at start; the other tables are read by
// indexed columns.
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
	// Most executions are complete and easy to find. The index of the others
	// stays small.
	Name: "records by what people look for",
	SQL: `
CREATE INDEX record_atom ON record(atom, time, seq);
CREATE INDEX record_process ON record(process, time, seq);
CREATE INDEX record_status ON record(account, status, time, seq) WHERE status <> 'COMPLETE';
`,
}}

// Open opens or creates a folder. It returns a *sqlitedb.LockedError if another
// process uses it, a *sqlitedb.NewerSchemaError if a newer version wrote it, and
// a *clierror.Error if the folder is an unfinished backup or lacks some of its
// files or records.
func Open(dir string, o Options) (*Store, error) {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if err := datafolder.CheckFinished(dir); err != nil {
		return nil, err
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
	before, lost, err := s.checkFolder(o)
	if err != nil {
		return err
	}
	have, lost, err := s.openDatabase(o, before, lost)
	if err != nil {
		return err
	}
	if s.archives, err = openArchives(filepath.Join(s.dir, packagesFolder)); err == nil {
		err = s.startInventory(o, have, before, lost)
	}
	if err != nil {
		return errors.Join(err, s.db.Close())
	}
	return nil
}

// Run commits writes until ctx ends. Writes wait until it runs.
func (s *Store) Run(ctx context.Context) error { return s.db.Run(ctx) }

// Close closes the database and releases the folder. Run must have returned.
func (s *Store) Close() error {
	var err error
	if s.db.Err() == nil {
		s.inventory.Running = false
		err = writeInventory(s.dir, &s.inventory)
	}
	return errors.Join(err, s.db.Close(), s.lock.Release())
}

// Err returns nil while the store accepts writes.
func (s *Store) Err() error { return s.db.Err() }

// read runs f in a snapshot of the database.
func (s *Store) read(ctx context.Context, f func(*sqlitedb.Tx) error) error {
	return storeError(s.db.Read(ctx, f))
}

// write executes an operation, and returns when it is on disk.
func (s *Store) write(ctx context.Context, op sqlitedb.Op) error {
	return storeError(s.db.Do(ctx, op))
}

// storeError wraps an error of the database in cloud.ErrUnavailable if the
// request may succeed later.
func storeError(err error) error {
	for _, later := range []error{sqlitedb.ErrUnavailable, sqlitedb.ErrSlow, sqlitedb.ErrFull, sqlitedb.ErrClosed} {
		if errors.Is(err, later) {
			return fmt.Errorf("%w: %w", cloud.ErrUnavailable, err)
		}
	}
	return err
}
