package sqlite

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"valence/atom"
	"valence/internal/sqlitedb"
	"valence/internal/store/sqlite/history"
)

// Bounds of what waits to move to the history.
const (
	moveBytes   = 1 << 20         // moves at once
	moveLimit   = 8 << 20         // in one go
	moveMax     = 64 << 20        // beyond it finishing waits
	recordBytes = 64 << 20        // beyond it records of executions in memory are dropped
	youngTime   = 5 * time.Second // a pack that was touched is taken apart after it
	keeperTick  = 500 * time.Millisecond
)

// keeper moves what ended from the database to the history, and records what
// ran in memory there.
type keeper struct {
	s       *Store
	kick    chan struct{}
	tick    time.Duration
	young   time.Duration
	dropped atomic.Int64

	moving  sync.Mutex // from the database to the history
	packers sync.Pool  // *packer

	mu      sync.Mutex
	records []*atom.Finished
	writing []*atom.Finished // taken from records, until they can be read
	bytes   int
	failed  error         // why moving does not work now
	changed chan struct{} // closed when there is room, or moving failed
}

func newKeeper(s *Store) *keeper {
	return &keeper{s: s, packers: sync.Pool{New: func() any { return new(packer) }}, kick: make(chan struct{}, 1), tick: keeperTick, young: youngTime, changed: make(chan struct{})}
}

func (k *keeper) wake() {
	select {
	case k.kick <- struct{}{}:
	default:
	}
}

// Record keeps an execution that ran in memory; see atom.History.
func (s *Store) Record(f *atom.Finished) {
	size := 400 + len(f.Doc) + len(f.Data) + len(f.Meta) + len(f.Trace)
	for i := range f.Entries {
		size += 64 + len(f.Entries[i].Body)
	}
	k := s.keeper
	k.mu.Lock()
	if k.bytes+size > recordBytes {
		k.mu.Unlock()
		k.dropped.Add(1)
		return
	}
	before := k.bytes
	k.bytes += size
	k.records = append(k.records, f)
	k.mu.Unlock()
	if before < moveBytes && before+size >= moveBytes {
		k.wake()
	}
}

// room waits while too much that ended has not moved.
func (k *keeper) room(ctx context.Context) error {
	for {
		k.s.mu.Lock()
		over := k.s.mem.movable > moveMax
		k.s.mu.Unlock()
		if !over {
			return nil
		}
		k.mu.Lock()
		changed, err := k.changed, k.failed
		k.mu.Unlock()
		if err != nil {
			return err
		}
		k.wake()
		select {
		case <-changed:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// run moves until ctx ends, and once more.
func (k *keeper) run(ctx context.Context) {
	t := time.NewTicker(k.tick)
	defer t.Stop()
	for ctx.Err() == nil {
		select {
		case <-k.kick:
		case <-t.C:
		case <-ctx.Done():
		}
		k.round()
	}
}

func (k *keeper) round() {
	err := k.move()
	k.mu.Lock()
	if err != nil && (k.failed == nil || k.failed.Error() != err.Error()) {
		k.s.log.Error("what ended cannot be moved to the history", "error", err)
	}
	k.failed = err
	close(k.changed)
	k.changed = make(chan struct{})
	k.mu.Unlock()
	if k.s.seqs.wants() != 0 { // any commit will do
		if err := k.s.db.Do(context.Background(), sqlitedb.OpFunc(func(*sqlitedb.Tx) error { return nil })); err != nil {
			k.s.log.Error("numbers cannot be reserved", "error", err)
		}
	}
}

// load is what one round takes to the history.
type load struct {
	items []*history.Item
	young []*young
	packs []*pack
	rows  []*young
}

func (k *keeper) move() error {
	pack := k.packers.Get().(*packer)
	defer k.packers.Put(pack)
	defer pack.reset()
	if err := k.writeRecords(pack); err != nil {
		return err
	}
	if !k.moving.TryLock() { // a backup is being taken
		return nil
	}
	defer k.moving.Unlock()
	for {
		pack.reset()
		m, more, err := k.collect(pack)
		if len(m.items) > 0 {
			if e := k.s.history.Append(m.items, k.s.clock.now(), true); e != nil {
				return errors.Join(err, e)
			}
		}
		k.s.mu.Lock()
		for _, y := range m.young {
			y.moved = true
		}
		k.s.mu.Unlock()
		if len(m.packs) > 0 || len(m.rows) > 0 {
			if err := k.s.db.Do(context.Background(), &retireOp{s: k.s, packs: m.packs, rows: m.rows}); err != nil {
				return fmt.Errorf("delete what moved: %w", err)
			}
		}
		if !more || err != nil {
			return err
		}
	}
}

// writeRecords keeps what ran in memory.
func (k *keeper) writeRecords(pack *packer) error {
	k.mu.Lock()
	records := k.records
	k.records, k.writing, k.bytes = nil, records, 0
	k.mu.Unlock()
	defer func() {
		k.mu.Lock()
		k.writing = nil
		k.mu.Unlock()
	}()
	var items []*history.Item
	for _, f := range records {
		items = append(items, k.record(pack, f)...)
	}
	if len(items) == 0 {
		return nil
	}
	err := k.s.history.Append(items, k.s.clock.now(), true)
	if err != nil {
		k.dropped.Add(int64(len(items)))
	}
	return err
}

// record gives the item for an execution that ran in memory; a failed one goes
// into the database instead.
func (k *keeper) record(pack *packer, f *atom.Finished) []*history.Item {
	e := &ending{Outcome: f.Outcome}
	h := held{Acceptance: &f.Acceptance}
	if number(string(e.Status)) > stExpired {
		lines := make([]line, len(f.Entries))
		for i, x := range f.Entries {
			lines[i].Entry = x
		}
		return pack.pack(&h, lines, e, f.Attempt, f.Unclean)
	}
	a := accepting{}
	pins, err := k.s.blobs.spillAcceptance(&f.Acceptance, &a)
	if err == nil {
		var more []pin
		more, err = k.s.blobs.spill(e.Trace, &e.trace)
		pins = append(pins, more...)
	}
	defer pins.release()
	if err == nil {
		err = k.s.db.Do(context.Background(), &failedOp{s: k.s, h: a.held, lines: a.lines, ending: e, rec: f})
	}
	if err != nil {
		k.dropped.Add(1)
		k.s.log.Error("a failed execution cannot be kept", "error", err)
	}
	return nil
}

// collect finds what can move: the ended members of packs that are done with,
// or have been there too long, and ended executions with rows.
func (k *keeper) collect(pack *packer) (*load, bool, error) {
	m, more := &load{}, false
	now := k.s.clock.now()
	bytes := 0
	type job struct {
		y *young
		h *held
	}
	var jobs []job
	k.s.mu.Lock()
	for p := range k.s.mem.watched {
		if bytes > moveLimit {
			more = true
			break
		}
		done := !slices.Contains(p.fates, waits) && !slices.Contains(p.fates, runs)
		if !done && now.Sub(p.touched) < k.young {
			continue
		}
		m.packs = append(m.packs, p)
		for i, f := range p.fates {
			y := k.s.mem.young[p.first+int64(i)]
			if f != ended || y == nil || y.moved {
				continue
			}
			bytes += y.bytes
			j := job{y: y}
			if p.members != nil {
				j.h = p.members[i]
			}
			jobs = append(jobs, j)
		}
	}
	for _, y := range k.s.mem.young {
		if y.home != nil || y.ending == nil {
			continue
		}
		if bytes > moveLimit {
			more = true
			break
		}
		m.rows = append(m.rows, y)
		if !y.moved {
			bytes += y.bytes
			jobs = append(jobs, job{y: y})
		}
	}
	k.s.mu.Unlock()
	read := map[int64][]*held{}
	var errs []error
	for _, j := range jobs {
		it, err := k.item(pack, j.y, j.h, read)
		if err != nil { // it stays, and what it is in
			errs = append(errs, fmt.Errorf("execution %d: %w", j.y.seq, err))
			continue
		}
		m.items = append(m.items, it...)
		m.young = append(m.young, j.y)
	}
	return m, more, errors.Join(errs...)
}

// item makes the item for an ended execution, from memory as far as it can.
// Packs that it has to read are kept in read.
func (k *keeper) item(pack *packer, y *young, h *held, read map[int64][]*held) ([]*history.Item, error) {
	lines, attempt, unclean := y.lines, 0, 0
	var err error
	switch {
	case h != nil:
	case y.home != nil:
		members := read[y.home.first]
		if members == nil {
			if members, err = k.s.pack(context.Background(), y.home.first); err != nil {
				return nil, err
			}
			read[y.home.first] = members
		}
		if members == nil {
			return nil, errors.New("its pack is not there")
		}
		h = members[y.seq-y.home.first]
	default:
		r, err := k.s.row(context.Background(), y.seq, true)
		if err != nil {
			return nil, err
		}
		if r == nil {
			return nil, errors.New("its row is not there")
		}
		h, attempt, unclean = r.held, r.attempt, r.unclean
		lines = append(r.lines, lines...)
	}
	e := y.ending
	if apart(h, lines, e) {
		own, accepted, ending := *h, *h.Acceptance, *e
		own.Acceptance = &accepted
		h, lines, e = &own, slices.Clone(lines), &ending
		if err := k.s.blobs.fill(h, lines, e); err != nil {
			return nil, err
		}
	}
	return pack.pack(h, lines, e, attempt, unclean), nil
}

// apart reports whether something of an execution is kept as a file.
func apart(h *held, lines []line, e *ending) bool {
	return h.doc != nil || h.data != nil || e.trace != nil || slices.ContainsFunc(lines, func(l line) bool { return l.body != nil })
}
