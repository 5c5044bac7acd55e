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

// takeoverTime bounds an attempt to take over, so that a connection that hangs
// is replaced.
const takeoverTime = 30 * time.Second

// lease is the lease of this member.
type lease struct {
	epoch atomic.Int64              // 0: none
	until atomic.Pointer[time.Time] // by which the member believes in it, monotonic

	blocks  sync.Mutex  // held while blocks are inserted or adopted, until numbers knows them
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
	return epoch != 0 && epoch == s.lease.current() && s.lease.lasts()
}

// lasts reports whether the member believes in its lease. The clock of the
// machine counts as well: the monotonic one stops while a machine sleeps.
func (l *lease) lasts() bool {
	now, until := time.Now(), l.until.Load()
	return until != nil && now.Before(*until) && now.Round(0).Before(until.Round(0))
}

// watchLease interrupts the runs of a lease when it ends, whatever the renewal
// waits for, until ctx ends.
func (s *Store) watchLease(ctx context.Context) {
	for {
		wait := renewEvery
		if until := s.lease.until.Load(); s.lease.current() != 0 && until != nil {
			wait = min(wait, max(time.Until(*until), time.Millisecond))
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(wait):
		}
		if epoch := s.lease.current(); epoch != 0 && !s.lease.paused.Load() && !s.lease.lasts() {
			s.lose(epoch)
		}
	}
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
		if err := checkMoved(ctx, tx); err != nil { // after the insertion, for which markMoved waits
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
		ctx, cancel := context.WithTimeout(ctx, takeoverTime)
		defer cancel()
		return errors.Join(s.takeOver(ctx), s.sweepCancelled(ctx))
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
	if epoch := s.lease.current(); epoch != 0 && !s.lease.lasts() {
		s.lose(epoch)
	}
	if s.lease.current() == 0 {
		if err := s.register(ctx); err != nil {
			return err
		}
		s.log.Info("joined the group again", "epoch", s.lease.current())
	}
	if err := s.renewOnce(ctx); err != nil {
		if errors.Is(err, store.ErrFenced) || !s.lease.lasts() {
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
	var members int64
	err := s.writes.QueryRow(ctx, `UPDATE atom_member SET until = clock_timestamp() + $2 WHERE epoch = $1
		RETURNING clock_timestamp(), (SELECT count(*) FROM atom_member WHERE until >= clock_timestamp())`, s.lease.current(), leaseTime).Scan(&now, &members)
	switch {
	case errors.Is(err, pgdb.ErrNoRows):
		return store.ErrFenced
	case err != nil:
		return err
	}
	s.clock.set(now, time.Now())
	until := start.Add(leaseTime - leaseMargin)
	s.lease.until.Store(&until)
	if members = max(members, 1); s.members.size.Swap(members) != members {
		s.news.Resized()
	}
	return nil
}

func (s *Store) addBlock(ctx context.Context) error {
	s.lease.blocks.Lock()
	defer s.lease.blocks.Unlock()
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

// takeOver adopts the executions of members whose lease has ended. After an
// error it must be called again: a takeover may have been committed.
func (s *Store) takeOver(ctx context.Context) error {
	rows, err := s.writes.Query(ctx, "SELECT epoch FROM atom_member WHERE until < clock_timestamp() ORDER BY epoch")
	if err != nil {
		return unavailable(err)
	}
	epochs, err := pgdb.Column[int64](rows)
	if err != nil {
		return unavailable(err)
	}
	epoch := s.lease.current()
	for _, ended := range epochs {
		if ended != epoch {
			err = errors.Join(err, s.moveBlocks(ctx, epoch, ended))
		}
	}
	if err = errors.Join(err, s.adoptBlocks(ctx, epoch)); err != nil {
		return unavailable(err)
	}
	return nil
}

// moveBlocks makes the member the holder of the blocks of an epoch that has
// ended, unless another member was faster.
func (s *Store) moveBlocks(ctx context.Context, epoch, ended int64) error {
	if err := s.endCommits(ctx, ended); err != nil {
		return err
	}
	moved := false
	err := pgdb.Begin(ctx, s.writes, func(tx pgdb.Tx) (err error) {
		moved, err = moveBlocks(ctx, tx, epoch, ended)
		return err
	})
	if err == nil && moved {
		s.log.Info("took over from a member", "epoch", ended)
	}
	return err
}

// endCommits terminates the sessions that hold the lock of the epoch: the
// member may have been stopped in the middle of a transaction.
func (s *Store) endCommits(ctx context.Context, ended int64) error {
	_, err := s.writes.Exec(ctx, `SELECT pg_terminate_backend(l.pid) FROM pg_locks AS l JOIN pg_database AS d ON d.oid = l.database
		WHERE d.datname = current_database() AND l.locktype = 'advisory' AND l.classid = $1 AND l.objid = $2 AND l.objsubid = 2 AND l.mode = 'ShareLock'`, lockClass, ended)
	return err
}

func moveBlocks(ctx context.Context, tx pgdb.Tx, epoch, ended int64) (moved bool, err error) {
	if err := checkEpoch(ctx, tx, epoch); err != nil {
		return false, err
	}
	if _, err := tx.Exec(ctx, "SELECT pg_advisory_xact_lock($1, $2)", lockClass, int32(ended)); err != nil {
		return false, err
	}
	tag, err := tx.Exec(ctx, "DELETE FROM atom_member WHERE epoch = $1 AND until < clock_timestamp()", ended)
	if err != nil || tag.RowsAffected() == 0 {
		return false, err // it was renewed, or another member was faster
	}
	var running []int64
	if err := tx.QueryRow(ctx, "DELETE FROM atom_running WHERE epoch = $1 RETURNING seqs", ended).Scan(&running); err != nil && !errors.Is(err, pgdb.ErrNoRows) {
		return false, err
	}
	b := &pgdb.Batch{}
	b.Queue("UPDATE atom_execution SET crashes = crashes + 1 WHERE seq = ANY($1) AND state < 4", running)
	b.Queue("DELETE FROM atom_dedupe WHERE claim = $1", ended)
	b.Queue("UPDATE atom_block SET holder = $1 WHERE holder = $2", epoch, ended)
	return true, tx.SendBatch(ctx, b).Close()
}

// adoptBlocks adopts the executions of blocks that the member holds in the
// database and does not know yet: of takeovers, also if the answer to their
// commit was lost.
func (s *Store) adoptBlocks(ctx context.Context, epoch int64) error {
	s.lease.blocks.Lock()
	defer s.lease.blocks.Unlock()
	rows, err := s.writes.Query(ctx, "SELECT id FROM atom_block WHERE holder = $1 ORDER BY id", epoch)
	if err != nil {
		return err
	}
	blocks, err := pgdb.Column[int64](rows)
	if blocks = s.numbers.unknown(blocks); err != nil || len(blocks) == 0 {
		return err
	}
	if s.lease.current() != epoch {
		return nil // they may be its own blocks, which lose has dropped, and commits run in them
	}
	live := map[string]int64{}
	if blocks, err = s.countBlocks(ctx, blocks, live); err != nil {
		return err
	}
	s.lease.mu.Lock()
	defer s.lease.mu.Unlock()
	if s.lease.current() != epoch || len(blocks) == 0 {
		return nil // with another epoch, another member adopts the blocks
	}
	s.log.Info("adopted executions", "blocks", len(blocks), "executions", live)
	s.numbers.adopt(blocks)
	s.lease.adopted(live)
	return nil
}

// countBlocks counts the live executions of blocks, and deletes blocks without
// any. It returns the others.
func (s *Store) countBlocks(ctx context.Context, blocks []int64, live map[string]int64) (kept []int64, err error) {
	for _, block := range blocks {
		rows, err := s.writes.Query(ctx, "SELECT process, count(*) FROM atom_execution WHERE seq >= $1 AND seq < $2 AND state < 4 GROUP BY process", block<<blockBits, (block+1)<<blockBits)
		if err != nil {
			return nil, err
		}
		process, n, empty := "", int64(0), true
		if err := pgdb.ForEachRow(rows, []any{&process, &n}, func() error { live[process] += n; empty = false; return nil }); err != nil {
			return nil, err
		}
		if !empty {
			kept = append(kept, block)
			continue
		}
		if _, err := s.writes.Exec(ctx, "DELETE FROM atom_block WHERE id = $1", block); err != nil {
			return nil, err
		}
	}
	return kept, nil
}

// leave ends the lease, so that other members take over at once.
func (s *Store) leave() {
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
