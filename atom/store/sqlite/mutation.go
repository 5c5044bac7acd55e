package sqlite

import (
	"errors"
	"fmt"

	"valence/atom/store"
	"valence/internal/sqlitedb"
)

// mutation is an execution that the current transaction changes.
type mutation struct {
	seq        int64
	process    string
	pack       *pack // pack that holds it; nil: it has a row
	member     *activeMember
	before     uint8 // code of its state before the transaction
	after      uint8 // code of its state or status after the transaction
	entries    []storedEntry
	outcome    *storedOutcome // unless it failed or expired: then the row holds the outcome
	formerPack *pack          // pack that it was promoted from
	suspended  bool
	trimmed    bool
	crashes    int64       // if it has a row: its crash count
	lane       *store.Lane // if it has a row; see laneWriter.of
}

// errNotLive is returned for an execution that is not in the database: it was
// archived, or never existed.
var errNotLive = errors.New("not in the database")

// mutate returns the mutation of a live execution, adding it to the batch. It
// returns store.ErrEnded if the execution has an outcome, and errNotLive if it
// is not in the database.
func (b *batch) mutate(tx *sqlitedb.Tx, seq int64) (*mutation, error) {
	if m := b.mutations[seq]; m != nil {
		if m.after >= firstEndedCode {
			return nil, store.ErrEnded
		}
		return m, nil
	}
	m, err := b.locate(tx, seq)
	if err != nil {
		return nil, err
	}
	b.mutations[seq] = m
	b.mutationOrder = append(b.mutationOrder, m)
	return m, nil
}

func (b *batch) locate(tx *sqlitedb.Tx, seq int64) (*mutation, error) {
	m := &mutation{seq: seq, before: codeAccepted, after: codeAccepted}
	b.s.mu.Lock()
	member, p := b.s.index.active[seq], b.s.index.packOf[seq]
	b.s.mu.Unlock()
	if p == nil {
		for _, q := range b.packs {
			if seq >= q.first && seq <= q.last {
				p = q
			}
		}
	}
	switch {
	case member != nil && member.outcome != nil:
		return nil, store.ErrEnded
	case p != nil && p.state(seq) != memberPromoted:
		m.pack, m.member, m.process = p, member, p.process
		return m, nil
	}
	found, err := tx.One("SELECT state, process, lane, unclean FROM execution WHERE seq = ?", []any{seq}, func(r sqlitedb.Row) {
		m.before, m.process, m.crashes = uint8(r.Int(0)), r.Text(1), r.Int(3)
		if lane := r.Bytes(2); lane != nil {
			m.lane = (&decoder{b: lane}).lane()
		}
		m.after = m.before
	})
	if err != nil {
		return nil, err
	}
	if found {
		if m.before >= firstEndedCode {
			return nil, store.ErrEnded
		}
		return m, nil
	}
	if p != nil { // promoted, and its row is gone, but its pack remains
		return nil, errNotLive
	}
	found, err = tx.One("SELECT first, last, process FROM intake WHERE first <= ? ORDER BY first DESC LIMIT 1", []any{seq}, func(r sqlitedb.Row) {
		p = &pack{first: r.Int(0), last: r.Int(1), process: r.Text(2)}
	})
	if err != nil {
		return nil, err
	}
	if !found || p.last < seq {
		return nil, errNotLive
	}
	b.packs[p.first] = p
	m.pack, m.process = p, p.process
	return m, nil
}

// promote moves a member of a pack to a row of its own.
func (b *batch) promote(tx *sqlitedb.Tx, m *mutation, state uint8, attempt, crashes int, outcome []byte) error {
	h, err := b.readMember(tx, m.pack, m.seq)
	if err != nil {
		return err
	}
	if err := insertRow(tx, h, state, attempt, crashes, outcome); err != nil {
		return err
	}
	var before []storedEntry
	if m.member != nil {
		before = m.member.entries
	}
	m.lane = h.Lane
	entries := append(before[:len(before):len(before)], m.entries...)
	if err := writeEntries(tx, m.seq, entries); err != nil {
		return err
	}
	m.formerPack, m.pack, m.entries, m.after = m.pack, nil, nil, state
	return writeFiles(tx, m.seq, nil, entries, nil)
}

// readMember returns the message of a pack member, from the database if it is
// not cached.
func (b *batch) readMember(tx *sqlitedb.Tx, p *pack, seq int64) (*storedMessage, error) {
	members := p.members
	if members == nil {
		var err error
		if members, err = readPack(tx, p.first, true); err != nil {
			return nil, err
		}
		if members == nil || seq-p.first >= int64(len(members)) {
			return nil, fmt.Errorf("execution %d: its pack is missing", seq)
		}
	}
	return members[seq-p.first], nil
}

// readPack returns the messages of a row of intake, or nil if there is none.
func readPack(tx *sqlitedb.Tx, first int64, documents bool) (members []*storedMessage, err error) {
	query := "SELECT process, head, docs FROM intake WHERE first = ?"
	if !documents {
		query = "SELECT process, head, NULL FROM intake WHERE first = ?"
	}
	_, e := tx.One(query, []any{first}, func(r sqlitedb.Row) {
		members, err = decodeLive(r.Bytes(1), r.Bytes(2), first, r.Text(0))
	})
	if err == nil {
		err = e
	}
	if err != nil {
		return nil, fmt.Errorf("read pack %d: %w", first, err)
	}
	return members, nil
}

func (b *batch) suspend(tx *sqlitedb.Tx, m *mutation, entries []storedEntry, p *store.Suspension) error {
	state, due := statusCode(string(p.State)), nullTime(p.Due)
	if due == nil && p.State != store.Held && len(p.Waits) == 0 {
		due = int64(dueNow)
	}
	m.suspended = true
	if err := deleteHolds(tx, m); err != nil {
		return err
	}
	if err := insertHolds(tx, m.seq, p.For); err != nil {
		return err
	}
	if err := b.lanes().suspendHead(tx, m); err != nil {
		return err
	}
	if p.State == store.Accepted {
		b.ready = append(b.ready, store.Wakeup{Process: m.process, Seq: m.seq})
	}
	if m.pack != nil {
		m.entries = append(m.entries, entries...)
		if err := b.promote(tx, m, state, 1, 0, nil); err != nil {
			return err
		}
		if due != nil || p.Reason != "" {
			if _, err := tx.Exec("UPDATE execution SET due = ?, why = ? WHERE seq = ?", due, nullText(p.Reason), m.seq); err != nil {
				return err
			}
		}
		return b.waits().wakeIfSignaled(tx, m, p)
	}
	m.after = state
	if _, err := tx.Exec("UPDATE execution SET state = ?, due = ?, why = ?, attempt = attempt + 1, unclean = 0 WHERE seq = ?", int64(state), due, nullText(p.Reason), m.seq); err != nil {
		return err
	}
	if err := writeEntries(tx, m.seq, entries); err != nil {
		return err
	}
	if err := writeFiles(tx, m.seq, nil, entries, nil); err != nil {
		return err
	}
	return b.waits().wakeIfSignaled(tx, m, p)
}

func nullText(s string) any {
	if s == "" {
		return nil
	}
	return s
}

// endUnresolved ends an execution that stays in the database until it is
// resolved.
func (b *batch) endUnresolved(tx *sqlitedb.Tx, m *mutation, entries []storedEntry, e *storedOutcome) error {
	state := statusCode(string(e.Status))
	outcome := appendCRC(appendOutcome(nil, e, true), 0)
	if err := writeFiles(tx, m.seq, nil, nil, e); err != nil {
		return err
	}
	if err := writeFailure(tx, m.seq, m.process, e, 0); err != nil {
		return err
	}
	if m.pack != nil {
		m.entries = append(m.entries, entries...)
		return b.promote(tx, m, state, 0, 0, outcome)
	}
	m.after = state
	if err := b.waits().closeAll(tx, m); err != nil {
		return err
	}
	if _, err := tx.Exec("UPDATE execution SET state = ?, due = NULL, why = NULL, outcome = ? WHERE seq = ?", int64(state), outcome, m.seq); err != nil {
		return err
	}
	if err := writeEntries(tx, m.seq, entries); err != nil {
		return err
	}
	return writeFiles(tx, m.seq, nil, entries, nil)
}
