package sqlite

import (
	"context"
	"errors"
	"fmt"
	"math"
	"time"

	"valence/atom/store"
	"valence/internal/sqlitedb"
)

// acceptOp commits one Accept.
type acceptOp struct {
	s        *Store
	prepared pendingAccept
	accept   pendingAccept
	err      error // refusal, without rolling back
}

func (o *acceptOp) Do(tx *sqlitedb.Tx) error {
	o.accept = o.prepared
	var err error
	o.err, err = o.s.batch.acceptLimited(tx, &o.accept)
	return err
}

// Accept implements store.Queue.
func (s *Store) Accept(ctx context.Context, a *store.Message) (store.Receipt, error) {
	if s.space.Level() >= sqlitedb.Low {
		return store.Receipt{}, store.ErrFull
	}
	if err := checkMessage(a); err != nil {
		return store.Receipt{}, err
	}
	op := &acceptOp{s: s}
	pins, err := s.blobs.spillMessage(a, &op.prepared)
	defer pins.release()
	if err != nil {
		return store.Receipt{}, s.storeError(err)
	}
	if err := s.db.Do(ctx, op); err != nil {
		return store.Receipt{}, s.storeError(err)
	}
	return op.accept.receipt, op.err
}

// checkMessage rejects a message that no store could hold.
func checkMessage(a *store.Message) error {
	switch {
	case a.Process == "":
		return errors.New("the message names no process")
	case len(a.Meta) > store.MaxMeta:
		return fmt.Errorf("the metadata has %d bytes, more than 64 KiB", len(a.Meta))
	}
	return nil
}

// storeError wraps a database error in the store error that callers branch on.
func (s *Store) storeError(err error) error {
	switch {
	case errors.Is(err, store.ErrUnavailable), errors.Is(err, store.ErrFull): // of a read within
	case errors.Is(err, sqlitedb.ErrFull):
		return fmt.Errorf("%w: %w", store.ErrFull, err)
	case errors.Is(err, sqlitedb.ErrDamaged):
		return fmt.Errorf("%w: %w: %w", store.ErrUnavailable, store.ErrDamaged, err)
	case errors.Is(err, sqlitedb.ErrUnavailable), errors.Is(err, sqlitedb.ErrSlow), errors.Is(err, sqlitedb.ErrClosed):
		return fmt.Errorf("%w: %w", store.ErrUnavailable, err)
	}
	return err
}

// acceptLimited accepts a message from outside. It returns a refusal if the
// message's lane is full.
func (b *batch) acceptLimited(tx *sqlitedb.Tx, a *pendingAccept) (refusal, err error) {
	if l := a.Lane; l != nil && l.Limit > 0 {
		duplicate, err := b.seen(tx, a)
		if err != nil || duplicate {
			return nil, err
		}
		if err := b.lanes().checkLimit(tx, l); errors.Is(err, store.ErrLaneFull) {
			return err, nil
		} else if err != nil {
			return nil, err
		}
	}
	return nil, b.accept(tx, a)
}

// accept stages a message for a pack. It writes a row instead if the message
// has a reserved number, entries or a Due.
func (b *batch) accept(tx *sqlitedb.Tx, a *pendingAccept) error {
	duplicate, err := b.seen(tx, a)
	if err != nil || duplicate {
		return err
	}
	if err := b.s.contents.noteReferences(tx, a.Plan, a.Env); err != nil {
		return err
	}
	if a.Seq == 0 && a.Due.IsZero() && len(a.entries) == 0 {
		for _, k := range a.keys {
			b.keysTaken[k.name(a.Process)] = a
		}
		b.toPack = append(b.toPack, a)
		return nil
	}
	own := *a.Message
	if own.Seq == 0 {
		own.Seq = b.s.seqs.allocate(1)
	}
	own.Entries, own.Dedupe = nil, nil
	a.Message = &own
	a.receipt.Seq, a.receipt.Received = own.Seq, own.Received
	found, err := tx.One("SELECT 1 FROM execution WHERE seq = ?", []any{own.Seq}, func(sqlitedb.Row) {})
	if err != nil {
		return err
	}
	if found { // repeated acceptance
		a.receipt.Duplicate = true
		return nil
	}
	if err := b.coalesce(tx, a); err != nil {
		return err
	}
	own.Coalesce = nil
	state := statusCode(string(stateOf(&own, b.now)))
	if err := b.lanes().enterRow(tx, a); err != nil {
		return err
	}
	if err := insertRow(tx, &a.storedMessage, state, 0, 0, nil); err != nil {
		return err
	}
	if err := writeEntries(tx, own.Seq, a.entries); err != nil {
		return err
	}
	if err := b.writeKeys(tx, a); err != nil {
		return err
	}
	for _, k := range a.keys {
		b.keysTaken[k.name(a.Process)] = a
	}
	b.inRows = append(b.inRows, a)
	b.records = append(b.records, &store.Record{Message: *a.Message, State: store.State(statusName(state)), WaitsInLane: a.receipt.WaitsInLane})
	return writeFiles(tx, own.Seq, &a.storedMessage, a.entries, nil)
}

// insertRow inserts the row of an execution.
func insertRow(tx *sqlitedb.Tx, h *storedMessage, state uint8, attempt, crashes int, outcome []byte) error {
	head, docs := new(messageEncoder).encode([]*storedMessage{h})
	if h.lost != nil {
		docs = []byte("lost") // damaged for every reader
	}
	_, err := tx.Exec("INSERT INTO execution(seq, process, state, due, received, attempt, unclean, head, outcome, docs, lane) VALUES(?,?,?,?,?,?,?,?,?,?,?)",
		h.Seq, h.Process, int64(state), nullTime(h.Due), h.Received.UnixNano(), attempt, crashes, head, nullBytes(outcome), docs, laneColumn(h.Lane))
	return err
}

// nullTime returns t as a column value; null if it is zero.
func nullTime(t time.Time) any {
	if t.IsZero() {
		return nil
	}
	return t.UnixNano()
}

func nullBytes(b []byte) any {
	if b == nil {
		return nil
	}
	return b
}

// orEmpty returns an empty slice for nil, for columns that are not null.
func orEmpty(b []byte) []byte {
	if b == nil {
		return []byte{}
	}
	return b
}

// writeEntries appends a row to the journal of an execution.
func writeEntries(tx *sqlitedb.Tx, seq int64, entries []storedEntry) error {
	if len(entries) == 0 {
		return nil
	}
	from := seq << journalBits
	body := appendCRC(appendEntries(nil, entries), 0)
	_, err := tx.Exec("INSERT INTO journal(id, body) SELECT coalesce(max(id) + 1, ?1), ?2 FROM journal WHERE id BETWEEN ?1 AND ?1 + 65535", from, body)
	return err
}

func (k uniqueKey) name(process string) string {
	if k.origin {
		return "o" + string(k.key)
	}
	return "d" + process + "\x00" + string(k.key)
}

// seen reports whether a message is a duplicate, and if so fills its receipt.
func (b *batch) seen(tx *sqlitedb.Tx, a *pendingAccept) (bool, error) {
	a.keys = a.keys[:0]
	if a.Origin != "" {
		a.keys = append(a.keys, uniqueKey{true, store.KeyBytes(a.Origin)})
	}
	if a.Dedupe != nil {
		a.keys = append(a.keys, uniqueKey{false, store.KeyBytes(a.Dedupe.Key)})
		a.dedupeUntil, a.holder = a.Dedupe.Until.UnixNano(), a.Dedupe.Holder
	}
	for _, k := range a.keys {
		if first := b.keysTaken[k.name(a.Process)]; first != nil {
			a.receipt = first.receipt
			a.receipt.Duplicate = true
			if !k.origin {
				a.receipt.Holder = first.holder
			}
			b.duplicates[&a.receipt] = first
			return true, nil
		}
		query, args := "SELECT seq, received, 0, NULL FROM origin WHERE key = ? AND coalesce(until, ?) > ?", []any{k.key, math.MaxInt64, b.now.UnixNano()}
		if !k.origin {
			query, args = "SELECT seq, received, until, holder FROM dedupe WHERE process = ? AND key = ?", []any{a.Process, k.key}
		}
		hit := false
		_, err := tx.One(query, args, func(r sqlitedb.Row) {
			if k.origin || r.Int(2) > b.now.UnixNano() && r.Int(0) != a.Seq {
				hit = true
				a.receipt = store.Receipt{Seq: r.Int(0), Received: time.Unix(0, r.Int(1)).UTC(), Duplicate: true, Holder: r.Bytes(3)}
			}
		})
		if err != nil || hit {
			return hit, err
		}
		if !k.origin {
			if c := b.s.claims.heldByOther(a.Process, a.Dedupe.Key, a.Seq); c != nil {
				a.receipt = store.Receipt{Seq: c.seq, Received: c.at, Duplicate: true, Holder: c.holder}
				return true, nil
			}
		}
	}
	return false, nil
}

func (b *batch) writeKeys(tx *sqlitedb.Tx, a *pendingAccept) error {
	if err := writeExpiry(tx, a); err != nil {
		return err
	}
	for _, k := range a.keys {
		var err error
		if k.origin {
			_, err = tx.Exec("INSERT OR REPLACE INTO origin(key, seq, received, until) VALUES(?,?,?,?)", k.key, a.receipt.Seq, a.Received.UnixNano(), nullTime(a.Remember))
		} else {
			_, err = tx.Exec("INSERT OR REPLACE INTO dedupe(process, key, until, seq, received, reply, holder) VALUES(?,?,?,?,?,NULL,?)",
				a.Process, k.key, a.dedupeUntil, a.receipt.Seq, a.Received.UnixNano(), nullBytes(a.holder))
		}
		if err != nil {
			return err
		}
	}
	return nil
}
