package cloud

import (
	"maps"
	"math"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"valence/internal/wire"
)

// silence is how long an atom may be silent and still be online.
const silence = time.Minute

// again is after how long a message that was handed out and not acknowledged
// is handed out again: the answer may not have arrived.
const again = 3 * time.Second

// lines holds what is known of atoms in memory alone.
type lines struct {
	mu   sync.RWMutex
	all  map[string]*line
	last atomic.Int64 // id of a message
}

// line is one atom as it is now: what waits for it, and what it said last.
type line struct {
	ring chan struct{} // holds one token when there is something new

	mu        sync.Mutex
	waiting   []int64             // messages, by id
	handed    map[int64]time.Time // of those, when they were last given to the atom
	seen      time.Time
	stored    time.Time // the last seen that is in the store
	heartbeat wire.Heartbeat
	applied   int64
	beat      []byte // the heartbeat that other control planes have been told
}

func newLines() *lines { return &lines{all: map[string]*line{}} }

// of gives the line of an atom.
func (l *lines) of(atom string) *line {
	l.mu.RLock()
	x := l.all[atom]
	l.mu.RUnlock()
	if x != nil {
		return x
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if x = l.all[atom]; x == nil {
		x = &line{ring: make(chan struct{}, 1)}
		l.all[atom] = x
	}
	return x
}

// next gives an id for a message. Ids grow, also over a restart and after an
// older backup was restored, for they are at least the time.
func (l *lines) next() int64 {
	for {
		last := l.last.Load()
		id := max(last+1, time.Now().UnixMicro())
		if l.last.CompareAndSwap(last, id) {
			return id
		}
	}
}

// forget removes messages, whosever they are.
func (l *lines) forget(ids []int64) {
	if len(ids) == 0 {
		return
	}
	l.mu.RLock()
	defer l.mu.RUnlock()
	for _, x := range l.all {
		x.remove(ids)
	}
}

// unstored gives when atoms were heard of since that was stored last, and
// takes it as stored.
func (l *lines) unstored() map[string]time.Time {
	l.mu.RLock()
	all := maps.Clone(l.all)
	l.mu.RUnlock()
	fresh := map[string]time.Time{}
	for atom, x := range all {
		x.mu.Lock()
		if x.seen.After(x.stored) {
			x.stored = x.seen
			fresh[atom] = x.seen
		}
		x.mu.Unlock()
	}
	return fresh
}

// wake lets who holds the atom's poll look again.
func (x *line) wake() {
	select {
	case x.ring <- struct{}{}:
	default:
	}
}

// add puts a message at its place and wakes.
func (x *line) add(id int64) {
	x.mu.Lock()
	if at, found := slices.BinarySearch(x.waiting, id); !found {
		x.waiting = slices.Insert(x.waiting, at, id)
	}
	x.mu.Unlock()
	x.wake()
}

func (x *line) remove(ids []int64) {
	x.mu.Lock()
	defer x.mu.Unlock()
	for _, id := range ids {
		if at, found := slices.BinarySearch(x.waiting, id); found {
			x.waiting = slices.Delete(x.waiting, at, at+1)
		}
		delete(x.handed, id)
	}
}

// held gives those of ids that wait for the atom.
func (x *line) held(ids []int64) []int64 {
	x.mu.Lock()
	defer x.mu.Unlock()
	var known []int64
	for _, id := range ids {
		if _, found := slices.BinarySearch(x.waiting, id); found {
			known = append(known, id)
		}
	}
	return known
}

// due gives messages to hand out now, and how long until another one is due;
// 0: none is.
func (x *line) due(limit int) (ids []int64, wait time.Duration) {
	x.mu.Lock()
	defer x.mu.Unlock()
	now := time.Now()
	for _, id := range x.waiting {
		if at, given := x.handed[id]; given && now.Sub(at) < again {
			if left := again - now.Sub(at); wait == 0 || left < wait {
				wait = left
			}
			continue
		}
		if len(ids) < limit {
			ids = append(ids, id)
		}
	}
	if len(ids) > 0 {
		if x.handed == nil {
			x.handed = map[int64]time.Time{}
		}
		for _, id := range ids {
			x.handed[id] = now
		}
	}
	return ids, wait
}

// given notes which of the messages that were to be handed out are: the first,
// as far as there is room. What is missing among them was acknowledged
// meanwhile; what comes after them is taken back.
func (x *line) given(ids []int64, messages []*Message) {
	last := int64(math.MaxInt64) // there always is room for one
	if len(messages) > 0 {
		last = messages[len(messages)-1].ID
	}
	var gone []int64
	x.mu.Lock()
	for _, id := range ids {
		if id > last {
			delete(x.handed, id)
		} else if !slices.ContainsFunc(messages, func(m *Message) bool { return m.ID == id }) {
			gone = append(gone, id)
		}
	}
	x.mu.Unlock()
	x.remove(gone)
}

// unhand takes back what was handed out: it did not arrive, or it went to
// another instance.
func (x *line) unhand() {
	x.mu.Lock()
	x.handed = nil
	x.mu.Unlock()
}

func (x *line) seenAt(at time.Time) {
	x.mu.Lock()
	x.seen, x.stored = at, at
	x.mu.Unlock()
}

// heard notes what an atom said, and reports whether that is news to who looks,
// and whether its listeners are known: it may have named them only.
func (x *line) heard(h wire.Heartbeat, applied int64) (news, known bool) {
	x.mu.Lock()
	defer x.mu.Unlock()
	was := &x.heartbeat
	known = h.Print == "" || len(h.Listeners) > 0
	if !known && h.Print == was.Print {
		h.Standing, known = was.Standing, true
	}
	if !known {
		h.Standing = wire.Standing{}
	}
	news = time.Since(x.seen) > silence || applied != x.applied || h.Version != was.Version || h.Health != was.Health ||
		!slices.Equal(h.Packages, was.Packages) || !slices.Equal(h.Listeners, was.Listeners)
	x.seen, x.heartbeat, x.applied = time.Now(), h, applied
	return news, known
}

// length is how many messages wait.
func (x *line) length() int {
	x.mu.Lock()
	defer x.mu.Unlock()
	return len(x.waiting)
}

// fill completes an atom by what is known of it now.
func (x *line) fill(a *Atom) {
	x.mu.Lock()
	defer x.mu.Unlock()
	a.LastSeen, a.Heartbeat, a.Applied, a.Waiting = x.seen, x.heartbeat, x.applied, len(x.waiting)
	a.Status = Offline
	gone := a.Revoked || a.Retired && len(x.waiting) == 0 // it has taken the message that retires it
	if !gone && !x.seen.IsZero() && time.Since(x.seen) < silence {
		a.Status = Online
	}
	if x.heartbeat.Version != "" {
		a.Version = x.heartbeat.Version
	}
	if x.heartbeat.Host != "" {
		a.Host = x.heartbeat.Host
	}
}
