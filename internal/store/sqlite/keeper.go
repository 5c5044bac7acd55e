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

	mu      sync.Mutex
	records []*atom.Finished
	writing []*atom.Finished // taken from records, until they can be read
	bytes   int
	failed  error         // why moving does not work now
	changed chan struct{} // closed when there is room, or moving failed
}

func newKeeper(s *Store) *keeper {
	return &keeper{s: s, kick: make(chan struct{}, 1), tick: keeperTick, young: youngTime, changed: make(chan struct{})}
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
	if err != nil && !errors.Is(err, sqlitedb.ErrClosed) {
		k.s.log.Error("what ended cannot be moved to the history", "error", err)
	}
	k.mu.Lock()
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

// moving is what one round takes to the history.
type moving struct {
	items []*history.Item
	young []*young
	packs []*pack
	rows  []*young
}

func (k *keeper) move() error {
	k.mu.Lock()
	records := k.records
	k.records, k.writing, k.bytes = nil, records, 0
	k.mu.Unlock()
	defer func() {
		k.mu.Lock()
		k.writing = nil
		k.mu.Unlock()
	}()
	var recorded []*history.Item
	for _, f := range records {
		if it := k.record(f); it != nil {
			recorded = append(recorded, it)
		}
	}
	for {
		m, more, err := k.collect()
		m.items = append(m.items, recorded...)
		if len(m.items) > 0 {
			if e := k.s.history.Append(m.items, k.s.clock.now(), true); e != nil {
				k.dropped.Add(int64(len(recorded)))
				return errors.Join(err, e)
			}
		}
		recorded = nil
		if err != nil {
			return err
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
		if !more {
			return nil
		}
	}
}

// record gives the item for an execution that ran in memory; a failed one goes
// into the database instead.
func (k *keeper) record(f *atom.Finished) *history.Item {
	e := &ending{Outcome: f.Outcome}
	h := held{Acceptance: &f.Acceptance}
	if number(string(e.Status)) > stExpired {
		lines := make([]line, len(f.Entries))
		for i, x := range f.Entries {
			lines[i].Entry = x
		}
		return item(&h, lines, e, f.Attempt, f.Unclean)
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
func (k *keeper) collect() (*moving, bool, error) {
	m, more := &moving{}, false
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
	for _, j := range jobs {
		h, lines, attempt, unclean := j.h, j.y.lines, 0, 0
		var err error
		switch {
		case h != nil:
		case j.y.home != nil:
			members := read[j.y.home.first]
			if members == nil {
				if members, err = k.s.pack(context.Background(), j.y.home.first); err != nil {
					return m, false, err
				}
				read[j.y.home.first] = members
			}
			if members == nil {
				return m, false, fmt.Errorf("the pack of execution %d is not there", j.y.seq)
			}
			h = members[j.y.seq-j.y.home.first]
		default:
			r, err := k.s.row(context.Background(), j.y.seq, true)
			if err != nil {
				return m, false, err
			}
			if r == nil {
				return m, false, fmt.Errorf("the row of execution %d is not there", j.y.seq)
			}
			h, attempt, unclean = r.held, r.attempt, r.unclean
			lines = append(r.lines, lines...)
		}
		own := *h
		accepted := *h.Acceptance
		own.Acceptance = &accepted
		e := *j.y.ending
		lines = slices.Clone(lines)
		if err := k.s.blobs.fill(&own, lines, &e); err != nil {
			return m, false, err
		}
		m.items = append(m.items, item(&own, lines, &e, attempt, unclean))
		m.young = append(m.young, j.y)
	}
	return m, more, nil
}

// retirement is what left the database in a transaction.
type retirement struct {
	packs    []*pack
	rows     []*young
	promoted map[int64]bool
	unref    map[int64]int
}

// retireOp deletes what moved to the history, and gives the members of old
// packs that live on rows of their own.
type retireOp struct {
	s     *Store
	packs []*pack
	rows  []*young
}

func (o *retireOp) Do(tx *sqlitedb.Tx) error {
	b := o.s.batch
	r := &retirement{promoted: map[int64]bool{}, unref: map[int64]int{}}
	gone := map[*pack]bool{}
	for _, p := range o.packs {
		ok, err := b.retire(tx, p, r)
		if err != nil {
			return err
		}
		gone[p] = ok
	}
	for _, y := range o.rows {
		b.s.mu.Lock()
		p := b.s.mem.at[y.seq]
		b.s.mu.Unlock()
		if p != nil && !gone[p] || b.touches[y.seq] != nil {
			continue // what is written of it in change needs the row to be known as ended
		}
		if _, err := tx.Exec("DELETE FROM execution WHERE seq = ?", y.seq); err != nil {
			return err
		}
		if _, err := tx.Exec("DELETE FROM journal WHERE id BETWEEN ? AND ?", y.seq<<journalBits, y.seq<<journalBits|(1<<journalBits-1)); err != nil {
			return err
		}
		free, err := freeFiles(tx, y.seq, y.seq, nil)
		if err != nil {
			return err
		}
		b.unlinks = append(b.unlinks, free...)
		r.rows = append(r.rows, y)
		r.unref[y.change]++
	}
	for id, n := range r.unref {
		b.s.mu.Lock()
		left := b.s.mem.refs[id] - n
		b.s.mu.Unlock()
		if left > 0 {
			continue
		}
		if _, err := tx.Exec("DELETE FROM change WHERE id = ?", id); err != nil {
			return err
		}
	}
	b.retired = r
	return nil
}

// retire deletes a pack, unless some of it changed since it was looked at.
func (b *batch) retire(tx *sqlitedb.Tx, p *pack, r *retirement) (bool, error) {
	var live []int64
	for seq := p.first; seq <= p.last; seq++ {
		if b.touches[seq] != nil {
			return false, nil
		}
		b.s.mu.Lock()
		f, y := p.fate(seq), b.s.mem.young[seq]
		b.s.mu.Unlock()
		switch {
		case f == ended && !y.moved:
			return false, nil
		case f == waits || f == runs:
			live = append(live, seq)
		}
	}
	keep := map[int64]bool{}
	for i, f := range p.fates {
		keep[p.first+int64(i)] = f == left
	}
	for _, seq := range live {
		t, err := b.find(tx, seq)
		if err != nil {
			return false, err
		}
		if err := b.promote(tx, t, stAccepted, 0, 0, nil, nil); err != nil {
			return false, err
		}
		t.leaves = nil // nothing needs to know: the pack goes with it
		r.promoted[seq] = true
		keep[seq] = true
	}
	if _, err := tx.Exec("DELETE FROM intake WHERE first = ?", p.first); err != nil {
		return false, err
	}
	free, err := freeFiles(tx, p.first, p.last, func(seq int64) bool { return keep[seq] })
	if err != nil {
		return false, err
	}
	b.unlinks = append(b.unlinks, free...)
	for _, id := range p.changes {
		r.unref[id]++
	}
	r.packs = append(r.packs, p)
	return true, nil
}

// forget takes what left the database out of memory.
func (r *retirement) forget(m *memory, now time.Time) {
	if r == nil {
		return
	}
	gone := func(y *young, f fate) {
		m.tombs.add(y.seq, f, now)
		m.movable -= y.bytes
		delete(m.young, y.seq)
	}
	for _, p := range r.packs {
		for seq := p.first; seq <= p.last; seq++ {
			switch y := m.young[seq]; {
			case r.promoted[seq]:
				m.tombs.add(seq, runs, now)
			case p.fate(seq) == left:
				m.tombs.add(seq, left, now)
			case y != nil && y.home == p:
				gone(y, ended)
			}
		}
		m.forget(p)
		delete(m.watched, p)
	}
	for _, y := range r.rows {
		gone(y, ended)
	}
	for id, n := range r.unref {
		if m.refs[id] -= n; m.refs[id] <= 0 {
			delete(m.refs, id)
		}
	}
}
