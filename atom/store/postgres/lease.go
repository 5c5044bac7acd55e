package postgres

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"valence/atom/store"
	"valence/internal/pgdb"
)

// lockClass is the class of the advisory locks of epochs. A commit holds the lock
// of its epoch shared, a takeover exclusively.
const lockClass = 1986356 // together with the epoch

// lease is the lease of this member.
type lease struct {
	epoch atomic.Int64              // 0: none
	until atomic.Pointer[time.Time] // by which the member believes in it, monotonic

	paused  atomic.Bool // by a test: the member neither renews its lease nor adopts
	mu      sync.Mutex  // guards the following, and orders announcements
	adopted func(map[string]int64)
	lost    func()
}

// current returns the epoch of the lease, or 0 if there is none.
func (l *lease) current() int64 { return l.epoch.Load() }

// Join implements store.Leases.
func (s *Store) Join(ctx context.Context, adopted func(map[string]int64), lost func()) error {
	s.lease.mu.Lock()
	s.lease.adopted, s.lease.lost = adopted, lost
	s.lease.mu.Unlock()
	if _, err := s.writes.Exec(ctx, "UPDATE atom_member SET adopts = true WHERE epoch = $1", s.lease.current()); err != nil {
		return unavailable(err)
	}
	return s.takeOver(ctx)
}

// Holds implements store.Leases.
func (s *Store) Holds(epoch int64) bool {
	until := s.lease.until.Load()
	return epoch != 0 && epoch == s.lease.current() && until != nil && time.Now().Before(*until)
}

// register gets a lease with a new epoch, and blocks of numbers.
func (s *Store) register(ctx context.Context) error {
	start := time.Now()
	var epoch, block, spare int64
	var now, at time.Time
	err := pgdb.Begin(ctx, s.writes, func(tx pgdb.Tx) error {
		err := tx.QueryRow(ctx, `INSERT INTO atom_member(epoch, name, version, joined, until, adopts)
			VALUES(nextval('atom_epoch'), $1, $2, clock_timestamp(), clock_timestamp() + $3, $4) RETURNING epoch, clock_timestamp()`,
			s.o.Member, s.o.Version, leaseTime, s.joined()).Scan(&epoch, &now)
		at = time.Now()
		if err != nil {
			return err
		}
		if _, err := tx.Exec(ctx, "INSERT INTO atom_running(epoch, seqs) VALUES($1, '{}')", epoch); err != nil {
			return err
		}
		if block, err = insertBlock(ctx, tx, epoch); err == nil {
			spare, err = insertBlock(ctx, tx, epoch)
		}
		return err
	})
	if err != nil {
		return err
	}
	s.clock.set(now, at)
	s.numbers.drop()
	s.numbers.add(block)
	s.numbers.first()
	s.numbers.add(spare)
	until := start.Add(leaseTime - leaseMargin)
	s.lease.until.Store(&until)
	s.lease.epoch.Store(epoch)
	return nil
}

// joined reports whether Join was called.
func (s *Store) joined() bool {
	s.lease.mu.Lock()
	defer s.lease.mu.Unlock()
	return s.lease.adopted != nil
}

func insertBlock(ctx context.Context, tx pgdb.Tx, epoch int64) (block int64, err error) {
	err = tx.QueryRow(ctx, "INSERT INTO atom_block(id, holder) VALUES(nextval('atom_block_id'), $1) RETURNING id", epoch).Scan(&block)
	return block, err
}

// renew renews the lease until ctx ends, and gets a new one after it was lost.
func (s *Store) renew(ctx context.Context) {
	s.every(ctx, nil, func(ctx context.Context) error {
		ctx, cancel := context.WithTimeout(ctx, renewEvery)
		defer cancel()
		return s.keepLease(ctx)
	})
}

// adopt adopts the executions of members whose lease has ended, until ctx ends.
func (s *Store) adopt(ctx context.Context) {
	s.every(ctx, s.changed.left, func(ctx context.Context) error {
		if !s.joined() || s.lease.current() == 0 {
			return nil
		}
		return s.takeOver(ctx)
	})
}

// every calls f each renewEvery and when kicked, unless the member is paused.
func (s *Store) every(ctx context.Context, kick chan struct{}, f func(context.Context) error) {
	ticks := time.NewTicker(renewEvery)
	defer ticks.Stop()
	for {
		if !s.lease.paused.Load() {
			if err := f(ctx); err != nil && ctx.Err() == nil {
				s.log.Error("cannot renew the lease or take over", "error", err)
			}
		}
		select {
		case <-ctx.Done():
			return
		case <-ticks.C:
		case <-kick: // a member has left
		}
	}
}

// keepLease renews the lease. One that has run out is not renewed: its runs were
// interrupted, and begin again with their journals under a new epoch.
func (s *Store) keepLease(ctx context.Context) error {
	if epoch := s.lease.current(); epoch != 0 && time.Now().After(*s.lease.until.Load()) {
		s.lose(epoch)
	}
	if s.lease.current() == 0 {
		if err := s.register(ctx); err != nil {
			return err
		}
		s.log.Info("joined the group again", "epoch", s.lease.current())
	}
	if err := s.renewOnce(ctx); err != nil {
		if until := s.lease.until.Load(); errors.Is(err, store.ErrFenced) || time.Now().After(*until) {
			s.lose(s.lease.current())
		}
		return err
	}
	if s.numbers.wantsBlock() {
		return s.addBlock(ctx)
	}
	return nil
}

// renewOnce extends the lease, by the time of the database.
func (s *Store) renewOnce(ctx context.Context) error {
	start := time.Now()
	var now time.Time
	err := s.writes.QueryRow(ctx, "UPDATE atom_member SET until = clock_timestamp() + $2 WHERE epoch = $1 RETURNING clock_timestamp()", s.lease.current(), leaseTime).Scan(&now)
	switch {
	case errors.Is(err, pgdb.ErrNoRows):
		return store.ErrFenced
	case err != nil:
		return err
	}
	s.clock.set(now, time.Now())
	until := start.Add(leaseTime - leaseMargin)
	s.lease.until.Store(&until)
	return nil
}

func (s *Store) addBlock(ctx context.Context) error {
	epoch := s.lease.current()
	var block int64
	err := pgdb.Begin(ctx, s.writes, func(tx pgdb.Tx) (err error) {
		if err := checkEpoch(ctx, tx, epoch); err != nil {
			return err
		}
		block, err = insertBlock(ctx, tx, epoch)
		return err
	})
	if err == nil { // of a block that is not known to be committed no number is used
		s.numbers.add(block)
	}
	return err
}

// checkEpoch locks an epoch against a takeover, and returns store.ErrFenced if
// there was one.
func checkEpoch(ctx context.Context, tx pgdb.Tx, epoch int64) error {
	if _, err := tx.Exec(ctx, "SELECT pg_advisory_xact_lock_shared($1, $2)", lockClass, int32(epoch)); err != nil {
		return err
	}
	err := tx.QueryRow(ctx, "SELECT FROM atom_member WHERE epoch = $1", epoch).Scan()
	if errors.Is(err, pgdb.ErrNoRows) {
		return store.ErrFenced
	}
	return err
}

// lose notes that the lease of an epoch has ended.
func (s *Store) lose(epoch int64) {
	s.lease.mu.Lock()
	defer s.lease.mu.Unlock()
	if epoch == 0 || !s.lease.epoch.CompareAndSwap(epoch, 0) {
		return
	}
	s.log.Warn("the lease has ended: other members run the executions of this one", "epoch", epoch)
	s.numbers.drop()
	s.running.clear()
	if s.lease.lost != nil {
		s.lease.lost()
	}
}

// takeOver adopts the executions of members whose lease has ended.
func (s *Store) takeOver(ctx context.Context) error {
	rows, err := s.writes.Query(ctx, "SELECT epoch FROM atom_member WHERE until < clock_timestamp() ORDER BY epoch")
	if err != nil {
		return unavailable(err)
	}
	epochs, err := pgdb.Column[int64](rows)
	if err != nil {
		return unavailable(err)
	}
	for _, e := range epochs {
		if e == s.lease.current() {
			continue
		}
		if err := s.adoptEpoch(ctx, e); err != nil {
			return unavailable(err)
		}
	}
	return nil
}

// adoption is one takeover.
type adoption struct {
	s            *Store
	epoch, ended int64 // of this member and of the other
	blocks       []int64
	live         map[string]int64
}

// adoptEpoch adopts the executions of one epoch, unless another member did.
func (s *Store) adoptEpoch(ctx context.Context, ended int64) error {
	a := &adoption{s: s, epoch: s.lease.current(), ended: ended, live: map[string]int64{}}
	if err := a.endCommits(ctx); err != nil {
		return err
	}
	done := false
	err := pgdb.Begin(ctx, s.writes, func(tx pgdb.Tx) (err error) {
		done, err = a.commit(ctx, tx)
		return err
	})
	if err != nil || !done {
		return err
	}
	s.log.Info("took over from a member", "epoch", ended, "blocks", len(a.blocks), "executions", a.live)
	s.lease.mu.Lock()
	defer s.lease.mu.Unlock()
	if s.lease.current() != a.epoch {
		return nil // another member has taken this one over meanwhile
	}
	s.numbers.adopt(a.blocks)
	s.lease.adopted(a.live)
	return nil
}

// endCommits terminates the sessions that hold the lock of the epoch: the
// member may have been stopped in the middle of a transaction.
func (a *adoption) endCommits(ctx context.Context) error {
	_, err := a.s.writes.Exec(ctx, `SELECT pg_terminate_backend(l.pid) FROM pg_locks AS l JOIN pg_database AS d ON d.oid = l.database
		WHERE d.datname = current_database() AND l.locktype = 'advisory' AND l.classid = $1 AND l.objid = $2 AND l.objsubid = 2 AND l.mode = 'ShareLock'`, lockClass, a.ended)
	return err
}

func (a *adoption) commit(ctx context.Context, tx pgdb.Tx) (done bool, err error) {
	if err := checkEpoch(ctx, tx, a.epoch); err != nil {
		return false, err
	}
	if _, err := tx.Exec(ctx, "SELECT pg_advisory_xact_lock($1, $2)", lockClass, int32(a.ended)); err != nil {
		return false, err
	}
	tag, err := tx.Exec(ctx, "DELETE FROM atom_member WHERE epoch = $1 AND until < clock_timestamp()", a.ended)
	if err != nil || tag.RowsAffected() == 0 {
		return false, err // it was renewed, or another member was faster
	}
	var running []int64
	if err := tx.QueryRow(ctx, "DELETE FROM atom_running WHERE epoch = $1 RETURNING seqs", a.ended).Scan(&running); err != nil && !errors.Is(err, pgdb.ErrNoRows) {
		return false, err
	}
	b := &pgdb.Batch{}
	b.Queue("UPDATE atom_execution SET crashes = crashes + 1 WHERE seq = ANY($1) AND state < 4", running)
	b.Queue("DELETE FROM atom_dedupe WHERE claim = $1", a.ended)
	if err := tx.SendBatch(ctx, b).Close(); err != nil {
		return false, err
	}
	rows, err := tx.Query(ctx, "UPDATE atom_block SET holder = $1 WHERE holder = $2 RETURNING id", a.epoch, a.ended)
	if err != nil {
		return false, err
	}
	if a.blocks, err = pgdb.Column[int64](rows); err != nil {
		return false, err
	}
	return true, a.count(ctx, tx)
}

// count counts the live executions of the blocks, and drops empty blocks.
func (a *adoption) count(ctx context.Context, tx pgdb.Tx) error {
	var kept []int64
	for _, block := range a.blocks {
		rows, err := tx.Query(ctx, "SELECT process, count(*) FROM atom_execution WHERE seq >= $1 AND seq < $2 AND state < 4 GROUP BY process", block<<blockBits, (block+1)<<blockBits)
		if err != nil {
			return err
		}
		process, n, empty := "", int64(0), true
		if err := pgdb.ForEachRow(rows, []any{&process, &n}, func() error { a.live[process] += n; empty = false; return nil }); err != nil {
			return err
		}
		if !empty {
			kept = append(kept, block)
			continue
		}
		if _, err := tx.Exec(ctx, "DELETE FROM atom_block WHERE id = $1", block); err != nil {
			return err
		}
	}
	a.blocks = kept
	return nil
}

// leave ends the lease, so that other members take over at once.
func (s *Store) leave() {
	s.numbers.close()
	epoch := s.lease.current()
	if epoch == 0 || s.lease.paused.Load() {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), lockTime/2)
	defer cancel()
	b := &pgdb.Batch{}
	b.Queue("UPDATE atom_running SET seqs = '{}' WHERE epoch = $1", epoch)
	b.Queue("UPDATE atom_member SET until = '-infinity' WHERE epoch = $1", epoch)
	b.Queue("SELECT pg_notify($1, $2)", s.channel(), leftNotice)
	if err := s.writes.SendBatch(ctx, b).Close(); err != nil {
		s.log.Warn("cannot leave the group; its members notice when the lease ends", "error", err)
	}
}
