package sqlite

import (
	"context"
	"errors"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"valence/atom"
	"valence/internal/sqlitedb"
	"valence/internal/store/sqlite/history"
)

// What one call of List looks at, at most: then it gives what it found and
// where to go on.
const (
	listItems = 20_000
	listTime  = time.Second
	listRows  = 200 // read at once
	listPacks = 32
)

// stream gives executions from the newest down, read in parts.
type stream struct {
	buf    []*atom.Execution
	before int64
	done   bool
	// fetch gives the next executions below before, and how far down it
	// looked; a negative low: to the end.
	fetch func(before int64) (found []*atom.Execution, low int64, err error)
}

// peek gives the next execution, nil at the end.
func (s *stream) peek() (*atom.Execution, error) {
	for len(s.buf) == 0 && !s.done {
		found, low, err := s.fetch(s.before)
		if err != nil {
			return nil, err
		}
		s.buf, s.before, s.done = found, low, low < 0
	}
	if len(s.buf) == 0 {
		return nil, nil
	}
	return s.buf[0], nil
}

// List gives executions newest first; see atom.History. It is the view of a
// moment for each part it reads, not for the whole.
func (s *Store) List(ctx context.Context, f atom.Filter, cursor string, limit int) ([]*atom.Execution, string, error) {
	before := int64(math.MaxInt64)
	if cursor != "" {
		n, err := strconv.ParseInt(cursor, 36, 64)
		if err != nil || n < 0 {
			return nil, "", errors.New("the cursor is not one of this list")
		}
		before = n
	}
	if f.Seq > 0 {
		before = min(before, f.Seq+1)
	}
	want := uint32(0)
	for _, w := range f.Statuses {
		want |= 1 << number(w)
	}
	if len(f.Statuses) == 0 {
		want = math.MaxUint32
	}
	streams, err := s.streams(ctx, f, want, before)
	if err != nil {
		return nil, "", err
	}
	var found []*atom.Execution
	start, looked, last := time.Now(), 0, int64(-1)
	for {
		var from *stream
		var next *atom.Execution
		for _, st := range streams {
			x, err := st.peek()
			if err != nil {
				return nil, "", err
			}
			if x != nil && (next == nil || x.Seq > next.Seq) {
				from, next = st, x
			}
		}
		if next == nil || next.Seq < f.Seq {
			return found, "", nil
		}
		from.buf = from.buf[1:]
		if next.Seq == last {
			continue // it moved meanwhile: the first view counts
		}
		if len(found) == limit || looked >= listItems || looked&255 == 255 && time.Since(start) > listTime {
			return found, strconv.FormatInt(last, 36), nil
		}
		last = next.Seq
		looked++
		if matches(&f, want, next) {
			found = append(found, next)
		}
	}
}

// streams gives the places where what is asked for can be. Where two know of
// the same execution the first is right.
func (s *Store) streams(ctx context.Context, f atom.Filter, want uint32, before int64) ([]*stream, error) {
	var all []*stream
	add := func(fetch func(int64) ([]*atom.Execution, int64, error)) {
		all = append(all, &stream{before: before, fetch: fetch})
	}
	if f.Fingerprint != "" && f.Unresolved { // few of many: by the index of causes
		add(func(before int64) ([]*atom.Execution, int64, error) { return s.listCause(ctx, f.Fingerprint, before) })
		return all, nil
	}
	if want&(1<<stHeld) != 0 {
		add(func(before int64) ([]*atom.Execution, int64, error) { return s.listBlocked(ctx, f.Process, before) })
	}
	for state := uint8(stAccepted); state <= stExpired; state++ {
		if want&(1<<state) != 0 && (!f.Unresolved || state >= live) {
			add(func(before int64) ([]*atom.Execution, int64, error) { return s.listRows(ctx, state, f.Process, before) })
		}
	}
	if f.Unresolved {
		return all, nil
	}
	if want&(1<<stAccepted) != 0 {
		add(func(before int64) ([]*atom.Execution, int64, error) { return s.listPacks(ctx, f.Process, before) })
	}
	if want>>stFailed != 0 {
		add(func(before int64) ([]*atom.Execution, int64, error) { return s.listEnded(ctx, f.Process, before) })
		var scan *history.Scan
		add(func(before int64) ([]*atom.Execution, int64, error) {
			if scan == nil {
				var err error
				if scan, err = s.history.Scan(before, wanted(&f, want)); err != nil {
					return nil, 0, err
				}
			}
			return listHistory(scan)
		})
	}
	return all, nil
}

// wanted tells blocks of the history that may hold what a filter selects.
func wanted(f *atom.Filter, want uint32) func(*history.Block) bool {
	return func(b *history.Block) bool {
		return b.Statuses&want != 0 && (f.Process == "" || slices.Contains(b.Processes, f.Process)) &&
			(f.Since.IsZero() || b.Last >= f.Since.UnixNano()) && (f.Until.IsZero() || b.First < f.Until.UnixNano())
	}
}

func matches(f *atom.Filter, want uint32, x *atom.Execution) bool {
	status := string(x.State)
	if x.Outcome != nil {
		status = string(x.Outcome.Status)
	}
	switch {
	case f.Seq > 0 && x.Seq != f.Seq,
		f.Process != "" && x.Process != f.Process,
		want&(1<<number(status)) == 0,
		!f.Since.IsZero() && x.Received.Before(f.Since),
		!f.Until.IsZero() && !x.Received.Before(f.Until),
		f.Unresolved && (x.Outcome == nil || x.Outcome.Resolved != nil),
		f.Fingerprint != "" && (x.Outcome == nil || x.Outcome.Fingerprint != f.Fingerprint):
		return false
	}
	for k, v := range f.Track {
		if x.Track[k] != v {
			return false
		}
	}
	if f.Text == "" {
		return true
	}
	text := strings.ToLower(f.Text)
	for _, v := range x.Track {
		if strings.Contains(strings.ToLower(v), text) {
			return true
		}
	}
	return x.Outcome != nil && strings.Contains(strings.ToLower(string(x.Outcome.Error)), text)
}

// listed is an execution without what lists leave out.
func (x *row) listed() *atom.Execution {
	out := &atom.Execution{Record: *x.record()}
	out.Doc, out.Data = nil, nil
	if x.ending != nil {
		outcome := x.ending.Outcome
		outcome.Trace = nil
		out.Outcome, out.State, out.Due, out.Why = &outcome, "", time.Time{}, ""
	}
	return out
}

func (s *Store) listRows(ctx context.Context, state uint8, process string, before int64) ([]*atom.Execution, int64, error) {
	if process != "" {
		return s.rows(ctx, "SELECT "+rowColumnsShort+" FROM execution WHERE state = ? AND seq < ? AND process = ? ORDER BY seq DESC LIMIT ?",
			int64(state), before, process, listRows)
	}
	return s.rows(ctx, "SELECT "+rowColumnsShort+" FROM execution WHERE state = ? AND seq < ? ORDER BY seq DESC LIMIT ?", int64(state), before, listRows)
}

// listCause gives the failures of one cause.
func (s *Store) listCause(ctx context.Context, fingerprint string, before int64) ([]*atom.Execution, int64, error) {
	return s.rows(ctx, "SELECT "+rowColumnsShort+" FROM execution WHERE seq IN"+
		" (SELECT seq FROM failure WHERE fingerprint = ? AND seq < ? ORDER BY seq DESC LIMIT ?) ORDER BY seq DESC", fingerprint, before, listRows)
}

// rows gives executions that a query selects, and how far down it looked.
func (s *Store) rows(ctx context.Context, query string, args ...any) (found []*atom.Execution, low int64, err error) {
	low = -1
	n := 0
	err = s.db.Read(ctx, func(tx *sqlitedb.Tx) error {
		return tx.Rows(query, args, func(r sqlitedb.Row) (bool, error) {
			x, err := scanRow(r)
			if err != nil {
				return false, err
			}
			if n++; n == listRows {
				low = x.Seq
			}
			s.mu.Lock()
			y := s.mem.young[x.Seq]
			f, moved := s.mem.tombs.get(x.Seq)
			s.mu.Unlock()
			switch {
			case y != nil && y.ending != nil:
				x.ending = y.ending
			case moved && f == ended:
				return true, nil // the history has it
			}
			found = append(found, x.listed())
			return true, nil
		})
	})
	return found, low, err
}

func (s *Store) listPacks(ctx context.Context, process string, before int64) (found []*atom.Execution, low int64, err error) {
	low = -1
	n := 0
	err = s.db.Read(ctx, func(tx *sqlitedb.Tx) error {
		query, args := "SELECT first, process, head FROM intake WHERE first < ? ORDER BY first DESC LIMIT ?", []any{before, listPacks}
		if process != "" {
			query, args = "SELECT first, process, head FROM intake WHERE process = ? AND first < ? ORDER BY first DESC LIMIT ?", []any{process, before, listPacks}
		}
		return tx.Rows(query, args, func(r sqlitedb.Row) (bool, error) {
			if n++; n == listPacks {
				low = r.Int(0)
			}
			members, err := decodeHeads(r.Bytes(2), nil, r.Int(0), r.Text(1))
			if err != nil {
				return false, err
			}
			s.mu.Lock()
			defer s.mu.Unlock()
			for _, h := range slices.Backward(members) {
				if h.Seq >= before {
					continue
				}
				x := &row{held: h, state: stAccepted}
				if y := s.mem.young[h.Seq]; y != nil && y.ending != nil {
					x.ending = y.ending
				} else if s.mem.gone(h.Seq) {
					continue
				}
				found = append(found, x.listed())
			}
			return true, nil
		})
	})
	return found, low, err
}

// listEnded gives what ended well and has not moved.
func (s *Store) listEnded(ctx context.Context, process string, before int64) ([]*atom.Execution, int64, error) {
	var seqs []int64
	s.mu.Lock()
	for seq, y := range s.mem.young {
		if y.ending != nil && seq < before && (process == "" || y.process == process) {
			seqs = append(seqs, seq)
		}
	}
	s.mu.Unlock()
	slices.Sort(seqs)
	slices.Reverse(seqs)
	low := int64(-1)
	if len(seqs) > listRows {
		seqs = seqs[:listRows]
		low = seqs[listRows-1]
	}
	var found []*atom.Execution
	for _, seq := range seqs {
		x, err := s.hot(ctx, seq, false)
		if err != nil {
			return nil, 0, err
		}
		if x == nil || x.Outcome == nil {
			continue // it moved meanwhile
		}
		x.Doc, x.Data, x.Journal = nil, nil, nil
		outcome := *x.Outcome
		outcome.Trace = nil
		x.Outcome = &outcome
		found = append(found, x)
	}
	return found, low, nil
}

func listHistory(scan *history.Scan) ([]*atom.Execution, int64, error) {
	var found []*atom.Execution
	for len(found) < listRows {
		seq, summary, ok, err := scan.Next()
		if err != nil {
			return nil, 0, err
		}
		if !ok {
			return found, -1, nil
		}
		x, _, err := summarised(seq, summary)
		if err != nil {
			return nil, 0, err
		}
		found = append(found, x)
	}
	return found, found[len(found)-1].Seq, nil
}
