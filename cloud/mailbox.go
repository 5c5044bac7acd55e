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

// offlineAfter is how long an atom stays online after its last request.
const offlineAfter = time.Minute

// redeliverAfter is the time before an unacknowledged instruction is delivered
// again, because the response may have been lost.
const redeliverAfter = 3 * time.Second

// mailboxes holds the mailbox and the last heartbeat of every atom, in memory
// only.
type mailboxes struct {
	mu      sync.RWMutex
	all     map[string]*mailbox
	waiting map[string]*atomic.Int64 // undelivered instructions by account
	lastID  atomic.Int64             // the highest instruction id
}

// mailbox holds the undelivered instructions of one atom and its last heartbeat.
type mailbox struct {
	notify chan struct{} // holds one token when the poll should look again

	mu          sync.Mutex
	undelivered []int64             // instruction ids, ascending
	waiting     *atomic.Int64       // undelivered instructions of the account; nil: not counted
	deliveredAt map[int64]time.Time // last delivery of unacknowledged instructions
	lastSeen    time.Time
	storedSeen  time.Time // the lastSeen that is in the store
	heartbeat   wire.Heartbeat
	applied     int64
	published   []byte // the heartbeat last sent to other control planes
}

func newMailboxes() *mailboxes {
	return &mailboxes{all: map[string]*mailbox{}, waiting: map[string]*atomic.Int64{}}
}

// assign lets the mailbox of an atom count for its account, unless the atom is
// revoked.
func (l *mailboxes) assign(a *Atom) {
	x := l.of(a.ID)
	var total *atomic.Int64
	if !a.Revoked {
		total = l.total(a.Account)
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	x.count(-len(x.undelivered))
	x.waiting = total
	x.count(len(x.undelivered))
}

// total returns the number of undelivered instructions of an account.
func (l *mailboxes) total(account string) *atomic.Int64 {
	l.mu.RLock()
	n := l.waiting[account]
	l.mu.RUnlock()
	if n != nil {
		return n
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if n = l.waiting[account]; n == nil {
		n = &atomic.Int64{}
		l.waiting[account] = n
	}
	return n
}

// of returns the mailbox of an atom and creates it if needed.
func (l *mailboxes) of(atom string) *mailbox {
	l.mu.RLock()
	x := l.all[atom]
	l.mu.RUnlock()
	if x != nil {
		return x
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if x = l.all[atom]; x == nil {
		x = &mailbox{notify: make(chan struct{}, 1)}
		l.all[atom] = x
	}
	return x
}

// nextID returns an id for an instruction. Ids are at least the time in
// microseconds, so they grow across restarts and restored backups.
func (l *mailboxes) nextID() int64 {
	for {
		last := l.lastID.Load()
		id := max(last+1, time.Now().UnixMicro())
		if l.lastID.CompareAndSwap(last, id) {
			return id
		}
	}
}

// removeAll removes instructions from all mailboxes.
func (l *mailboxes) removeAll(ids []int64) {
	if len(ids) == 0 {
		return
	}
	l.mu.RLock()
	defer l.mu.RUnlock()
	for _, x := range l.all {
		x.remove(ids)
	}
}

// takeLastSeen returns the last-seen times that are not stored yet and marks
// them as stored.
func (l *mailboxes) takeLastSeen() map[string]time.Time {
	l.mu.RLock()
	all := maps.Clone(l.all)
	l.mu.RUnlock()
	fresh := map[string]time.Time{}
	for atom, x := range all {
		x.mu.Lock()
		if x.lastSeen.After(x.storedSeen) {
			x.storedSeen = x.lastSeen
			fresh[atom] = x.lastSeen
		}
		x.mu.Unlock()
	}
	return fresh
}

// wake makes the atom's held poll look again.
func (x *mailbox) wake() {
	select {
	case x.notify <- struct{}{}:
	default:
	}
}

// add inserts an instruction by its id and wakes the atom's poll.
func (x *mailbox) add(id int64) {
	x.mu.Lock()
	if at, found := slices.BinarySearch(x.undelivered, id); !found {
		x.undelivered = slices.Insert(x.undelivered, at, id)
		x.count(1)
	}
	x.mu.Unlock()
	x.wake()
}

// count adds to the undelivered instructions of the account. The caller holds mu.
func (x *mailbox) count(n int) {
	if x.waiting != nil {
		x.waiting.Add(int64(n))
	}
}

func (x *mailbox) remove(ids []int64) {
	x.mu.Lock()
	defer x.mu.Unlock()
	for _, id := range ids {
		if at, found := slices.BinarySearch(x.undelivered, id); found {
			x.undelivered = slices.Delete(x.undelivered, at, at+1)
			x.count(-1)
		}
		delete(x.deliveredAt, id)
	}
}

// onlyUndelivered returns those of ids that are in the mailbox.
func (x *mailbox) onlyUndelivered(ids []int64) []int64 {
	x.mu.Lock()
	defer x.mu.Unlock()
	var known []int64
	for _, id := range ids {
		if _, found := slices.BinarySearch(x.undelivered, id); found {
			known = append(known, id)
		}
	}
	return known
}

// nextBatch returns up to limit instructions to deliver now, and the time until
// another instruction is due; 0 if none is.
func (x *mailbox) nextBatch(limit int) (ids []int64, wait time.Duration) {
	x.mu.Lock()
	defer x.mu.Unlock()
	now := time.Now()
	for _, id := range x.undelivered {
		if at, given := x.deliveredAt[id]; given && now.Sub(at) < redeliverAfter {
			if left := redeliverAfter - now.Sub(at); wait == 0 || left < wait {
				wait = left
			}
			continue
		}
		if len(ids) < limit {
			ids = append(ids, id)
		}
	}
	if len(ids) > 0 {
		if x.deliveredAt == nil {
			x.deliveredAt = map[int64]time.Time{}
		}
		for _, id := range ids {
			x.deliveredAt[id] = now
		}
	}
	return ids, wait
}

// markDelivered records which instructions fit the response: those up to the last
// one read. Missing ones were acknowledged meanwhile; later ones are requeued.
func (x *mailbox) markDelivered(ids []int64, instructions []*Instruction) {
	last := int64(math.MaxInt64) // the response always has room for one instruction
	if len(instructions) > 0 {
		last = instructions[len(instructions)-1].ID
	}
	var gone []int64
	x.mu.Lock()
	for _, id := range ids {
		if id > last {
			delete(x.deliveredAt, id)
		} else if !slices.ContainsFunc(instructions, func(m *Instruction) bool { return m.ID == id }) {
			gone = append(gone, id)
		}
	}
	x.mu.Unlock()
	x.remove(gone)
}

// requeue makes all unacknowledged instructions due now: the response was lost or
// went to another instance.
func (x *mailbox) requeue() {
	x.mu.Lock()
	x.deliveredAt = nil
	x.mu.Unlock()
}

func (x *mailbox) restoreLastSeen(at time.Time) {
	x.mu.Lock()
	x.lastSeen, x.storedSeen = at, at
	x.mu.Unlock()
}

// recordHeartbeat stores a heartbeat. It reports whether a visible status
// changed and whether the triggers are known: a heartbeat may carry only their
// digest.
func (x *mailbox) recordHeartbeat(h wire.Heartbeat, applied int64) (news, known bool) {
	x.mu.Lock()
	defer x.mu.Unlock()
	was := &x.heartbeat
	known = h.Digest == "" || len(h.Triggers) > 0
	if !known && h.Digest == was.Digest {
		h.TriggerStatus, known = was.TriggerStatus, true
	}
	if !known {
		h.TriggerStatus = wire.TriggerStatus{}
	}
	news = time.Since(x.lastSeen) > offlineAfter || applied != x.applied || h.Version != was.Version || h.Health != was.Health ||
		!slices.Equal(h.Packages, was.Packages) || !slices.Equal(h.Triggers, was.Triggers)
	x.lastSeen, x.heartbeat, x.applied = time.Now(), h, applied
	return news, known
}

// length returns the number of undelivered instructions.
func (x *mailbox) length() int {
	x.mu.Lock()
	defer x.mu.Unlock()
	return len(x.undelivered)
}

// fillStatus sets the fields of an atom that are only in memory.
func (x *mailbox) fillStatus(a *Atom) {
	x.mu.Lock()
	defer x.mu.Unlock()
	a.LastSeen, a.Heartbeat, a.Applied, a.Waiting = x.lastSeen, x.heartbeat, x.applied, len(x.undelivered)
	a.Status = Offline
	gone := a.Revoked || a.Retired && len(x.undelivered) == 0 // it has acknowledged the instruction that retires it
	if !gone && !x.lastSeen.IsZero() && time.Since(x.lastSeen) < offlineAfter {
		a.Status = Online
	}
	if x.heartbeat.Version != "" {
		a.Version = x.heartbeat.Version
	}
	if x.heartbeat.Host != "" {
		a.Host = x.heartbeat.Host
	}
}
