package sqlite

import (
	"errors"
	"fmt"

	"valence/atom"
	"valence/internal/sqlitedb"
)

// restore makes memory what it was: what waits, and what the rows of change
// say of young executions. After an unclean stop it counts that against those
// that ran.
func (s *Store) restore(tx *sqlitedb.Tx, ran []int64) error {
	if err := s.restoreCounts(tx); err != nil {
		return fmt.Errorf("count what waits: %w", err)
	}
	type change struct {
		id   int64
		body []byte
	}
	var changes []change
	err := tx.Rows("SELECT id, body FROM change ORDER BY id", nil, func(r sqlitedb.Row) (bool, error) {
		changes = append(changes, change{r.Int(0), r.Bytes(1)})
		return true, nil
	})
	if err != nil {
		return err
	}
	for _, c := range changes {
		if err := s.restoreChange(tx, c.id, c.body); err != nil {
			return fmt.Errorf("read change %d: %w", c.id, err)
		}
		s.batch.lastID = c.id
		if s.mem.refs[c.id] == 0 {
			if _, err := tx.Exec("DELETE FROM change WHERE id = ?", c.id); err != nil {
				return err
			}
		}
	}
	for _, y := range s.mem.young {
		if y.ending != nil {
			s.mem.weigh(y)
		}
	}
	if err := s.restoreFailures(tx); err != nil {
		return fmt.Errorf("note failures under their causes: %w", err)
	}
	s.batch.Begin()
	for _, seq := range ran {
		if err := s.batch.suspect(tx, seq); err != nil {
			return fmt.Errorf("note that %d ran: %w", seq, err)
		}
	}
	return s.batch.Flush(tx)
}

// restoreFailures enters the failures of a database from before they were
// counted by cause.
func (s *Store) restoreFailures(tx *sqlitedb.Tx) error {
	counted, err := tx.One("SELECT 1 FROM failure LIMIT 1", nil, func(sqlitedb.Row) {})
	if err != nil || counted {
		return err
	}
	var failed []*row
	err = tx.Rows("SELECT "+rowColumnsShort+" FROM execution WHERE state IN (?, ?)", []any{stFailed, stExpired}, func(r sqlitedb.Row) (bool, error) {
		x, err := scanRow(r)
		if err == nil && x.ending != nil && s.mem.young[x.Seq] == nil { // it was not dealt with
			failed = append(failed, x)
		}
		return true, err
	})
	for _, x := range failed {
		if err == nil {
			err = writeFailure(tx, x.Seq, x.Process, x.ending)
		}
	}
	return err
}

func (s *Store) restoreCounts(tx *sqlitedb.Tx) error {
	err := tx.Rows("SELECT process, sum(last - first + 1) FROM intake GROUP BY process", nil, func(r sqlitedb.Row) (bool, error) {
		s.mem.count(r.Text(0), atom.Accepted, r.Int(1))
		return true, nil
	})
	if err != nil {
		return err
	}
	return tx.Rows("SELECT process, state, count(*) FROM execution WHERE state < 4 GROUP BY process, state", nil, func(r sqlitedb.Row) (bool, error) {
		s.mem.count(r.Text(0), atom.State(word(uint8(r.Int(1)))), r.Int(2))
		return true, nil
	})
}

func (s *Store) restoreChange(tx *sqlitedb.Tx, id int64, body []byte) error {
	d := checked(body)
	for len(d.b) > 0 && d.err == nil {
		seq, flags := int64(d.uvarint()), d.byte()
		var lines []line
		var end *ending
		if flags&itemLines != 0 {
			lines = d.lines()
		}
		if flags&itemEnding != 0 {
			end = d.ending()
		}
		if d.err != nil {
			break
		}
		if flags&itemLeft != 0 || flags&itemRow == 0 {
			if err := s.restoreMember(tx, id, seq, flags&itemLeft != 0, lines, end); err != nil {
				return err
			}
		}
		if flags&itemRow != 0 {
			if err := s.restoreRow(tx, id, seq, lines, end); err != nil {
				return err
			}
		}
	}
	return d.err
}

// restoreMember is for one that had no row. If its pack is gone, so is what
// was noted of it.
func (s *Store) restoreMember(tx *sqlitedb.Tx, id, seq int64, hasLeft bool, lines []line, end *ending) error {
	m := s.mem
	p := m.at[seq]
	if p == nil {
		found, err := tx.One("SELECT first, last, process FROM intake WHERE first <= ? ORDER BY first DESC LIMIT 1", []any{seq}, func(r sqlitedb.Row) {
			p = &pack{first: r.Int(0), last: r.Int(1), process: r.Text(2)}
		})
		if err != nil || !found || p.last < seq {
			return err
		}
		m.touch(p, s.clock.now())
	}
	if n := len(p.changes); n == 0 || p.changes[n-1] != id {
		p.changes = append(p.changes, id)
		m.refs[id]++
	}
	i := seq - p.first
	if hasLeft {
		m.count(p.process, atom.Accepted, -1)
		p.fates[i] = left
		delete(m.young, seq)
		return nil
	}
	y := m.young[seq]
	if y == nil {
		y = &young{seq: seq, process: p.process, home: p}
		m.young[seq] = y
	}
	y.lines = append(y.lines, lines...)
	p.fates[i] = runs
	if end != nil {
		y.ending, p.fates[i] = end, ended
		m.count(p.process, atom.Accepted, -1)
	}
	return nil
}

// restoreRow is for one that had a row and ended. If the row is gone it moved.
func (s *Store) restoreRow(tx *sqlitedb.Tx, id, seq int64, lines []line, end *ending) error {
	var y *young
	state := uint8(0)
	_, err := tx.One("SELECT process, state FROM execution WHERE seq = ?", []any{seq}, func(r sqlitedb.Row) {
		y = &young{seq: seq, process: r.Text(0), lines: lines, ending: end, change: id}
		state = uint8(r.Int(1))
	})
	if err != nil || y == nil {
		return err
	}
	s.mem.young[seq] = y
	s.mem.refs[id]++
	if state < live { // a failure that was dealt with does not live
		s.mem.count(y.process, atom.State(word(state)), -1)
	}
	return nil
}

// suspect counts an unclean stop against an execution that ran, if it lives.
func (b *batch) suspect(tx *sqlitedb.Tx, seq int64) error {
	t, err := b.find(tx, seq)
	switch {
	case errors.Is(err, atom.ErrEnded) || errors.Is(err, errNowhere):
		return nil
	case err != nil:
		return err
	case t.home != nil:
		return b.promote(tx, t, stAccepted, 0, 1, nil, nil)
	}
	_, err = tx.Exec("UPDATE execution SET unclean = unclean + 1 WHERE seq = ?", seq)
	return err
}
