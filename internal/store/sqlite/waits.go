package sqlite

import (
	"context"
	"errors"
	"fmt"
	"time"

	"valence/atom"
	"valence/internal/sqlitedb"
)

// How the state of a wait is stored.
const (
	waitEarly     = iota // its signal came before it, and is in body
	waitOpen             // match is there to be found by
	waitSignalled        // and its entry is in the journal
	waitOver             // given up, or its execution has ended
)

// waitKnown is how long a wait is known after its execution has ended.
const waitKnown = 24 * time.Hour

// signalOp is one Signal.
type signalOp struct {
	b       *batch
	s       *atom.Signal
	landing atom.Landing
	err     error // that refuses it without undoing the transaction
}

func (o *signalOp) Do(tx *sqlitedb.Tx) (err error) {
	o.landing, o.err, err = o.b.signal(tx, o.s)
	return err
}

// Signal ends a wait; see atom.Waits.
func (s *Store) Signal(ctx context.Context, g *atom.Signal) (atom.Landing, error) {
	if s.space.Level() >= sqlitedb.Low {
		return "", atom.ErrFull
	}
	op := &signalOp{b: s.batch, s: g}
	if err := s.db.Do(ctx, op); err != nil {
		return "", s.refuse(err)
	}
	return op.landing, op.err
}

// signal gives a signal to its wait. A refusal has changed nothing.
func (b *batch) signal(tx *sqlitedb.Tx, g *atom.Signal) (landing atom.Landing, refusal, err error) {
	if g.Origin != "" {
		key := keyBytes(g.Origin)
		known, err := tx.One("SELECT 1 FROM origin WHERE key = ?", []any{key}, func(sqlitedb.Row) {})
		if err != nil || known {
			return atom.Repeated, nil, err
		}
		defer func() {
			if refusal == nil && err == nil {
				_, err = tx.Exec("INSERT INTO origin(key, seq, received) VALUES(?,?,?)", key, g.Seq, b.now.UnixNano())
			}
		}()
	}
	if g.Match == nil {
		landing, err = b.signalPlace(tx, g)
		return landing, nil, err
	}
	for {
		var seq, place int64
		path := ""
		found, err := tx.One("SELECT seq, place, path FROM wait WHERE match = ? ORDER BY seq, place LIMIT 1", []any{g.Match}, func(r sqlitedb.Row) {
			seq, place, path = r.Int(0), r.Int(1), r.Text(2)
		})
		if err != nil {
			return "", nil, err
		}
		if !found {
			break
		}
		t, err := b.find(tx, seq)
		switch {
		case err == nil:
			return atom.Woke, nil, b.wake(tx, t, place, path, g.Entry)
		case !errors.Is(err, atom.ErrEnded) && !errors.Is(err, errNowhere):
			return "", nil, err
		}
		if _, err := tx.Exec("UPDATE wait SET match = NULL, state = ?, until = ? WHERE seq = ? AND place = ?", int64(waitOver), b.now.Add(waitKnown).UnixNano(), seq, place); err != nil {
			return "", nil, err
		}
	}
	if g.Keep.IsZero() {
		return "", atom.ErrNobody, nil
	}
	_, err = tx.Exec("INSERT INTO kept(match, until, body) VALUES(?,?,?)", g.Match, g.Keep.UnixNano(), packEntry(g.Entry))
	return atom.Kept, nil, err
}

// signalPlace gives a signal to the wait of one execution.
func (b *batch) signalPlace(tx *sqlitedb.Tx, g *atom.Signal) (atom.Landing, error) {
	state, path := -1, ""
	_, err := tx.One("SELECT state, path FROM wait WHERE seq = ? AND place = ?", []any{g.Seq, g.Place}, func(r sqlitedb.Row) {
		state, path = int(r.Int(0)), r.Text(1)
	})
	switch {
	case err != nil:
		return "", err
	case state == waitSignalled:
		return atom.Repeated, nil
	case state == waitOver:
		return atom.Over, nil
	}
	t, err := b.find(tx, g.Seq)
	switch {
	case errors.Is(err, atom.ErrEnded), errors.Is(err, errNowhere):
		return atom.Over, nil
	case err != nil:
		return "", err
	case state == waitEarly:
		return atom.Repeated, nil
	case state == waitOpen:
		return atom.Woke, b.wake(tx, t, g.Place, path, g.Entry)
	}
	_, err = tx.Exec("INSERT INTO wait(seq, place, state, path, match, until, body) VALUES(?,?,?,'',NULL,?,?)",
		g.Seq, g.Place, int64(waitEarly), b.now.Add(waitKnown).UnixNano(), packEntry(g.Entry))
	return atom.Kept, err
}

// wake ends an open wait with a signal, and makes its execution ready.
func (b *batch) wake(tx *sqlitedb.Tx, t *touch, place int64, path string, e atom.Entry) error {
	if _, err := tx.Exec("UPDATE wait SET state = ?, match = NULL, body = NULL WHERE seq = ? AND place = ?", int64(waitSignalled), t.seq, place); err != nil {
		return err
	}
	e.Path = path
	if err := writeLines(tx, t.seq, []line{{Entry: e}}); err != nil {
		return err
	}
	return b.release(tx, t)
}

// gaveUp ends waits that nothing came for; a refusal has changed nothing.
func (b *batch) gaveUp(tx *sqlitedb.Tx, c *atom.Change) (refusal, err error) {
	for _, place := range c.GaveUp {
		signalled, err := tx.One("SELECT 1 FROM wait WHERE seq = ? AND place = ? AND state IN (0, 2)", []any{c.Seq, place}, func(sqlitedb.Row) {})
		if err != nil {
			return nil, err
		}
		if signalled {
			return atom.ErrSignalled, nil
		}
	}
	for _, place := range c.GaveUp {
		if _, err := tx.Exec("INSERT INTO wait(seq, place, state, path) VALUES(?,?,?,'') ON CONFLICT DO UPDATE SET state = excluded.state, match = NULL",
			c.Seq, place, int64(waitOver)); err != nil {
			return nil, err
		}
	}
	return nil, nil
}

// enterWaits notes what an execution waits for. One that is in a pack gets a
// row, so that it is known with it when the execution ends. What came early is
// put into its journal.
func (b *batch) enterWaits(tx *sqlitedb.Tx, t *touch, c *atom.Change) error {
	if len(c.Waits) > 0 && t.home != nil && c.Park == nil {
		if err := b.promote(tx, t, stAccepted, 0, 0, nil, nil); err != nil {
			return err
		}
	}
	for i := range c.Waits {
		if err := b.enterWait(tx, t, &c.Waits[i]); err != nil {
			return fmt.Errorf("note that execution %d waits: %w", t.seq, err)
		}
	}
	return nil
}

func (b *batch) enterWait(tx *sqlitedb.Tx, t *touch, w *atom.Wait) error {
	state := -1
	var early []byte
	_, err := tx.One("SELECT state, body FROM wait WHERE seq = ? AND place = ?", []any{t.seq, w.Place}, func(r sqlitedb.Row) {
		state, early = int(r.Int(0)), r.Bytes(1)
	})
	if err != nil || state > waitEarly {
		return err
	}
	if state < 0 && w.Match != nil {
		var id int64
		found, err := tx.One("SELECT id, body FROM kept WHERE match = ? AND until > ? ORDER BY id LIMIT 1", []any{w.Match, b.now.UnixNano()},
			func(r sqlitedb.Row) { id, early = r.Int(0), r.Bytes(1) })
		if err != nil {
			return err
		}
		if found {
			if _, err := tx.Exec("DELETE FROM kept WHERE id = ?", id); err != nil {
				return err
			}
		}
	}
	if early == nil {
		_, err = tx.Exec("INSERT INTO wait(seq, place, state, path, match) VALUES(?,?,?,?,?)", t.seq, w.Place, int64(waitOpen), w.Path, orNull(w.Match))
		return err
	}
	e, err := unpackEntry(early)
	if err != nil {
		return err
	}
	if _, err := tx.Exec("INSERT OR REPLACE INTO wait(seq, place, state, path) VALUES(?,?,?,?)", t.seq, w.Place, int64(waitSignalled), w.Path); err != nil {
		return err
	}
	e.Path = w.Path
	if t.home != nil {
		t.lines = append(t.lines, line{Entry: e})
		return nil
	}
	return writeLines(tx, t.seq, []line{{Entry: e}})
}

// signalled makes an execution that was just parked ready again if a signal
// came that its run did not know of.
func (b *batch) signalled(tx *sqlitedb.Tx, t *touch, p *atom.Park) error {
	if !p.Signal {
		return nil
	}
	n := 0
	_, err := tx.One("SELECT count(*) FROM wait WHERE seq = ? AND state = ?", []any{t.seq, int64(waitSignalled)}, func(r sqlitedb.Row) { n = int(r.Int(0)) })
	if err != nil || n <= p.Signals {
		return err
	}
	return b.release(tx, t)
}

// endWaits ends the waits of an execution that ends. Only one with a row has any.
func (b *batch) endWaits(tx *sqlitedb.Tx, t *touch) error {
	if t.home != nil {
		return nil
	}
	_, err := tx.Exec("UPDATE wait SET state = CASE state WHEN 2 THEN 2 ELSE 3 END, match = NULL, body = NULL, until = ? WHERE seq = ?", b.now.Add(waitKnown).UnixNano(), t.seq)
	return err
}

// sweepWaitsOp deletes waits and kept signals whose time is over.
type sweepWaitsOp struct{ b *batch }

func (o *sweepWaitsOp) Do(tx *sqlitedb.Tx) error {
	now := o.b.now.UnixNano()
	if _, err := tx.Exec("DELETE FROM kept WHERE id IN (SELECT id FROM kept WHERE until <= ? LIMIT ?)", now, keysPerSweep); err != nil {
		return err
	}
	type known struct{ seq, place int64 }
	var over []known
	early := map[known]bool{}
	err := tx.Rows("SELECT seq, place, state FROM wait WHERE until <= ? ORDER BY until LIMIT ?", []any{now, keysPerSweep}, func(r sqlitedb.Row) (bool, error) {
		k := known{r.Int(0), r.Int(1)}
		over = append(over, k)
		early[k] = r.Int(2) == waitEarly
		return true, nil
	})
	if err != nil {
		return err
	}
	for _, k := range over {
		if early[k] { // it is kept as long as its execution lives
			switch _, err := o.b.find(tx, k.seq); {
			case err == nil:
				if _, err := tx.Exec("UPDATE wait SET until = ? WHERE seq = ? AND place = ?", o.b.now.Add(waitKnown).UnixNano(), k.seq, k.place); err != nil {
					return err
				}
				continue
			case !errors.Is(err, atom.ErrEnded) && !errors.Is(err, errNowhere):
				return err
			}
		}
		if _, err := tx.Exec("DELETE FROM wait WHERE seq = ? AND place = ?", k.seq, k.place); err != nil {
			return err
		}
	}
	return nil
}

// packEntry writes an entry that waits for its execution.
func packEntry(e atom.Entry) []byte {
	return appendCRC(appendLines(nil, []line{{Entry: e}}), 0)
}

func unpackEntry(b []byte) (atom.Entry, error) {
	d := checked(b)
	lines := d.lines()
	if d.err != nil || len(lines) != 1 {
		return atom.Entry{}, errDamaged
	}
	return lines[0].Entry, nil
}
