package postgres

import (
	"context"
	"strconv"
	"strings"
	"time"

	"valence/atom/store"
)

// laneFull reports whether a lane has reached its limit, and locks the lane.
func (t *transaction) laneFull(l *store.Lane) (bool, error) {
	if l == nil || l.Limit <= 0 {
		return false, nil
	}
	n := 0
	found, err := t.one([]any{&n}, `SELECT (SELECT count(*) FROM (SELECT FROM atom_lane_item WHERE scope = $1 AND key = $2 LIMIT $3) AS items)
		FROM atom_lane WHERE scope = $1 AND key = $2 FOR UPDATE`, l.Scope, []byte(l.Key), l.Limit+1)
	return found && n > l.Limit, err
}

// enterLane appends an execution to its lane, and reports whether others are in
// front of it. The row of the lane is locked until the transaction ends, so
// positions rise in the order of commit.
func (t *transaction) enterLane(x *store.Execution) (waits bool, err error) {
	l := *x.Lane
	l.Limit = 0
	x.Lane = &l
	_, err = t.one([]any{&l.Pos}, `INSERT INTO atom_lane AS l(scope, key, tail) VALUES($1, $2, 1) ON CONFLICT (scope, key) DO UPDATE SET tail = l.tail + 1 RETURNING tail`, l.Scope, []byte(l.Key))
	if err != nil {
		return false, err
	}
	// A statement of its own: the one before may have waited for the row, and
	// sees the lane as it was before that.
	if _, err = t.one([]any{&waits}, "SELECT EXISTS (SELECT FROM atom_lane_item WHERE scope = $1 AND key = $2)", l.Scope, []byte(l.Key)); err != nil {
		return false, err
	}
	var due any
	if waits {
		due = nanos(x.Due)
	}
	t.exec("INSERT INTO atom_lane_item(scope, key, pos, seq, process, due) VALUES($1, $2, $3, $4, $5, $6)", l.Scope, []byte(l.Key), l.Pos, x.Seq, x.Process, due)
	return waits, nil
}

// lane is a lane that the transaction has locked.
type lane struct {
	scope   string
	key     []byte
	free    int64 // executions up to this position do not block
	blocked bool
	head    laneItem
}

type laneItem struct {
	pos, seq int64
	process  string
	due      *int64
}

// lane locks a lane; nil if nobody is in it.
func (t *transaction) lane(scope string, key []byte) (*lane, error) {
	l := &lane{scope: scope, key: key}
	found, err := t.one([]any{&l.free, &l.blocked}, "SELECT free, since IS NOT NULL FROM atom_lane WHERE scope = $1 AND key = $2 FOR UPDATE", scope, key)
	if err != nil || !found {
		return nil, err
	}
	found, err = t.head(l)
	if err != nil || !found {
		return nil, err
	}
	return l, nil
}

// head reads the head of a lane.
func (t *transaction) head(l *lane) (bool, error) {
	h := &l.head
	h.due = nil
	return t.one([]any{&h.pos, &h.seq, &h.process, &h.due}, "SELECT pos, seq, process, due FROM atom_lane_item WHERE scope = $1 AND key = $2 ORDER BY pos LIMIT 1", l.scope, l.key)
}

// leaveLane removes an ended execution from its lane, or blocks the lane.
func (t *transaction) leaveLane(x *row, failed bool) error {
	l, err := t.lane(x.lane.Scope, []byte(x.lane.Key))
	switch {
	case err != nil || l == nil:
		return err
	case l.head.seq != x.seq:
		t.exec("DELETE FROM atom_lane_item WHERE scope = $1 AND key = $2 AND pos = $3 AND seq = $4", l.scope, l.key, x.lane.Pos, x.seq)
		return nil
	case failed && x.lane.Block && x.lane.Pos > l.free:
		t.exec("UPDATE atom_lane SET since = $3 WHERE scope = $1 AND key = $2", l.scope, l.key, t.now.UnixNano())
		return nil
	}
	return t.advance(l)
}

// advance removes the head of a lane, and makes the next execution ready.
func (t *transaction) advance(l *lane) error {
	t.exec("DELETE FROM atom_lane_item WHERE scope = $1 AND key = $2 AND pos = $3", l.scope, l.key, l.head.pos)
	found, err := t.head(l)
	if err != nil {
		return err
	}
	if !found {
		t.exec("DELETE FROM atom_lane WHERE scope = $1 AND key = $2", l.scope, l.key)
		return nil
	}
	t.exec("UPDATE atom_lane SET since = NULL WHERE scope = $1 AND key = $2 AND since IS NOT NULL", l.scope, l.key)
	h := l.head
	x, err := t.row(h.seq)
	if err != nil || x == nil {
		return err
	}
	x.waits = false
	w := store.Wakeup{Process: x.process, Seq: x.seq, HeadOfLane: h.due == nil}
	if h.due != nil {
		x.due = h.due
		if *h.due <= t.now.UnixNano() {
			ns := dueNow.UnixNano()
			x.state, x.due = codeAccepted, &ns
		}
	}
	t.exec("UPDATE atom_execution SET waits = false, state = $2, due = $3 WHERE seq = $1", x.seq, x.state, x.due)
	t.wake(w)
	return nil
}

// replaceInLane moves a replacement to the position of a failed head, which it
// returns; otherwise the failed execution leaves its lane.
func (t *transaction) replaceInLane(x *row, next *store.Message) (*store.Lane, error) {
	if x.lane == nil {
		return nil, nil
	}
	l, err := t.lane(x.lane.Scope, []byte(x.lane.Key))
	if err != nil || l == nil || l.head.seq != x.seq {
		return nil, err
	}
	if next == nil || next.Lane == nil || next.Lane.Scope != l.scope || next.Lane.Key != string(l.key) {
		return nil, t.advance(l)
	}
	t.exec("UPDATE atom_lane_item SET seq = $4, process = $5, due = NULL WHERE scope = $1 AND key = $2 AND pos = $3", l.scope, l.key, l.head.pos, next.Seq, next.Process)
	t.exec("UPDATE atom_lane SET since = NULL WHERE scope = $1 AND key = $2", l.scope, l.key)
	own := *next.Lane
	own.Pos, own.Limit = l.head.pos, 0
	return &own, nil
}

// unblockOp commits one Unblock.
type unblockOp struct {
	process string
	key     []byte
	all     bool
	head    int64
	err     error
}

// Unblock implements store.Lanes.
func (s *Store) Unblock(ctx context.Context, process, key string, all bool) (int64, error) {
	op := &unblockOp{process: process, key: []byte(key), all: all}
	if err := s.do(ctx, op); err != nil {
		return 0, err
	}
	return op.head, op.err
}

func (o *unblockOp) do(t *transaction) error {
	o.err = nil
	scope := ""
	found, err := t.one([]any{&scope}, `SELECT l.scope FROM atom_lane AS l WHERE l.key = $1 AND l.since IS NOT NULL
		AND (SELECT i.process FROM atom_lane_item AS i WHERE i.scope = l.scope AND i.key = l.key ORDER BY i.pos LIMIT 1) = $2 ORDER BY l.since LIMIT 1`, o.key, o.process)
	if err != nil {
		return err
	}
	var l *lane
	if found {
		if l, err = t.lane(scope, o.key); err != nil {
			return err
		}
	}
	if l == nil || !l.blocked || l.head.process != o.process {
		o.err = store.ErrUnknown
		return nil
	}
	if o.all {
		t.exec("UPDATE atom_lane SET free = tail WHERE scope = $1 AND key = $2", l.scope, l.key)
	}
	o.head = l.head.seq
	return t.advance(l)
}

// Blocked implements store.Lanes.
func (s *Store) Blocked(ctx context.Context, cursor string, limit int) ([]store.BlockedLane, string, error) {
	since, offset, err := parseBlocked(cursor)
	if err != nil {
		return nil, "", err
	}
	var all []store.BlockedLane
	var l store.BlockedLane
	var key []byte
	var ns int64
	into := []any{&l.Scope, &key, &ns, &l.Process, &l.Head, &l.Pos, &l.Waiting}
	err = s.each(ctx, into, func() error {
		own := l
		own.Key, own.Since, own.Block = string(key), time.Unix(0, ns).UTC(), true
		all = append(all, own)
		return nil
	}, `SELECT l.scope, l.key, l.since, h.process, h.seq, h.pos, (SELECT count(*) - 1 FROM atom_lane_item AS i WHERE i.scope = l.scope AND i.key = l.key)
		FROM atom_lane AS l, LATERAL (SELECT process, seq, pos FROM atom_lane_item AS i WHERE i.scope = l.scope AND i.key = l.key ORDER BY pos LIMIT 1) AS h
		WHERE l.since >= $1 ORDER BY l.since, l.scope, l.key OFFSET $2 LIMIT $3`, since, offset, limit+1)
	if err != nil || len(all) <= limit {
		return all, "", err
	}
	last := all[limit-1].Since
	skip := 0
	for _, b := range all[:limit] {
		if b.Since.Equal(last) {
			skip++
		}
	}
	if last.UnixNano() == since {
		skip += offset
	}
	return all[:limit], strconv.FormatInt(last.UnixNano(), 36) + "." + strconv.Itoa(skip), nil
}

// parseBlocked returns the time and the number of lanes blocked at that time
// after which a page continues.
func parseBlocked(cursor string) (since int64, skip int, err error) {
	if cursor == "" {
		return 0, 0, nil
	}
	first, second, _ := strings.Cut(cursor, ".")
	since, err = strconv.ParseInt(first, 36, 64)
	if err == nil {
		skip, err = strconv.Atoi(second)
	}
	if err != nil || skip < 0 {
		return 0, 0, store.ErrCursor
	}
	return since, skip, nil
}

// Position implements store.Lanes.
func (s *Store) Position(ctx context.Context, seq int64, l *store.Lane) (*store.LanePosition, error) {
	if l == nil {
		return nil, nil
	}
	p := &store.LanePosition{}
	var since *int64
	found, err := s.one(ctx, []any{&p.Head, &p.Process, &since, &p.Ahead}, `SELECT h.seq, h.process, l.since, (SELECT count(*) FROM atom_lane_item AS i WHERE i.scope = $1 AND i.key = $2 AND i.pos < own.pos)
		FROM atom_lane AS l, LATERAL (SELECT process, seq FROM atom_lane_item AS i WHERE i.scope = $1 AND i.key = $2 ORDER BY pos LIMIT 1) AS h, atom_lane_item AS own
		WHERE l.scope = $1 AND l.key = $2 AND own.scope = $1 AND own.key = $2 AND own.pos = $3 AND own.seq = $4`, l.Scope, []byte(l.Key), l.Pos, seq)
	if err != nil || !found {
		return nil, err
	}
	p.Since = timeOf(since)
	return p, nil
}

// Heads implements store.Lanes.
func (s *Store) Heads(ctx context.Context, process string, limit int, inHand func(seq int64) bool) ([]*store.Record, error) {
	return s.ready(ctx, "lane_scope IS NOT NULL AND state = 1 AND due IS NULL AND NOT suspended AND NOT waits", process, 0, limit, inHand)
}
