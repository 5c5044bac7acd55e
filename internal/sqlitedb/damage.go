package sqlitedb

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"sync/atomic"

	"modernc.org/sqlite"
	sqlite3 "modernc.org/sqlite/lib"
)

// ErrDamaged is returned, with ErrUnavailable, once the file is known to be
// malformed, truncated or gone. It lasts until the program restarts.
var ErrDamaged = errors.New("the database is damaged")

// health is the state of the database file as observed by reading it.
type health struct {
	damage     atomic.Pointer[failure] // malformed; nothing is accepted any more
	unreadable atomic.Pointer[failure] // reads failed; nothing is accepted until a check succeeds
	checked    os.FileInfo             // after the last checkpoint or checkFile; used by the committer only
}

// readKind is the condition of the file that a failed statement indicates.
type readKind int

const (
	harmless readKind = iota
	cannotRead
	malformed
)

// classify returns the condition of the file that an error of a statement
// indicates.
func classify(err error) readKind {
	var e *sqlite.Error
	if !errors.As(err, &e) {
		return harmless
	}
	switch {
	case e.Code() == sqlite3.SQLITE_IOERR_NOMEM:
		return harmless
	case e.Code()&0xff == sqlite3.SQLITE_CORRUPT, e.Code()&0xff == sqlite3.SQLITE_NOTADB, e.Code() == sqlite3.SQLITE_IOERR_CORRUPTFS:
		return malformed
	case e.Code()&0xff == sqlite3.SQLITE_IOERR:
		return cannotRead
	}
	return harmless
}

// IsDamage reports whether an error means that a database file is malformed.
func IsDamage(err error) bool { return errors.Is(err, ErrDamaged) || classify(err) == malformed }

// observeRead is called with each error of a reading connection.
func (db *DB) observeRead(err error) {
	switch classify(err) {
	case malformed:
		db.setDamaged(err)
	case cannotRead:
		if f := (&failure{fmt.Errorf("%w: read: %w", ErrUnavailable, err)}); db.unreadable.CompareAndSwap(nil, f) {
			db.report(f.err)
			db.signalWake() // starts the checks
		}
	}
}

// observeWrite is called with each error of the writing connection. The
// committer handles failing writes itself.
func (db *DB) observeWrite(err error) {
	if classify(err) == malformed {
		db.setDamaged(err)
	}
}

// setDamaged rejects all operations from now on.
func (db *DB) setDamaged(cause error) {
	f := &failure{fmt.Errorf("%w: %w: %s: %w", ErrUnavailable, ErrDamaged, db.path, cause)}
	if !db.damage.CompareAndSwap(nil, f) {
		return
	}
	db.log.Error("database is damaged; nothing is accepted until it is restored: stop the program, run valence check on the data folder, and restore a backup", "path", db.path, "error", cause)
	db.report(f.err)
	db.signalWake() // answers the operations that wait
}

// report calls OnFailure.
func (db *DB) report(err error) {
	if db.o.OnFailure != nil {
		db.o.OnFailure(err)
	}
}

// recheck accepts operations again after failed reads if the whole file can be
// read. It runs on the committer.
func (db *DB) recheck() {
	f := db.unreadable.Load()
	if f == nil {
		return
	}
	found, err := problems(context.Background(), db.writer, "PRAGMA quick_check")
	switch {
	case err != nil: // still failing
	case len(found) > 0:
		db.setDamaged(errors.New(strings.Join(found, "; ")))
	case db.unreadable.CompareAndSwap(f, nil):
		if db.Err() == nil {
			db.report(nil)
		}
	}
}

// problems returns the problems that a check reports, one a line.
func problems(ctx context.Context, c *conn, check string) (found []string, err error) {
	err = c.query(ctx, check, nil, func(r Row) (bool, error) {
		for line := range strings.Lines(r.Text(0)) {
			if line = strings.TrimSpace(line); line != "ok" && !strings.HasPrefix(line, "***") {
				found = append(found, line)
			}
		}
		return true, nil
	})
	return found, err
}

// checkContent checks the file after another program has written to it. The
// connections have cached pages, so it uses a new one.
func (db *DB) checkContent() {
	ctx := context.Background()
	c, err := connect(ctx, dsn(db.path, db.o.VFS, "query_only(ON)", "temp_store(MEMORY)"))
	if err != nil {
		db.observeRead(err)
		return
	}
	found, err := problems(ctx, c, "PRAGMA quick_check")
	if err != nil {
		db.observeRead(err)
	}
	if len(found) > 0 {
		db.setDamaged(errors.New(strings.Join(found, "; ")))
	}
	if err := c.close(); err != nil {
		db.log.Error("cannot close a database after a check", "path", db.path, "error", err)
	}
}

// noteCheckpoint is called after the file was changed by a checkpoint.
func (db *DB) noteCheckpoint() {
	if info, err := os.Stat(db.path); err == nil && db.checked != nil && os.SameFile(db.checked, info) && info.Size() >= db.checked.Size() {
		db.checked = info
	}
}

// checkFile notices that another program removed, replaced, cut or changed the
// file, or removed its write-ahead log: later writes would be lost at the
// next start. It runs on the committer.
func (db *DB) checkFile() {
	if db.damage.Load() != nil {
		return
	}
	info, err := os.Stat(db.path)
	switch {
	case errors.Is(err, os.ErrNotExist):
		db.setDamaged(errors.New("the file was removed while it was in use"))
		return
	case err != nil:
		return
	case db.checked != nil && !os.SameFile(db.checked, info):
		db.setDamaged(errors.New("the file was replaced while it was in use"))
		return
	case db.checked != nil && info.Size() < db.checked.Size():
		db.setDamaged(fmt.Errorf("the file was cut from %d to %d bytes while it was in use", db.checked.Size(), info.Size()))
		return
	case db.checked != nil && !info.ModTime().Equal(db.checked.ModTime()):
		db.checkContent() // only a checkpoint changes the file
	}
	db.checked = info
	if _, err := os.Stat(db.path + "-wal"); errors.Is(err, os.ErrNotExist) {
		db.setDamaged(errors.New("the write-ahead log was removed while it was in use"))
	}
}
