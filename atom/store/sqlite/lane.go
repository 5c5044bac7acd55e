package sqlite

import (
	"cmp"
	"encoding/binary"
	"slices"
	"time"

	"valence/atom/store"
	"valence/internal/sqlitedb"
)

// A lane has a row of lane while executions are in it, with its head. Each
// execution that waits for the head has a row of lane_item. The lane of a pack
// member is in the head of the pack. An execution with a row has its lane in a
// column, too, so that ending it need not decode the head.

// States of the head of a lane.
const (
	laneReady   = 1 + iota // ready or running
	laneParked             // suspended: Due returns it
	laneBlocked            // failed
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

// appendLane encodes a position in a lane.
func appendLane(b []byte, l *store.Lane) []byte {
	b = appendText(b, l.Scope)
	b = appendText(b, l.Key)
	b = binary.AppendUvarint(b, uint64(l.Pos))
	if l.Block {
		return append(b, 1)
	}
	return append(b, 0)
}

func (d *decoder) lane() *store.Lane {
	return &store.Lane{Scope: d.text(), Key: d.text(), Pos: int64(d.uvarint()), Block: d.byte() == 1}
}

// laneColumn returns the lane of an execution as a column value, or nil.
func laneColumn(l *store.Lane) any {
	if l == nil {
		return nil
	}
	return appendLane(nil, l)
}

// laneWriter changes lanes in the current transaction.
type laneWriter struct{ *batch }

func (b *batch) lanes() laneWriter { return laneWriter{b} }

// checkLimit returns store.ErrLaneFull if the lane is full.
func (b laneWriter) checkLimit(tx *sqlitedb.Tx, l *store.Lane) error {
	if l == nil || l.Limit <= 0 {
		return nil
	}
	n, taken := int64(0), int64(0)
	_, err := tx.One(`SELECT (SELECT count(*) FROM (SELECT 1 FROM lane_item WHERE scope = ?1 AND key = ?2 LIMIT ?3)),
		(SELECT count(*) FROM lane WHERE scope = ?1 AND key = ?2)`, []any{l.Scope, l.Key, l.Limit}, func(r sqlitedb.Row) { n, taken = r.Int(0), r.Int(1) })
	if err != nil {
		return err
	}
	if b.laneAdmissions == nil {
		b.laneAdmissions = map[[2]string]int64{}
	}
	name := [2]string{l.Scope, l.Key}
	if n+taken+b.laneAdmissions[name] > int64(l.Limit) {
		return store.ErrLaneFull
	}
	b.laneAdmissions[name]++
	return nil
}

// enter appends an execution to its lane, and reports whether others are
// ahead.
func (b laneWriter) enter(tx *sqlitedb.Tx, a *store.Message, due any) (behind bool, err error) {
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

// laneEntrant is a message that enters a lane, with the record that is
// reported.
type laneEntrant struct {
	*pendingAccept
	record *store.Record
}

// enterAll appends messages to their lanes in order of arrival.
func (b laneWriter) enterAll(tx *sqlitedb.Tx, laned []laneEntrant) error {
	slices.SortFunc(laned, func(x, y laneEntrant) int { return cmp.Compare(x.arrival, y.arrival) })
	for _, a := range laned {
		behind, err := b.enter(tx, &a.record.Message, nil)
		if err != nil {
			return err
		}
		a.receipt.WaitsInLane, a.record.WaitsInLane = behind, behind
	}
	return nil
}

// enterRow puts a message that has a row into its lane. Unless it is the
// head, it has no Due until it becomes the head.
func (b laneWriter) enterRow(tx *sqlitedb.Tx, a *pendingAccept) error {
	if a.Lane == nil {
		return nil
	}
	l := *a.Lane
	a.Lane = &l
	if l.Pos = a.takesPos; a.takesPos != 0 {
		return nil // it took the position of another
	}
	l.Pos = b.s.seqs.allocate(1)
	behind, err := b.enter(tx, a.Message, nullTime(a.Due))
	if behind {
		a.Due = time.Time{}
	}
	a.receipt.WaitsInLane = behind
	return err
}

// of returns the lane of an execution, or nil.
func (b laneWriter) of(tx *sqlitedb.Tx, m *mutation) (*store.Lane, error) {
	if m.pack == nil || m.lane != nil {
		return m.lane, nil
	}
	h, err := b.readMember(tx, m.pack, m.seq)
	if err != nil {
		return nil, err
	}
	m.lane = h.Lane
	return m.lane, nil
}

// leave removes an ended execution from its lane. A failed head blocks the
// lane if it is configured to.
func (b laneWriter) leave(tx *sqlitedb.Tx, m *mutation, failed bool) error {
	l, err := b.of(tx, m)
	if err != nil || l == nil {
		return err
	}
	head, free := int64(0), int64(0)
	_, err = tx.One("SELECT head, free FROM lane WHERE scope = ? AND key = ?", []any{l.Scope, l.Key}, func(r sqlitedb.Row) { head, free = r.Int(0), r.Int(1) })
	switch {
	case err != nil:
		return err
	case head != m.seq:
		_, err = tx.Exec("DELETE FROM lane_item WHERE scope = ? AND key = ? AND pos = ? AND seq = ?", l.Scope, l.Key, l.Pos, m.seq)
		return err
	case failed && l.Block && l.Pos > free:
		_, err = tx.Exec("UPDATE lane SET state = ?, since = ? WHERE scope = ? AND key = ?", laneBlocked, b.now.UnixNano(), l.Scope, l.Key)
		return err
	}
	return b.advance(tx, l)
}

// advance makes the next execution the head of a lane.
func (b laneWriter) advance(tx *sqlitedb.Tx, l *store.Lane) error {
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
		b.ready = append(b.ready, store.Wakeup{Process: process, Seq: seq, HeadOfLane: true, Record: b.s.cachedRecord(seq)})
		return nil
	case due > b.now.UnixNano():
		b.ready = append(b.ready, store.Wakeup{Process: process, Seq: seq})
		_, err := tx.Exec("UPDATE execution SET due = ? WHERE seq = ?", due, seq)
		return err
	}
	m, err := b.mutate(tx, seq)
	if err != nil {
		return err
	}
	return b.makeReady(tx, m)
}

// cachedRecord returns an unchanged pack member from memory, or nil if it is
// not cached completely.
func (s *Store) cachedRecord(seq int64) *store.Record {
	s.mu.Lock()
	defer s.mu.Unlock()
	p := s.index.packOf[seq]
	if p == nil || p.members == nil || p.state(seq) != memberUntouched {
		return nil
	}
	h := p.members[seq-p.first]
	if h.docFile != nil || h.dataFile != nil || h.lost != nil {
		return nil
	}
	return &store.Record{Message: *h.Message, State: store.Accepted}
}

// allInLanes reports whether every member of the pack is in a lane.
func (p *pack) allInLanes() bool {
	for _, h := range p.members {
		if h.Lane == nil {
			return false
		}
	}
	return true
}

// suspendHead records that the head of a lane is suspended.
func (b laneWriter) suspendHead(tx *sqlitedb.Tx, m *mutation) error {
	l, err := b.of(tx, m)
	if err != nil || l == nil {
		return err
	}
	_, err = tx.Exec("UPDATE lane SET state = ? WHERE scope = ? AND key = ? AND head = ? AND state = ?", laneParked, l.Scope, l.Key, m.seq, laneReady)
	return err
}

// replace moves next to the lane position of a failed execution that
// still holds one. The failed execution leaves its lane in any case.
func (b laneWriter) replace(tx *sqlitedb.Tx, failed *row, next *pendingAccept) error {
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
			next.takesPos = l.Pos
		}
		return nil
	}
	n, err := tx.Exec("UPDATE lane SET since = NULL WHERE scope = ? AND key = ? AND head = ?", l.Scope, l.Key, failed.Seq)
	if err != nil || n == 0 {
		return err
	}
	return b.advance(tx, l)
}
