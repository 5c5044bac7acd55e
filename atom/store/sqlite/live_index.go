package sqlite

import (
	"time"

	"valence/atom/store"
)

// memberState is the state of a pack member.
type memberState uint8

const (
	memberUntouched memberState = iota // accepted, unchanged
	memberRunning                      // has journal entries
	memberEnded                        // has an outcome; in active until it is archived
	memberPromoted                     // has a row of its own
)

// pack is a row of intake: the messages of one process that one commit
// accepted. It caches the messages and, from the first change on, the states of
// its members.
type pack struct {
	first, last int64
	process     string
	members     []*storedMessage // nil: not cached
	bytes       int              // size of members
	states      []memberState    // nil: all unchanged
	changedAt   time.Time
	changes     []int64 // rows of change that must outlive the pack
}

func (p *pack) state(seq int64) memberState {
	if p.states == nil {
		return memberUntouched
	}
	return p.states[seq-p.first]
}

// activeMember is a changed execution without a row, or an ended execution with
// a row that is not archived yet.
type activeMember struct {
	seq      int64
	process  string
	pack     *pack // nil: it has a row
	entries  []storedEntry
	outcome  *storedOutcome
	changeID int64 // row of change with the outcome of an execution that has a row
	archived bool  // in the history
	bytes    int
}

// tombstones remembers executions that left the database for longer than a read
// may take. A reader with an older view of the database would otherwise return
// them again.
type tombstones struct {
	current, previous map[int64]memberState
	rotated           time.Time
}

const tombstoneTime = 5 * time.Second // reads are limited to 2 s

func (t *tombstones) add(seq int64, f memberState, now time.Time) {
	if t.current == nil || now.Sub(t.rotated) > tombstoneTime {
		t.previous, t.current, t.rotated = t.current, map[int64]memberState{}, now
	}
	t.current[seq] = f
}

func (t *tombstones) get(seq int64) (memberState, bool) {
	if f, ok := t.current[seq]; ok {
		return f, true
	}
	f, ok := t.previous[seq]
	return f, ok
}

// cacheBytes bounds the cached messages of unchanged packs. Others are read
// again when they are next.
const cacheBytes = 24 << 20

// liveIndex is the in-memory view of the database. It changes after each
// commit, under the store's lock.
type liveIndex struct {
	packs        map[int64]*pack    // by first number
	packOf       map[int64]*pack    // by the number of each member
	cached       int                // size of unchanged packs
	untouched    []*pack            // unchanged packs in order of acceptance; some may be gone
	changedPacks map[*pack]struct{} // packs with states
	active       map[int64]*activeMember
	changeRefs   map[int64]int // number of packs and rows that need each row of change
	tombstones   tombstones
	counts       map[string]map[store.State]int64
	trims        map[int64]int // how often the journal of an execution in the database was trimmed
	unarchived   int           // size of ended executions that are not archived
}

func newLiveIndex() *liveIndex {
	return &liveIndex{packs: map[int64]*pack{}, packOf: map[int64]*pack{}, active: map[int64]*activeMember{}, trims: map[int64]int{}, changeRefs: map[int64]int{}, changedPacks: map[*pack]struct{}{}, counts: map[string]map[store.State]int64{}}
}

// cache adds an unchanged pack if there is room.
func (idx *liveIndex) cache(p *pack) {
	if idx.cached+p.bytes > cacheBytes {
		return
	}
	idx.cached += p.bytes
	idx.untouched = append(idx.untouched, p)
	idx.add(p)
}

// cacheFirst adds a pack that is next to run, evicting those accepted last.
func (idx *liveIndex) cacheFirst(p *pack) {
	for len(idx.untouched) > 0 && idx.cached+p.bytes > cacheBytes {
		last := idx.untouched[len(idx.untouched)-1]
		idx.untouched = idx.untouched[:len(idx.untouched)-1]
		if last.states == nil && idx.packs[last.first] == last {
			idx.remove(last)
			idx.cached -= last.bytes
		}
	}
	if idx.cached+p.bytes <= cacheBytes {
		idx.cached += p.bytes
		idx.add(p)
	}
}

func (idx *liveIndex) add(p *pack) {
	idx.packs[p.first] = p
	for seq := p.first; seq <= p.last; seq++ {
		idx.packOf[seq] = p
	}
}

func (idx *liveIndex) remove(p *pack) {
	delete(idx.packs, p.first)
	for seq := p.first; seq <= p.last; seq++ {
		delete(idx.packOf, seq)
	}
}

// track starts tracking the states of the members of a pack.
func (idx *liveIndex) track(p *pack, now time.Time) {
	if p.states != nil {
		return
	}
	if idx.packs[p.first] == p {
		idx.cached -= p.bytes
	} else {
		idx.add(p)
	}
	p.states = make([]memberState, p.last-p.first+1)
	p.changedAt = now
	idx.changedPacks[p] = struct{}{}
	// Work follows the order of acceptance, so changed packs are nearly always
	// at the front of the queue.
	for len(idx.untouched) > 0 && (idx.untouched[0].states != nil || idx.packs[idx.untouched[0].first] != idx.untouched[0]) {
		idx.untouched[0] = nil
		idx.untouched = idx.untouched[1:]
	}
}

func (idx *liveIndex) addCount(process string, state store.State, n int64) {
	c := idx.counts[process]
	if c == nil {
		c = map[store.State]int64{}
		idx.counts[process] = c
	}
	if c[state] += n; c[state] == 0 {
		delete(c, state)
		if len(c) == 0 {
			delete(idx.counts, process)
		}
	}
}
