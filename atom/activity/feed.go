// Package activity publishes events of an atom to subscribers, and changes of
// one execution to watchers. Publishing never blocks, and costs nothing without
// subscribers or watchers.
package activity

import (
	"sync"
	"sync/atomic"
	"time"
)

// The kinds of events.
const (
	Accepted  = "accepted" // a message that runs later was stored
	Started   = "started"  // a durable execution runs, for the first time or again
	Suspended = "parked"   // an execution waits or is held; see Status and Reason
	Ended     = "ended"    // an execution ended, in memory or durable; see Status
	Paused    = "paused"   // a trigger was paused
	Resumed   = "resumed"  // a trigger was resumed
)

// Event is one thing that happened in the atom, as operators see it.
type Event struct {
	Event     string    `json:"event"`
	At        time.Time `json:"at"`
	Process   string    `json:"process,omitempty"`
	Execution string    `json:"execution,omitempty"`
	Status    string    `json:"status,omitempty"`
	Reason    string    `json:"reason,omitempty"`
	Error     string    `json:"error,omitempty"`
}

// bufferSize is how many events wait for a subscriber before events are dropped.
const bufferSize = 1024

// Subscriber receives events from its creation until Close.
type Subscriber struct {
	C       <-chan Event
	c       chan Event
	wants   func(Event) bool
	dropped atomic.Int64
	feed    *Feed
}

// Dropped returns how many wanted events were dropped since the last call,
// because C was full.
func (s *Subscriber) Dropped() int64 { return s.dropped.Swap(0) }

// Close ends the subscription.
func (s *Subscriber) Close() {
	s.feed.mu.Lock()
	defer s.feed.mu.Unlock()
	if _, ok := s.feed.all[s]; ok {
		delete(s.feed.all, s)
		s.feed.count.Add(-1)
	}
}

// Feed publishes events to its subscribers. The zero value is ready to use.
type Feed struct {
	mu    sync.Mutex
	count atomic.Int64
	all   map[*Subscriber]struct{}
}

// Subscribe returns a subscriber for the events that wants selects; nil selects
// all. It must be closed. wants must not block, because it delays the event.
func (f *Feed) Subscribe(wants func(Event) bool) *Subscriber {
	c := make(chan Event, bufferSize)
	s := &Subscriber{C: c, c: c, wants: wants, feed: f}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.all == nil {
		f.all = map[*Subscriber]struct{}{}
	}
	f.all[s] = struct{}{}
	f.count.Add(1)
	return s
}

// Active reports whether there is a subscriber.
func (f *Feed) Active() bool { return f.count.Load() > 0 }

// Publish sends an event, which happened now, to the subscribers that want it.
func (f *Feed) Publish(e Event) {
	if !f.Active() {
		return
	}
	e.At = time.Now().UTC().Truncate(time.Millisecond)
	f.mu.Lock()
	defer f.mu.Unlock()
	for s := range f.all {
		if s.wants != nil && !s.wants(e) {
			continue
		}
		select {
		case s.c <- e:
		default:
			s.dropped.Add(1)
		}
	}
}
