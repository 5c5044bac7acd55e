package sqlite

import (
	"context"
	"errors"
	"fmt"

	"valence/atom"
	"valence/internal/sqlitedb"
)

// applyOp is one Apply.
type applyOp struct {
	s        *Store
	c        *atom.Change
	lines    []line
	stages   map[int]int64
	ending   *ending
	handoffs []accepting // as given
	made     []accepting
	reply    *keeping
	err      error // that refuses it without undoing the transaction
}

// errNowhere: the database does not hold the execution; it ended, or never was.
var errNowhere = errors.New("not in the database")

// Apply commits a change; see atom.Journal.
func (s *Store) Apply(ctx context.Context, c *atom.Change) error {
	op := &applyOp{s: s, c: c, handoffs: make([]accepting, len(c.Handoffs))}
	var pins pins
	defer func() { pins.release() }()
	for i, h := range c.Handoffs {
		if err := check(h); err != nil {
			return err
		}
		more, err := s.blobs.spillAcceptance(h, &op.handoffs[i])
		pins = append(pins, more...)
		if err != nil {
			return s.refuse(err)
		}
	}
	more, err := s.blobs.spillLines(c.Entries, &op.lines)
	pins = append(pins, more...)
	if err == nil && c.Outcome != nil {
		op.ending = &ending{Outcome: *c.Outcome}
		if number(string(c.Outcome.Status)) < live {
			return fmt.Errorf("an outcome cannot be %q", c.Outcome.Status)
		}
		more, err = s.blobs.spill(c.Outcome.Trace, &op.ending.trace)
		pins = append(pins, more...)
	}
	if err == nil && c.Reply != nil {
		op.reply = &keeping{KeptReply: c.Reply}
		more, err = s.blobs.spill(c.Reply.Body, &op.reply.file)
		pins = append(pins, more...)
	}
	if err != nil {
		return s.refuse(err)
	}
	if c.Park != nil && (c.Park.State != atom.Waiting && c.Park.State != atom.Held && c.Park.State != atom.Accepted || c.Outcome != nil) {
		return fmt.Errorf("it cannot be parked as %q", c.Park.State)
	}
	if err := s.keeper.room(ctx); err != nil {
		return fmt.Errorf("%w: %w", atom.ErrUnavailable, err)
	}
	stages, done, err := s.stage(ctx, c.Memory)
	if err != nil {
		return s.refuse(err)
	}
	op.stages = stages
	write := s.db.Do
	if (c.Outcome != nil || c.Park != nil) && c.Reply == nil { // only a worker waits for it
		write = s.db.DoSoon
	}
	err = write(ctx, op)
	done(err == nil && op.err == nil)
	if err != nil {
		return s.refuse(err)
	}
	if errors.Is(op.err, errNowhere) {
		return s.whyNowhere(c.Seq)
	}
	return op.err
}

// whyNowhere tells an execution that ended from one that never was.
func (s *Store) whyNowhere(seq int64) error {
	found, err := s.history.Has(seq)
	if err != nil {
		return err
	}
	if found {
		return atom.ErrEnded
	}
	return atom.ErrUnknown
}

func (o *applyOp) Do(tx *sqlitedb.Tx) error {
	b := o.s.batch
	o.err = nil
	t, err := b.find(tx, o.c.Seq)
	if err != nil {
		if errors.Is(err, errNowhere) || errors.Is(err, atom.ErrEnded) {
			o.err = err
			return nil
		}
		return err
	}
	if m := o.c.Memory; m != nil {
		if err := current(tx, m); errors.Is(err, atom.ErrConflict) {
			o.err = err
			return nil
		} else if err != nil {
			return err
		}
	}
	if o.err, err = b.begins(tx, o.c); o.err != nil || err != nil {
		return err
	}
	if o.err, err = b.gaveUp(tx, o.c); o.err != nil || err != nil {
		return err
	}
	if o.c.Signal != nil {
		if _, o.err, err = b.signal(tx, o.c.Signal); o.err != nil || err != nil {
			return err
		}
	}
	if err := b.enterWaits(tx, t, o.c); err != nil {
		return err
	}
	if o.c.Memory != nil {
		if err := remember(tx, o.c.Memory, o.stages); err != nil {
			return err
		}
	}
	if len(o.c.Forget) > 0 {
		if err := b.forget(tx, t, o.c.Forget); err != nil {
			return err
		}
	}
	o.made = append(o.made[:0], o.handoffs...)
	for i := range o.made {
		if err := b.accept(tx, &o.made[i]); err != nil {
			return err
		}
	}
	if err := mark(tx, o.c); err != nil {
		return err
	}
	if o.reply != nil {
		if err := writeReply(tx, o.c.Seq, o.reply); err != nil {
			return err
		}
	}
	if o.c.Settled != nil {
		if err := settleKey(tx, t.process, o.c.Seq, o.c.Settled); err != nil {
			return err
		}
	}
	if o.ending != nil {
		if err := letGo(tx, t); err != nil {
			return err
		}
	}
	switch {
	case o.ending != nil && number(string(o.ending.Status)) <= stExpired:
		if err := b.leave(tx, t, o.ending.Status == atom.Failed); err != nil {
			return err
		}
		return b.endBadly(tx, t, o.lines, o.ending)
	case o.ending != nil:
		t.lines = append(t.lines, o.lines...)
		t.ending = o.ending
		t.becomes = number(string(o.ending.Status))
		if err := b.leave(tx, t, false); err != nil {
			return err
		}
		return b.endWaits(tx, t)
	case o.c.Park != nil:
		return b.park(tx, t, o.lines, o.c.Park)
	case t.home != nil:
		t.lines = append(t.lines, o.lines...)
		return nil
	}
	if err := writeLines(tx, t.seq, o.lines); err != nil {
		return err
	}
	return writeFiles(tx, t.seq, nil, o.lines, nil)
}

// find looks where a live execution is. It fails with atom.ErrEnded for one
// that has an outcome, and errNowhere if the database does not have it.
func (b *batch) find(tx *sqlitedb.Tx, seq int64) (*touch, error) {
	if t := b.touches[seq]; t != nil {
		if t.becomes >= live {
			return nil, atom.ErrEnded
		}
		return t, nil
	}
	t, err := b.locate(tx, seq)
	if err != nil {
		return nil, err
	}
	b.touches[seq] = t
	b.order = append(b.order, t)
	return t, nil
}

func (b *batch) locate(tx *sqlitedb.Tx, seq int64) (*touch, error) {
	t := &touch{seq: seq, state: stAccepted, becomes: stAccepted}
	b.s.mu.Lock()
	y, p := b.s.mem.young[seq], b.s.mem.at[seq]
	b.s.mu.Unlock()
	if p == nil {
		for _, q := range b.packs {
			if seq >= q.first && seq <= q.last {
				p = q
			}
		}
	}
	switch {
	case y != nil && y.ending != nil:
		return nil, atom.ErrEnded
	case p != nil && p.fate(seq) != left:
		t.home, t.young, t.process = p, y, p.process
		return t, nil
	}
	found, err := tx.One("SELECT state, process, lane FROM execution WHERE seq = ?", []any{seq}, func(r sqlitedb.Row) {
		t.state, t.process = uint8(r.Int(0)), r.Text(1)
		if lane := r.Bytes(2); lane != nil {
			t.lane = (&decoder{b: lane}).lane()
		}
		t.becomes = t.state
	})
	if err != nil {
		return nil, err
	}
	if found {
		if t.state >= live {
			return nil, atom.ErrEnded
		}
		return t, nil
	}
	if p != nil { // it left, its row is gone, and its pack is still there
		return nil, errNowhere
	}
	found, err = tx.One("SELECT first, last, process FROM intake WHERE first <= ? ORDER BY first DESC LIMIT 1", []any{seq}, func(r sqlitedb.Row) {
		p = &pack{first: r.Int(0), last: r.Int(1), process: r.Text(2)}
	})
	if err != nil {
		return nil, err
	}
	if !found || p.last < seq {
		return nil, errNowhere
	}
	b.packs[p.first] = p
	t.home, t.process = p, p.process
	return t, nil
}

// promote gives a member of a pack a row of its own.
func (b *batch) promote(tx *sqlitedb.Tx, t *touch, state uint8, attempt, unclean int, due any, outcome []byte) error {
	h, err := b.member(tx, t.home, t.seq)
	if err != nil {
		return err
	}
	if err := insertRow(tx, h, state, attempt, unclean, outcome); err != nil {
		return err
	}
	if due != nil {
		if _, err := tx.Exec("UPDATE execution SET due = ? WHERE seq = ?", due, t.seq); err != nil {
			return err
		}
	}
	var before []line
	if t.young != nil {
		before = t.young.lines
	}
	t.lane = h.Lane
	lines := append(before[:len(before):len(before)], t.lines...)
	if err := writeLines(tx, t.seq, lines); err != nil {
		return err
	}
	t.leaves, t.home, t.lines, t.becomes = t.home, nil, nil, state
	return writeFiles(tx, t.seq, nil, lines, nil)
}

// member gives what a pack holds for an execution, reading it if need be.
func (b *batch) member(tx *sqlitedb.Tx, p *pack, seq int64) (*held, error) {
	members := p.members
	if members == nil {
		var err error
		if members, err = readPack(tx, p.first, true); err != nil {
			return nil, err
		}
		if members == nil || seq-p.first >= int64(len(members)) {
			return nil, fmt.Errorf("execution %d is in a pack that is not there", seq)
		}
	}
	return members[seq-p.first], nil
}

func (b *batch) park(tx *sqlitedb.Tx, t *touch, lines []line, p *atom.Park) error {
	state, due := number(string(p.State)), instant(p.Due)
	if due == nil && p.State != atom.Held && !p.Signal {
		due = int64(atOnce)
	}
	t.parked = true
	if err := letGo(tx, t); err != nil {
		return err
	}
	if err := hold(tx, t.seq, p.For); err != nil {
		return err
	}
	if err := b.parkedInLane(tx, t); err != nil {
		return err
	}
	if t.home != nil {
		t.lines = append(t.lines, lines...)
		if err := b.promote(tx, t, state, 1, 0, nil, nil); err != nil {
			return err
		}
		if due != nil || p.Why != "" {
			if _, err := tx.Exec("UPDATE execution SET due = ?, why = ? WHERE seq = ?", due, orNoText(p.Why), t.seq); err != nil {
				return err
			}
		}
		return b.signalled(tx, t, p)
	}
	t.becomes = state
	if _, err := tx.Exec("UPDATE execution SET state = ?, due = ?, why = ?, attempt = attempt + 1, unclean = 0 WHERE seq = ?", int64(state), due, orNoText(p.Why), t.seq); err != nil {
		return err
	}
	if err := writeLines(tx, t.seq, lines); err != nil {
		return err
	}
	if err := writeFiles(tx, t.seq, nil, lines, nil); err != nil {
		return err
	}
	return b.signalled(tx, t, p)
}

func orNoText(s string) any {
	if s == "" {
		return nil
	}
	return s
}

// endBadly ends an execution that stays in the database until it is dealt with.
func (b *batch) endBadly(tx *sqlitedb.Tx, t *touch, lines []line, e *ending) error {
	state := number(string(e.Status))
	outcome := appendCRC(appendEnding(nil, e, true), 0)
	if err := writeFiles(tx, t.seq, nil, nil, e); err != nil {
		return err
	}
	if err := writeFailure(tx, t.seq, t.process, e); err != nil {
		return err
	}
	if t.home != nil {
		t.lines = append(t.lines, lines...)
		return b.promote(tx, t, state, 0, 0, nil, outcome)
	}
	t.becomes = state
	if err := b.endWaits(tx, t); err != nil {
		return err
	}
	if _, err := tx.Exec("UPDATE execution SET state = ?, due = NULL, why = NULL, outcome = ? WHERE seq = ?", int64(state), outcome, t.seq); err != nil {
		return err
	}
	if err := writeLines(tx, t.seq, lines); err != nil {
		return err
	}
	return writeFiles(tx, t.seq, nil, lines, nil)
}

// failedOp records a failure of an execution that ran in memory.
type failedOp struct {
	s      *Store
	h      held
	lines  []line
	ending *ending
	rec    *atom.Finished
}

func (o *failedOp) Do(tx *sqlitedb.Tx) error {
	outcome := appendCRC(appendEnding(nil, o.ending, true), 0)
	found, err := tx.One("SELECT 1 FROM execution WHERE seq = ?", []any{o.h.Seq}, func(sqlitedb.Row) {})
	if err != nil || found {
		return err
	}
	if err := insertRow(tx, &o.h, number(string(o.ending.Status)), o.rec.Attempt, o.rec.Unclean, outcome); err != nil {
		return err
	}
	if err := writeFailure(tx, o.h.Seq, o.h.Process, o.ending); err != nil {
		return err
	}
	if err := writeLines(tx, o.h.Seq, o.lines); err != nil {
		return err
	}
	return writeFiles(tx, o.h.Seq, &o.h, o.lines, o.ending)
}

// readPack reads a row of intake; nil if there is none.
func readPack(tx *sqlitedb.Tx, first int64, documents bool) (members []*held, err error) {
	query := "SELECT process, head, docs FROM intake WHERE first = ?"
	if !documents {
		query = "SELECT process, head, NULL FROM intake WHERE first = ?"
	}
	_, e := tx.One(query, []any{first}, func(r sqlitedb.Row) {
		members, err = decodeHeads(r.Bytes(1), r.Bytes(2), first, r.Text(0))
	})
	if err == nil {
		err = e
	}
	if err != nil {
		return nil, fmt.Errorf("read what was accepted from %d on: %w", first, err)
	}
	return members, nil
}
