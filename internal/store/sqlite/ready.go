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

	"valence/atom"
	"valence/internal/sqlitedb"
)

// row is an execution with a row of its own.
type row struct {
	*held
	state            uint8
	why              string
	attempt, unclean int
	ending           *ending
	lines            []line
}

const rowColumns = "seq, process, state, due, attempt, unclean, head, outcome, docs, why"
const rowColumnsShort = "seq, process, state, due, attempt, unclean, head, outcome, NULL, why"

func scanRow(r sqlitedb.Row) (*row, error) {
	members, err := decodeHeads(r.Bytes(6), r.Bytes(8), r.Int(0), r.Text(1))
	if err == nil && len(members) != 1 {
		err = errDamaged
	}
	if err != nil {
		return nil, fmt.Errorf("read execution %d: %w", r.Int(0), err)
	}
	x := &row{held: members[0], state: uint8(r.Int(2)), attempt: int(r.Int(4)), unclean: int(r.Int(5))}
	if !r.Null(9) {
		x.why = r.Text(9)
	}
	if !r.Null(3) {
		x.Due = time.Unix(0, r.Int(3)).UTC()
	}
	if b := r.Bytes(7); b != nil {
		d := checked(b)
		if x.ending = d.ending(); d.err != nil {
			return nil, fmt.Errorf("read the outcome of execution %d: %w", r.Int(0), d.err)
		}
	}
	return x, nil
}

func (x *row) record() *atom.Record {
	return &atom.Record{Acceptance: *x.Acceptance, State: atom.State(word(x.state)), Why: x.why, Attempt: x.attempt, Unclean: x.unclean}
}

func readRow(tx *sqlitedb.Tx, seq int64) (x *row, err error) {
	_, e := tx.One("SELECT "+rowColumns+" FROM execution WHERE seq = ?", []any{seq}, func(r sqlitedb.Row) { x, err = scanRow(r) })
	if err == nil {
		err = e
	}
	return x, err
}

func readLines(tx *sqlitedb.Tx, seq int64) (lines []line, err error) {
	err = tx.Rows("SELECT body FROM journal WHERE id BETWEEN ? AND ? ORDER BY id", []any{seq << journalBits, seq<<journalBits | (1<<journalBits - 1)},
		func(r sqlitedb.Row) (bool, error) {
			d := checked(r.Bytes(0))
			lines = append(lines, d.lines()...)
			return true, d.err
		})
	if err != nil {
		return nil, fmt.Errorf("read the journal of execution %d: %w", seq, err)
	}
	return lines, nil
}

// row reads one from the database, nil if it has none.
func (s *Store) row(ctx context.Context, seq int64, journal bool) (x *row, err error) {
	err = s.db.Read(ctx, func(tx *sqlitedb.Tx) error {
		if x, err = readRow(tx, seq); err != nil || x == nil || !journal {
			return err
		}
		x.lines, err = readLines(tx, seq)
		return err
	})
	return x, err
}

// pack reads the members of a pack, nil if it is not there.
func (s *Store) pack(ctx context.Context, first int64) (members []*held, err error) {
	err = s.db.Read(ctx, func(tx *sqlitedb.Tx) error {
		members, err = readPack(tx, first, true)
		return err
	})
	return members, err
}

// gone reports whether an execution that an earlier view of the database
// showed among the accepted ones is not one any more. The store's lock is held.
func (m *memory) gone(seq int64) bool {
	if p := m.at[seq]; p != nil {
		if f := p.fate(seq); f == ended || f == left {
			return true
		}
	}
	if y := m.young[seq]; y != nil {
		return y.ending != nil
	}
	f, ok := m.tombs.get(seq)
	return ok && f != runs
}

// goneRow is gone for what had a row.
func (m *memory) goneRow(seq int64) bool {
	if y := m.young[seq]; y != nil && y.ending != nil {
		return true
	}
	f, ok := m.tombs.get(seq)
	return ok && f == ended
}

// Ready gives what was accepted and never parked; see atom.Queue.
func (s *Store) Ready(ctx context.Context, process string, after int64, limit int) ([]*atom.Record, error) {
	if s.space.Level() >= sqlitedb.Scarce {
		return nil, atom.ErrFull
	}
	var found []*row
	upto := int64(math.MaxInt64) // what is in packs is known up to here
	for from := after; len(found) < limit; {
		packed, last, err := s.readyPacks(ctx, process, from, limit-len(found), false)
		if err != nil {
			return nil, err
		}
		for _, h := range packed {
			found = append(found, &row{held: h, state: stAccepted})
		}
		if last < 0 {
			break
		}
		from = last
	}
	if len(found) >= limit && limit > 0 {
		upto = found[len(found)-1].Seq
	}
	// Packs first, then rows: what gets a row in between is found twice.
	err := s.db.Read(ctx, func(tx *sqlitedb.Tx) error {
		return tx.Rows("SELECT "+rowColumns+" FROM execution WHERE process = ? AND state = 1 AND due IS NULL AND lane IS NULL AND seq > ? AND seq <= ? ORDER BY seq LIMIT ?",
			[]any{process, after, upto, limit}, func(r sqlitedb.Row) (bool, error) {
				x, err := scanRow(r)
				s.mu.Lock()
				defer s.mu.Unlock()
				if err == nil && !s.mem.goneRow(x.Seq) {
					found = append(found, x)
				}
				return true, err
			})
	})
	if err != nil {
		return nil, err
	}
	slices.SortStableFunc(found, func(a, b *row) int { return cmp.Compare(a.Seq, b.Seq) })
	found = slices.CompactFunc(found, func(a, b *row) bool { return a.Seq == b.Seq })
	return s.records(found[:min(limit, len(found))])
}

// over reports whether an execution that was live a moment ago has ended.
func (s *Store) over(seq int64) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.mem.goneRow(seq)
}

// records makes what an atom is given, with documents that are files.
func (s *Store) records(rows []*row) ([]*atom.Record, error) {
	out := make([]*atom.Record, 0, len(rows))
	for _, x := range rows {
		r := x.record()
		own := held{&r.Acceptance, x.doc, x.data}
		err := s.blobs.fill(&own, nil, nil)
		if errors.Is(err, fs.ErrNotExist) && s.over(x.Seq) {
			continue // it moved before its files were read
		}
		if err != nil {
			return nil, err
		}
		out = append(out, r)
	}
	return out, nil
}

// readyPacks gives members of the next packs that wait, and the last number it
// looked at, -1 when there are no more packs. Those in a lane are among them
// only if that is wanted.
func (s *Store) readyPacks(ctx context.Context, process string, after int64, limit int, laned bool) ([]*held, int64, error) {
	var packs []*pack
	n, more := int64(0), false
	start := time.Now()
	err := s.db.Read(ctx, func(tx *sqlitedb.Tx) error {
		return tx.Rows(`SELECT first, last, head, docs FROM intake WHERE process = ?1 AND last > ?2 AND laned <= ?3
			AND first >= coalesce((SELECT max(first) FROM intake WHERE process = ?1 AND first <= ?2), 0) ORDER BY first`, []any{process, after, laned},
			func(r sqlitedb.Row) (bool, error) {
				if n >= int64(limit) {
					more = true
					return false, nil
				}
				p := &pack{first: r.Int(0), last: r.Int(1), process: process}
				var err error
				if p.members, err = decodeHeads(r.Bytes(2), r.Bytes(3), p.first, process); err != nil {
					return false, fmt.Errorf("read what was accepted from %d on: %w", p.first, err)
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
	if time.Since(start) > tombTime-time.Second {
		return nil, 0, fmt.Errorf("read what is ready: %w", context.DeadlineExceeded)
	}
	var found []*held
	last := int64(-1)
	for _, p := range packs {
		if _, retired := s.mem.tombs.get(p.first); !retired && s.mem.packs[p.first] == nil {
			s.mem.prefer(p)
		}
		for _, h := range p.members {
			if (laned || h.Lane == nil) && h.Seq > after && len(found) < limit && !s.mem.gone(h.Seq) {
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

// Due gives what is to be run again; see atom.Queue.
func (s *Store) Due(ctx context.Context, process string, until time.Time, limit int) ([]*atom.Record, time.Time, error) {
	if s.space.Level() >= sqlitedb.Scarce {
		return nil, time.Time{}, atom.ErrFull
	}
	var found []*row
	var next time.Time
	err := s.db.Read(ctx, func(tx *sqlitedb.Tx) error {
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
				x, err := scanRow(r)
				s.mu.Lock()
				defer s.mu.Unlock()
				if err == nil && !s.mem.goneRow(x.Seq) {
					found = append(found, x)
				}
				return true, err
			})
	})
	if err != nil {
		return nil, time.Time{}, err
	}
	records, err := s.records(found)
	return records, next, err
}

// Entries gives the journal of an execution; see atom.Journal.
func (s *Store) Entries(ctx context.Context, seq int64) ([]atom.Entry, error) {
	lines, ok := s.youngLines(seq)
	if !ok {
		err := s.db.Read(ctx, func(tx *sqlitedb.Tx) (err error) {
			lines, err = readLines(tx, seq)
			return err
		})
		if err != nil {
			return nil, err
		}
	}
	lines = slices.Clone(lines)
	if err := s.blobs.fill(nil, lines, nil); err != nil {
		return nil, err
	}
	return entriesOf(lines), nil
}

// youngLines gives the journal of an execution without a row.
func (s *Store) youngLines(seq int64) ([]line, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	y := s.mem.young[seq]
	if y == nil || y.home == nil {
		return nil, false
	}
	return y.lines[:len(y.lines):len(y.lines)], true
}

// Counts gives the numbers of live executions; see atom.Backlog.
func (s *Store) Counts(context.Context) (map[string]map[atom.State]int64, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := make(map[string]map[atom.State]int64, len(s.mem.counts))
	for process, states := range s.mem.counts {
		c := make(map[atom.State]int64, len(states))
		for state, n := range states {
			c[state] = n
		}
		out[process] = c
	}
	return out, nil
}

// Oldest gives when the oldest live execution was received; see atom.Backlog.
func (s *Store) Oldest(ctx context.Context, process string) (time.Time, error) {
	s.mu.Lock()
	none := len(s.mem.counts[process]) == 0
	s.mu.Unlock()
	if none {
		return time.Time{}, nil
	}
	oldest := &row{}
	for from := int64(0); from >= 0 && oldest.held == nil; {
		packed, last, err := s.readyPacks(ctx, process, from, 1, true)
		if err != nil {
			return time.Time{}, err
		}
		if len(packed) > 0 {
			oldest.held = packed[0]
		}
		from = last
	}
	err := s.db.Read(ctx, func(tx *sqlitedb.Tx) error {
		for state := stAccepted; state < live; state++ {
			err := tx.Rows("SELECT "+rowColumnsShort+" FROM execution WHERE state = ? AND process = ? ORDER BY seq", []any{state, process}, func(r sqlitedb.Row) (bool, error) {
				s.mu.Lock()
				gone := s.mem.goneRow(r.Int(0))
				s.mu.Unlock()
				if gone {
					return true, nil
				}
				x, err := scanRow(r)
				if err == nil && (oldest.held == nil || cmp.Compare(x.Seq, oldest.Seq) < 0) {
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
	if err != nil || oldest.held == nil {
		return time.Time{}, err
	}
	return oldest.Received, nil
}
