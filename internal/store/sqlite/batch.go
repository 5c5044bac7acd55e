package sqlite

import (
	"cmp"
	"encoding/binary"
	"slices"
	"time"

	"valence/atom"
	"valence/internal/sqlitedb"
)

// accepting is an acceptance on its way into a pack or a row.
type accepting struct {
	held
	lines   []line
	receipt atom.Receipt
	keys    []keyRow
	until   int64 // of its dedupe key
	order   int64 // among those of its transaction
	pos     int64 // place in a lane that it takes from another; 0: none
}

// keyRow is a dedupe key or an origin that an acceptance takes.
type keyRow struct {
	origin bool
	key    []byte
}

// touch is an execution that operations of the current transaction change.
type touch struct {
	seq     int64
	process string
	home    *pack // the pack it is in; nil: it has a row
	young   *young
	state   uint8 // of a live one, at first
	becomes uint8 // what it is after the transaction
	lines   []line
	ending  *ending // of one that ends well; failures are in the row
	leaves  *pack   // it got a row; the pack is still there
	parked  bool
	lane    *atom.Lane // of one with a row; see laneOf
}

// batch is what the transaction being written will mean for memory. Only the
// committer's goroutine uses it.
type batch struct {
	s       *Store
	plain   []*accepting                 // to be put into packs
	rowed   []*accepting                 // that got rows
	ready   []atom.Ready                 // that may run again
	queued  map[[2]string]int64          // accepted into lanes that have a limit
	same    map[*atom.Receipt]*accepting // duplicates of what is in plain
	taken   map[string]*accepting
	touches map[int64]*touch
	order   []*touch
	packs   map[int64]*pack // read in this transaction
	made    []*pack
	records []*atom.Record // of its members
	heads   heads
	body    []byte // of change
	change  int64  // row of change that was written, 0: none
	retired *retirement
	ceiling int64      // seqs below it are reserved, if that was raised
	unlinks [][32]byte // files that nothing refers to any more
	lastID  int64      // newest row of change on disk
	now     time.Time
}

// Begin forgets the transaction before.
func (b *batch) Begin() {
	lastID := b.lastID
	clear(b.records)
	*b = batch{s: b.s, plain: b.plain[:0], rowed: b.rowed[:0], ready: b.ready[:0], order: b.order[:0], unlinks: b.unlinks[:0], made: b.made[:0],
		records: b.records[:0], heads: b.heads, body: kept(b.body),
		taken: b.taken, touches: b.touches, packs: b.packs, same: b.same, lastID: lastID, now: b.s.clock.now()}
	clear(b.taken)
	clear(b.touches)
	clear(b.packs)
	clear(b.same)
}

// Flush gives plain acceptances their numbers and writes the packs.
func (b *batch) Flush(tx *sqlitedb.Tx) error {
	if err := b.flushPlain(tx); err != nil {
		return err
	}
	if err := b.flushChanges(tx); err != nil {
		return err
	}
	ceiling := b.s.seqs.wants()
	if ceiling == 0 {
		return nil
	}
	b.ceiling = ceiling
	return setSetting(tx, settingSeq, ceiling)
}

func (b *batch) flushPlain(tx *sqlitedb.Tx) error {
	if len(b.plain) == 0 {
		return nil
	}
	for i, a := range b.plain {
		a.order = int64(i)
	}
	slices.SortStableFunc(b.plain, func(x, y *accepting) int { return cmp.Compare(x.Process, y.Process) })
	first := b.s.seqs.take(int64(len(b.plain)))
	var laned []laning
	for i := 0; i < len(b.plain); {
		n := i
		p := &pack{first: first + int64(i), process: b.plain[i].Process}
		for n < len(b.plain) && b.plain[n].Process == p.process {
			a := b.plain[n]
			own := &atom.Record{Acceptance: *a.Acceptance, State: atom.Accepted} // the caller's stays as it is
			own.Seq, own.Entries, own.Dedupe = first+int64(n), nil, nil
			if a.Lane != nil {
				l := *a.Lane
				l.Pos = first + a.order
				own.Lane = &l
				laned = append(laned, laning{a, own})
			}
			a.Acceptance = &own.Acceptance
			a.receipt.Seq, a.receipt.Received = own.Seq, own.Received
			b.records = append(b.records, own)
			h := a.held
			p.members = append(p.members, &h)
			p.bytes += len(a.Doc) + len(a.Data) + len(a.Meta) + 400
			n++
		}
		p.last = first + int64(n) - 1
		head, docs := b.heads.encode(p.members)
		if _, err := tx.Exec("INSERT INTO intake(first, last, process, head, docs, laned) VALUES(?,?,?,?,?,?)", p.first, p.last, p.process, head, docs, p.laned()); err != nil {
			return err
		}
		b.made = append(b.made, p)
		i = n
	}
	if err := b.enterAll(tx, laned); err != nil {
		return err
	}
	for _, a := range b.plain {
		if err := b.writeKeys(tx, a); err != nil {
			return err
		}
		if err := writeFiles(tx, a.receipt.Seq, &a.held, nil, nil); err != nil {
			return err
		}
	}
	for r, a := range b.same {
		r.Seq, r.Received = a.receipt.Seq, a.receipt.Received
	}
	return nil
}

// The parts of an item of change.
const (
	itemRow    = 1 << iota // it had a row
	itemLines              // journal entries
	itemEnding             // it ended
	itemLeft               // it got a row
)

func (b *batch) flushChanges(tx *sqlitedb.Tx) error {
	body := b.body
	for _, t := range b.order {
		flags := byte(0)
		switch {
		case t.leaves != nil:
			flags |= itemLeft
		case t.home == nil && t.ending == nil, len(t.lines) == 0 && t.ending == nil:
			continue
		case t.home == nil:
			flags |= itemRow
		}
		if len(t.lines) > 0 && t.leaves == nil {
			flags |= itemLines
		}
		if t.ending != nil {
			flags |= itemEnding
			if t.leaves != nil {
				flags |= itemRow
				if len(t.lines) > 0 {
					flags |= itemLines
				}
			}
		}
		body = append(binary.AppendUvarint(body, uint64(t.seq)), flags)
		if flags&itemLines != 0 {
			body = appendLines(body, t.lines)
		}
		if flags&itemEnding != 0 {
			body = appendEnding(body, t.ending, true)
		}
		if err := writeFiles(tx, t.seq, nil, t.lines, t.ending); err != nil {
			return err
		}
	}
	if len(body) == 0 {
		return nil
	}
	b.change = b.lastID + 1
	b.body = appendCRC(body, 0)
	_, err := tx.Exec("INSERT INTO change(id, body) VALUES(?,?)", b.change, b.body)
	return err
}

// Committed brings memory up to what is on disk, and tells of what was accepted.
func (b *batch) Committed() {
	s := b.s
	s.mu.Lock()
	m := s.mem
	if b.change != 0 {
		b.lastID = b.change
	}
	for _, p := range b.made {
		m.keep(p)
		m.count(p.process, atom.Accepted, p.last-p.first+1)
	}
	for _, a := range b.rowed {
		m.count(a.Process, stateOf(a.Acceptance, b.now), 1)
	}
	for _, t := range b.order {
		b.settle(t)
	}
	b.retired.forget(m, b.now)
	movable := m.movable
	s.mu.Unlock()
	if b.ceiling != 0 {
		s.seqs.raise(b.ceiling)
	}
	if len(b.unlinks) > 0 {
		s.blobs.unlink(b.unlinks)
	}
	if len(b.made) > 0 && s.accepted != nil {
		s.accepted(b.records)
	}
	if len(b.ready) > 0 && s.ready != nil {
		s.ready(b.ready)
	}
	if movable > moveBytes {
		s.keeper.wake()
	}
}

// settle brings memory up to what became of one execution.
func (b *batch) settle(t *touch) {
	m := b.s.mem
	watch := func(p *pack, f fate) {
		m.touch(p, b.now)
		p.fates[t.seq-p.first] = f
		if n := len(p.changes); b.change != 0 && (n == 0 || p.changes[n-1] != b.change) {
			p.changes = append(p.changes, b.change)
			m.refs[b.change]++
		}
	}
	if t.becomes != t.state {
		m.count(t.process, atom.State(word(t.state)), -1)
		if t.becomes < live {
			m.count(t.process, atom.State(word(t.becomes)), 1)
		}
	}
	if t.becomes >= live || t.parked {
		b.s.running.stopped(t.seq)
	}
	if t.parked || t.leaves != nil || t.becomes == stFailed || t.becomes == stExpired {
		m.tombs.add(t.seq, left, b.now)
	}
	if t.leaves != nil {
		watch(t.leaves, left)
		delete(m.young, t.seq)
	}
	switch {
	case t.home != nil && (len(t.lines) > 0 || t.ending != nil):
		y := m.young[t.seq]
		if y == nil {
			y = &young{seq: t.seq, process: t.process, home: t.home}
			m.young[t.seq] = y
		}
		y.lines = append(y.lines, t.lines...)
		watch(t.home, runs)
		if t.ending != nil {
			y.ending = t.ending
			t.home.fates[t.seq-t.home.first] = ended
			m.weigh(y)
		}
	case t.home == nil && t.ending != nil:
		y := &young{seq: t.seq, process: t.process, lines: t.lines, ending: t.ending, change: b.change}
		m.young[t.seq] = y
		m.refs[b.change]++
		m.weigh(y)
	case t.home == nil && t.leaves == nil:
		delete(m.young, t.seq)
	}
}

// weigh counts what an ended execution holds in memory until it moves.
func (m *memory) weigh(y *young) {
	y.bytes = 512 + len(y.ending.Trace)
	for i := range y.lines {
		y.bytes += len(y.lines[i].Body) + 100
	}
	if y.home != nil && y.home.members != nil {
		h := y.home.members[y.seq-y.home.first]
		y.bytes += len(h.Doc) + len(h.Data) + len(h.Meta)
	}
	m.movable += y.bytes
}

// Undone forgets what was not written; numbers that were given stay unused.
func (b *batch) Undone() {}

func stateOf(a *atom.Acceptance, now time.Time) atom.State {
	if a.Due.After(now) {
		return atom.Waiting
	}
	return atom.Accepted
}
