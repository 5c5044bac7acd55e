package sqlite

import (
	"context"
	"errors"
	"fmt"

	"valence/atom/store"
	"valence/internal/sqlitedb"
)

// applyOp commits one Apply.
type applyOp struct {
	s          *Store
	change     *store.Change
	conditions []condition
	entries    []storedEntry
	outcome    *storedOutcome
	prepared   []pendingAccept // as spilled; Do works on copies
	handoffs   []pendingAccept
	reply      *storedReply
	err        error // refusal, without rolling back
}

// Apply implements store.Journal.
func (s *Store) Apply(ctx context.Context, c *store.Change) error {
	if err := checkChange(c); err != nil {
		return err
	}
	op := &applyOp{s: s, change: c}
	pins, err := op.spill()
	defer pins.release()
	if err != nil {
		return s.storeError(err)
	}
	if err := s.archiver.waitForRoom(ctx); err != nil {
		return fmt.Errorf("%w: %w", store.ErrUnavailable, err)
	}
	conditions, done, err := s.conditions(ctx, c.Require)
	if err != nil {
		return s.storeError(err)
	}
	op.conditions = conditions
	write := s.db.Do
	if c.Disposition != nil && c.Reply == nil { // only a worker waits for it
		write = s.db.DoSoon
	}
	err = write(ctx, op)
	done(err == nil && op.err == nil)
	if err != nil {
		return s.storeError(err)
	}
	if errors.Is(op.err, errNotLive) {
		return s.notLiveError(c.Seq)
	}
	return op.err
}

// checkChange rejects a change that no store could commit.
func checkChange(c *store.Change) error {
	for _, h := range c.Handoffs {
		if err := checkMessage(h); err != nil {
			return err
		}
	}
	switch d := c.Disposition.(type) {
	case *store.Outcome:
		if statusCode(string(d.Status)) < firstEndedCode {
			return fmt.Errorf("invalid status %q of an outcome", d.Status)
		}
	case *store.Suspension:
		if d.State != store.Waiting && d.State != store.Held && d.State != store.Accepted {
			return fmt.Errorf("invalid state %q of a suspension", d.State)
		}
	}
	return nil
}

// spill writes large documents to files.
func (o *applyOp) spill() (all pins, err error) {
	blobs, c := o.s.blobs, o.change
	o.prepared = make([]pendingAccept, len(c.Handoffs))
	for i, h := range c.Handoffs {
		more, err := blobs.spillMessage(h, &o.prepared[i])
		if all = append(all, more...); err != nil {
			return all, err
		}
	}
	more, err := blobs.spillEntries(c.Entries, &o.entries)
	all = append(all, more...)
	if outcome := c.Outcome(); err == nil && outcome != nil {
		o.outcome = &storedOutcome{Outcome: *outcome}
		more, err = blobs.spill(outcome.Trace, &o.outcome.traceFile)
		all = append(all, more...)
	}
	if err == nil && c.Reply != nil {
		o.reply = &storedReply{DeferredReply: c.Reply}
		more, err = blobs.spill(c.Reply.Body, &o.reply.bodyFile)
		all = append(all, more...)
	}
	return all, err
}

// notLiveError returns ErrEnded for an archived execution and ErrUnknown
// otherwise.
func (s *Store) notLiveError(seq int64) error {
	found, err := s.history.Has(seq)
	if err != nil {
		return err
	}
	if found {
		return store.ErrEnded
	}
	return store.ErrUnknown
}

func (o *applyOp) Do(tx *sqlitedb.Tx) error {
	b := o.s.batch
	o.err = nil
	m, err := b.mutate(tx, o.change.Seq)
	if err != nil {
		if errors.Is(err, errNotLive) || errors.Is(err, store.ErrEnded) {
			o.err = err
			return nil
		}
		return err
	}
	for _, c := range o.conditions {
		if o.err, err = c.check(b, tx, m.seq); o.err != nil || err != nil {
			return err
		}
	}
	for _, c := range o.conditions {
		if err := c.commit(b, tx, m.seq); err != nil {
			return err
		}
	}
	if err := o.effects(tx, b, m); err != nil {
		return err
	}
	return o.dispose(tx, b, m)
}

// effects writes everything except the journal and the disposition.
func (o *applyOp) effects(tx *sqlitedb.Tx, b *batch, m *mutation) error {
	if err := b.waits().openAll(tx, m, o.change); err != nil {
		return err
	}
	if len(o.change.Entries)+len(o.change.Trim) > 0 {
		if err := clearCrashes(tx, m); err != nil {
			return err
		}
	}
	if len(o.change.Trim) > 0 {
		if err := b.trimJournal(tx, m, o.change.Trim); err != nil {
			return err
		}
	}
	o.handoffs = append(o.handoffs[:0], o.prepared...)
	for i := range o.handoffs {
		if err := b.accept(tx, &o.handoffs[i]); err != nil {
			return err
		}
	}
	if err := writeMarks(tx, o.change); err != nil {
		return err
	}
	if o.reply != nil {
		if err := storeReply(tx, m.seq, o.reply); err != nil {
			return err
		}
	}
	if o.change.ClaimResult != nil {
		return settleClaim(tx, m.process, m.seq, o.change.ClaimResult)
	}
	return nil
}

// dispose appends to the journal, and suspends or ends the execution.
func (o *applyOp) dispose(tx *sqlitedb.Tx, b *batch, m *mutation) error {
	if p := o.change.Suspension(); p != nil {
		return b.suspend(tx, m, o.entries, p)
	}
	if o.outcome != nil {
		return o.end(tx, b, m)
	}
	if m.pack != nil {
		m.entries = append(m.entries, o.entries...)
		return nil
	}
	if err := writeEntries(tx, m.seq, o.entries); err != nil {
		return err
	}
	return writeFiles(tx, m.seq, nil, o.entries, nil)
}

// clearCrashes resets the crash count of an execution that has made progress.
// Only executions with a row have one.
func clearCrashes(tx *sqlitedb.Tx, m *mutation) error {
	if m.crashes == 0 {
		return nil
	}
	m.crashes = 0
	_, err := tx.Exec("UPDATE execution SET unclean = 0 WHERE seq = ?", m.seq)
	return err
}

func (o *applyOp) end(tx *sqlitedb.Tx, b *batch, m *mutation) error {
	if err := deleteHolds(tx, m); err != nil {
		return err
	}
	if err := b.lanes().leave(tx, m, o.outcome.Status == store.Failed); err != nil {
		return err
	}
	if statusCode(string(o.outcome.Status)) <= codeExpired { // it stays in the database until it is resolved
		return b.endUnresolved(tx, m, o.entries, o.outcome)
	}
	m.entries = append(m.entries, o.entries...)
	m.outcome = o.outcome
	m.after = statusCode(string(o.outcome.Status))
	return b.waits().closeAll(tx, m)
}

// failedOp stores an execution that failed in memory.
type failedOp struct {
	s       *Store
	message storedMessage
	entries []storedEntry
	outcome *storedOutcome
	rec     *store.Finished
}

func (o *failedOp) Do(tx *sqlitedb.Tx) error {
	outcome := appendCRC(appendOutcome(nil, o.outcome, true), 0)
	found, err := tx.One("SELECT 1 FROM execution WHERE seq = ?", []any{o.message.Seq}, func(sqlitedb.Row) {})
	if err != nil || found {
		return err
	}
	if err := insertRow(tx, &o.message, statusCode(string(o.outcome.Status)), o.rec.Attempt, o.rec.Crashes, outcome); err != nil {
		return err
	}
	if err := writeFailure(tx, o.message.Seq, o.message.Process, o.outcome, o.rec.Size()+int(o.rec.FileBytes)); err != nil {
		return err
	}
	if err := writeEntries(tx, o.message.Seq, o.entries); err != nil {
		return err
	}
	return writeFiles(tx, o.message.Seq, &o.message, o.entries, o.outcome)
}
