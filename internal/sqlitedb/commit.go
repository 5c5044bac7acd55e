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

// Op is a write operation.
type Op interface {
	// Do writes, or decides that there is nothing to write. An error undoes
	// this operation only. Do runs on the committer's goroutine, and again if
	// its transaction was rolled back: it must start over each time, and change
	// nothing but tx and its own fields.
	Do(tx *Tx) error
}

// OpFunc is a function that is an Op.
type OpFunc func(tx *Tx) error

// Do calls the function.
func (f OpFunc) Do(tx *Tx) error { return f(tx) }

// Batch observes transactions, on the committer's goroutine.
type Batch interface {
	Begin()
	// Flush writes the combined result of the operations.
	Flush(tx *Tx) error
	// Committed is called when the transaction is on disk, before Do returns to
	// the callers. It must not block.
	Committed()
	RolledBack()
}

// Number and delays of retries before the committer stops.
const maxFailures = 3

var retryDelays = [maxFailures]time.Duration{0, 50 * time.Millisecond, 250 * time.Millisecond}

// batchLimit is the maximum number of operations in a transaction.
const batchLimit = 4096

// checkpointBytes is the size of the write-ahead log at which it is
// checkpointed. A larger log only makes the slowest commit slower.
const checkpointBytes = 4 << 20

// checkEveryBytes is how much is written between checks of its size.
const checkEveryBytes = 128 << 10

const (
	queued int32 = iota
	started
	abandoned
)

// maxDefer is how long an operation of DoSoon waits to share a transaction.
const maxDefer = 500 * time.Microsecond

type request struct {
	op    Op
	done  chan error
	state atomic.Int32
}

// newRequest returns a request for an operation.
func (db *DB) newRequest(op Op) *request {
	r, ok := db.requests.Get().(*request)
	if !ok {
		r = &request{done: make(chan error, 1)}
	}
	r.op = op
	r.state.Store(queued)
	return r
}

// recycle returns an answered request to the pool.
func (db *DB) recycle(r *request) {
	r.op = nil
	db.requests.Put(r)
}

// Do executes an operation in a transaction, and returns when it is on disk. It
// returns errors of the operation unchanged. ErrUnavailable means that the
// operation was not written, or may not have been. ErrFull means that it was
// not. If ctx ends before the transaction starts, the operation is never
// written, and the error is ErrUnavailable. Before Run, Do blocks.
func (db *DB) Do(ctx context.Context, op Op) error { return db.do(ctx, op, true) }

// DoSoon is Do for an operation whose latency does not matter. It joins the
// next transaction of a Do, or starts one after a short delay. A transaction of
// its own would cost a flush and delay the next Do.
func (db *DB) DoSoon(ctx context.Context, op Op) error { return db.do(ctx, op, false) }

func (db *DB) do(ctx context.Context, op Op, urgent bool) error {
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("%w: %w", ErrUnavailable, err)
	}
	if err := db.Err(); err != nil {
		return err
	}
	r := db.newRequest(op)
	db.mu.Lock()
	if db.ended {
		db.mu.Unlock()
		return fmt.Errorf("%w: %w", ErrUnavailable, ErrClosed)
	}
	db.queue = append(db.queue, r)
	wake := urgent && !db.urgent
	db.urgent = db.urgent || urgent
	if !urgent && len(db.queue) == 1 {
		db.deferTimer.Reset(maxDefer)
	}
	db.mu.Unlock()
	if wake {
		db.signalWake()
	}
	if ctx.Done() == nil {
		err := <-r.done
		db.recycle(r)
		return err
	}
	select {
	case err := <-r.done:
		db.recycle(r)
		return err
	case <-ctx.Done():
		if r.state.CompareAndSwap(queued, abandoned) {
			return fmt.Errorf("%w: %w", ErrUnavailable, ctx.Err())
		}
		// The operation is in use until it is written, and then its result is
		// known.
		err := <-r.done
		db.recycle(r)
		return err
	}
}

// signalWake wakes the committer.
func (db *DB) signalWake() {
	select {
	case db.wakeup <- struct{}{}:
	default:
	}
}

// flushDeferred commits deferred operations now.
func (db *DB) flushDeferred() {
	db.mu.Lock()
	db.urgent = len(db.queue) > 0
	db.mu.Unlock()
	db.signalWake()
}

// Run commits until ctx ends, and then commits the rest of the queue. It can
// run once. It returns an error after three consecutive failures to write:
// committed data is safe, and the program should restart.
func (db *DB) Run(ctx context.Context) error {
	db.mu.Lock()
	if db.running || db.ended {
		db.mu.Unlock()
		return ErrClosed
	}
	db.running = true
	db.mu.Unlock()
	second := time.NewTicker(time.Second)
	defer second.Stop()
	db.checkFile()
	err := db.drain()
	for err == nil && ctx.Err() == nil {
		select {
		case <-db.wakeup:
			err = db.drain()
		case <-second.C:
			db.checkFile()
			db.retry()
			db.recheck()
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
		respond(rest, fmt.Errorf("%w: %w", ErrUnavailable, err))
	}
	if err == nil {
		_, err = db.writer.exec(context.Background(), "PRAGMA wal_checkpoint(TRUNCATE)")
	}
	return err
}

// gatherTime is how long a commit waits for the callers of the previous one to
// return with more. It is much shorter than the flush that they then share.
const gatherTime = 100 * time.Microsecond

// gather yields to the callers of the previous commit if there were several. A
// single caller waits for nobody.
func (db *DB) gather() {
	if db.lastBatch < 4 {
		return
	}
	for start := time.Now(); time.Since(start) < gatherTime; {
		runtime.Gosched()
		db.mu.Lock()
		n := len(db.queue)
		db.mu.Unlock()
		if n == 0 || n >= db.lastBatch {
			return
		}
	}
}

// drain commits until only deferred operations are queued.
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
		db.lastBatch = len(batch)
		clear(batch)
		db.spare = batch[:0]
	}
}

// commit writes a batch and answers it. It returns an error only if the
// committer must stop.
func (db *DB) commit(batch []*request) error {
	live := batch[:0:len(batch)]
	for _, r := range batch {
		if r.state.CompareAndSwap(queued, started) {
			live = append(live, r)
		}
	}
	if len(live) == 0 {
		return nil
	}
	if refusal := db.Err(); refusal != nil {
		respond(live, refusal)
		return nil
	}
	err := db.transact(live)
	switch {
	case err == nil:
		respond(live, nil)
		return db.checkpoint()
	case isDiskError(err):
		return db.recover(err, live)
	case len(live) == 1:
		respond(live, err)
		return nil
	}
	// At least one of them failed. Each is retried in a transaction of its own,
	// so that it fails alone.
	for i := range live {
		one := live[i : i+1]
		err := db.transact(one)
		if isDiskError(err) {
			return db.recover(err, live[i:])
		}
		respond(one, err)
	}
	return db.checkpoint()
}

func respond(rs []*request, err error) {
	for _, r := range rs {
		r.done <- err
	}
}

// transact executes operations in one transaction. After an error the
// connection is clean; recover handles the leftovers of a disk error.
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
		// SQLite may have rolled back already.
		if _, e := db.writer.exec(ctx, "ROLLBACK"); e != nil && code(e) != sqlite3.SQLITE_ERROR {
			err = errors.Join(err, e)
		}
		if db.o.Batch != nil {
			db.o.Batch.RolledBack()
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
