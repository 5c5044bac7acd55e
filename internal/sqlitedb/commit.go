package sqlitedb

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"sync/atomic"
	"time"

	sqlite3 "modernc.org/sqlite/lib"
)

// Op is something to be written.
type Op interface {
	// Do writes, or finds that there is nothing to write. An error undoes this
	// operation and no other. It is called on the committer's goroutine, and
	// again if the transaction it was in had to be undone: it must start anew
	// each time and change nothing but tx and its own fields.
	Do(tx *Tx) error
}

// OpFunc is a function as an Op.
type OpFunc func(tx *Tx) error

// Do calls the function.
func (f OpFunc) Do(tx *Tx) error { return f(tx) }

// Batch is told of each transaction, on the committer's goroutine.
type Batch interface {
	Begin()
	// Flush writes what the operations left to be written together.
	Flush(tx *Tx) error
	// Committed is called when the transaction is on disk, before those who
	// wait for it are woken. It must not block.
	Committed()
	Undone()
}

// How writing is tried again before the committer gives up.
const maxFailures = 3

var retryAfter = [maxFailures]time.Duration{0, 50 * time.Millisecond, 250 * time.Millisecond}

// batchLimit bounds one transaction, and so how long its first operation waits.
const batchLimit = 4096

// checkpointBytes is the size of the log of writes at which it is folded back.
// Larger ones only make the worst commit slower.
const checkpointBytes = 4 << 20

// lookBytes is how much is written between two looks at its length.
const lookBytes = 128 << 10

const (
	queued int32 = iota
	taken
	abandoned
)

// patience is how long an operation of DoSoon waits at most for one of Do to
// share a transaction with.
const patience = 500 * time.Microsecond

type request struct {
	op    Op
	done  chan error
	state atomic.Int32
}

// request gives one for an operation.
func (db *DB) request(op Op) *request {
	r, ok := db.requests.Get().(*request)
	if !ok {
		r = &request{done: make(chan error, 1)}
	}
	r.op = op
	r.state.Store(queued)
	return r
}

// free takes a request back that was answered: nobody else knows it then.
func (db *DB) free(r *request) {
	r.op = nil
	db.requests.Put(r)
}

// Do has an operation written and returns when it is on disk. Errors of the
// operation come back as they are. An error that Is ErrUnavailable means that
// it was not written or that this is not known; one that Is ErrFull that it
// was not. If ctx ends before it is being written the error Is ErrUnavailable,
// too, and it never is. Before Run it waits for Run.
func (db *DB) Do(ctx context.Context, op Op) error { return db.do(ctx, op, true) }

// DoSoon is Do for an operation that nobody outside waits for. It goes with
// the next transaction of a Do, or after a moment by itself: alone it would
// cost a flush, and make the next Do wait for that.
func (db *DB) DoSoon(ctx context.Context, op Op) error { return db.do(ctx, op, false) }

func (db *DB) do(ctx context.Context, op Op, urgent bool) error {
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("%w: %w", ErrUnavailable, err)
	}
	if err := db.Err(); err != nil {
		return err
	}
	r := db.request(op)
	db.mu.Lock()
	if db.ended {
		db.mu.Unlock()
		return fmt.Errorf("%w: %w", ErrUnavailable, ErrClosed)
	}
	db.queue = append(db.queue, r)
	wake := urgent && !db.urgent
	db.urgent = db.urgent || urgent
	if !urgent && len(db.queue) == 1 {
		db.patience.Reset(patience)
	}
	db.mu.Unlock()
	if wake {
		db.awake()
	}
	if ctx.Done() == nil {
		err := <-r.done
		db.free(r)
		return err
	}
	select {
	case err := <-r.done:
		db.free(r)
		return err
	case <-ctx.Done():
		if r.state.CompareAndSwap(queued, abandoned) {
			return fmt.Errorf("%w: %w", ErrUnavailable, ctx.Err())
		}
		// What it uses must stay until it is written, and then it is known.
		err := <-r.done
		db.free(r)
		return err
	}
}

// awake lets the committer look at the queue.
func (db *DB) awake() {
	select {
	case db.wake <- struct{}{}:
	default:
	}
}

// impatient makes what waits for company go by itself.
func (db *DB) impatient() {
	db.mu.Lock()
	db.urgent = len(db.queue) > 0
	db.mu.Unlock()
	db.awake()
}

// Run commits until ctx ends, then commits what is queued and returns; it runs
// once. It returns an error when writing failed three times in a row: what was
// committed is safe, the program should exit and start again.
func (db *DB) Run(ctx context.Context) error {
	db.mu.Lock()
	if db.running || db.ended {
		db.mu.Unlock()
		return ErrClosed
	}
	db.running = true
	db.mu.Unlock()
	err := db.drain()
	for err == nil && ctx.Err() == nil {
		var again <-chan time.Time
		if db.Err() != nil {
			again = time.After(time.Second)
		}
		select {
		case <-db.wake:
			err = db.drain()
		case <-again:
			db.retry()
		case <-ctx.Done():
		}
	}
	if err == nil {
		err = db.drain()
	}
	db.mu.Lock()
	db.running, db.ended = false, true
	rest := db.queue
	db.queue = nil
	db.mu.Unlock()
	if err == nil {
		err = db.commit(rest)
	} else {
		answer(rest, fmt.Errorf("%w: %w", ErrUnavailable, err))
	}
	if err == nil {
		_, err = db.writer.exec(context.Background(), "PRAGMA wal_checkpoint(TRUNCATE)")
	}
	return err
}

// gatherTime is how long a commit waits at most for those that the one before
// answered to come again: much shorter than the flush that they share then.
const gatherTime = 100 * time.Microsecond

// gather gives way to those who were just answered, if they were several. Who
// is alone waits for nobody.
func (db *DB) gather() {
	if db.last < 4 {
		return
	}
	for start := time.Now(); time.Since(start) < gatherTime; {
		runtime.Gosched()
		db.mu.Lock()
		n := len(db.queue)
		db.mu.Unlock()
		if n == 0 || n >= db.last {
			return
		}
	}
}

// drain commits until nothing is waiting but what has patience.
func (db *DB) drain() error {
	for {
		db.mu.Lock()
		urgent := db.urgent
		db.mu.Unlock()
		if !urgent {
			return nil
		}
		db.gather()
		db.mu.Lock()
		batch := db.queue
		if len(batch) > batchLimit {
			db.queue = append([]*request(nil), batch[batchLimit:]...)
			batch = batch[:batchLimit]
		} else {
			db.queue, db.spare = db.spare[:0], nil
			db.urgent = false
		}
		db.mu.Unlock()
		if err := db.commit(batch); err != nil {
			return err
		}
		db.last = len(batch)
		clear(batch)
		db.spare = batch[:0]
	}
}

// commit writes a batch and answers it. It gives an error only when writing is
// given up for good.
func (db *DB) commit(batch []*request) error {
	live := batch[:0:len(batch)]
	for _, r := range batch {
		if r.state.CompareAndSwap(queued, taken) {
			live = append(live, r)
		}
	}
	if len(live) == 0 {
		return nil
	}
	if refusal := db.Err(); refusal != nil {
		answer(live, refusal)
		return nil
	}
	err := db.transact(live)
	switch {
	case err == nil:
		answer(live, nil)
		return db.checkpoint()
	case broken(err):
		return db.heal(err, live)
	case len(live) == 1:
		answer(live, err)
		return nil
	}
	// One of them is bad. They are done again one by one, each in a
	// transaction of its own, so that it fails alone.
	for i := range live {
		one := live[i : i+1]
		err := db.transact(one)
		if broken(err) {
			return db.heal(err, live[i:])
		}
		answer(one, err)
	}
	return db.checkpoint()
}

func answer(rs []*request, err error) {
	for _, r := range rs {
		r.done <- err
	}
}

// transact does the operations in one transaction. On an error nothing is left
// of it in the connection; what an error of the disk leaves in the files is
// heal's to see to.
func (db *DB) transact(rs []*request) error {
	start := time.Now()
	ctx := context.Background()
	tx := &Tx{db.writer, ctx}
	if db.o.Batch != nil {
		db.o.Batch.Begin()
	}
	_, err := db.writer.exec(ctx, "BEGIN IMMEDIATE")
	for _, r := range rs {
		if err != nil {
			break
		}
		err = r.op.Do(tx)
	}
	if err == nil && db.o.Batch != nil {
		err = db.o.Batch.Flush(tx)
	}
	if err == nil {
		_, err = db.writer.exec(ctx, "COMMIT")
	}
	if err != nil {
		// Where SQLite has undone the transaction itself there is none to undo.
		if _, e := db.writer.exec(ctx, "ROLLBACK"); e != nil && code(e) != sqlite3.SQLITE_ERROR {
			err = errors.Join(err, e)
		}
		if db.o.Batch != nil {
			db.o.Batch.Undone()
		}
		return err
	}
	db.failures = 0
	if db.o.OnCommit != nil {
		db.o.OnCommit(len(rs), time.Since(start))
	}
	if db.o.Batch != nil {
		db.o.Batch.Committed()
	}
	return nil
}

// broken tells errors of the machine from those of an operation.
func broken(err error) bool {
	switch code(err) {
	case sqlite3.SQLITE_IOERR, sqlite3.SQLITE_FULL, sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_CANTOPEN,
		sqlite3.SQLITE_READONLY, sqlite3.SQLITE_NOMEM, sqlite3.SQLITE_BUSY, sqlite3.SQLITE_PROTOCOL, sqlite3.SQLITE_PERM:
		return true
	}
	return false
}

// heal deals with a write that failed. The refused frames are in the log of
// writes and a crash could bring them back, so before anybody is answered a
// marker is committed on the same connection: it overwrites them. Until that
// works nothing is taken on. After three failures in a row it gives up, unless
// the disk is only full: then it waits for room.
func (db *DB) heal(cause error, waiting []*request) error {
	full := code(cause) == sqlite3.SQLITE_FULL || errors.Is(cause, ErrFull)
	kind := ErrUnavailable
	if full {
		kind = ErrFull
	}
	refusal := fmt.Errorf("%w: %w", kind, cause)
	db.fail(refusal)
	for db.failures++; db.failures < maxFailures; db.failures++ {
		wait := time.NewTimer(retryAfter[db.failures])
		<-wait.C
		err := db.mark()
		if err == nil {
			db.fail(nil)
			answer(waiting, refusal)
			return nil
		}
		db.log.Error("the database cannot be written", "path", db.path, "error", err, "failures", db.failures+1)
		full = full && code(err) == sqlite3.SQLITE_FULL
	}
	// The marker is not on disk, so what was refused may come back.
	answer(waiting, fmt.Errorf("%w: %w", ErrUnavailable, cause))
	if full {
		db.failures = 0
		return nil
	}
	return refusal
}

// retry looks whether a disk that was full has room again.
func (db *DB) retry() {
	if err := db.mark(); err == nil {
		db.fail(nil)
	}
}

// fail sets why nothing is taken on; nil: it is again.
func (db *DB) fail(err error) {
	if err == nil {
		db.failing.Store(nil)
	} else {
		db.failing.Store(&failure{err})
	}
	if db.o.OnFailure != nil {
		db.o.OnFailure(err)
	}
}

// mark commits a transaction that changes one number.
func (db *DB) mark() error {
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

// checkpoint folds the log of writes back into the file once it is long
// enough. It runs between transactions, when everybody has been answered, so
// it delays no acknowledgement but the next. What it fails to fold back is
// safe in the log; it gives up when it fails three times in a row, unless the
// disk is only full. Asking how long the log is costs as much as a small
// insert, so it is asked when something worth it was written.
func (db *DB) checkpoint() error {
	if db.writer.wrote < lookBytes {
		return nil
	}
	ctx := context.Background()
	var pages int64 // in the log and not folded back
	size := func(r Row) (bool, error) { pages = r.Int(1) - r.Int(2); return false, nil }
	err := db.writer.query(ctx, "PRAGMA wal_checkpoint(NOOP)", nil, size)
	if err == nil && pages < int64(checkpointBytes/db.o.PageSize)+db.left {
		db.left = min(db.left, pages)
		db.writer.wrote = 0
		return nil
	}
	if err == nil {
		err = db.writer.query(ctx, "PRAGMA wal_checkpoint(PASSIVE)", nil, size)
	}
	if err == nil {
		db.writer.wrote = 0
		db.unfolded, db.left = 0, pages // a reader may need some: they stay
		return nil
	}
	db.unfolded++
	db.log.Error("the log of writes cannot be folded back", "path", db.path, "error", err, "failures", db.unfolded)
	if code(err) == sqlite3.SQLITE_FULL { // nothing more is taken on until there is room
		db.unfolded = 0
		db.fail(fmt.Errorf("%w: fold back the log of writes: %w", ErrFull, err))
		return nil
	}
	if db.unfolded < maxFailures {
		return nil
	}
	err = fmt.Errorf("%w: fold back the log of writes: %w", ErrUnavailable, err)
	db.fail(err)
	return err
}
