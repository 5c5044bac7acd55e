package sqlite

import (
	"time"

	"valence/atom"
)

// fate is what became of a member of a pack.
type fate uint8

const (
	waits fate = iota // accepted, nothing done to it
	runs              // something was done to it
	ended             // it has an outcome, and is in young until it moves
	left              // it has a row of its own
)

// pack is a row of intake as memory knows it: to have its messages at hand,
// and, from the first change to a member on, to know what became of each.
type pack struct {
	first, last int64
	process     string
	members     []*held // nil: to be read from the database
	bytes       int     // of members
	fates       []fate  // nil: nothing was done to any of them
	touched     time.Time
	changes     []int64 // rows of change that are needed as long as the pack is there
}

func (p *pack) fate(seq int64) fate {
	if p.fates == nil {
		return waits
	}
	return p.fates[seq-p.first]
}

// young is an execution that something was done to, without a row of its own,
// or one with a row that ended and is about to move.
type young struct {
	seq     int64
	process string
	home    *pack // nil: it has a row
	lines   []line
	ending  *ending
	change  int64 // row of change with the ending of one that has a row
	moved   bool  // it is in the history
	bytes   int
}

// tombs remembers what left the database for longer than a reader may take, so
// that one with an old view of the database is not misled.
type tombs struct {
	young, old map[int64]fate
	turned     time.Time
}

const tombTime = 5 * time.Second // readers are cut off after 2 s

func (t *tombs) add(seq int64, f fate, now time.Time) {
	if t.young == nil || now.Sub(t.turned) > tombTime {
		t.old, t.young, t.turned = t.young, map[int64]fate{}, now
	}
	t.young[seq] = f
}

func (t *tombs) get(seq int64) (fate, bool) {
	if f, ok := t.young[seq]; ok {
		return f, true
	}
	f, ok := t.old[seq]
	return f, ok
}

// cacheBytes bounds the messages in memory that nothing was done to yet. Those
// that wait beyond it are read again when their turn comes.
const cacheBytes = 24 << 20

// memory is what the store knows without asking the database. It is changed
// when a commit is on disk, under the store's lock.
type memory struct {
	packs   map[int64]*pack    // by first seq
	at      map[int64]*pack    // by seq of each member
	cached  int                // bytes of packs that were not touched
	fifo    []*pack            // those, in the order of acceptance; some may be gone
	watched map[*pack]struct{} // touched ones
	young   map[int64]*young
	refs    map[int64]int // rows of change: how many packs and rows need each
	tombs   tombs
	counts  map[string]map[atom.State]int64
	movable int // bytes of what ended and has not moved
}

func newMemory() *memory {
	return &memory{packs: map[int64]*pack{}, at: map[int64]*pack{}, young: map[int64]*young{}, refs: map[int64]int{}, watched: map[*pack]struct{}{}, counts: map[string]map[atom.State]int64{}}
}

// keep takes a pack that nothing was done to into memory, if there is room.
func (m *memory) keep(p *pack) {
	if m.cached+p.bytes > cacheBytes {
		return
	}
	m.cached += p.bytes
	m.fifo = append(m.fifo, p)
	m.add(p)
}

// prefer takes a pack into memory whose turn is coming, in place of those that
// were accepted last.
func (m *memory) prefer(p *pack) {
	for len(m.fifo) > 0 && m.cached+p.bytes > cacheBytes {
		last := m.fifo[len(m.fifo)-1]
		m.fifo = m.fifo[:len(m.fifo)-1]
		if last.fates == nil && m.packs[last.first] == last {
			m.forget(last)
			m.cached -= last.bytes
		}
	}
	if m.cached+p.bytes <= cacheBytes {
		m.cached += p.bytes
		m.add(p)
	}
}

func (m *memory) add(p *pack) {
	m.packs[p.first] = p
	for seq := p.first; seq <= p.last; seq++ {
		m.at[seq] = p
	}
}

func (m *memory) forget(p *pack) {
	delete(m.packs, p.first)
	for seq := p.first; seq <= p.last; seq++ {
		delete(m.at, seq)
	}
}

// touch makes a pack one whose members are watched.
func (m *memory) touch(p *pack, now time.Time) {
	if p.fates != nil {
		return
	}
	if m.packs[p.first] == p {
		m.cached -= p.bytes
	} else {
		m.add(p)
	}
	p.fates = make([]fate, p.last-p.first+1)
	p.touched = now
	m.watched[p] = struct{}{}
	// The queue of untouched ones is in order of acceptance, and so is work:
	// what was touched is nearly always at its front.
	for len(m.fifo) > 0 && (m.fifo[0].fates != nil || m.packs[m.fifo[0].first] != m.fifo[0]) {
		m.fifo[0] = nil
		m.fifo = m.fifo[1:]
	}
}

func (m *memory) count(process string, state atom.State, n int64) {
	c := m.counts[process]
	if c == nil {
		c = map[atom.State]int64{}
		m.counts[process] = c
	}
	if c[state] += n; c[state] == 0 {
		delete(c, state)
		if len(c) == 0 {
			delete(m.counts, process)
		}
	}
}
