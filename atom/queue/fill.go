package queue

import (
	"context"
	"time"

	"valence/atom/store"
)

// unread says which executions the store may hold that the window lacks.
type unread struct {
	accepted bool  // executions accepted after cursor
	due      bool  // executions whose time has come
	moreDue  bool  // the last read of due executions was cut off
	heads    bool  // executions that are first in their lane
	cursor   int64 // executions accepted up to this Seq have been in the window
	newest   int64 // newest Seq that was pushed without a Due or a lane
}

// any reports whether a worker should read the store.
func (u *unread) any() bool { return u.accepted || u.due || u.heads || u.moreDue }

// fillState describes the read that is under way. One worker reads at a time.
type fillState struct {
	active   bool           // a worker reads, or a failed read waits
	left     map[int64]bool // executions that left the queue during the read; nil: none is under way
	rewound  bool           // the cursor was moved back during the read
	lowest   int64          // lowest Seq that was announced during the read and left to a later one; 0: none
	dropped  bool           // the queue was dropped during the read
	failures int            // failed reads in a row
}

// leaves records that an execution leaves the window or its worker: the
// result of the read under way is stale for it.
func (f *fillState) leaves(seq int64) {
	if f.left != nil {
		f.left[seq] = true
	}
}

// request is one read of the store, batch its result.
type request struct {
	due, accepted, heads bool
	cursor, newest       int64 // as they were before the read
	dueLimit             int
}

type batch struct {
	due, accepted, heads []*store.Record
	nextDue              time.Time
}

// refillWindow reads from the store. The caller holds q.mu, which is unlocked
// during the read.
func (q *Queue) refillWindow() {
	req := q.beginFill()
	q.mu.Unlock()
	b, err := q.read(req)
	q.mu.Lock()
	left := q.fill.left
	q.fill.left = nil
	if err != nil {
		q.unread.heads = q.unread.heads || req.heads
		q.fill.failures++
		q.set.log.Error("cannot read waiting executions", "process", q.process, "error", err)
		q.backOff()
		return
	}
	q.fill.active, q.fill.failures = false, 0
	if !q.fill.dropped { // otherwise other members run these now
		q.merge(req, b, left)
	}
	q.wake()
}

func (q *Queue) beginFill() request {
	empty := len(q.window.records) == 0
	req := request{
		due: q.unread.due || q.unread.moreDue, accepted: q.unread.accepted && empty, heads: q.unread.heads && empty,
		cursor: q.unread.cursor, newest: q.unread.newest, dueLimit: q.set.bounds.refill + len(q.window.claimed),
	}
	q.fill.active, q.fill.left, q.fill.rewound, q.fill.dropped, q.fill.lowest = true, map[int64]bool{}, false, false, 0
	q.unread.due, q.unread.moreDue = false, false
	if req.heads {
		q.unread.heads = false
	}
	return req
}

func (q *Queue) read(req request) (b batch, err error) {
	ctx, source := context.Background(), q.set.source
	if req.due {
		b.due, b.nextDue, err = source.Due(ctx, q.process, q.set.clock.Now(), req.dueLimit)
	}
	if err == nil && req.accepted {
		b.accepted, err = source.Ready(ctx, q.process, req.cursor, q.set.bounds.refill)
	}
	if err == nil && req.heads {
		b.heads, err = source.Heads(ctx, q.process, q.set.bounds.refill, q.isClaimed)
	}
	return b, err
}

func (q *Queue) isClaimed(seq int64) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.window.has(seq)
}

// merge adds the executions of a batch to the window, except those that left
// during the read: they have ended, or are suspended and announced again.
func (q *Queue) merge(req request, b batch, left map[int64]bool) {
	for _, list := range [3][]*store.Record{b.due, b.heads, b.accepted} {
		for _, r := range list {
			if !left[r.Seq] {
				q.window.add(r)
			}
		}
	}
	q.unread.heads = q.unread.heads || len(b.heads) == q.set.bounds.refill
	q.unread.moreDue = req.due && len(b.due) == req.dueLimit
	q.schedule(b.nextDue)
	if req.accepted && !q.fill.rewound {
		q.advance(req, b.accepted)
	}
}

// advance moves the cursor after a read of accepted executions.
func (q *Queue) advance(req request, accepted []*store.Record) {
	u := &q.unread
	if n := len(accepted); n > 0 {
		u.cursor = max(u.cursor, accepted[n-1].Seq)
	}
	if len(accepted) < q.set.bounds.refill {
		u.cursor = max(u.cursor, req.newest) // missing ones have ended
		u.accepted = u.newest > u.cursor
	}
	if low := q.fill.lowest; low != 0 && low <= u.cursor { // its Seq was reserved, and the read did not see it
		u.cursor, u.accepted = low-1, true
	}
}

// pushed notes that an execution was announced and is left to a later read.
func (f *fillState) pushed(seq int64) {
	if f.lowest == 0 || seq < f.lowest {
		f.lowest = seq
	}
}

// backOff delays the next read after a failure, longer each time.
func (q *Queue) backOff() {
	wait := min(time.Second<<min(q.fill.failures-1, 5), 30*time.Second)
	time.AfterFunc(wait, func() {
		q.mu.Lock()
		defer q.mu.Unlock()
		q.fill.active, q.unread.due = false, true
		q.wake()
	})
}
