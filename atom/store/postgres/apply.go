package postgres

import (
	"context"
	"slices"
	"time"

	"valence/atom/store"
	"valence/internal/pgdb"
)

// applyOp commits one Apply.
type applyOp struct {
	c   *store.Change
	err error // refusal
}

func (o *applyOp) seq() int64 { return o.c.Seq }

// Apply implements store.Journal.
func (s *Store) Apply(ctx context.Context, c *store.Change) error {
	for _, h := range c.Handoffs {
		if err := checkMessage(h); err != nil {
			return err
		}
	}
	op := &applyOp{c: c}
	if err := s.do(ctx, op); err != nil {
		return err
	}
	return op.err
}

func (o *applyOp) do(t *transaction) (err error) {
	o.err, err = t.apply(o.c)
	return err
}

// apply performs a change, or returns why it is refused.
func (t *transaction) apply(c *store.Change) (refused, err error) {
	if c.Epoch != 0 && c.Epoch != t.epoch {
		return unavailable(store.ErrFenced), nil
	}
	for _, r := range c.Require { // before the execution, see the order of locks
		if g, ok := r.(*store.Signal); ok && g.Match != nil {
			t.lockMatch(g.Match)
		}
	}
	for _, w := range c.Waits {
		t.lockMatch(w.Match)
	}
	x, err := t.row(c.Seq)
	switch {
	case err != nil:
		return nil, err
	case x == nil:
		return store.ErrUnknown, nil
	case !x.live():
		return store.ErrEnded, nil
	case x.cancelled && c.Epoch != 0 && !c.Cancelled:
		if c.Disposition != nil {
			return store.ErrCancelled, nil
		}
		t.cancelled = append(t.cancelled, x.seq) // its run learns of it
	}
	for _, r := range c.Require {
		if refused, err := t.check(x, r); refused != nil || err != nil {
			return refused, err
		}
	}
	for _, h := range c.Handoffs {
		if refused, err := t.checkHandoff(h); refused != nil || err != nil {
			return refused, err
		}
	}
	for _, r := range c.Require {
		if err := t.settleCondition(x, r); err != nil {
			return nil, err
		}
	}
	return nil, t.write(x, c)
}

// checkHandoff returns why a hand-off cannot be stored.
func (t *transaction) checkHandoff(h *store.Message) (refused, err error) {
	full, err := t.laneFull(h.Lane)
	if full {
		refused = store.ErrLaneFull
	}
	if h.Seq != 0 && !t.s.numbers.holds(h.Seq) {
		refused = unavailable(store.ErrFenced)
	}
	return refused, err
}

// write writes everything of a change except its conditions.
func (t *transaction) write(x *row, c *store.Change) error {
	if err := t.openWaits(x, c.Waits); err != nil {
		return err
	}
	if len(c.Entries)+len(c.Trim) > 0 && c.Disposition == nil {
		t.exec("UPDATE atom_execution SET crashes = 0 WHERE seq = $1 AND crashes > 0", x.seq)
	}
	if err := t.trim(x.seq, c.Trim); err != nil {
		return err
	}
	for _, h := range c.Handoffs {
		if _, refused, err := t.accept(h, nil); err != nil || refused != nil {
			return firstOf(err, refused)
		}
	}
	t.mark(c)
	t.insertEntries(x.seq, c.Entries)
	t.storeReply(c)
	if r := c.ClaimResult; r != nil {
		t.settle(x.process, r.Key, x.seq, r.Reply)
	}
	if c.Cancel {
		t.cancel(x)
	}
	switch d := c.Disposition.(type) {
	case *store.Suspension:
		return t.suspend(x, d)
	case *store.Outcome:
		return t.end(x, d)
	}
	return nil
}

func firstOf(errs ...error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

// dueNow is the Due of an execution that is ready again.
var dueNow = time.Unix(0, 1)

// suspend sets an execution aside.
func (t *transaction) suspend(x *row, p *store.Suspension) error {
	due := p.Due
	if due.IsZero() && p.State != store.Held && len(p.Waits) == 0 || p.State == store.Accepted && due.IsZero() {
		due = dueNow
	}
	x.state, x.due, x.suspended = codes[string(p.State)], nil, true
	if !due.IsZero() {
		ns := due.UnixNano()
		x.due = &ns
	}
	t.exec("UPDATE atom_execution SET state = $2, due = $3, reason = $4, attempt = attempt + 1, crashes = 0, suspended = true WHERE seq = $1",
		x.seq, x.state, x.due, pgdb.Sanitize(p.Reason))
	t.exec("DELETE FROM atom_hold WHERE seq = $1", x.seq)
	for _, cause := range p.For {
		t.exec("INSERT INTO atom_hold(cause, seq) VALUES($1, $2) ON CONFLICT DO NOTHING", pgdb.Sanitize(cause), x.seq)
	}
	t.ends(x.seq)
	if p.State == store.Accepted {
		t.wake(store.Wakeup{Process: x.process, Seq: x.seq})
		return nil
	}
	if len(p.Waits) == 0 {
		return nil
	}
	signaled, err := t.one([]any{}, "SELECT FROM atom_wait WHERE seq = $1 AND place = ANY($2) AND state = $3 LIMIT 1", x.seq, p.Waits, waitSignaled)
	if signaled {
		t.makeReady(x)
	}
	return err
}

// makeReady makes a suspended execution ready at once.
func (t *transaction) makeReady(x *row) {
	ns := dueNow.UnixNano()
	x.state, x.due = codeAccepted, &ns
	t.exec("UPDATE atom_execution SET state = $2, due = $3, reason = '' WHERE seq = $1", x.seq, x.state, ns)
	t.exec("DELETE FROM atom_hold WHERE seq = $1", x.seq)
	t.wake(store.Wakeup{Process: x.process, Seq: x.seq})
}

// cancel marks a live execution as cancelled for the member that runs it.
func (t *transaction) cancel(x *row) {
	x.cancelled = true
	t.exec("UPDATE atom_execution SET cancelled = true WHERE seq = $1", x.seq)
	if x.suspended {
		t.makeReady(x)
	}
	t.cancelled = append(t.cancelled, x.seq)
}

// end ends a live execution.
func (t *transaction) end(x *row, o *store.Outcome) error {
	failed := o.Status == store.Failed
	unresolved := (failed || o.Status == store.Expired) && o.Resolved == nil
	keep, documents := t.s.retention(o, unresolved, t.now)
	x.state, x.due, x.expires = codes[string(o.Status)], nil, nil
	x.resolved, x.drop, x.keep, x.documents = o.Resolved != nil, o.DropDocuments, int64(o.Keep), int64(o.Documents)
	t.exec(`UPDATE atom_execution SET state = $2, due = NULL, reason = '', expires = NULL, started = $3, ended = $4, fingerprint = $5, error = $6, trace = $7, resolved = $8,
		drop_documents = $9, keep = $10, documents = $11, keep_until = $12, documents_until = $13 WHERE seq = $1`,
		x.seq, x.state, o.Started.UnixNano(), o.Ended.UnixNano(), pgdb.Sanitize(o.Fingerprint), o.Error, o.Trace, o.Resolved, o.DropDocuments, x.keep, x.documents, keep, documents)
	if o.DropDocuments && !unresolved {
		t.dropDocuments(x.seq)
	}
	if x.suspended {
		t.exec("DELETE FROM atom_hold WHERE seq = $1", x.seq)
	}
	t.exec("UPDATE atom_wait SET state = CASE WHEN state = $2 THEN state ELSE $3 END, match = NULL, body = NULL, until = $4 WHERE seq = $1", x.seq, waitSignaled, waitOver, t.waitMemory())
	t.ends(x.seq)
	if x.lane == nil {
		return nil
	}
	return t.leaveLane(x, failed)
}

// dropDocuments deletes the message and the journal of an ended execution.
func (t *transaction) dropDocuments(seq int64) {
	t.exec("UPDATE atom_execution SET doc = NULL, data = NULL WHERE seq = $1", seq)
	t.exec("DELETE FROM atom_journal WHERE seq = $1", seq)
	t.exec(dropUses, seq)
	t.uses = slices.DeleteFunc(t.uses, func(u fileUse) bool { return u.seq == seq })
}

// trim deletes journal entries.
func (t *transaction) trim(seq int64, trims []store.JournalTrim) error {
	if len(trims) == 0 {
		return nil
	}
	var gone []int64
	var id int64
	var path string
	err := t.each([]any{&id, &path}, func() error {
		if slices.ContainsFunc(trims, func(f store.JournalTrim) bool { return f.Has(path) }) {
			gone = append(gone, id)
		}
		return nil
	}, "SELECT id, path FROM atom_journal WHERE seq = $1", seq)
	if err != nil {
		return err
	}
	t.exec("DELETE FROM atom_journal WHERE seq = $1 AND id = ANY($2)", seq, gone)
	t.exec("UPDATE atom_execution SET trims = trims + 1 WHERE seq = $1", seq)
	return nil
}

// check returns the error of a condition that does not hold.
func (t *transaction) check(x *row, r store.Condition) (refused, err error) {
	switch r := r.(type) {
	case store.Begin:
		if x.expires != nil && *x.expires <= t.now.UnixNano() {
			return store.ErrExpired, nil
		}
	case store.NotBegun:
		if x.expires == nil {
			return store.ErrBegun, nil
		}
	case store.GiveUp:
		signaled, err := t.one([]any{}, "SELECT FROM atom_wait WHERE seq = $1 AND place = $2 AND state = $3", x.seq, r.WaitID, waitSignaled)
		if signaled {
			refused = store.ErrSignaled
		}
		return refused, err
	case *store.Signal:
		return t.checkSignal(r)
	case *store.StateUpdate:
		return t.checkState(r)
	default:
		return invalid("unknown condition %T", r), nil
	}
	return nil, nil
}

// settleCondition applies the effect of a condition that holds.
func (t *transaction) settleCondition(x *row, r store.Condition) error {
	switch r := r.(type) {
	case store.Begin, store.NotBegun:
		x.expires = nil
		t.exec("UPDATE atom_execution SET expires = NULL WHERE seq = $1 AND expires IS NOT NULL", x.seq)
		t.exec("DELETE FROM atom_newest WHERE seq = $1", x.seq)
	case store.GiveUp:
		t.exec(`INSERT INTO atom_wait(seq, place, state, path, until) VALUES($1, $2, $3, '', $4)
			ON CONFLICT (seq, place) DO UPDATE SET state = excluded.state, match = NULL, body = NULL, until = excluded.until`, x.seq, r.WaitID, waitOver, t.waitMemory())
	case *store.Signal:
		_, refused, err := t.signal(r)
		return firstOf(err, refused)
	case *store.StateUpdate:
		t.writeState(r)
	}
	return nil
}
