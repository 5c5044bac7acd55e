package cloud

import (
	"bytes"
	"encoding/json"
	"maps"
	"slices"
	"time"

	"valence/internal/wire"
)

// The methods below are for control planes that share a store.

// each calls f for every mailbox.
func (l *mailboxes) each(f func(atom string, x *mailbox)) {
	l.mu.RLock()
	all := maps.Clone(l.all)
	l.mu.RUnlock()
	for atom, x := range all {
		f(atom, x)
	}
}

func (l *mailboxes) wakeAll() {
	l.each(func(_ string, x *mailbox) { x.wake() })
}

// setUndelivered replaces the instructions of all mailboxes by those in the store.
func (l *mailboxes) setUndelivered(all map[string][]int64) {
	for atom := range all {
		l.of(atom)
	}
	l.each(func(atom string, x *mailbox) {
		x.mu.Lock()
		now := all[atom]
		fresh := slices.ContainsFunc(now, func(id int64) bool {
			_, known := slices.BinarySearch(x.undelivered, id)
			return !known
		})
		maps.DeleteFunc(x.deliveredAt, func(id int64, _ time.Time) bool {
			_, waits := slices.BinarySearch(now, id)
			return !waits
		})
		x.count(len(now) - len(x.undelivered))
		x.undelivered = now
		x.mu.Unlock()
		if fresh {
			x.wake()
		}
	})
}

// takeHeartbeats returns the heartbeats received here and not published yet,
// and marks them as published.
func (l *mailboxes) takeHeartbeats() []PeerHeartbeat {
	var all []PeerHeartbeat
	l.each(func(atom string, x *mailbox) {
		x.mu.Lock()
		defer x.mu.Unlock()
		if !x.lastSeen.After(x.storedSeen) {
			return
		}
		x.storedSeen = x.lastSeen
		b := PeerHeartbeat{Atom: atom, Age: time.Since(x.lastSeen), Applied: x.applied}
		if text, err := json.Marshal(&x.heartbeat); err == nil && !bytes.Equal(text, x.published) {
			b.Heartbeat, x.published = text, text
		}
		all = append(all, b)
	})
	return all
}

// restoreHeartbeats marks heartbeats as unpublished after publishing failed.
func (l *mailboxes) restoreHeartbeats(all []PeerHeartbeat) {
	for _, b := range all {
		x := l.of(b.Atom)
		x.mu.Lock()
		x.storedSeen, x.published = time.Time{}, nil
		x.mu.Unlock()
	}
}

// recordPeerHeartbeat stores a heartbeat that another control plane received at a time,
// unless a newer one is known.
func (x *mailbox) recordPeerHeartbeat(h wire.Heartbeat, b PeerHeartbeat, at time.Time) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if !at.After(x.lastSeen) {
		return
	}
	x.lastSeen, x.storedSeen, x.heartbeat, x.applied, x.published = at, at, h, b.Applied, b.Heartbeat
}
