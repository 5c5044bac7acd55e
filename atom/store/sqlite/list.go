package sqlite

import (
	"context"
	"math"
	"slices"
	"time"

	"valence/atom/store"
	"valence/atom/store/sqlite/history"
	"valence/internal/sqlitedb"
)

// Limits of one call of List. When it reaches one, it returns the matches so
// far.
const (
	listItems = 20_000
	listTime  = time.Second
	listRows  = 200 // rows per query
	listPacks = 32
)

// stream returns executions newest first, read page by page.
type stream struct {
	buf    []*store.Execution
	before int64
	done   bool
	// fetch returns the next executions below before, and the lowest number it
	// covered; a negative low means the end.
	fetch func(before int64) (found []*store.Execution, low int64, err error)
}

// peek returns the next execution, or nil at the end.
func (s *stream) peek() (*store.Execution, error) {
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

// List implements store.History. Each page that it reads is a consistent view,
// the whole list is not.
func (s *Store) List(ctx context.Context, f store.Filter, cursor string, limit int) ([]*store.Execution, string, error) {
	before := int64(math.MaxInt64)
	if cursor != "" {
		position, err := store.ParseCursor(cursor)
		if err != nil {
			return nil, "", err
		}
		before = position.Seq
	}
	if f.Seq > 0 {
		before = min(before, f.Seq+1)
	}
	want := uint32(0)
	for _, w := range f.Statuses {
		want |= 1 << statusCode(w)
	}
	if len(f.Statuses) == 0 {
		want = math.MaxUint32
	}
	streams, err := lister{s}.streams(ctx, f, want, before)
	if err != nil {
		return nil, "", err
	}
	var found []*store.Execution
	start, looked, last := time.Now(), 0, store.Position{Seq: -1}
	for {
		var from *stream
		var next *store.Execution
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
		if next.Seq == last.Seq {
			continue // it was archived meanwhile: the first view counts
		}
		if len(found) == limit || looked >= listItems || looked&255 == 255 && time.Since(start) > listTime {
			return found, last.Cursor(), nil
		}
		last = store.Position{Seq: next.Seq, Received: next.Received}
		looked++
		if f.Matches(next) {
			found = append(found, next)
		}
	}
}

// lister reads the sources of a list.
type lister struct{ *Store }

// streams returns the sources that may hold matches. If two return the same
// execution, the first is right.
func (s lister) streams(ctx context.Context, f store.Filter, want uint32, before int64) ([]*stream, error) {
	var all []*stream
	add := func(fetch func(int64) ([]*store.Execution, int64, error)) {
		all = append(all, &stream{before: before, fetch: fetch})
	}
	if f.Fingerprint != "" && f.Unresolved { // usually few: use the index of fingerprints
		add(func(before int64) ([]*store.Execution, int64, error) { return s.listCause(ctx, f.Fingerprint, before) })
		return all, nil
	}
	if want&(1<<codeHeld) != 0 {
		add(func(before int64) ([]*store.Execution, int64, error) { return s.listBlocked(ctx, f.Process, before) })
	}
	for state := uint8(codeAccepted); state <= codeExpired; state++ {
		if want&(1<<state) != 0 && (!f.Unresolved || state >= firstEndedCode) {
			add(func(before int64) ([]*store.Execution, int64, error) {
				return s.listRows(ctx, state, f.Process, before)
			})
		}
	}
	if f.Unresolved {
		return all, nil
	}
	if want&(1<<codeAccepted) != 0 {
		add(func(before int64) ([]*store.Execution, int64, error) { return s.listPacks(ctx, f.Process, before) })
	}
	if want>>codeFailed != 0 {
		add(func(before int64) ([]*store.Execution, int64, error) { return s.listEnded(ctx, f.Process, before) })
		var scan *history.Scan
		add(func(before int64) ([]*store.Execution, int64, error) {
			if scan == nil {
				var err error
				if scan, err = s.history.Scan(before, blockMayMatch(&f, want)); err != nil {
					return nil, 0, err
				}
			}
			return listHistory(scan)
		})
	}
	return all, nil
}

// blockMayMatch returns a predicate for history blocks that may hold matches.
func blockMayMatch(f *store.Filter, want uint32) func(*history.Block) bool {
	keys := make([]uint64, 0, len(f.Track))
	for name, value := range f.Track {
		keys = append(keys, history.Key(name, value))
	}
	return func(b *history.Block) bool {
		for _, key := range keys {
			if !b.MayHold(key) {
				return false
			}
		}
		return b.Statuses&want != 0 && (f.Process == "" || slices.Contains(b.Processes, f.Process)) &&
			(f.Since.IsZero() || b.Last >= f.Since.UnixNano()) && (f.Until.IsZero() || b.First < f.Until.UnixNano())
	}
}

// listed returns an execution without the parts that lists omit.
func (x *row) listed() *store.Execution {
	out := &store.Execution{Record: *x.record()}
	out.Doc, out.Data = nil, nil
	if x.outcome != nil {
		outcome := x.outcome.Outcome
		outcome.Trace = nil
		out.Outcome, out.State, out.Due, out.Reason = &outcome, "", time.Time{}, ""
	}
	return out
}

func (s lister) listRows(ctx context.Context, state uint8, process string, before int64) ([]*store.Execution, int64, error) {
	if process != "" {
		return s.rows(ctx, "SELECT "+rowColumnsShort+" FROM execution WHERE state = ? AND seq < ? AND process = ? ORDER BY seq DESC LIMIT ?",
			int64(state), before, process, listRows)
	}
	return s.rows(ctx, "SELECT "+rowColumnsShort+" FROM execution WHERE state = ? AND seq < ? ORDER BY seq DESC LIMIT ?", int64(state), before, listRows)
}

// listCause returns the failures with a fingerprint.
func (s lister) listCause(ctx context.Context, fingerprint string, before int64) ([]*store.Execution, int64, error) {
	return s.rows(ctx, "SELECT "+rowColumnsShort+" FROM execution WHERE seq IN"+
		" (SELECT seq FROM failure WHERE fingerprint = ? AND seq < ? ORDER BY seq DESC LIMIT ?) ORDER BY seq DESC", fingerprint, before, listRows)
}

// rows returns the executions of a query, and the lowest number it covered.
func (s lister) rows(ctx context.Context, query string, args ...any) (found []*store.Execution, low int64, err error) {
	low = -1
	n := 0
	err = s.read(ctx, func(tx *sqlitedb.Tx) error {
		return tx.Rows(query, args, func(r sqlitedb.Row) (bool, error) {
			x, err := scanRow(r)
			if err != nil {
				return false, err
			}
			if n++; n == listRows {
				low = x.Seq
			}
			s.mu.Lock()
			member := s.index.active[x.Seq]
			f, moved := s.index.tombstones.get(x.Seq)
			s.mu.Unlock()
			switch {
			case member != nil && member.outcome != nil:
				x.outcome = member.outcome
			case moved && f == memberEnded:
				return true, nil // the history has it
			}
			found = append(found, x.listed())
			return true, nil
		})
	})
	return found, low, err
}

func (s lister) listPacks(ctx context.Context, process string, before int64) (found []*store.Execution, low int64, err error) {
	low = -1
	n := 0
	err = s.read(ctx, func(tx *sqlitedb.Tx) error {
		query, args := "SELECT first, process, head FROM intake WHERE first < ? ORDER BY first DESC LIMIT ?", []any{before, listPacks}
		if process != "" {
			query, args = "SELECT first, process, head FROM intake WHERE process = ? AND first < ? ORDER BY first DESC LIMIT ?", []any{process, before, listPacks}
		}
		return tx.Rows(query, args, func(r sqlitedb.Row) (bool, error) {
			if n++; n == listPacks {
				low = r.Int(0)
			}
			members, err := decodeMessages(r.Bytes(2), nil, r.Int(0), r.Text(1))
			if err != nil {
				return false, err
			}
			s.mu.Lock()
			defer s.mu.Unlock()
			for _, h := range slices.Backward(members) {
				if h.Seq >= before {
					continue
				}
				x := &row{storedMessage: h, state: codeAccepted}
				if member := s.index.active[h.Seq]; member != nil && member.outcome != nil {
					x.outcome = member.outcome
				} else if s.index.staleMember(h.Seq) {
					continue
				}
				found = append(found, x.listed())
			}
			return true, nil
		})
	})
	return found, low, err
}

// listEnded returns executions that ended and are not archived yet.
func (s lister) listEnded(ctx context.Context, process string, before int64) ([]*store.Execution, int64, error) {
	var seqs []int64
	s.mu.Lock()
	for seq, member := range s.index.active {
		if member.outcome != nil && seq < before && (process == "" || member.process == process) {
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
	var found []*store.Execution
	for _, seq := range seqs {
		x, err := s.liveExecution(ctx, seq, false)
		if err != nil {
			return nil, 0, err
		}
		if x == nil || x.Outcome == nil {
			continue // archived meanwhile
		}
		x.Doc, x.Data, x.Journal = nil, nil, nil
		outcome := *x.Outcome
		outcome.Trace = nil
		x.Outcome = &outcome
		found = append(found, x)
	}
	return found, low, nil
}

func listHistory(scan *history.Scan) ([]*store.Execution, int64, error) {
	var found []*store.Execution
	for len(found) < listRows {
		seq, summary, ok, err := scan.Next()
		if err != nil {
			return nil, 0, err
		}
		if !ok {
			return found, -1, nil
		}
		x, _, err := decodeSummary(seq, summary)
		if err != nil {
			return nil, 0, err
		}
		found = append(found, x)
	}
	return found, found[len(found)-1].Seq, nil
}
