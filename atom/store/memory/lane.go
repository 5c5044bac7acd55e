package memory

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"time"

	"valence/atom/store"
)

// lanes are the lanes that have executions in them.
type lanes struct {
	byKey      map[[2]string]*lane
	pos        int64       // newest position
	takenPlace *store.Lane // position of the message that replaces another
}

// lane is the queue of a key; only its first item may run.
type lane struct {
	store.Lane
	items []laneItem
	since time.Time // when it was blocked; zero: it is not
	free  int64
}

type laneItem struct {
	seq, pos int64
	due      time.Time
}

func laneName(l *store.Lane) [2]string { return [2]string{l.Scope, l.Key} }

// laneFull reports whether a lane has reached its limit.
func (s *Store) laneFull(l *store.Lane) bool {
	if l == nil || l.Limit <= 0 {
		return false
	}
	q := s.byKey[laneName(l)]
	return q != nil && len(q.items)-1 >= l.Limit
}

// enterLane appends an execution to its lane, and reports whether others are
// ahead.
func (s *Store) enterLane(x *store.Execution) (behind bool) {
	if x.Lane == nil {
		return false
	}
	own := *x.Lane
	x.Lane = &own
	own.Limit = 0
	q := s.byKey[laneName(&own)]
	if q == nil {
		q = &lane{Lane: own}
		s.byKey[laneName(&own)] = q
	}
	s.pos++
	own.Pos = s.pos
	behind = len(q.items) > 0
	item := laneItem{seq: x.Seq, pos: own.Pos}
	if behind {
		item.due, x.Due = x.Due, time.Time{}
	}
	q.items = append(q.items, item)
	return behind
}

// isFirst reports whether an execution is the head of its lane, or in no lane.
func (s *Store) isFirst(x *store.Execution) bool {
	if x.Lane == nil {
		return true
	}
	q := s.byKey[laneName(x.Lane)]
	return q == nil || q.items[0].seq == x.Seq
}

// blocked reports whether an execution waits in a blocked lane.
func (s *Store) blocked(x *store.Execution) bool {
	if x.Lane == nil || x.Outcome != nil || s.isFirst(x) {
		return false
	}
	return !s.byKey[laneName(x.Lane)].since.IsZero()
}

// leaveLane removes an ended execution from its lane, or blocks the lane.
func (s *Store) leaveLane(x *store.Execution, failed bool) {
	if x.Lane == nil {
		return
	}
	q := s.byKey[laneName(x.Lane)]
	if q == nil {
		return
	}
	i := slices.IndexFunc(q.items, func(n laneItem) bool { return n.seq == x.Seq })
	switch {
	case i < 0:
	case i > 0:
		q.items = slices.Delete(q.items, i, i+1)
	case failed && x.Lane.Block && q.items[0].pos > q.free:
		q.since = s.now().UTC()
	default:
		s.advanceLane(q)
	}
}

func (s *Store) advanceLane(q *lane) {
	q.items, q.since = q.items[1:], time.Time{}
	if len(q.items) == 0 {
		delete(s.byKey, laneName(&q.Lane))
		return
	}
	n := q.items[0]
	x := s.live[n.seq]
	r := store.Wakeup{Process: x.Process, Seq: n.seq, HeadOfLane: n.due.IsZero()}
	if r.HeadOfLane {
		rec := x.Record
		rec.Epoch = s.epoch
		r.Record = &rec
	} else {
		x.Due = n.due
		if !n.due.After(s.now()) {
			x.State, x.Due = store.Accepted, time.Unix(0, 1).UTC()
		}
	}
	s.wakeups = append(s.wakeups, r)
}

// notifyWakeups reports the executions that became ready.
func (s *Store) notifyWakeups() {
	wakeups := s.wakeups
	s.wakeups = nil
	if len(wakeups) > 0 && s.ready != nil {
		s.ready(wakeups)
	}
}

// replaceInLane moves next to the lane position of a failed execution, and
// returns it.
func (s *Store) replaceInLane(failed *store.Execution, next *store.Message) *store.Lane {
	if failed.Lane == nil {
		return nil
	}
	q := s.byKey[laneName(failed.Lane)]
	if q == nil || q.items[0].seq != failed.Seq {
		return nil
	}
	if next == nil || next.Lane == nil || laneName(next.Lane) != laneName(failed.Lane) {
		s.advanceLane(q)
		return nil
	}
	own := *next.Lane
	own.Pos, own.Limit = q.items[0].pos, 0
	q.items[0].seq, q.since = next.Seq, time.Time{}
	return &own
}

// Heads implements store.Lanes.
func (s *Store) Heads(_ context.Context, process string, limit int, inHand func(int64) bool) ([]*store.Record, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.records(limit, func(x *store.Execution) bool {
		return s.runs() && x.Process == process && x.Lane != nil && x.Due.IsZero() && x.State == store.Accepted && !s.suspended[x.Seq] && s.isFirst(x) && !inHand(x.Seq)
	}, bySeq), nil
}

// Blocked implements store.Lanes.
func (s *Store) Blocked(_ context.Context, cursor string, limit int) ([]store.BlockedLane, string, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	var all []store.BlockedLane
	for _, q := range s.byKey {
		if !q.since.IsZero() {
			b := store.BlockedLane{Lane: q.Lane, Process: s.live[q.items[0].seq].Process, Head: q.items[0].seq, Since: q.since, Waiting: int64(len(q.items) - 1)}
			b.Pos = q.items[0].pos
			all = append(all, b)
		}
	}
	slices.SortFunc(all, func(a, b store.BlockedLane) int {
		return cmp.Or(a.Since.Compare(b.Since), cmp.Compare(a.Scope, b.Scope), cmp.Compare(a.Key, b.Key))
	})
	from := 0
	if cursor != "" {
		var err error
		if from, err = strconv.Atoi(cursor); err != nil || from < 0 {
			return nil, "", errors.New("invalid cursor: use the one of the previous page")
		}
	}
	all = all[min(from, len(all)):]
	if len(all) > limit {
		return all[:limit], strconv.Itoa(from + limit), nil
	}
	return all, "", nil
}

// Unblock implements store.Lanes.
func (s *Store) Unblock(_ context.Context, process, key string, all bool) (int64, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.err != nil {
		return 0, fmt.Errorf("%w: %w", store.ErrUnavailable, s.err)
	}
	for _, q := range s.byKey {
		if q.Key != key || q.since.IsZero() || s.live[q.items[0].seq].Process != process {
			continue
		}
		if all {
			q.free = q.items[len(q.items)-1].pos
		}
		head := q.items[0].seq
		s.advanceLane(q)
		s.notifyWakeups()
		return head, nil
	}
	return 0, store.ErrUnknown
}

// Position implements store.Lanes.
func (s *Store) Position(_ context.Context, seq int64, l *store.Lane) (*store.LanePosition, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if l == nil || s.byKey[laneName(l)] == nil {
		return nil, nil
	}
	q := s.byKey[laneName(l)]
	i := slices.IndexFunc(q.items, func(n laneItem) bool { return n.seq == seq })
	if i < 0 {
		return nil, nil
	}
	return &store.LanePosition{Head: q.items[0].seq, Since: q.since, Process: s.live[q.items[0].seq].Process, Ahead: int64(i)}, nil
}
