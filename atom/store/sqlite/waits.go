package sqlite

import (
	"context"
	"errors"
	"fmt"
	"time"

	"valence/atom/store"
	"valence/internal/sqlitedb"
)

// Stored states of a wait.
const (
	waitEarly    = iota // the signal arrived first; body holds it
	waitOpen            // match finds it
	waitSignaled        // its entry is in the journal
	waitOver            // given up, or the execution has ended
)

// waitKnown is how long a wait is remembered after its execution ended.
const waitKnown = 24 * time.Hour

// Signal implements store.Waits.
func (s *Store) Signal(ctx context.Context, g *store.Signal) (store.SignalResult, error) {
	if s.space.Level() >= sqlitedb.Low {
		return "", store.ErrFull
	}
	op := &signalOp{b: s.batch, delivery: delivery{signal: g, files: s.files.mentions(g.Entry.Body)}}
	if err := s.db.Do(ctx, op); err != nil {
		return "", s.storeError(err)
	}
	return op.result, op.refusal
}

// signalOp commits one Signal.
type signalOp struct {
	delivery
	b       *batch
	refusal error // without rolling back
}

func (o *signalOp) Do(tx *sqlitedb.Tx) (err error) {
	o.refusal, err = o.check(o.b, tx, 0)
	if o.refusal != nil || err != nil {
		return err
	}
	return o.commit(o.b, tx, 0)
}

// delivery delivers a signal, alone or as a condition of a change.
type delivery struct {
	signal *store.Signal
	files  []mention // of its body
	result store.SignalResult
	waiter *mutation // execution that the signal wakes; nil: none
	waitID int64
	path   string
	known  bool // Origin was seen before
}

// check finds the wait, and sets the result.
func (d *delivery) check(b *batch, tx *sqlitedb.Tx, _ int64) (refusal, err error) {
	d.waiter = nil
	if d.signal.Origin != "" {
		known, err := tx.One("SELECT 1 FROM origin WHERE key = ?", []any{store.KeyBytes(d.signal.Origin)}, func(sqlitedb.Row) {})
		if err != nil {
			return nil, err
		}
		if d.known = known; known {
			d.result = store.SignalRepeated
			return nil, nil
		}
	}
	if d.signal.Match == nil {
		return nil, d.findByID(b, tx)
	}
	if err := d.findByMatch(b, tx); err != nil {
		return nil, err
	}
	switch {
	case d.waiter != nil:
		d.result = store.SignalDelivered
	case d.signal.Keep.IsZero():
		return store.ErrNoWaiter, nil
	default:
		d.result = store.SignalKept
	}
	return nil, nil
}

// findByMatch finds the oldest execution that waits for the signal. It closes
// waits whose execution has ended.
func (d *delivery) findByMatch(b *batch, tx *sqlitedb.Tx) error {
	for {
		var seq int64
		found, err := tx.One("SELECT seq, place, path FROM wait WHERE match = ? ORDER BY seq, place LIMIT 1", []any{d.signal.Match}, func(r sqlitedb.Row) {
			seq, d.waitID, d.path = r.Int(0), r.Int(1), r.Text(2)
		})
		if err != nil || !found {
			return err
		}
		d.waiter, err = b.mutate(tx, seq)
		switch {
		case err == nil:
			return nil
		case !errors.Is(err, store.ErrEnded) && !errors.Is(err, errNotLive):
			return err
		}
		if _, err := tx.Exec("UPDATE wait SET match = NULL, state = ?, until = ? WHERE seq = ? AND place = ?", int64(waitOver), b.now.Add(waitKnown).UnixNano(), seq, d.waitID); err != nil {
			return err
		}
	}
}

// findByID finds one wait of one execution, and sets the result.
func (d *delivery) findByID(b *batch, tx *sqlitedb.Tx) error {
	g := d.signal
	state := -1
	_, err := tx.One("SELECT state, path FROM wait WHERE seq = ? AND place = ?", []any{g.Seq, g.WaitID}, func(r sqlitedb.Row) {
		state, d.path = int(r.Int(0)), r.Text(1)
	})
	switch {
	case err != nil:
		return err
	case state == waitSignaled:
		d.result = store.SignalRepeated
		return nil
	case state == waitOver:
		d.result = store.SignalLate
		return nil
	}
	m, err := b.mutate(tx, g.Seq)
	switch {
	case errors.Is(err, store.ErrEnded), errors.Is(err, errNotLive):
		d.result = store.SignalLate
	case err != nil:
		return err
	case state == waitEarly:
		d.result = store.SignalRepeated
	case state == waitOpen:
		d.result, d.waiter, d.waitID = store.SignalDelivered, m, g.WaitID
	default:
		d.result = store.SignalKept
	}
	return nil
}

// commit delivers the signal, or stores it for a later wait.
func (d *delivery) commit(b *batch, tx *sqlitedb.Tx, _ int64) error {
	if d.known {
		return nil
	}
	g := d.signal
	var err error
	switch {
	case d.waiter != nil:
		err = b.waits().deliver(tx, d.waiter, d.waitID, d.path, g.Entry, d.files)
	case d.result != store.SignalKept:
	case g.Match != nil:
		_, err = tx.Exec("INSERT INTO kept(match, until, body) VALUES(?,?,?)", g.Match, g.Keep.UnixNano(), encodeEntry(g.Entry))
	default:
		_, err = tx.Exec("INSERT INTO wait(seq, place, state, path, match, until, body) VALUES(?,?,?,'',NULL,?,?)",
			g.Seq, g.WaitID, int64(waitEarly), b.now.Add(waitKnown).UnixNano(), encodeEntry(g.Entry))
	}
	if err == nil && g.Origin != "" {
		_, err = tx.Exec("INSERT INTO origin(key, seq, received) VALUES(?,?,?)", store.KeyBytes(g.Origin), g.Seq, b.now.UnixNano())
	}
	return err
}

// waitWriter changes waits in the current transaction.
type waitWriter struct{ *batch }

func (b *batch) waits() waitWriter { return waitWriter{b} }

// deliver ends an open wait with a signal, and makes its execution ready.
func (b waitWriter) deliver(tx *sqlitedb.Tx, m *mutation, place int64, path string, e store.Entry, files []mention) error {
	if _, err := tx.Exec("UPDATE wait SET state = ?, match = NULL, body = NULL WHERE seq = ? AND place = ?", int64(waitSignaled), m.seq, place); err != nil {
		return err
	}
	e.Path = path
	if err := writeEntries(tx, m.seq, []storedEntry{{Entry: e}}); err != nil {
		return err
	}
	if err := refer(tx, m.seq, files); err != nil {
		return err
	}
	return b.makeReady(tx, m)
}

// openAll stores the waits of an execution. A pack member gets a row first,
// so that its waits close when it ends. Signals that arrived before go into its
// journal.
func (b waitWriter) openAll(tx *sqlitedb.Tx, m *mutation, c *store.Change) error {
	if len(c.Waits) > 0 && m.pack != nil && c.Suspension() == nil {
		if err := b.promote(tx, m, codeAccepted, 0, 0, nil); err != nil {
			return err
		}
	}
	for i := range c.Waits {
		if err := b.open(tx, m, &c.Waits[i]); err != nil {
			return fmt.Errorf("open a wait of execution %d: %w", m.seq, err)
		}
	}
	return nil
}

func (b waitWriter) open(tx *sqlitedb.Tx, m *mutation, w *store.Wait) error {
	state := -1
	var early []byte
	_, err := tx.One("SELECT state, body FROM wait WHERE seq = ? AND place = ?", []any{m.seq, w.ID}, func(r sqlitedb.Row) {
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
		_, err = tx.Exec("INSERT INTO wait(seq, place, state, path, match) VALUES(?,?,?,?,?)", m.seq, w.ID, int64(waitOpen), w.Path, nullBytes(w.Match))
		return err
	}
	e, err := decodeEntry(early)
	if err != nil {
		return err
	}
	if _, err := tx.Exec("INSERT OR REPLACE INTO wait(seq, place, state, path) VALUES(?,?,?,?)", m.seq, w.ID, int64(waitSignaled), w.Path); err != nil {
		return err
	}
	e.Path = w.Path
	if m.pack != nil {
		m.entries = append(m.entries, storedEntry{Entry: e})
		return nil
	}
	return writeEntries(tx, m.seq, []storedEntry{{Entry: e}})
}

// wakeIfSignaled makes a suspended execution ready again if the signal of one of
// its waits has arrived.
func (b waitWriter) wakeIfSignaled(tx *sqlitedb.Tx, m *mutation, p *store.Suspension) error {
	for _, id := range p.Waits {
		signaled, err := tx.One("SELECT 1 FROM wait WHERE seq = ? AND place = ? AND state = ?", []any{m.seq, id, int64(waitSignaled)}, func(sqlitedb.Row) {})
		if err != nil {
			return err
		}
		if signaled {
			return b.makeReady(tx, m)
		}
	}
	return nil
}

// closeAll closes the waits of an execution that ends. Only executions with a
// row have waits.
func (b waitWriter) closeAll(tx *sqlitedb.Tx, m *mutation) error {
	if m.pack != nil {
		return nil
	}
	_, err := tx.Exec("UPDATE wait SET state = CASE state WHEN 2 THEN 2 ELSE 3 END, match = NULL, body = NULL, until = ? WHERE seq = ?", b.now.Add(waitKnown).UnixNano(), m.seq)
	return err
}

// sweepWaitsOp deletes expired waits and kept signals.
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
		if early[k] { // it is kept while its execution lives
			switch _, err := o.b.mutate(tx, k.seq); {
			case err == nil:
				if _, err := tx.Exec("UPDATE wait SET until = ? WHERE seq = ? AND place = ?", o.b.now.Add(waitKnown).UnixNano(), k.seq, k.place); err != nil {
					return err
				}
				continue
			case !errors.Is(err, store.ErrEnded) && !errors.Is(err, errNotLive):
				return err
			}
		}
		if _, err := tx.Exec("DELETE FROM wait WHERE seq = ? AND place = ?", k.seq, k.place); err != nil {
			return err
		}
	}
	return nil
}

// encodeEntry encodes the entry of a kept signal.
func encodeEntry(e store.Entry) []byte {
	return appendCRC(appendEntries(nil, []storedEntry{{Entry: e}}), 0)
}

func decodeEntry(b []byte) (store.Entry, error) {
	d := checked(b)
	entries := d.entries()
	if d.err != nil || len(entries) != 1 {
		return store.Entry{}, errDamaged
	}
	return entries[0].Entry, nil
}
