// Package sqlitedb opens SQLite databases. One writing connection belongs to a
// committer, which writes all queued operations in one transaction. A few
// reading connections cannot block it. The package also handles migrations, a
// lock on the folder, and failing or full disks. It knows nothing of the
// content.
package sqlitedb

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	sqlite3 "modernc.org/sqlite/lib"
)

// Errors that callers branch on.
var (
	// ErrUnavailable is returned if the operation was not written, or may not
	// have been. It wraps the cause.
	ErrUnavailable = errors.New("the database is unavailable")
	// ErrFull is returned if the disk is full and the operation was not
	// written.
	ErrFull = errors.New("the disk is full")
	// ErrSlow is returned by Read after its time limit.
	ErrSlow = fmt.Errorf("reading took longer than %v: try again, or ask for less", readLimit)
	// ErrClosed is returned after the database or its committer was closed.
	ErrClosed = errors.New("the database is closed")
)

// Migration is one step of the schema. Its version is its position in the list,
// starting at 1. Published migrations must not change.
type Migration struct {
	Name string
	SQL  string
}

// NewerSchemaError is returned for a file written by a newer program.
type NewerSchemaError struct {
	Path        string
	Have, Known int
}

// Error implements error.
func (e *NewerSchemaError) Error() string {
	return fmt.Sprintf("%s has schema version %d and this program knows versions up to %d: it was written by a newer version; start that one, or restore a backup made before the upgrade", e.Path, e.Have, e.Known)
}

// Options configures a database.
type Options struct {
	Migrations []Migration
	Batch      Batch // observes transactions; may be nil
	// OnCommit observes each commit: its number of operations, and its duration
	// including the flush.
	OnCommit func(operations int, took time.Duration)
	// OnFailure is called when writing fails, before the callers are answered,
	// and with nil when it works again.
	OnFailure func(error)
	Log       *slog.Logger
	VFS       string // name of a registered SQLite VFS; "": the system's
	Readers   int    // reading connections; 0: 4
	PageSize  int    // of a new file; 0: 4096
}

// DB is an SQLite database. Its methods are safe for concurrent use.
type DB struct {
	path    string
	o       Options
	log     *slog.Logger
	writer  *conn // used by Setup outside Run, and by the committer in Run
	readers chan *conn
	opened  int // readers, for Close

	requests sync.Pool // of *request
	failing  atomic.Pointer[failure]
	health
	requestQueue
	committer
}

// requestQueue holds the operations that wait for the committer.
type requestQueue struct {
	mu         sync.Mutex
	queue      []*request
	wakeup     chan struct{}
	urgent     bool        // the queue must be committed now
	deferTimer *time.Timer // makes the queue urgent
	running    bool
	ended      bool // Run has returned
	closed     bool
}

// committer is the state of the committer's goroutine.
type committer struct {
	spare             []*request // reused as the next queue
	failures          int        // consecutive
	failedCheckpoints int        // consecutive
	unfoldedPages     int64      // pages that the last checkpoint left in the log
	lastBatch         int        // operations in the last batch
}

type failure struct{ err error }

// Open opens or creates a file, readable by its owner only, and applies missing
// migrations. It returns a *NewerSchemaError, leaving the file unchanged, if
// the schema is newer.
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
	db := &DB{path: path, o: o, log: o.Log, readers: make(chan *conn, o.Readers), requestQueue: requestQueue{wakeup: make(chan struct{}, 1)}}
	db.deferTimer = time.AfterFunc(time.Hour, db.flushDeferred)
	db.deferTimer.Stop()
	ctx := context.Background()
	if o.VFS == "" { // owner only, and so are the files that SQLite creates next to it; SQLite reports errors
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
	db.writer.observe = db.observeWrite
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
		r.observe = db.observeRead
		db.readers <- r
		db.opened++
	}
	return nil
}

// migrate applies the missing migrations, each in a transaction.
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

// script executes several statements in one transaction.
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
		if code(rollback) == sqlite3.SQLITE_ERROR { // no transaction is active
			rollback = nil
		}
		return errors.Join(err, rollback)
	}
	return nil
}

// Setup runs f in a transaction, before or after Run.
func (db *DB) Setup(f func(*Tx) error) error {
	db.mu.Lock()
	running := db.running
	db.mu.Unlock()
	if running {
		return errors.New("the committer is running")
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

// Fold copies the write-ahead log into the file, before or after Run.
func (db *DB) Fold() error {
	_, err := db.writer.exec(context.Background(), "PRAGMA wal_checkpoint(TRUNCATE)")
	return err
}

// Err returns nil while operations are accepted, or the reason why not.
func (db *DB) Err() error {
	for _, p := range [...]*atomic.Pointer[failure]{&db.damage, &db.unreadable, &db.failing} {
		if f := p.Load(); f != nil {
			return f.err
		}
	}
	return nil
}

// Read runs f in a snapshot on a reading connection. It is limited to 2 s, so
// that readers do not prevent checkpoints; then it returns ErrSlow.
func (db *DB) Read(ctx context.Context, f func(*Tx) error) error {
	limited, cancel := context.WithTimeout(ctx, readLimit)
	defer cancel()
	err := db.read(limited, f)
	if err != nil && limited.Err() != nil && ctx.Err() == nil {
		return ErrSlow
	}
	return err
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
	// Begin and rollback must not be interrupted themselves.
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

// Backup writes a consistent copy to a new file, and flushes it, while the
// database is in use.
func (db *DB) Backup(ctx context.Context, path string) error {
	if _, err := os.Stat(path); err == nil {
		return fmt.Errorf("back up to %s: %w", path, os.ErrExist)
	}
	c, err := connect(ctx, dsn(db.path, db.o.VFS))
	if err != nil {
		return err
	}
	c.observe = db.observeWrite // an I/O error may be that of the copy
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

// Check checks the structure of the file. If it finds problems, the database is
// damaged from then on.
func (db *DB) Check(ctx context.Context) error {
	var found []string
	err := db.ReadLong(ctx, func(tx *Tx) (err error) {
		found, err = problems(ctx, tx.c, "PRAGMA quick_check")
		return err
	})
	if len(found) > 0 {
		db.setDamaged(errors.New(strings.Join(found, "; ")))
	}
	return err
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

// Close waits for readers and closes the file. Run must have returned.
func (db *DB) Close() error {
	db.mu.Lock()
	if db.closed {
		db.mu.Unlock()
		return nil
	}
	db.closed, db.ended = true, true
	db.mu.Unlock()
	db.deferTimer.Stop()
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
