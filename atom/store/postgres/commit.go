package postgres

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"valence/atom/store"
	"valence/internal/pgdb"
)

// batchLimit is the most operations in one transaction.
const batchLimit = 512

// commitTime is the longest that a commit may take.
const commitTime = 12 * time.Second

// operation is a write of this member.
type operation interface {
	// do writes, or stores a refusal in the operation. An error undoes the
	// transaction, and do runs again in another one.
	do(t *transaction) error
}

// locker is an operation that changes an execution, whose row is read for it
// and locked.
type locker interface{ seq() int64 }

// request is an operation with its caller.
type request struct {
	op    operation
	state atomic.Int32
	done  chan error
}

// States of a request. An operation whose caller gave up before its transaction
// is never written; later the caller waits for the result.
const (
	queued int32 = iota
	taken
	abandoned
)

// committer commits the operations of all callers in as few transactions as
// possible, one after the other, so that one flush serves many.
type committer struct {
	requests chan *request
	closed   chan struct{}         // closed when no request is committed any more
	failure  atomic.Pointer[error] // why the last commit failed; nil: it did not
}

var errClosed = errors.New("the store is closed")

// do commits an operation, and returns when it is on disk.
func (s *Store) do(ctx context.Context, op operation) error {
	if err := ctx.Err(); err != nil {
		return unavailable(err)
	}
	r := &request{op: op, done: make(chan error, 1)}
	select {
	case s.requests <- r:
	case <-s.committer.closed:
		return unavailable(errClosed)
	case <-ctx.Done():
		return unavailable(ctx.Err())
	}
	select {
	case err := <-r.done:
		return err
	case <-s.committer.closed:
		return r.abandon(errClosed)
	case <-ctx.Done():
		return r.abandon(ctx.Err())
	}
}

// abandon withdraws the operation for a reason, or waits for its result if it is
// too late for that.
func (r *request) abandon(why error) error {
	if r.state.CompareAndSwap(queued, abandoned) {
		return unavailable(why)
	}
	return <-r.done
}

// commitAll commits requests until ctx ends.
func (s *Store) commitAll(ctx context.Context) {
	defer close(s.committer.closed)
	for {
		select {
		case <-ctx.Done():
			return
		case first := <-s.requests:
			if batch := s.take(first); len(batch) > 0 {
				s.commitBatch(batch)
			}
		}
	}
}

// take returns a request and those that wait, as far as their callers do.
func (s *Store) take(r *request) (batch []*request) {
	for {
		if r.state.CompareAndSwap(queued, taken) {
			batch = append(batch, r)
		}
		if len(batch) == batchLimit {
			return batch
		}
		select {
		case r = <-s.requests:
		default:
			return batch
		}
	}
}

// operationError is an error of one operation, or of a statement that it sent.
type operationError struct{ error }

func (e *operationError) Unwrap() error { return e.error }

// commitBatch commits requests together. If an operation fails, the others are
// committed without it.
func (s *Store) commitBatch(batch []*request) {
	err := s.commitOnce(batch)
	for again := 0; err != nil && again < 3 && pgdb.Retryable(err); again++ {
		err = s.commitOnce(batch)
	}
	own := errors.As(err, new(*operationError))
	if own && len(batch) > 1 {
		s.commitBatch(batch[:len(batch)/2])
		s.commitBatch(batch[len(batch)/2:])
		return
	}
	switch {
	case err == nil:
		s.failure.Store(nil)
	case own && pgdb.Code(err) == "" || pgdb.Invalid(err):
		s.failure.Store(nil) // the database works
		s.log.Warn("cannot commit an operation", "operation", fmt.Sprintf("%T", batch[0].op), "error", err)
	default:
		s.failure.Store(&err)
		err = unavailable(err)
	}
	for _, r := range batch {
		r.done <- err
	}
}

// commitOnce runs one transaction. When it returns nil, everything is on disk
// and announced.
func (s *Store) commitOnce(batch []*request) error {
	ctx, cancel := context.WithTimeout(context.Background(), commitTime)
	defer cancel()
	start := time.Now()
	epoch := s.lease.current()
	if epoch == 0 {
		return unavailable(store.ErrFenced)
	}
	tx, err := s.writes.Begin(ctx)
	if err != nil {
		return err
	}
	t := &transaction{ctx: ctx, tx: tx, s: s, epoch: epoch, batch: &pgdb.Batch{}, rows: map[int64]*row{}}
	if err := t.begin(); err != nil {
		rollback(tx)
		if errors.Is(err, store.ErrFenced) {
			s.lose(epoch)
		}
		return err
	}
	if err := t.run(batch); err != nil {
		if rollback(tx) && ctx.Err() == nil {
			return &operationError{err} // the connection works
		}
		return err
	}
	s.announcer.begin()
	defer s.announcer.end()
	if err := tx.Commit(ctx); err != nil {
		if !s.committed(t.xid) {
			return err
		}
	}
	s.announce(t)
	if s.o.OnCommit != nil {
		s.o.OnCommit(len(batch), time.Since(start))
	}
	return nil
}

// rollback reports whether the connection still works.
func rollback(tx pgdb.Tx) bool {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	return tx.Rollback(ctx) == nil // if it fails, the connection is closed
}

// committed reports whether a transaction was committed whose end is not known,
// because the connection was lost. It asks until the lease has ended.
func (s *Store) committed(xid string) bool {
	epoch := s.lease.current()
	for wait := 10 * time.Millisecond; s.Holds(epoch); wait = min(2*wait, time.Second) {
		ctx, cancel := context.WithTimeout(context.Background(), renewEvery)
		status := ""
		err := s.writes.QueryRow(ctx, "SELECT coalesce(pg_xact_status($1::xid8), 'in progress')", xid).Scan(&status)
		cancel()
		switch {
		case err == nil && status == "committed":
			return true
		case err == nil && status == "aborted":
			return false
		}
		time.Sleep(wait) // the server restarts, or has not noticed the lost connection
	}
	return false
}

// announcer orders announcements and reads: a read returns after everything was
// announced that it may have seen.
type announcer struct {
	accepted func([]*store.Record)
	ready    func([]store.Wakeup)

	begun atomic.Int64 // commits that may be visible
	mu    sync.Mutex
	more  *sync.Cond
	ended int64
}

func (a *announcer) begin() { a.begun.Add(1) }

func (a *announcer) end() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.ended = a.begun.Load()
	a.more.Broadcast()
}

// settle returns when every commit that a read may have seen is announced.
func (a *announcer) settle() {
	begun := a.begun.Load()
	a.mu.Lock()
	defer a.mu.Unlock()
	for a.ended < begun {
		a.more.Wait()
	}
}

// OnAccepted implements store.Store.
func (s *Store) OnAccepted(f func([]*store.Record)) { s.announcer.accepted = f }

// OnReady implements store.Notifier.
func (s *Store) OnReady(f func([]store.Wakeup)) { s.announcer.ready = f }

// announce reports a commit to this member, unless its lease has ended
// meanwhile, and to the others.
func (s *Store) announce(t *transaction) {
	s.lease.mu.Lock()
	defer s.lease.mu.Unlock()
	if s.lease.current() != t.epoch {
		return
	}
	for seq, runs := range t.stopped {
		s.running.set(seq, runs)
	}
	if len(t.accepted) > 0 && s.announcer.accepted != nil {
		s.announcer.accepted(t.accepted)
	}
	var own []store.Wakeup
	for _, w := range t.wakeups {
		if s.numbers.holds(w.Seq) {
			own = append(own, w)
		} else {
			s.changed.add(noticeOf(w))
		}
	}
	if len(own) > 0 && s.announcer.ready != nil {
		s.announcer.ready(own)
	}
	for _, seq := range t.cancelled {
		if s.numbers.holds(seq) {
			s.news.Cancelled(seq)
		} else {
			s.changed.add(notice{Kind: noticeCancelled, Seq: seq})
		}
	}
	s.announceFollowed(t.rows)
}

// transaction is one transaction of the committer. Writes are sent with the
// next read, or at the end.
type transaction struct {
	ctx   context.Context
	tx    pgdb.Tx
	s     *Store
	epoch int64
	xid   string
	now   time.Time
	batch *pgdb.Batch
	rows  map[int64]*row // executions that this transaction has locked

	accepted  []*store.Record
	wakeups   []store.Wakeup
	cancelled []int64 // executions whose runs must learn of a cancellation
	stopped   map[int64]bool
	uses      []fileUse
}

// run performs the operations.
func (t *transaction) run(batch []*request) error {
	var seqs []int64
	for _, r := range batch {
		if l, ok := r.op.(locker); ok {
			seqs = append(seqs, l.seq())
		}
	}
	if err := t.lock(seqs...); err != nil {
		return err
	}
	for _, r := range batch {
		if err := r.op.do(t); err != nil {
			return err
		}
	}
	if err := t.storeUses(); err != nil {
		return err
	}
	return t.flush()
}

// begin locks the epoch against a takeover.
func (t *transaction) begin() error {
	b := &pgdb.Batch{}
	b.Queue("SELECT pg_advisory_xact_lock_shared($1, $2)", lockClass, int32(t.epoch))
	b.Queue("SELECT pg_current_xact_id()::text FROM atom_member WHERE epoch = $1", t.epoch)
	results := t.tx.SendBatch(t.ctx, b)
	_, err := results.Exec()
	if err == nil {
		err = results.QueryRow().Scan(&t.xid)
	}
	if err = errors.Join(err, results.Close()); errors.Is(err, pgdb.ErrNoRows) {
		return unavailable(store.ErrFenced)
	}
	t.now = t.s.clock.now()
	return err
}

// exec writes later.
func (t *transaction) exec(sql string, args ...any) { t.batch.Queue(sql, args...) }

// flush sends the writes.
func (t *transaction) flush() error {
	if t.batch.Len() == 0 {
		return nil
	}
	b := t.batch
	t.batch = &pgdb.Batch{}
	return t.tx.SendBatch(t.ctx, b).Close()
}

// one reads a row; found is false if there is none.
func (t *transaction) one(into []any, sql string, args ...any) (found bool, err error) {
	if err := t.flush(); err != nil {
		return false, err
	}
	err = t.tx.QueryRow(t.ctx, sql, args...).Scan(into...)
	if errors.Is(err, pgdb.ErrNoRows) {
		return false, nil
	}
	return err == nil, err
}

// each reads rows.
func (t *transaction) each(into []any, f func() error, sql string, args ...any) error {
	if err := t.flush(); err != nil {
		return err
	}
	rows, err := t.tx.Query(t.ctx, sql, args...)
	if err != nil {
		return err
	}
	return pgdb.ForEachRow(rows, into, f)
}

// errNoNumbers is returned while the member cannot get a block of numbers.
var errNoNumbers = errors.New("no sequence numbers are left until the database is reached again")

// number returns a number for a message that is accepted.
func (t *transaction) number() (int64, error) {
	if seq := t.s.numbers.take(); seq != 0 {
		return seq, nil
	}
	return 0, unavailable(errNoNumbers)
}

// wake announces an execution that is ready.
func (t *transaction) wake(w store.Wakeup) { t.wakeups = append(t.wakeups, w) }

// ends notes that an execution does not run any more.
func (t *transaction) ends(seq int64) {
	if t.stopped == nil {
		t.stopped = map[int64]bool{}
	}
	t.stopped[seq] = false
}

// invalid returns an error of the caller.
func invalid(format string, args ...any) error { return fmt.Errorf(format, args...) }
