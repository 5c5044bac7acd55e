package sqlite

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"time"

	"valence/atom/store"
	"valence/internal/sqlitedb"
)

// decodeSummary decodes the summary written by recordEncoder, and returns the
// encoded message as well.
func decodeSummary(seq int64, summary []byte) (*store.Execution, []byte, error) {
	d := &decoder{b: summary}
	process, head := d.text(), d.blob()
	attempt, crashes := int(d.byte()), int(d.byte())
	e := d.outcome()
	if d.err != nil {
		return nil, nil, fmt.Errorf("read execution %d in the history: %w", seq, d.err)
	}
	members, err := decodeMessages(head, nil, seq, process)
	if err != nil || len(members) != 1 {
		return nil, nil, fmt.Errorf("read execution %d in the history: %w", seq, errDamaged)
	}
	return &store.Execution{Record: store.Record{Message: *members[0].Message, Attempt: attempt, Crashes: crashes}, Outcome: &e.Outcome}, head, nil
}

func decodeRecord(seq int64, summary, body []byte) (*store.Execution, error) {
	x, head, err := decodeSummary(seq, summary)
	if err != nil {
		return nil, err
	}
	d := &decoder{b: body}
	docs := d.blob()
	entries := d.entries()
	x.Outcome.Trace, _ = d.doc(d)
	if d.err != nil {
		return nil, fmt.Errorf("read execution %d in the history: %w", seq, d.err)
	}
	members, err := decodeMessages(head, docs, seq, x.Process)
	if err != nil {
		return nil, fmt.Errorf("read execution %d in the history: %w", seq, err)
	}
	x.Message = *members[0].Message
	x.Journal = entriesOf(entries)
	return x, nil
}

// Get implements store.History. Executions are in the history before they are
// deleted from the database, so looking in that order finds each one.
func (s *Store) Get(ctx context.Context, seq int64, received time.Time) (*store.Execution, error) {
	x, err := s.liveExecution(ctx, seq, true)
	if errors.Is(err, fs.ErrNotExist) { // its journal was trimmed, or it was archived, before its files were read
		x, err = s.liveExecution(ctx, seq, true)
	}
	moved := errors.Is(err, fs.ErrNotExist)
	if !moved && (x != nil || err != nil) {
		return x, err
	}
	summary, body, e := s.history.Get(seq, received)
	if e != nil {
		return nil, e
	}
	if summary != nil {
		return decodeRecord(seq, summary, body)
	}
	if moved {
		x.DocumentErr = err
		return x, nil
	}
	if f := s.archiver.pendingRecord(seq); f != nil {
		return &store.Execution{Record: f.Record, Outcome: &f.Outcome, Journal: f.Entries}, nil
	}
	return nil, store.ErrUnknown
}

// pendingRecord returns an execution that is about to be recorded, or nil.
func (a *archiver) pendingRecord(seq int64) *store.Finished {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, list := range [][]*store.Finished{a.records, a.writing} {
		for _, f := range list {
			if f.Seq == seq {
				return f
			}
		}
	}
	return nil
}

// liveExecution returns an execution that is in the database, or nil. Without
// documents, files are not read. Documents that cannot be read are left out; if a
// file does not exist, the error is returned along with the execution, because
// the execution may have been archived meanwhile.
func (s *Store) liveExecution(ctx context.Context, seq int64, documents bool) (*store.Execution, error) {
	s.mu.Lock()
	var entries []storedEntry
	var end *storedOutcome
	member := s.index.active[seq]
	if member != nil {
		entries, end = slices.Clone(member.entries), member.outcome
	}
	s.mu.Unlock()
	var x *row
	err := s.read(ctx, func(tx *sqlitedb.Tx) (err error) {
		if x, err = readRow(tx, seq); err != nil {
			return err
		}
		if x == nil {
			x, err = readMemberRow(tx, seq, entries)
			return err
		}
		if x.entries, err = readEntries(tx, seq); err != nil {
			return err
		}
		if member == nil || member.pack == nil { // the last entries of an ended execution with a row
			x.entries = append(x.entries, entries...)
		}
		return nil
	})
	if err != nil || x == nil {
		return nil, err
	}
	if end != nil {
		copied := *end
		x.outcome = &copied
	}
	var unread error
	if documents {
		unread = s.blobs.load(x.storedMessage, x.entries, x.outcome)
	}
	out := &store.Execution{Record: *x.record(), Journal: entriesOf(x.entries)}
	if x.outcome != nil {
		out.Outcome = &x.outcome.Outcome
		out.State, out.Due, out.Reason = "", time.Time{}, ""
	}
	if errors.Is(unread, fs.ErrNotExist) {
		return out, unread
	}
	if unread != nil {
		out.DocumentErr = unread
	}
	return out, nil
}

// readMemberRow returns a pack member as a row, or nil if it is in no pack.
func readMemberRow(tx *sqlitedb.Tx, seq int64, entries []storedEntry) (*row, error) {
	first, last, err := packRange(tx, seq)
	if err != nil || last < seq {
		return nil, err
	}
	members, err := readPack(tx, first, true)
	if err == nil && int64(len(members)) <= seq-first {
		err = errDamaged
	}
	if err != nil {
		return nil, err
	}
	return &row{storedMessage: members[seq-first], state: codeAccepted, entries: entries}, nil
}

// packRange returns the numbers of the newest pack that starts at or below seq.
// If last is less than seq, the execution is in no pack.
func packRange(tx *sqlitedb.Tx, seq int64) (first, last int64, err error) {
	last = -1
	_, err = tx.One("SELECT first, last FROM intake WHERE first <= ? ORDER BY first DESC LIMIT 1", []any{seq}, func(r sqlitedb.Row) {
		first, last = r.Int(0), r.Int(1)
	})
	return first, last, err
}
