package sqlite

import (
	"context"
	"fmt"
	"slices"
	"time"

	"valence/atom/store"
	"valence/internal/sqlitedb"
)

// Tail implements store.History.
func (s *Store) Tail(ctx context.Context, seq int64, received time.Time, after store.JournalPosition) (*store.Tail, error) {
	t, err := s.liveTail(ctx, seq, after)
	if t != nil || err != nil {
		return t, err
	}
	x, err := s.Get(ctx, seq, received)
	if err != nil {
		return nil, err
	}
	if after != store.NoEntries { // the trims are not counted any more
		after = store.JournalPosition{}
	}
	t = &store.Tail{Execution: x, Next: store.JournalPosition{Entries: len(x.Journal)}}
	x.Journal, t.Whole = afterPosition(x.Journal, after, 0)
	return t, nil
}

// afterPosition returns the entries after a position, and whether these are all
// because the position is the beginning or is not valid any more.
func afterPosition[T any](all []T, at store.JournalPosition, trims int) (entries []T, whole bool) {
	switch {
	case at == store.NoEntries:
		return nil, false
	case at.Entries == 0 || at.Trims != trims || at.Entries > len(all):
		return all, true
	}
	return all[at.Entries:], false
}

// liveTail returns the tail of an execution that is in the database, or nil.
func (s *Store) liveTail(ctx context.Context, seq int64, after store.JournalPosition) (*store.Tail, error) {
	s.mu.Lock()
	// A trim is counted after its commit: a read in between is repeated.
	trims := s.index.trims[seq]
	member := s.index.active[seq]
	var entries []storedEntry
	var end *storedOutcome
	if member != nil {
		entries, end = member.entries[:len(member.entries):len(member.entries)], member.outcome
	}
	s.mu.Unlock()
	t := &store.Tail{Next: store.JournalPosition{Trims: trims}}
	var x *row
	err := s.db.Read(ctx, func(tx *sqlitedb.Tx) (err error) {
		if x, err = readRow(tx, seq); err != nil {
			return err
		}
		if x == nil {
			if x, err = readMemberRow(tx, seq, nil); x != nil {
				t.Next.Entries = len(entries)
				x.entries, t.Whole = afterPosition(entries, after, trims)
			}
			return err
		}
		var last []storedEntry
		if member == nil || member.pack == nil { // the last entries of an ended execution with a row
			last = entries
		}
		return x.readTail(tx, after, last, t)
	})
	if err != nil || x == nil {
		return nil, err
	}
	t.Execution = &store.Execution{Record: *x.record(), Journal: entriesOf(x.entries)}
	if end != nil {
		x.outcome = end
	}
	if x.outcome != nil {
		outcome := x.outcome.Outcome
		t.Outcome = &outcome
		t.State, t.Due, t.Reason = "", time.Time{}, ""
	}
	return t, nil
}

// readTail reads the entries of an execution with a row after a position. last
// are entries that are not in the journal table.
func (x *row) readTail(tx *sqlitedb.Tx, after store.JournalPosition, last []storedEntry, t *store.Tail) (err error) {
	if after == store.NoEntries {
		return nil
	}
	first := x.Seq << journalBits
	resumes := after.Row >= first && after.Trims == t.Next.Trims
	from, before := first, 0
	if resumes {
		from, before = after.Row+1, after.Entries
	}
	t.Next.Row = after.Row
	var entries []storedEntry
	err = tx.Rows("SELECT id, body FROM journal WHERE id BETWEEN ? AND ? ORDER BY id", []any{from, first | (1<<journalBits - 1)}, func(r sqlitedb.Row) (bool, error) {
		d := checked(r.Bytes(1))
		entries = append(entries, d.entries()...)
		t.Next.Row = r.Int(0)
		return true, d.err
	})
	if err != nil {
		return fmt.Errorf("read the journal of execution %d: %w", x.Seq, err)
	}
	t.Next.Entries = before + len(entries)
	entries = append(slices.Clip(entries), last...)
	if resumes {
		x.entries = entries
		return nil
	}
	x.entries, t.Whole = afterPosition(entries, after, t.Next.Trims)
	return nil
}
