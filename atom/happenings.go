package atom

import (
	"sync"
	"sync/atomic"
	"time"
)

// The kinds of happenings.
const (
	HappenedAccepted = "accepted" // a message that runs later was stored
	HappenedStarted  = "started"  // a durable execution runs, for the first time or again
	HappenedParked   = "parked"   // it waits, or is held; Status and Reason tell why
	HappenedEnded    = "ended"    // Status tells how; also of executions in memory
	HappenedPaused   = "paused"   // a trigger
	HappenedResumed  = "resumed"  // likewise
)

// Happening is one thing that happened in the atom, as operators see it.
type Happening struct {
	Event     string    `json:"event"`
	At        time.Time `json:"at"`
	Process   string    `json:"process,omitempty"`
	Execution string    `json:"execution,omitempty"`
	Status    string    `json:"status,omitempty"`
	Reason    string    `json:"reason,omitempty"`
	Error     string    `json:"error,omitempty"`
}

// happened is how many happenings may wait for whoever listens to them.
const happened = 1024

// Audience hears what happens from when it was made. It must be closed.
type Audience struct {
	C      <-chan Happening
	c      chan Happening
	wants  func(Happening) bool
	missed atomic.Int64
	of     *audiences
}

// Missed gives how many that it wants were dropped since it was last asked,
// because they were not taken in time.
func (u *Audience) Missed() int64 { return u.missed.Swap(0) }

// Close ends it.
func (u *Audience) Close() {
	u.of.mu.Lock()
	defer u.of.mu.Unlock()
	if _, ok := u.of.all[u]; ok {
		delete(u.of.all, u)
		u.of.count.Add(-1)
	}
}

// audiences are all that hear what happens. Without any, telling costs nothing.
type audiences struct {
	mu    sync.Mutex
	count atomic.Int64
	all   map[*Audience]struct{}
}

// Hear begins to hear what happens, as far as wants says so; nil is all of it.
// wants must not block: what happens waits for it.
func (a *Atom) Hear(wants func(Happening) bool) *Audience {
	c := make(chan Happening, happened)
	u := &Audience{C: c, c: c, wants: wants, of: &a.audiences}
	a.audiences.mu.Lock()
	defer a.audiences.mu.Unlock()
	if a.audiences.all == nil {
		a.audiences.all = map[*Audience]struct{}{}
	}
	a.audiences.all[u] = struct{}{}
	a.audiences.count.Add(1)
	return u
}

// heard reports whether anybody hears.
func (s *audiences) heard() bool { return s.count.Load() > 0 }

// tell gives a happening to all that hear. It does not block.
func (s *audiences) tell(h Happening) {
	if !s.heard() {
		return
	}
	h.At = now()
	s.mu.Lock()
	defer s.mu.Unlock()
	for u := range s.all {
		if u.wants != nil && !u.wants(h) {
			continue
		}
		select {
		case u.c <- h:
		default:
			u.missed.Add(1)
		}
	}
}
