package sqlite

import (
	"fmt"

	"valence/atom/store"
	"valence/internal/sqlitedb"
)

// recovery rebuilds the live index of a store when it is opened.
type recovery struct{ *Store }

// restore rebuilds the live index from the database. After an unclean stop, it
// counts a crash for each execution that was running.
func (s recovery) restore(tx *sqlitedb.Tx, ran []int64) error {
	if err := s.restoreCounts(tx); err != nil {
		return fmt.Errorf("count live executions: %w", err)
	}
	unused, err := s.restoreChanges(tx)
	if err != nil {
		return err
	}
	for _, id := range unused {
		if _, err := tx.Exec("DELETE FROM change WHERE id = ?", id); err != nil {
			return err
		}
	}
	for _, member := range s.index.active {
		if member.outcome != nil {
			s.index.addUnarchived(member)
		}
	}
	if err := s.restoreFailures(tx); err != nil {
		return fmt.Errorf("restore failures: %w", err)
	}
	return s.countCrashes(tx, ran)
}

// restoreChanges reads the changes to executions in packs, and returns those that
// nothing needs any more.
func (s recovery) restoreChanges(tx *sqlitedb.Tx) (unused []int64, err error) {
	type change struct {
		id   int64
		body []byte
	}
	var changes []change
	err = tx.Rows("SELECT id, body FROM change ORDER BY id", nil, func(r sqlitedb.Row) (bool, error) {
		changes = append(changes, change{r.Int(0), r.Bytes(1)})
		return true, nil
	})
	if err != nil {
		return nil, err
	}
	for _, c := range changes {
		if err := s.restoreChange(tx, c.id, c.body); err != nil {
			return nil, fmt.Errorf("read change %d: %w", c.id, err)
		}
		s.batch.lastID = c.id
		if s.index.changeRefs[c.id] == 0 {
			unused = append(unused, c.id)
		}
	}
	return unused, nil
}

// restoreFailures fills the table of failures of a database from an older
// version.
func (s recovery) restoreFailures(tx *sqlitedb.Tx) error {
	counted, err := tx.One("SELECT 1 FROM failure LIMIT 1", nil, func(sqlitedb.Row) {})
	if err != nil || counted {
		return err
	}
	var failed []*row
	err = tx.Rows("SELECT "+rowColumnsShort+" FROM execution WHERE state IN (?, ?)", []any{codeFailed, codeExpired}, func(r sqlitedb.Row) (bool, error) {
		x, err := scanRow(r)
		if err == nil && x.outcome != nil && s.index.active[x.Seq] == nil { // unresolved
			failed = append(failed, x)
		}
		return true, err
	})
	for _, x := range failed {
		if err == nil {
			err = writeFailure(tx, x.Seq, x.Process, x.outcome, 0)
		}
	}
	return err
}

func (s recovery) restoreCounts(tx *sqlitedb.Tx) error {
	err := tx.Rows("SELECT process, sum(last - first + 1) FROM intake GROUP BY process", nil, func(r sqlitedb.Row) (bool, error) {
		s.index.addCount(r.Text(0), store.Accepted, r.Int(1))
		return true, nil
	})
	if err != nil {
		return err
	}
	return tx.Rows("SELECT process, state, count(*) FROM execution WHERE state < 4 GROUP BY process, state", nil, func(r sqlitedb.Row) (bool, error) {
		s.index.addCount(r.Text(0), store.State(statusName(uint8(r.Int(1)))), r.Int(2))
		return true, nil
	})
}

func (s recovery) restoreChange(tx *sqlitedb.Tx, id int64, body []byte) error {
	d := checked(body)
	for len(d.b) > 0 && d.err == nil {
		seq, flags := int64(d.uvarint()), d.byte()
		var entries []storedEntry
		var end *storedOutcome
		if flags&changeEntries != 0 {
			entries = d.entries()
		}
		if flags&changeOutcome != 0 {
			end = d.outcome()
		}
		if d.err != nil {
			break
		}
		if flags&changePromoted != 0 || flags&changeRow == 0 {
			if err := s.restoreMember(tx, id, seq, flags&changePromoted != 0, entries, end); err != nil {
				return err
			}
		}
		if flags&changeRow != 0 {
			if err := s.restoreRow(tx, id, seq, entries, end); err != nil {
				return err
			}
		}
	}
	return d.err
}

// restoreMember restores an execution that had no row. If its pack is gone,
// there is nothing to restore.
func (s recovery) restoreMember(tx *sqlitedb.Tx, id, seq int64, hasLeft bool, entries []storedEntry, end *storedOutcome) error {
	idx := s.index
	p := idx.packOf[seq]
	if p == nil {
		found, err := tx.One("SELECT first, last, process FROM intake WHERE first <= ? ORDER BY first DESC LIMIT 1", []any{seq}, func(r sqlitedb.Row) {
			p = &pack{first: r.Int(0), last: r.Int(1), process: r.Text(2)}
		})
		if err != nil || !found || p.last < seq {
			return err
		}
		idx.track(p, s.clock.now())
	}
	if n := len(p.changes); n == 0 || p.changes[n-1] != id {
		p.changes = append(p.changes, id)
		idx.changeRefs[id]++
	}
	i := seq - p.first
	if hasLeft {
		idx.addCount(p.process, store.Accepted, -1)
		p.states[i] = memberPromoted
		delete(idx.active, seq)
		return nil
	}
	member := idx.active[seq]
	if member == nil {
		member = &activeMember{seq: seq, process: p.process, pack: p}
		idx.active[seq] = member
	}
	member.entries = append(member.entries, entries...)
	p.states[i] = memberRunning
	if end != nil {
		member.outcome, p.states[i] = end, memberEnded
		idx.addCount(p.process, store.Accepted, -1)
	}
	return nil
}

// restoreRow restores an execution with a row that ended. If the row is gone,
// it was archived.
func (s recovery) restoreRow(tx *sqlitedb.Tx, id, seq int64, entries []storedEntry, end *storedOutcome) error {
	var member *activeMember
	state := uint8(0)
	_, err := tx.One("SELECT process, state FROM execution WHERE seq = ?", []any{seq}, func(r sqlitedb.Row) {
		member = &activeMember{seq: seq, process: r.Text(0), entries: entries, outcome: end, changeID: id}
		state = uint8(r.Int(1))
	})
	if err != nil || member == nil {
		return err
	}
	s.index.active[seq] = member
	s.index.changeRefs[id]++
	if state < firstEndedCode { // a resolved failure is not live
		s.index.addCount(member.process, store.State(statusName(state)), -1)
	}
	return nil
}
