package sqlite

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"time"

	"valence/atom"
	"valence/internal/sqlitedb"
)

// acceptOp is one Accept.
type acceptOp struct {
	s     *Store
	given accepting
	a     accepting
	err   error // that refuses it without undoing the transaction
}

func (o *acceptOp) Do(tx *sqlitedb.Tx) error {
	o.a, o.err = o.given, nil
	return o.s.batch.take(tx, o)
}

// Accept stores an execution; see atom.Queue.
func (s *Store) Accept(ctx context.Context, a *atom.Acceptance) (atom.Receipt, error) {
	if s.space.Level() >= sqlitedb.Low {
		return atom.Receipt{}, atom.ErrFull
	}
	if err := check(a); err != nil {
		return atom.Receipt{}, err
	}
	op := &acceptOp{s: s}
	pins, err := s.blobs.spillAcceptance(a, &op.given)
	defer pins.release()
	if err != nil {
		return atom.Receipt{}, s.refuse(err)
	}
	if err := s.db.Do(ctx, op); err != nil {
		return atom.Receipt{}, s.refuse(err)
	}
	return op.a.receipt, op.err
}

// check refuses what no store could keep.
func check(a *atom.Acceptance) error {
	switch {
	case a.Process == "":
		return errors.New("an acceptance without a process")
	case len(a.Meta) > inlineBytes:
		return fmt.Errorf("its own data of %d bytes is over 64 KiB", len(a.Meta))
	}
	return nil
}

// refuse puts an error of the database into the words of package atom.
func (s *Store) refuse(err error) error {
	switch {
	case errors.Is(err, sqlitedb.ErrFull):
		return fmt.Errorf("%w: %w", atom.ErrFull, err)
	case errors.Is(err, sqlitedb.ErrUnavailable), errors.Is(err, sqlitedb.ErrClosed):
		return fmt.Errorf("%w: %w", atom.ErrUnavailable, err)
	}
	return err
}

// take accepts what comes from outside, unless its lane is full.
func (b *batch) take(tx *sqlitedb.Tx, o *acceptOp) error {
	if l := o.a.Lane; l != nil && l.Limit > 0 {
		duplicate, err := b.seen(tx, &o.a)
		if err != nil || duplicate {
			return err
		}
		if err := b.admit(tx, l); err != nil {
			if errors.Is(err, atom.ErrLaneFull) {
				o.err = err
				return nil
			}
			return err
		}
	}
	return b.accept(tx, &o.a)
}

// accept stages an acceptance: for a pack, or as a row if it has a number of
// its own or is not to be run at once.
func (b *batch) accept(tx *sqlitedb.Tx, a *accepting) error {
	duplicate, err := b.seen(tx, a)
	if err != nil || duplicate {
		return err
	}
	if err := b.s.contents.refer(tx, a.Plan, a.Env); err != nil {
		return err
	}
	if a.Seq == 0 && a.Due.IsZero() && len(a.lines) == 0 {
		for _, k := range a.keys {
			b.taken[k.name(a.Process)] = a
		}
		b.plain = append(b.plain, a)
		return nil
	}
	own := *a.Acceptance
	if own.Seq == 0 {
		own.Seq = b.s.seqs.take(1)
	}
	own.Entries, own.Dedupe = nil, nil
	a.Acceptance = &own
	a.receipt.Seq, a.receipt.Received = own.Seq, own.Received
	found, err := tx.One("SELECT 1 FROM execution WHERE seq = ?", []any{own.Seq}, func(sqlitedb.Row) {})
	if err != nil {
		return err
	}
	if found { // the same acceptance again
		a.receipt.Duplicate = true
		return nil
	}
	if err := b.newest(tx, a); err != nil {
		return err
	}
	own.Coalesce = nil
	state := number(string(stateOf(&own, b.now)))
	if err := b.enterRow(tx, a); err != nil {
		return err
	}
	if err := insertRow(tx, &a.held, state, 0, 0, nil); err != nil {
		return err
	}
	if err := writeLines(tx, own.Seq, a.lines); err != nil {
		return err
	}
	if err := b.writeKeys(tx, a); err != nil {
		return err
	}
	for _, k := range a.keys {
		b.taken[k.name(a.Process)] = a
	}
	b.rowed = append(b.rowed, a)
	return writeFiles(tx, own.Seq, &a.held, a.lines, nil)
}

// enterRow gives an acceptance that gets a row its place in its lane. One that
// is behind others has no Due until its turn comes.
func (b *batch) enterRow(tx *sqlitedb.Tx, a *accepting) error {
	if a.Lane == nil {
		return nil
	}
	l := *a.Lane
	a.Lane = &l
	if l.Pos = a.pos; a.pos != 0 {
		return nil // it took another's
	}
	l.Pos = b.s.seqs.take(1)
	behind, err := b.enter(tx, a.Acceptance, instant(a.Due))
	if behind {
		a.Due = time.Time{}
	}
	a.receipt.Behind = behind
	return err
}

// insertRow gives an execution a row of its own.
func insertRow(tx *sqlitedb.Tx, h *held, state uint8, attempt, unclean int, outcome []byte) error {
	head, docs := new(heads).encode([]*held{h})
	_, err := tx.Exec("INSERT INTO execution(seq, process, state, due, received, attempt, unclean, head, outcome, docs, lane) VALUES(?,?,?,?,?,?,?,?,?,?,?)",
		h.Seq, h.Process, int64(state), instant(h.Due), h.Received.UnixNano(), attempt, unclean, head, orNull(outcome), docs, laneColumn(h.Lane))
	return err
}

// instant is how a time is kept in a column; the zero one is null.
func instant(t time.Time) any {
	if t.IsZero() {
		return nil
	}
	return t.UnixNano()
}

func orNull(b []byte) any {
	if b == nil {
		return nil
	}
	return b
}

// writeLines adds a row to the journal of an execution.
func writeLines(tx *sqlitedb.Tx, seq int64, lines []line) error {
	if len(lines) == 0 {
		return nil
	}
	from := seq << journalBits
	body := appendCRC(appendLines(nil, lines), 0)
	_, err := tx.Exec("INSERT INTO journal(id, body) SELECT coalesce(max(id) + 1, ?1), ?2 FROM journal WHERE id BETWEEN ?1 AND ?1 + 65535", from, body)
	return err
}

// shortKey is the length up to which a key is stored as it is: near keys stay
// near then, and share pages.
const shortKey = 64

func keyBytes(key string) []byte {
	if len(key) < shortKey {
		return append([]byte{0}, key...)
	}
	h := sha256.Sum256([]byte(key))
	return append([]byte{1}, h[:]...)
}

func (k keyRow) name(process string) string {
	if k.origin {
		return "o" + string(k.key)
	}
	return "d" + process + "\x00" + string(k.key)
}

// seen looks whether an acceptance is a repeat, and fills its receipt if so.
func (b *batch) seen(tx *sqlitedb.Tx, a *accepting) (bool, error) {
	a.keys = a.keys[:0]
	if a.Origin != "" {
		a.keys = append(a.keys, keyRow{true, keyBytes(a.Origin)})
	}
	if a.Dedupe != nil {
		a.keys = append(a.keys, keyRow{false, keyBytes(a.Dedupe.Key)})
		a.until = a.Dedupe.Until.UnixNano()
	}
	for _, k := range a.keys {
		if first := b.taken[k.name(a.Process)]; first != nil {
			a.receipt = first.receipt
			a.receipt.Duplicate = true
			b.same[&a.receipt] = first
			return true, nil
		}
		query, args := "SELECT seq, received, 0 FROM origin WHERE key = ?", []any{k.key}
		if !k.origin {
			query, args = "SELECT seq, received, until FROM dedupe WHERE process = ? AND key = ?", []any{a.Process, k.key}
		}
		hit := false
		_, err := tx.One(query, args, func(r sqlitedb.Row) {
			if k.origin || r.Int(2) > b.now.UnixNano() && r.Int(0) != a.Seq {
				hit = true
				a.receipt = atom.Receipt{Seq: r.Int(0), Received: time.Unix(0, r.Int(1)).UTC(), Duplicate: true}
			}
		})
		if err != nil || hit {
			return hit, err
		}
		if !k.origin {
			if c := b.s.claims.other(a.Process, a.Dedupe.Key, a.Seq); c != nil {
				a.receipt = atom.Receipt{Seq: c.seq, Received: c.at, Duplicate: true}
				return true, nil
			}
		}
	}
	return false, nil
}

func (b *batch) writeKeys(tx *sqlitedb.Tx, a *accepting) error {
	if err := writeExpiry(tx, a); err != nil {
		return err
	}
	for _, k := range a.keys {
		var err error
		if k.origin {
			_, err = tx.Exec("INSERT INTO origin(key, seq, received) VALUES(?,?,?)", k.key, a.receipt.Seq, a.Received.UnixNano())
		} else {
			_, err = tx.Exec("INSERT OR REPLACE INTO dedupe(process, key, until, seq, received, reply) VALUES(?,?,?,?,?,NULL)",
				a.Process, k.key, a.until, a.receipt.Seq, a.Received.UnixNano())
		}
		if err != nil {
			return err
		}
	}
	return nil
}
