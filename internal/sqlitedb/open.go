// Package sqlitedb opens SQLite files the way this program uses them: one
// writing connection behind a committer that puts everything waiting into one
// transaction, a few reading connections that cannot hold it up, versions of
// the schema, a lock on the folder, and a defined behaviour when the disk
// fails or is full. It knows nothing of what is stored.
package sqlitedb

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	sqlite3 "modernc.org/sqlite/lib"
)

// Errors that callers branch on.
var (
	// ErrUnavailable: what was asked for was not written, or it is not known
	// whether it was. The cause is wrapped beside it.
	ErrUnavailable = errors.New("the database cannot be written now")
	// ErrFull: the disk is full; nothing was written.
	ErrFull = errors.New("the disk is full")
	// ErrClosed: the database is closed or its committer has ended.
	ErrClosed = errors.New("the database is closed")
)

// Migration is one step of the schema. Its version is its place in the list,
// from 1. A published migration is never changed.
type Migration struct {
	Name string
	SQL  string
}

// NewerSchemaError says that a file was written by a newer program.
type NewerSchemaError struct {
	Path        string
	Have, Known int
}

// Error says what to do, too.
func (e *NewerSchemaError) Error() string {
	return fmt.Sprintf("%s has schema version %d and this program knows versions up to %d: it was written by a newer version; start that one, or restore a backup made before the upgrade", e.Path, e.Have, e.Known)
}

// Options of a database.
type Options struct {
	Migrations []Migration
	Batch      Batch // told of each transaction; may be nil
	// OnCommit observes each commit: how many operations it held and how long
	// they took from the begin of the transaction to the end of the flush.
	OnCommit func(operations int, took time.Duration)
	// OnFailure is told when writing fails, before anybody is answered, and
	// with nil when it works again.
	OnFailure func(error)
	Log       *slog.Logger
	VFS       string // name of a registered SQLite VFS; "" is the system's
	Readers   int    // reading connections; 0 is 4
	PageSize  int    // of a new file; 0 is 4096
}

// DB is one SQLite file. Its methods may be called from any goroutine.
type DB struct {
	path    string
	o       Options
	log     *slog.Logger
	writer  *conn // used by Setup before Run and by the committer in Run
	readers chan *conn
	opened  int // readers, for Close

	requests sync.Pool // *request

	mu       sync.Mutex
	queue    []*request
	spare    []*request // the committer's other queue
	wake     chan struct{}
	urgent   bool        // what is queued is to be committed now
	patience *time.Timer // until what is queued is urgent
	running  bool
	ended    bool // Run has returned
	closed   bool

	failing  atomic.Pointer[failure]
	failures int   // in a row; the committer's
	unfolded int   // failed checkpoints in a row; likewise
	left     int64 // pages that the last one had to leave
	last     int   // operations in the last batch
}

type failure struct{ err error }

// Open opens or creates a file, readable by its owner alone, takes it through the migrations it does not
// have and starts nothing. A file of a newer schema is refused with a
// *NewerSchemaError and left as it is.
func Open(path string, o Options) (*DB, error) {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Readers == 0 {
		o.Readers = 4
	}
	if o.PageSize == 0 {
		o.PageSize = 4096
	}
	db := &DB{path: path, o: o, log: o.Log, wake: make(chan struct{}, 1), readers: make(chan *conn, o.Readers)}
	db.patience = time.AfterFunc(time.Hour, db.impatient)
	db.patience.Stop()
	ctx := context.Background()
	if o.VFS == "" { // for its owner alone, as the files beside it then are; why it cannot be made SQLite tells
		if f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600); err == nil {
			f.Close()
		}
	}
	var err error
	db.writer, err = connect(ctx, dsn(path, o.VFS, fmt.Sprintf("page_size(%d)", o.PageSize), "journal_mode(WAL)", "synchronous(FULL)",
		"wal_autocheckpoint(0)", "journal_size_limit(16777216)", "foreign_keys(ON)", "cache_size(-16384)", "temp_store(MEMORY)"))
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", path, err)
	}
	if err := db.prepare(ctx); err != nil {
		return nil, errors.Join(err, db.writer.close())
	}
	return db, nil
}

func (db *DB) prepare(ctx context.Context) error {
	if err := db.migrate(ctx); err != nil {
		return err
	}
	for range db.o.Readers {
		r, err := connect(ctx, dsn(db.path, db.o.VFS, "query_only(ON)", "cache_size(-4096)", "temp_store(MEMORY)"))
		if err != nil {
			return errors.Join(fmt.Errorf("open %s for reading: %w", db.path, err), db.closeReaders())
		}
		db.readers <- r
		db.opened++
	}
	return nil
}

// migrate brings the schema to the newest version, each step in a transaction.
func (db *DB) migrate(ctx context.Context) error {
	var have int
	err := db.writer.query(ctx, "PRAGMA user_version", nil, func(r Row) (bool, error) {
		have = int(r.Int(0))
		return false, nil
	})
	if err != nil {
		return fmt.Errorf("read the schema version of %s: %w", db.path, err)
	}
	if have > len(db.o.Migrations) {
		return &NewerSchemaError{Path: db.path, Have: have, Known: len(db.o.Migrations)}
	}
	if have == 0 {
		if err := db.script(ctx, "CREATE TABLE IF NOT EXISTS write_marker(id INTEGER PRIMARY KEY, n INTEGER NOT NULL); INSERT OR IGNORE INTO write_marker VALUES(1, 0);"); err != nil {
			return fmt.Errorf("prepare %s: %w", db.path, err)
		}
	}
	for i := have; i < len(db.o.Migrations); i++ {
		m := db.o.Migrations[i]
		if err := db.script(ctx, fmt.Sprintf("%s;\nPRAGMA user_version=%d;", m.SQL, i+1)); err != nil {
			return fmt.Errorf("migrate %s to version %d (%s): %w", db.path, i+1, m.Name, err)
		}
	}
	return nil
}

// script runs several statements in one transaction.
func (db *DB) script(ctx context.Context, text string) error {
	if _, err := db.writer.exec(ctx, "BEGIN IMMEDIATE"); err != nil {
		return err
	}
	s, err := db.writer.raw.Prepare(text)
	if err == nil {
		//lint:ignore SA1019 the driver's only way to run a script
		_, err = s.Exec(nil)
		err = errors.Join(err, s.Close())
	}
	if err == nil {
		_, err = db.writer.exec(ctx, "COMMIT")
	}
	if err != nil {
		_, rollback := db.writer.exec(ctx, "ROLLBACK")
		if code(rollback) == sqlite3.SQLITE_ERROR { // none is active any more
			rollback = nil
		}
		return errors.Join(err, rollback)
	}
	return nil
}

// Setup runs f in a transaction of its own. It is for the time before Run and
// after it.
func (db *DB) Setup(f func(*Tx) error) error {
	db.mu.Lock()
	running := db.running
	db.mu.Unlock()
	if running {
		return errors.New("the committer runs already")
	}
	ctx := context.Background()
	if _, err := db.writer.exec(ctx, "BEGIN IMMEDIATE"); err != nil {
		return err
	}
	if err := f(&Tx{db.writer, ctx}); err != nil {
		_, rollback := db.writer.exec(ctx, "ROLLBACK")
		return errors.Join(err, rollback)
	}
	_, err := db.writer.exec(ctx, "COMMIT")
	return err
}

// Err is nil while the database takes writes, otherwise why it does not.
func (db *DB) Err() error {
	if f := db.failing.Load(); f != nil {
		return f.err
	}
	return nil
}

// Read runs f on a reading connection in one snapshot. It is cut off after 2 s,
// so that no reader keeps the log of writes from being folded back.
func (db *DB) Read(ctx context.Context, f func(*Tx) error) error {
	ctx, cancel := context.WithTimeout(ctx, readLimit)
	defer cancel()
	return db.read(ctx, f)
}

// ReadLong is Read without the limit, for backups and checks.
func (db *DB) ReadLong(ctx context.Context, f func(*Tx) error) error { return db.read(ctx, f) }

func (db *DB) read(ctx context.Context, f func(*Tx) error) error {
	var c *conn
	select {
	case c = <-db.readers:
	case <-ctx.Done():
		return fmt.Errorf("wait for a reader: %w", ctx.Err())
	}
	if c == nil {
		return ErrClosed
	}
	defer func() { db.readers <- c }()
	// The statements of a snapshot must not be interrupted half-way by a
	// rollback that is interrupted itself.
	if _, err := c.exec(context.Background(), "BEGIN"); err != nil {
		return err
	}
	err := f(&Tx{c, ctx})
	if _, e := c.exec(context.Background(), "ROLLBACK"); e != nil && code(e) != sqlite3.SQLITE_ERROR {
		err = errors.Join(err, e)
	}
	if err != nil && ctx.Err() != nil {
		return fmt.Errorf("read: %w", errors.Join(ctx.Err(), err))
	}
	return err
}

// Backup writes a consistent copy into a new file, flushed, while the database
// is in use.
func (db *DB) Backup(ctx context.Context, path string) error {
	if _, err := os.Stat(path); err == nil {
		return fmt.Errorf("back up to %s: %w", path, os.ErrExist)
	}
	c, err := connect(ctx, dsn(db.path, db.o.VFS))
	if err != nil {
		return err
	}
	_, err = c.exec(ctx, "VACUUM INTO ?", path)
	if err = errors.Join(err, c.close()); err != nil {
		return fmt.Errorf("back up to %s: %w", path, err)
	}
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	if err := errors.Join(f.Chmod(0o600), f.Sync(), f.Close()); err != nil {
		return err
	}
	return SyncDir(filepath.Dir(path))
}

// Check looks for damage in the structure of the file and gives what it found.
func (db *DB) Check(ctx context.Context) ([]string, error) {
	var found []string
	err := db.ReadLong(ctx, func(tx *Tx) error {
		return tx.Rows("PRAGMA quick_check", nil, func(r Row) (bool, error) {
			if s := r.Text(0); s != "ok" {
				found = append(found, s)
			}
			return true, nil
		})
	})
	return found, err
}

func (db *DB) closeReaders() error {
	var errs []error
	for ; db.opened > 0; db.opened-- {
		c := <-db.readers
		errs = append(errs, c.close())
	}
	close(db.readers)
	return errors.Join(errs...)
}

// Close waits for readers and closes the file. Run must have ended.
func (db *DB) Close() error {
	db.mu.Lock()
	if db.closed {
		db.mu.Unlock()
		return nil
	}
	db.closed, db.ended = true, true
	db.mu.Unlock()
	db.patience.Stop()
	return errors.Join(db.closeReaders(), db.writer.close())
}

// SyncDir flushes a folder, so that the names in it survive a power cut.
func SyncDir(path string) error {
	d, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
