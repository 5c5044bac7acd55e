package atomtest

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"time"

	"valence/atom"
)

// lane is a key's queue; the first of items alone may run.
type lane struct {
	atom.Lane
	items []laneItem
	since time.Time // blocked
	free  int64
}

type laneItem struct {
	seq, pos int64
	due      time.Time
}

func laneName(l *atom.Lane) [2]string { return [2]string{l.Scope, l.Key} }

// full tells whether an acceptance is to be refused.
func (s *Store) full(l *atom.Lane) bool {
	if l == nil || l.Limit <= 0 {
		return false
	}
	q := s.lanes[laneName(l)]
	return q != nil && len(q.items)-1 >= l.Limit
}

// enter gives an execution the last place of its lane.
func (s *Store) enter(x *atom.Execution) (behind bool) {
	if x.Lane == nil {
		return false
	}
	own := *x.Lane
	x.Lane = &own
	own.Limit = 0
	q := s.lanes[laneName(&own)]
	if q == nil {
		q = &lane{Lane: own}
		s.lanes[laneName(&own)] = q
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

// first reports whether an execution is first in its lane, or in none.
func (s *Store) first(x *atom.Execution) bool {
	if x.Lane == nil {
		return true
	}
	q := s.lanes[laneName(x.Lane)]
	return q == nil || q.items[0].seq == x.Seq
}

// blocked reports whether an execution waits in a lane whose first one failed.
func (s *Store) blocked(x *atom.Execution) bool {
	if x.Lane == nil || x.Outcome != nil || s.first(x) {
		return false
	}
	return !s.lanes[laneName(x.Lane)].since.IsZero()
}

// leave takes an execution that ended out of its lane, or blocks it.
func (s *Store) leave(x *atom.Execution, failed bool) {
	if x.Lane == nil {
		return
	}
	q := s.lanes[laneName(x.Lane)]
	if q == nil {
		return
	}
	i := slices.IndexFunc(q.items, func(n laneItem) bool { return n.seq == x.Seq })
	switch {
	case i < 0:
	case i > 0:
		q.items = slices.Delete(q.items, i, i+1)
	case failed && x.Lane.Block && q.items[0].pos > q.free:
		q.since = time.Now().UTC()
	default:
		s.advance(q)
	}
}

func (s *Store) advance(q *lane) {
	q.items, q.since = q.items[1:], time.Time{}
	if len(q.items) == 0 {
		delete(s.lanes, laneName(&q.Lane))
		return
	}
	n := q.items[0]
	x := s.live[n.seq]
	r := atom.Ready{Process: x.Process, Seq: n.seq, Turn: n.due.IsZero()}
	if r.Turn {
		rec := x.Record
		r.Record = &rec
	} else {
		x.Due = n.due
		if !n.due.After(time.Now()) {
			x.State, x.Due = atom.Accepted, time.Unix(0, 1).UTC()
		}
	}
	s.turns = append(s.turns, r)
}

// tellTurns tells of those whose turn came.
func (s *Store) tellTurns() {
	turns := s.turns
	s.turns = nil
	if len(turns) > 0 && s.ready != nil {
		s.ready(turns)
	}
}

// replace gives the place of a failed execution to the one that follows it.
func (s *Store) replace(failed *atom.Execution, next *atom.Acceptance) *atom.Lane {
	if failed.Lane == nil {
		return nil
	}
	q := s.lanes[laneName(failed.Lane)]
	if q == nil || q.items[0].seq != failed.Seq {
		return nil
	}
	if next == nil || next.Lane == nil || laneName(next.Lane) != laneName(failed.Lane) {
		s.advance(q)
		return nil
	}
	own := *next.Lane
	own.Pos, own.Limit = q.items[0].pos, 0
	q.items[0].seq, q.since = next.Seq, time.Time{}
	return &own
}

// Heads is atom.Lanes'.
func (s *Store) Heads(_ context.Context, process string, limit int, inHand func(int64) bool) ([]*atom.Record, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.records(limit, func(x *atom.Execution) bool {
		return x.Process == process && x.Lane != nil && x.Due.IsZero() && x.State == atom.Accepted && !s.parked[x.Seq] && s.first(x) && !inHand(x.Seq)
	}, bySeq), nil
}

// Blocked is atom.Lanes'.
func (s *Store) Blocked(_ context.Context, cursor string, limit int) ([]atom.BlockedLane, string, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	var all []atom.BlockedLane
	for _, q := range s.lanes {
		if !q.since.IsZero() {
			b := atom.BlockedLane{Lane: q.Lane, Process: s.live[q.items[0].seq].Process, Head: q.items[0].seq, Since: q.since, Waiting: int64(len(q.items) - 1)}
			b.Pos = q.items[0].pos
			all = append(all, b)
		}
	}
	slices.SortFunc(all, func(a, b atom.BlockedLane) int {
		return cmp.Or(a.Since.Compare(b.Since), cmp.Compare(a.Scope, b.Scope), cmp.Compare(a.Key, b.Key))
	})
	from := 0
	if cursor != "" {
		var err error
		if from, err = strconv.Atoi(cursor); err != nil || from < 0 {
			return nil, "", errors.New("the cursor is not one of this list")
		}
	}
	all = all[min(from, len(all)):]
	if len(all) > limit {
		return all[:limit], strconv.Itoa(from + limit), nil
	}
	return all, "", nil
}

// Unblock is atom.Lanes'.
func (s *Store) Unblock(_ context.Context, process, key string, all bool) (int64, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.err != nil {
		return 0, fmt.Errorf("%w: %w", atom.ErrUnavailable, s.err)
	}
	for _, q := range s.lanes {
		if q.Key != key || q.since.IsZero() || s.live[q.items[0].seq].Process != process {
			continue
		}
		if all {
			q.free = q.items[len(q.items)-1].pos
		}
		head := q.items[0].seq
		s.advance(q)
		s.tellTurns()
		return head, nil
	}
	return 0, atom.ErrUnknown
}

// Place is atom.Lanes'.
func (s *Store) Place(_ context.Context, seq int64, l *atom.Lane) (*atom.Place, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if l == nil || s.lanes[laneName(l)] == nil {
		return nil, nil
	}
	q := s.lanes[laneName(l)]
	i := slices.IndexFunc(q.items, func(n laneItem) bool { return n.seq == seq })
	if i < 0 {
		return nil, nil
	}
	return &atom.Place{Head: q.items[0].seq, Since: q.since, Process: s.live[q.items[0].seq].Process, Ahead: int64(i)}, nil
}
