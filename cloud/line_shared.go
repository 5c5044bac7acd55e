package cloud

import (
	"bytes"
	"encoding/json"
	"maps"
	"slices"
	"time"

	"valence/internal/wire"
)

// What follows is for control planes that share a store.

// each calls f for the line of every atom.
func (l *lines) each(f func(atom string, x *line)) {
	l.mu.RLock()
	all := maps.Clone(l.all)
	l.mu.RUnlock()
	for atom, x := range all {
		f(atom, x)
	}
}

func (l *lines) wakeAll() {
	l.each(func(_ string, x *line) { x.wake() })
}

// setWaiting makes what waits for every atom what the store says, in order.
func (l *lines) setWaiting(all map[string][]int64) {
	for atom := range all {
		l.of(atom)
	}
	l.each(func(atom string, x *line) {
		x.mu.Lock()
		now := all[atom]
		fresh := slices.ContainsFunc(now, func(id int64) bool {
			_, known := slices.BinarySearch(x.waiting, id)
			return !known
		})
		maps.DeleteFunc(x.handed, func(id int64, _ time.Time) bool {
			_, waits := slices.BinarySearch(now, id)
			return !waits
		})
		x.waiting = now
		x.mu.Unlock()
		if fresh {
			x.wake()
		}
	})
}

// beats gives what was heard here and not told yet, and takes it as told.
func (l *lines) beats() []Beat {
	var all []Beat
	l.each(func(atom string, x *line) {
		x.mu.Lock()
		defer x.mu.Unlock()
		if !x.seen.After(x.stored) {
			return
		}
		x.stored = x.seen
		b := Beat{Atom: atom, Silent: time.Since(x.seen), Applied: x.applied}
		if text, err := json.Marshal(&x.heartbeat); err == nil && !bytes.Equal(text, x.beat) {
			b.Heartbeat, x.beat = text, text
		}
		all = append(all, b)
	})
	return all
}

// untold takes beats back: telling them failed.
func (l *lines) untold(all []Beat) {
	for _, b := range all {
		x := l.of(b.Atom)
		x.mu.Lock()
		x.stored, x.beat = time.Time{}, nil
		x.mu.Unlock()
	}
}

// told notes what an atom said to another control plane, if that is newer.
func (x *line) told(h wire.Heartbeat, b Beat) {
	at := time.Now().Add(-b.Silent)
	x.mu.Lock()
	defer x.mu.Unlock()
	if !at.After(x.seen) {
		return
	}
	x.seen, x.stored, x.heartbeat, x.applied, x.beat = at, at, h, b.Applied, b.Heartbeat
}
