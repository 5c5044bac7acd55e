package sqlite

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"slices"
	"time"

	"valence/atom/store"
	"valence/internal/sqlitedb"
)

// row is an execution that has a row.
type row struct {
	*storedMessage
	state            uint8
	reason           string
	attempt, crashes int
	outcome          *storedOutcome
	entries          []storedEntry
}

const rowColumns = "seq, process, state, due, attempt, unclean, head, outcome, docs, why"
const rowColumnsShort = "seq, process, state, due, attempt, unclean, head, outcome, NULL, why"

func scanRow(r sqlitedb.Row) (*row, error) {
	members, err := decodeLive(r.Bytes(6), r.Bytes(8), r.Int(0), r.Text(1))
	if err == nil && len(members) != 1 {
		err = errDamaged
	}
	if err != nil {
		return nil, fmt.Errorf("read execution %d: %w", r.Int(0), err)
	}
	x := &row{storedMessage: members[0], state: uint8(r.Int(2)), attempt: int(r.Int(4)), crashes: int(r.Int(5))}
	if !r.Null(9) {
		x.reason = r.Text(9)
	}
	if !r.Null(3) {
		x.Due = time.Unix(0, r.Int(3)).UTC()
	}
	if b := r.Bytes(7); b != nil {
		d := checked(b)
		if x.outcome = d.outcome(); d.err != nil {
			return nil, fmt.Errorf("read the outcome of execution %d: %w", r.Int(0), d.err)
		}
	}
	return x, nil
}

func (x *row) record() *store.Record {
	return &store.Record{Message: *x.Message, State: store.State(statusName(x.state)), Reason: x.reason, Attempt: x.attempt, Crashes: x.crashes, DocumentErr: x.lost}
}

func readRow(tx *sqlitedb.Tx, seq int64) (x *row, err error) {
	_, e := tx.One("SELECT "+rowColumns+" FROM execution WHERE seq = ?", []any{seq}, func(r sqlitedb.Row) { x, err = scanRow(r) })
	if err == nil {
		err = e
	}
	return x, err
}

func readEntries(tx *sqlitedb.Tx, seq int64) (entries []storedEntry, err error) {
	err = tx.Rows("SELECT body FROM journal WHERE id BETWEEN ? AND ? ORDER BY id", []any{seq << journalBits, seq<<journalBits | (1<<journalBits - 1)},
		func(r sqlitedb.Row) (bool, error) {
			d := checked(r.Bytes(0))
			entries = append(entries, d.entries()...)
			return true, d.err
		})
	if err != nil {
		return nil, fmt.Errorf("read the journal of execution %d: %w", seq, err)
	}
	return entries, nil
}

// row returns the row of an execution, or nil.
func (s *Store) row(ctx context.Context, seq int64, journal bool) (x *row, err error) {
	err = s.read(ctx, func(tx *sqlitedb.Tx) error {
		if x, err = readRow(tx, seq); err != nil || x == nil || !journal {
			return err
		}
		x.entries, err = readEntries(tx, seq)
		return err
	})
	return x, err
}

// pack returns the members of a pack, or nil if there is none.
func (s *Store) pack(ctx context.Context, first int64) (members []*storedMessage, err error) {
	err = s.read(ctx, func(tx *sqlitedb.Tx) error {
		members, err = readPack(tx, first, true)
		return err
	})
	return members, err
}

// staleMember reports whether an execution that a view of the database shows as
// accepted no longer is. The caller holds the store's lock.
func (idx *liveIndex) staleMember(seq int64) bool {
	if p := idx.packOf[seq]; p != nil {
		if f := p.state(seq); f == memberEnded || f == memberPromoted {
			return true
		}
	}
	if y := idx.active[seq]; y != nil {
		return y.outcome != nil
	}
	f, ok := idx.tombstones.get(seq)
	return ok && f != memberRunning
}

// staleRow is staleMember for an execution with a row: it reports whether it
// has ended.
func (idx *liveIndex) staleRow(seq int64) bool {
	if y := idx.active[seq]; y != nil && y.outcome != nil {
		return true
	}
	f, ok := idx.tombstones.get(seq)
	return ok && f == memberEnded
}

// appendLive appends the execution of a row unless it has ended since the
// transaction began.
func (s *Store) appendLive(found *[]*row, r sqlitedb.Row) error {
	x, err := scanRow(r)
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.index.staleRow(x.Seq) {
		*found = append(*found, x)
	}
	return nil
}

// Ready implements store.Queue.
func (s *Store) Ready(ctx context.Context, process string, after int64, limit int) ([]*store.Record, error) {
	if s.space.Level() >= sqlitedb.Scarce {
		return nil, store.ErrFull
	}
	var found []*row
	upto := int64(math.MaxInt64) // members of packs are known up to here
	for from := after; len(found) < limit; {
		packed, last, err := s.readyPacks(ctx, process, from, limit-len(found), false)
		if err != nil {
			return nil, err
		}
		for _, h := range packed {
			found = append(found, &row{storedMessage: h, state: codeAccepted})
		}
		if last < 0 {
			break
		}
		from = last
	}
	if len(found) >= limit && limit > 0 {
		upto = found[len(found)-1].Seq
	}
	// Packs first, then rows: an execution promoted in between is found twice,
	// not missed.
	err := s.read(ctx, func(tx *sqlitedb.Tx) error {
		return tx.Rows("SELECT "+rowColumns+" FROM execution WHERE process = ? AND state = 1 AND due IS NULL AND lane IS NULL AND seq > ? AND seq <= ? ORDER BY seq LIMIT ?",
			[]any{process, after, upto, limit}, func(r sqlitedb.Row) (bool, error) {
				return true, s.appendLive(&found, r)
			})
	})
	if err != nil {
		return nil, err
	}
	s.announcements.wait()
	slices.SortStableFunc(found, func(a, b *row) int { return cmp.Compare(a.Seq, b.Seq) })
	found = slices.CompactFunc(found, func(a, b *row) bool { return a.Seq == b.Seq })
	return s.records(found[:min(limit, len(found))])
}

// hasEnded reports whether an execution has ended since its row was read.
func (s *Store) hasEnded(seq int64) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.index.staleRow(seq)
}

// records returns the records of rows, with the documents that are in files. A
// document that cannot be read affects its own record only.
func (s *Store) records(rows []*row) ([]*store.Record, error) {
	out := make([]*store.Record, 0, len(rows))
	for _, x := range rows {
		r := x.record()
		own := storedMessage{Message: &r.Message, docFile: x.docFile, dataFile: x.dataFile}
		err := s.blobs.load(&own, nil, nil)
		if errors.Is(err, fs.ErrNotExist) && s.hasEnded(x.Seq) {
			continue // it was archived before its files were read
		}
		if err != nil {
			r.DocumentErr = err
		}
		out = append(out, r)
	}
	return out, nil
}

// readyPacks returns unchanged members of the next packs, and the last number
// it covered, or -1 if there are no more packs. It includes members in lanes
// only if laned is set.
func (s *Store) readyPacks(ctx context.Context, process string, after int64, limit int, laned bool) ([]*storedMessage, int64, error) {
	var packs []*pack
	n, more := int64(0), false
	start := time.Now()
	err := s.read(ctx, func(tx *sqlitedb.Tx) error {
		return tx.Rows(`SELECT first, last, head, docs FROM intake WHERE process = ?1 AND last > ?2 AND laned <= ?3
			AND first >= coalesce((SELECT max(first) FROM intake WHERE process = ?1 AND first <= ?2), 0) ORDER BY first`, []any{process, after, laned},
			func(r sqlitedb.Row) (bool, error) {
				if n >= int64(limit) {
					more = true
					return false, nil
				}
				p := &pack{first: r.Int(0), last: r.Int(1), process: process}
				var err error
				if p.members, err = decodeLive(r.Bytes(2), r.Bytes(3), p.first, process); err != nil {
					return false, fmt.Errorf("read pack %d: %w", p.first, err)
				}
				for _, h := range p.members {
					p.bytes += len(h.Doc) + len(h.Data) + len(h.Meta) + 400
				}
				packs = append(packs, p)
				n += p.last - max(p.first-1, after)
				return true, nil
			})
	})
	if err != nil {
		return nil, 0, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if time.Since(start) > tombstoneTime-time.Second {
		return nil, 0, fmt.Errorf("%w: reading ready executions took too long", store.ErrUnavailable)
	}
	var found []*storedMessage
	last := int64(-1)
	for _, p := range packs {
		if _, retired := s.index.tombstones.get(p.first); !retired && s.index.packs[p.first] == nil {
			s.index.cacheFirst(p)
		}
		for _, h := range p.members {
			if (laned || h.Lane == nil) && h.Seq > after && len(found) < limit && !s.index.staleMember(h.Seq) {
				found = append(found, h)
			}
		}
		last = p.last
	}
	if !more {
		last = -1
	}
	return found, last, nil
}

// Due implements store.Queue.
func (s *Store) Due(ctx context.Context, process string, until time.Time, limit int) ([]*store.Record, time.Time, error) {
	if s.space.Level() >= sqlitedb.Scarce {
		return nil, time.Time{}, store.ErrFull
	}
	var found []*row
	var next time.Time
	err := s.read(ctx, func(tx *sqlitedb.Tx) error {
		_, err := tx.One("SELECT min(due) FROM execution WHERE process = ? AND due > ? AND state < 4", []any{process, until.UnixNano()}, func(r sqlitedb.Row) {
			if !r.Null(0) {
				next = time.Unix(0, r.Int(0)).UTC()
			}
		})
		if err != nil {
			return err
		}
		return tx.Rows("SELECT "+rowColumns+" FROM execution WHERE process = ? AND due <= ? AND state < 4 ORDER BY due, seq", []any{process, until.UnixNano()},
			func(r sqlitedb.Row) (bool, error) {
				if len(found) >= limit {
					return false, nil
				}
				return true, s.appendLive(&found, r)
			})
	})
	if err != nil {
		return nil, time.Time{}, err
	}
	s.announcements.wait()
	records, err := s.records(found)
	return records, next, err
}

// Entries implements store.Journal.
func (s *Store) Entries(ctx context.Context, seq int64) ([]store.Entry, error) {
	entries, ok := s.memberEntries(seq)
	if !ok {
		err := s.read(ctx, func(tx *sqlitedb.Tx) (err error) {
			entries, err = readEntries(tx, seq)
			return err
		})
		if err != nil {
			return nil, err
		}
	}
	entries = slices.Clone(entries)
	if err := s.blobs.load(nil, entries, nil); err != nil {
		return nil, err
	}
	return entriesOf(entries), nil
}

// memberEntries returns the journal of an execution without a row.
func (s *Store) memberEntries(seq int64) ([]storedEntry, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	member := s.index.active[seq]
	if member == nil || member.pack == nil {
		return nil, false
	}
	return member.entries[:len(member.entries):len(member.entries)], true
}

// Counts implements store.Backlog.
func (s *Store) Counts(context.Context) (map[string]map[store.State]int64, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := make(map[string]map[store.State]int64, len(s.index.counts))
	for process, states := range s.index.counts {
		c := make(map[store.State]int64, len(states))
		for state, n := range states {
			c[state] = n
		}
		out[process] = c
	}
	return out, nil
}

// Oldest implements store.Backlog.
func (s *Store) Oldest(ctx context.Context, process string) (time.Time, error) {
	s.mu.Lock()
	none := len(s.index.counts[process]) == 0
	s.mu.Unlock()
	if none {
		return time.Time{}, nil
	}
	oldest := &row{}
	for from := int64(0); from >= 0 && oldest.storedMessage == nil; {
		packed, last, err := s.readyPacks(ctx, process, from, 1, true)
		if err != nil {
			return time.Time{}, err
		}
		if len(packed) > 0 {
			oldest.storedMessage = packed[0]
		}
		from = last
	}
	err := s.read(ctx, func(tx *sqlitedb.Tx) error {
		for _, state := range []int{codeAccepted, codeHeld} {
			err := tx.Rows("SELECT "+rowColumnsShort+" FROM execution WHERE state = ? AND process = ? ORDER BY seq", []any{state, process}, func(r sqlitedb.Row) (bool, error) {
				s.mu.Lock()
				stale := s.index.staleRow(r.Int(0))
				s.mu.Unlock()
				if stale {
					return true, nil
				}
				x, err := scanRow(r)
				if err == nil && (oldest.storedMessage == nil || cmp.Compare(x.Seq, oldest.Seq) < 0) {
					oldest = x
				}
				return false, err
			})
			if err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil || oldest.storedMessage == nil {
		return time.Time{}, err
	}
	return oldest.Received, nil
}
