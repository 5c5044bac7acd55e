package sqlitedb

import (
	"context"
	"errors"
	"fmt"
	"time"

	sqlite3 "modernc.org/sqlite/lib"
)

// isDiskError reports whether an error comes from the disk or the database, and
// not from an operation.
func isDiskError(err error) bool {
	switch code(err) {
	case sqlite3.SQLITE_IOERR, sqlite3.SQLITE_FULL, sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_CANTOPEN,
		sqlite3.SQLITE_READONLY, sqlite3.SQLITE_NOMEM, sqlite3.SQLITE_BUSY, sqlite3.SQLITE_PROTOCOL, sqlite3.SQLITE_PERM:
		return true
	}
	return false
}

// recover handles a failed write. The write-ahead log contains the refused
// frames, and a crash could bring them back. So before it answers, it commits a
// marker on the same connection, which overwrites them. Until that works no
// operation is accepted. It returns an error after three consecutive failures,
// unless the disk is full: then it waits for space.
func (db *DB) recover(cause error, waiting []*request) error {
	full := code(cause) == sqlite3.SQLITE_FULL || errors.Is(cause, ErrFull)
	kind := ErrUnavailable
	if full {
		kind = ErrFull
	}
	refusal := fmt.Errorf("%w: %w", kind, cause)
	db.setFailure(refusal)
	for db.failures++; db.failures < maxFailures; db.failures++ {
		wait := time.NewTimer(retryDelays[db.failures])
		<-wait.C
		err := db.writeMarker()
		if err == nil {
			db.setFailure(nil)
			respond(waiting, refusal)
			return nil
		}
		if db.damage.Load() != nil {
			continue // reported
		}
		db.log.Error("cannot write to the database", "path", db.path, "error", err, "failures", db.failures+1)
		full = full && code(err) == sqlite3.SQLITE_FULL
	}
	// The marker is not on disk, so the refused operations may come back.
	respond(waiting, fmt.Errorf("%w: %w", ErrUnavailable, cause))
	if full || db.damage.Load() != nil { // wait for space; for the operator
		db.failures = 0
		return nil
	}
	return refusal
}

// retry checks whether a full disk has space again.
func (db *DB) retry() {
	if db.damage.Load() != nil || db.failing.Load() == nil {
		return
	}
	if err := db.writeMarker(); err == nil {
		db.setFailure(nil)
	}
}

// setFailure sets why operations are rejected; nil accepts them again.
func (db *DB) setFailure(err error) {
	if err == nil {
		db.failing.Store(nil)
	} else {
		db.failing.Store(&failure{err})
	}
	if db.damage.Load() == nil { // else reported
		db.report(err)
	}
}

// writeMarker commits a transaction that changes one number.
func (db *DB) writeMarker() error {
	ctx := context.Background()
	_, err := db.writer.exec(ctx, "BEGIN IMMEDIATE")
	if err == nil {
		_, err = db.writer.exec(ctx, "UPDATE write_marker SET n = n + 1 WHERE id = 1")
	}
	if err == nil {
		_, err = db.writer.exec(ctx, "COMMIT")
	}
	if err != nil {
		if _, e := db.writer.exec(ctx, "ROLLBACK"); e != nil && code(e) != sqlite3.SQLITE_ERROR {
			err = errors.Join(err, e)
		}
	}
	return err
}

// checkpoint copies the write-ahead log into the database once it is long
// enough. It runs between transactions, when all callers have been answered, so
// it delays only the next commit. If it fails, the data is safe in the log. It
// returns an error after three consecutive failures, unless the disk is full.
// Asking for the length of the log costs as much as a small insert, so it is
// only asked after enough writes.
func (db *DB) checkpoint() error {
	if db.writer.bytesWritten < checkEveryBytes {
		return nil
	}
	ctx := context.Background()
	var pages int64 // in the log and not in the database
	size := func(r Row) (bool, error) { pages = r.Int(1) - r.Int(2); return false, nil }
	err := db.writer.query(ctx, "PRAGMA wal_checkpoint(NOOP)", nil, size)
	if err == nil && pages < int64(checkpointBytes/db.o.PageSize)+db.unfoldedPages {
		db.unfoldedPages = min(db.unfoldedPages, pages)
		db.writer.bytesWritten = 0
		return nil
	}
	if err == nil {
		err = db.writer.query(ctx, "PRAGMA wal_checkpoint(PASSIVE)", nil, size)
		db.noteCheckpoint()
	}
	if err == nil {
		db.writer.bytesWritten = 0
		db.failedCheckpoints, db.unfoldedPages = 0, pages // a reader may need some of them
		return nil
	}
	db.failedCheckpoints++
	db.log.Error("cannot checkpoint the write-ahead log", "path", db.path, "error", err, "failures", db.failedCheckpoints)
	if code(err) == sqlite3.SQLITE_FULL { // reject operations until there is space
		db.failedCheckpoints = 0
		db.setFailure(fmt.Errorf("%w: checkpoint the write-ahead log: %w", ErrFull, err))
		return nil
	}
	if db.failedCheckpoints < maxFailures {
		return nil
	}
	err = fmt.Errorf("%w: checkpoint the write-ahead log: %w", ErrUnavailable, err)
	db.setFailure(err)
	return err
}
