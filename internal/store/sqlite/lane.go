package sqlite

import (
	"cmp"
	"context"
	"encoding/binary"
	"errors"
	"slices"
	"strconv"
	"strings"
	"time"

	"valence/atom"
	"valence/internal/sqlitedb"
)

// A lane has a row as long as somebody is in it: who is first. Those behind are
// a row of lane_item each. What is in a pack has its lane in the pack's head,
// what has a row also in a column, so that its end need not read the head.

// Where the first of a lane stands.
const (
	laneReady   = 1 + iota // to be run, or running
	laneParked             // it has a row, and is told when its time comes
	laneBlocked            // it failed
)

const migrationLanes = `
CREATE TABLE lane(scope TEXT NOT NULL, key TEXT NOT NULL, head INTEGER NOT NULL, pos INTEGER NOT NULL, process TEXT NOT NULL,
  state INTEGER NOT NULL, since INTEGER, free INTEGER NOT NULL DEFAULT 0, PRIMARY KEY(scope, key)) WITHOUT ROWID;
CREATE INDEX lane_ready ON lane(process, head) WHERE state = 1;
CREATE INDEX lane_blocked ON lane(since, scope, key) WHERE state = 3;
CREATE TABLE lane_item(scope TEXT NOT NULL, key TEXT NOT NULL, pos INTEGER NOT NULL, seq INTEGER NOT NULL, process TEXT NOT NULL, due INTEGER,
  PRIMARY KEY(scope, key, pos)) WITHOUT ROWID;
ALTER TABLE execution ADD COLUMN lane BLOB;
ALTER TABLE intake ADD COLUMN laned INTEGER NOT NULL DEFAULT 0;
DROP INDEX intake_process;
CREATE INDEX intake_process ON intake(process, first, last, laned);
`

// appendLane writes a place in a lane.
func appendLane(b []byte, l *atom.Lane) []byte {
	b = appendText(b, l.Scope)
	b = appendText(b, l.Key)
	b = binary.AppendUvarint(b, uint64(l.Pos))
	if l.Block {
		return append(b, 1)
	}
	return append(b, 0)
}

func (d *decoder) lane() *atom.Lane {
	return &atom.Lane{Scope: d.text(), Key: d.text(), Pos: int64(d.uvarint()), Block: d.byte() == 1}
}

// laneColumn is the place of an execution with a row, nil for none.
func laneColumn(l *atom.Lane) any {
	if l == nil {
		return nil
	}
	return appendLane(nil, l)
}

// admit refuses an acceptance whose lane is full.
func (b *batch) admit(tx *sqlitedb.Tx, l *atom.Lane) error {
	if l == nil || l.Limit <= 0 {
		return nil
	}
	n, taken := int64(0), int64(0)
	_, err := tx.One(`SELECT (SELECT count(*) FROM (SELECT 1 FROM lane_item WHERE scope = ?1 AND key = ?2 LIMIT ?3)),
		(SELECT count(*) FROM lane WHERE scope = ?1 AND key = ?2)`, []any{l.Scope, l.Key, l.Limit}, func(r sqlitedb.Row) { n, taken = r.Int(0), r.Int(1) })
	if err != nil {
		return err
	}
	if b.queued == nil {
		b.queued = map[[2]string]int64{}
	}
	name := [2]string{l.Scope, l.Key}
	if n+taken+b.queued[name] > int64(l.Limit) {
		return atom.ErrLaneFull
	}
	b.queued[name]++
	return nil
}

// enter gives an execution its place, and tells whether others are before it.
func (b *batch) enter(tx *sqlitedb.Tx, a *atom.Acceptance, due any) (behind bool, err error) {
	l, state := a.Lane, laneReady
	if due != nil {
		state = laneParked
	}
	n, err := tx.Exec("INSERT INTO lane(scope, key, head, pos, process, state) VALUES(?,?,?,?,?,?) ON CONFLICT DO NOTHING", l.Scope, l.Key, a.Seq, l.Pos, a.Process, state)
	if err != nil || n > 0 {
		return false, err
	}
	_, err = tx.Exec("INSERT INTO lane_item(scope, key, pos, seq, process, due) VALUES(?,?,?,?,?,?)", l.Scope, l.Key, l.Pos, a.Seq, a.Process, due)
	return true, err
}

// laning is an acceptance that gets its place, and the record that is told of it.
type laning struct {
	*accepting
	record *atom.Record
}

// enterAll gives places in the order in which the operations came.
func (b *batch) enterAll(tx *sqlitedb.Tx, laned []laning) error {
	slices.SortFunc(laned, func(x, y laning) int { return cmp.Compare(x.order, y.order) })
	for _, a := range laned {
		behind, err := b.enter(tx, &a.record.Acceptance, nil)
		if err != nil {
			return err
		}
		a.receipt.Behind, a.record.Behind = behind, behind
	}
	return nil
}

// laneOf gives the place of an execution that something is done to.
func (b *batch) laneOf(tx *sqlitedb.Tx, t *touch) (*atom.Lane, error) {
	if t.home == nil || t.lane != nil {
		return t.lane, nil
	}
	h, err := b.member(tx, t.home, t.seq)
	if err != nil {
		return nil, err
	}
	t.lane = h.Lane
	return t.lane, nil
}

// leave is for an execution that ended: it gives up its place, or blocks its
// lane where that is asked for.
func (b *batch) leave(tx *sqlitedb.Tx, t *touch, failed bool) error {
	l, err := b.laneOf(tx, t)
	if err != nil || l == nil {
		return err
	}
	head, free := int64(0), int64(0)
	_, err = tx.One("SELECT head, free FROM lane WHERE scope = ? AND key = ?", []any{l.Scope, l.Key}, func(r sqlitedb.Row) { head, free = r.Int(0), r.Int(1) })
	switch {
	case err != nil:
		return err
	case head != t.seq:
		_, err = tx.Exec("DELETE FROM lane_item WHERE scope = ? AND key = ? AND pos = ? AND seq = ?", l.Scope, l.Key, l.Pos, t.seq)
		return err
	case failed && l.Block && l.Pos > free:
		_, err = tx.Exec("UPDATE lane SET state = ?, since = ? WHERE scope = ? AND key = ?", laneBlocked, b.now.UnixNano(), l.Scope, l.Key)
		return err
	}
	return b.advance(tx, l)
}

// advance makes the next of a lane its first.
func (b *batch) advance(tx *sqlitedb.Tx, l *atom.Lane) error {
	var pos, seq, due int64
	process := ""
	found, err := tx.One("SELECT pos, seq, process, due FROM lane_item WHERE scope = ? AND key = ? ORDER BY pos LIMIT 1", []any{l.Scope, l.Key}, func(r sqlitedb.Row) {
		pos, seq, process, due = r.Int(0), r.Int(1), r.Text(2), r.Int(3)
	})
	if err != nil {
		return err
	}
	if !found {
		_, err = tx.Exec("DELETE FROM lane WHERE scope = ? AND key = ?", l.Scope, l.Key)
		return err
	}
	if _, err := tx.Exec("DELETE FROM lane_item WHERE scope = ? AND key = ? AND pos = ?", l.Scope, l.Key, pos); err != nil {
		return err
	}
	state := laneReady
	if due != 0 {
		state = laneParked
	}
	if _, err := tx.Exec("UPDATE lane SET head = ?, pos = ?, process = ?, state = ?, since = NULL WHERE scope = ? AND key = ?", seq, pos, process, state, l.Scope, l.Key); err != nil {
		return err
	}
	switch {
	case due == 0:
		b.ready = append(b.ready, atom.Ready{Process: process, Seq: seq, Turn: true, Record: b.s.atHand(seq)})
		return nil
	case due > b.now.UnixNano():
		b.ready = append(b.ready, atom.Ready{Process: process, Seq: seq})
		_, err := tx.Exec("UPDATE execution SET due = ? WHERE seq = ?", due, seq)
		return err
	}
	t, err := b.find(tx, seq)
	if err != nil {
		return err
	}
	return b.release(tx, t)
}

// atHand gives what memory holds of an execution in a pack, nil if that is not
// all of it.
func (s *Store) atHand(seq int64) *atom.Record {
	s.mu.Lock()
	defer s.mu.Unlock()
	p := s.mem.at[seq]
	if p == nil || p.members == nil || p.fate(seq) != waits {
		return nil
	}
	h := p.members[seq-p.first]
	if h.doc != nil || h.data != nil {
		return nil
	}
	return &atom.Record{Acceptance: *h.Acceptance, State: atom.Accepted}
}

// laned reports whether every member of a pack is in a lane.
func (p *pack) laned() bool {
	for _, h := range p.members {
		if h.Lane == nil {
			return false
		}
	}
	return true
}

// parkedInLane notes that the first of a lane is told when its time comes.
func (b *batch) parkedInLane(tx *sqlitedb.Tx, t *touch) error {
	l, err := b.laneOf(tx, t)
	if err != nil || l == nil {
		return err
	}
	_, err = tx.Exec("UPDATE lane SET state = ? WHERE scope = ? AND key = ? AND head = ? AND state = ?", laneParked, l.Scope, l.Key, t.seq, laneReady)
	return err
}

// replace puts an acceptance in the place of a failed execution, if that still
// has it; the failed one leaves its lane either way.
func (b *batch) replace(tx *sqlitedb.Tx, failed *row, next *accepting) error {
	l := failed.Lane
	if l == nil {
		return nil
	}
	if next != nil && next.Lane != nil && next.Lane.Scope == l.Scope && next.Lane.Key == l.Key {
		n, err := tx.Exec("UPDATE lane SET head = ?, process = ?, state = ?, since = NULL WHERE scope = ? AND key = ? AND head = ?",
			next.Seq, next.Process, laneParked, l.Scope, l.Key, failed.Seq)
		if err != nil {
			return err
		}
		if n > 0 {
			next.pos = l.Pos
		}
		return nil
	}
	n, err := tx.Exec("UPDATE lane SET since = NULL WHERE scope = ? AND key = ? AND head = ?", l.Scope, l.Key, failed.Seq)
	if err != nil || n == 0 {
		return err
	}
	return b.advance(tx, l)
}

// Heads gives who is first in their lane; see atom.Lanes.
func (s *Store) Heads(ctx context.Context, process string, limit int, inHand func(int64) bool) ([]*atom.Record, error) {
	if s.space.Level() >= sqlitedb.Scarce {
		return nil, atom.ErrFull
	}
	var found []*row
	err := s.db.Read(ctx, func(tx *sqlitedb.Tx) error {
		var seqs []int64
		err := tx.Rows("SELECT head FROM lane WHERE process = ? AND state = 1 ORDER BY head", []any{process}, func(r sqlitedb.Row) (bool, error) {
			if !inHand(r.Int(0)) {
				seqs = append(seqs, r.Int(0))
			}
			return len(seqs) < limit, nil
		})
		packs := map[int64][]*held{}
		for _, seq := range seqs {
			if err != nil {
				return err
			}
			var x *row
			if x, err = s.head(tx, seq, packs); x != nil {
				found = append(found, x)
			}
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	return s.records(found)
}

// head reads an execution that may run, nil if it may not any more.
func (s *Store) head(tx *sqlitedb.Tx, seq int64, packs map[int64][]*held) (*row, error) {
	if r := s.atHand(seq); r != nil {
		return &row{held: &held{Acceptance: &r.Acceptance}, state: stAccepted}, nil
	}
	x, err := readRow(tx, seq)
	if err != nil || x != nil {
		s.mu.Lock()
		defer s.mu.Unlock()
		if x != nil && (x.state != stAccepted || s.mem.goneRow(seq)) {
			return nil, err
		}
		return x, err
	}
	first, last := int64(0), int64(-1)
	_, err = tx.One("SELECT first, last FROM intake WHERE first <= ? ORDER BY first DESC LIMIT 1", []any{seq}, func(r sqlitedb.Row) { first, last = r.Int(0), r.Int(1) })
	if err != nil || last < seq {
		return nil, err
	}
	members := packs[first]
	if members == nil {
		if members, err = readPack(tx, first, true); err != nil {
			return nil, err
		}
		packs[first] = members
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if int64(len(members)) <= seq-first || s.mem.gone(seq) {
		return nil, nil
	}
	return &row{held: members[seq-first], state: stAccepted}, nil
}

// Blocked gives blocked lanes; see atom.Lanes.
func (s *Store) Blocked(ctx context.Context, cursor string, limit int) ([]atom.BlockedLane, string, error) {
	since, scope, key := int64(0), "", ""
	if cursor != "" {
		parts := strings.SplitN(cursor, "\x00", 3)
		var err error
		if since, err = strconv.ParseInt(parts[0], 36, 64); err != nil || len(parts) != 3 {
			return nil, "", errors.New("the cursor is not one of this list")
		}
		scope, key = parts[1], parts[2]
	}
	var lanes []atom.BlockedLane
	next := ""
	err := s.db.Read(ctx, func(tx *sqlitedb.Tx) error {
		return tx.Rows(`SELECT since, scope, key, process, head, pos, (SELECT count(*) FROM lane_item i WHERE i.scope = l.scope AND i.key = l.key)
			FROM lane l WHERE state = 3 AND (since, scope, key) > (?, ?, ?) ORDER BY since, scope, key LIMIT ?`, []any{since, scope, key, limit + 1}, func(r sqlitedb.Row) (bool, error) {
			if len(lanes) == limit {
				last := &lanes[limit-1]
				next = strconv.FormatInt(last.Since.UnixNano(), 36) + "\x00" + last.Scope + "\x00" + last.Key
				return false, nil
			}
			lanes = append(lanes, atom.BlockedLane{Lane: atom.Lane{Scope: r.Text(1), Key: r.Text(2), Block: true, Pos: r.Int(5)},
				Process: r.Text(3), Head: r.Int(4), Since: time.Unix(0, r.Int(0)).UTC(), Waiting: r.Int(6)})
			return true, nil
		})
	})
	return lanes, next, err
}

// Unblock lets a blocked lane go on; see atom.Lanes.
func (s *Store) Unblock(ctx context.Context, process, key string, all bool) (int64, error) {
	var head int64
	err := s.db.Do(ctx, sqlitedb.OpFunc(func(tx *sqlitedb.Tx) error {
		head = 0
		l := &atom.Lane{Key: key}
		found, err := tx.One("SELECT scope, head FROM lane WHERE state = 3 AND key = ? AND process = ? LIMIT 1", []any{key, process}, func(r sqlitedb.Row) {
			l.Scope, head = r.Text(0), r.Int(1)
		})
		if err != nil || !found {
			return err
		}
		if all {
			_, err := tx.Exec("UPDATE lane SET free = (SELECT max(pos) FROM lane_item i WHERE i.scope = lane.scope AND i.key = lane.key) WHERE scope = ? AND key = ? AND EXISTS (SELECT 1 FROM lane_item i WHERE i.scope = lane.scope AND i.key = lane.key)", l.Scope, l.Key)
			if err != nil {
				return err
			}
		}
		return s.batch.advance(tx, l)
	}))
	if err != nil {
		return 0, s.refuse(err)
	}
	if head == 0 {
		return 0, atom.ErrUnknown
	}
	return head, nil
}

// Place tells where an execution stands; see atom.Lanes.
func (s *Store) Place(ctx context.Context, seq int64, l *atom.Lane) (*atom.Place, error) {
	if l == nil {
		return nil, nil
	}
	var p *atom.Place
	err := s.db.Read(ctx, func(tx *sqlitedb.Tx) error {
		_, err := tx.One("SELECT head, process, state, since, pos FROM lane WHERE scope = ? AND key = ?", []any{l.Scope, l.Key}, func(r sqlitedb.Row) {
			p = &atom.Place{Head: r.Int(0), Process: r.Text(1)}
			if r.Int(2) == laneBlocked {
				p.Since = time.Unix(0, r.Int(3)).UTC()
			}
		})
		if err != nil || p == nil || p.Head == seq {
			return err
		}
		found, err := tx.One("SELECT (SELECT count(*) FROM lane_item WHERE scope = ?1 AND key = ?2 AND pos < ?3) FROM lane_item WHERE scope = ?1 AND key = ?2 AND pos = ?3 AND seq = ?4",
			[]any{l.Scope, l.Key, l.Pos, seq}, func(r sqlitedb.Row) { p.Ahead = r.Int(0) + 1 })
		if err == nil && !found {
			p = nil
		}
		return err
	})
	return p, err
}

// listBlocked gives what waits in blocked lanes, as held.
func (s *Store) listBlocked(ctx context.Context, process string, before int64) (found []*atom.Execution, low int64, err error) {
	var seqs []int64
	err = s.db.Read(ctx, func(tx *sqlitedb.Tx) error {
		return tx.Rows(`SELECT i.seq FROM lane l JOIN lane_item i ON i.scope = l.scope AND i.key = l.key
			WHERE l.state = 3 AND i.seq < ?1 AND (?2 = '' OR i.process = ?2) ORDER BY i.seq DESC LIMIT ?3`, []any{before, process, listRows}, func(r sqlitedb.Row) (bool, error) {
			seqs = append(seqs, r.Int(0))
			return true, nil
		})
	})
	if err != nil {
		return nil, 0, err
	}
	low = -1
	if len(seqs) == listRows {
		low = seqs[listRows-1]
	}
	for _, seq := range seqs {
		x, err := s.hot(ctx, seq, false)
		if err != nil {
			return nil, 0, err
		}
		if x == nil || x.Outcome != nil {
			continue
		}
		x.Doc, x.Data, x.Journal, x.State = nil, nil, nil, atom.Held
		found = append(found, x)
	}
	return found, low, nil
}
