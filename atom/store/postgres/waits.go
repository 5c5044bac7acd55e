package postgres

import (
	"context"
	"time"

	"valence/atom/store"
)

// States of a wait.
const (
	waitOpen     int16 = 1 + iota
	waitSignaled       // its entry is in the journal
	waitOver           // it was given up, or its execution has ended
	waitEarly          // a signal has arrived before it was opened
)

// waitMemory returns until when ended waits are remembered.
func (t *transaction) waitMemory() int64 { return t.now.Add(24 * time.Hour).UnixNano() }

// lockMatch locks the waits and signals with a match; nil: there are none.
func (t *transaction) lockMatch(match []byte) {
	if match != nil {
		_ = t.lockKey(matchLock, string(match)) // it only queues
	}
}

// signalOp commits one Signal.
type signalOp struct {
	g      *store.Signal
	result store.SignalResult
	err    error
}

// Signal implements store.Waits.
func (s *Store) Signal(ctx context.Context, g *store.Signal) (store.SignalResult, error) {
	op := &signalOp{g: g}
	if err := s.do(ctx, op); err != nil {
		return "", err
	}
	return op.result, op.err
}

func (o *signalOp) do(t *transaction) (err error) {
	t.lockMatch(o.g.Match)
	if o.err, err = t.checkSignal(o.g); o.err != nil || err != nil {
		return err
	}
	o.result, o.err, err = t.signal(o.g)
	return err
}

// checkSignal returns store.ErrNoWaiter if nothing would receive a signal. The
// match is locked.
func (t *transaction) checkSignal(g *store.Signal) (refused, err error) {
	if g.Match == nil || !g.Keep.IsZero() {
		return nil, nil
	}
	if g.Origin != "" {
		if _, known, err := t.originOf(g.Origin); known || err != nil {
			return nil, err
		}
	}
	waits, err := t.one([]any{}, "SELECT FROM atom_wait WHERE match = $1 AND state = $2 LIMIT 1", g.Match, waitOpen)
	if err == nil && !waits {
		refused = store.ErrNoWaiter
	}
	return refused, err
}

// signal delivers a signal.
func (t *transaction) signal(g *store.Signal) (result store.SignalResult, refused, err error) {
	if g.Origin != "" {
		if _, known, err := t.originOf(g.Origin); known || err != nil {
			return store.SignalRepeated, nil, err
		}
		defer func() {
			if err == nil && refused == nil {
				t.exec("INSERT INTO atom_origin(key, seq, received) VALUES($1, 0, $2) ON CONFLICT DO NOTHING", store.KeyBytes(g.Origin), t.now.UnixNano())
			}
		}()
	}
	if g.Match != nil {
		return t.signalMatch(g)
	}
	result, err = t.signalPlace(g)
	return result, nil, err
}

// signalMatch wakes the oldest execution that waits for the match.
func (t *transaction) signalMatch(g *store.Signal) (result store.SignalResult, refused, err error) {
	var seq, place int64
	var path string
	for {
		found, err := t.one([]any{&seq, &place, &path}, "SELECT seq, place, path FROM atom_wait WHERE match = $1 AND state = $2 AND (seq, place) > ($3, $4) ORDER BY seq, place LIMIT 1", g.Match, waitOpen, seq, place)
		if err != nil {
			return "", nil, err
		}
		if !found {
			break
		}
		if open, err := t.lockWait(seq, place); err != nil {
			return "", nil, err
		} else if open {
			return store.SignalDelivered, nil, t.deliver(seq, place, path, g.Entry)
		}
	}
	if g.Keep.IsZero() {
		return "", store.ErrNoWaiter, nil
	}
	t.exec("INSERT INTO atom_signal(match, until, kind, at, body) VALUES($1, $2, $3, $4, $5)", g.Match, g.Keep.UnixNano(), g.Entry.Kind, nanos(g.Entry.At), g.Entry.Body)
	return store.SignalKept, nil, nil
}

// lockWait locks the execution of a wait, and reports whether it still waits: it
// may have ended since the wait was read.
func (t *transaction) lockWait(seq, place int64) (open bool, err error) {
	x, err := t.row(seq)
	if err != nil || x == nil || !x.live() {
		return false, err
	}
	return t.one(nil, "SELECT FROM atom_wait WHERE seq = $1 AND place = $2 AND state = $3", seq, place, waitOpen)
}

// signalPlace ends the wait of one execution.
func (t *transaction) signalPlace(g *store.Signal) (store.SignalResult, error) {
	x, err := t.row(g.Seq)
	if err != nil {
		return "", err
	}
	var state int16
	var path string
	found, err := t.one([]any{&state, &path}, "SELECT state, path FROM atom_wait WHERE seq = $1 AND place = $2", g.Seq, g.WaitID)
	switch {
	case err != nil:
		return "", err
	case found && state == waitSignaled:
		return store.SignalRepeated, nil
	case found && state == waitOver, x == nil, !x.live():
		return store.SignalLate, nil
	case !found:
		e := g.Entry
		t.exec("INSERT INTO atom_wait(seq, place, state, path, kind, at, body) VALUES($1, $2, $3, '', $4, $5, $6)", g.Seq, g.WaitID, waitEarly, e.Kind, nanos(e.At), e.Body)
		return store.SignalKept, nil
	case state == waitEarly:
		return store.SignalRepeated, nil
	}
	return store.SignalDelivered, t.deliver(g.Seq, g.WaitID, path, g.Entry)
}

// deliver appends a signal to the journal of an execution, and wakes it.
func (t *transaction) deliver(seq, place int64, path string, e store.Entry) error {
	x, err := t.row(seq)
	if err != nil || x == nil {
		return err
	}
	t.exec("UPDATE atom_wait SET state = $3, match = NULL WHERE seq = $1 AND place = $2", seq, place, waitSignaled)
	e.Path = path
	t.insertEntries(seq, []store.Entry{e})
	if x.suspended {
		t.makeReady(x)
	}
	return nil
}

// openWaits opens waits, and ends those whose signal has arrived. The execution
// and the matches are locked.
func (t *transaction) openWaits(x *row, waits []store.Wait) error {
	for _, w := range waits {
		early, known, err := t.earlySignal(x.seq, w)
		if err != nil {
			return err
		}
		if known {
			continue
		}
		state := waitOpen
		if early != nil {
			state = waitSignaled
			early.Path = w.Path
			t.insertEntries(x.seq, []store.Entry{*early})
		}
		match := w.Match
		if state != waitOpen {
			match = nil
		}
		t.exec(`INSERT INTO atom_wait(seq, place, state, path, match) VALUES($1, $2, $3, $4, $5)
			ON CONFLICT (seq, place) DO UPDATE SET state = excluded.state, path = excluded.path, match = excluded.match, kind = NULL, at = NULL, body = NULL`,
			x.seq, w.ID, state, w.Path, match)
	}
	return nil
}

// earlySignal returns the signal that has arrived for a wait before it opens.
// known is true for a wait that was opened before.
func (t *transaction) earlySignal(seq int64, w store.Wait) (early *store.Entry, known bool, err error) {
	var state int16
	var kind *string
	var at *int64
	var body []byte
	found, err := t.one([]any{&state, &kind, &at, &body}, "SELECT state, kind, at, body FROM atom_wait WHERE seq = $1 AND place = $2", seq, w.ID)
	if err != nil || found && state != waitEarly {
		return nil, found, err
	}
	if !found {
		if w.Match == nil {
			return nil, false, nil
		}
		found, err = t.one([]any{&kind, &at, &body}, `DELETE FROM atom_signal WHERE id = (SELECT id FROM atom_signal WHERE match = $1 AND until > $2 ORDER BY id LIMIT 1)
			RETURNING kind, at, body`, w.Match, t.now.UnixNano())
		if err != nil || !found {
			return nil, false, err
		}
	}
	return &store.Entry{Kind: *kind, At: timeOf(at), Body: body}, false, nil
}
