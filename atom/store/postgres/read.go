package postgres

import (
	"context"
	"fmt"
	"slices"
	"time"

	"valence/atom/store"
	"valence/internal/pgdb"
)

// one reads a row; found is false if there is none.
func (s *Store) one(ctx context.Context, into []any, sql string, args ...any) (found bool, err error) {
	err = s.query(ctx, func(r pgdb.Rows) error { found = true; return r.Scan(into...) }, sql, args...)
	return found, err
}

// each scans every row.
func (s *Store) each(ctx context.Context, into []any, f func() error, sql string, args ...any) error {
	return s.query(ctx, func(r pgdb.Rows) error {
		if err := r.Scan(into...); err != nil {
			return err
		}
		return f()
	}, sql, args...)
}

// records reads records with their documents.
func (s *Store) records(ctx context.Context, epoch int64, sql string, args ...any) (found []*store.Record, err error) {
	err = s.query(ctx, func(r pgdb.Rows) error {
		var scan recordScan
		if err := r.Scan(append(scan.into(), &scan.doc, &scan.data)...); err != nil {
			return err
		}
		x, err := scan.record()
		if err != nil {
			return fmt.Errorf("read execution %d: %w", scan.x.Seq, err)
		}
		x.Epoch = epoch
		found = append(found, x)
		return nil
	}, "SELECT "+recordColumns+", doc, data FROM atom_execution WHERE "+sql, args...)
	return found, err
}

// ready reads executions that this member runs, in order of Seq.
func (s *Store) ready(ctx context.Context, which, process string, after int64, limit int, skip func(int64) bool) (found []*store.Record, err error) {
	epoch := s.lease.current()
	for _, block := range s.numbers.blocks() {
		last := (block+1)<<blockBits - 1
		for from := max(after, block<<blockBits-1); from < last && len(found) < limit; {
			page, err := s.records(ctx, epoch, which+" AND process = $1 AND seq > $2 AND seq <= $3 ORDER BY seq LIMIT $4", process, from, last, limit)
			if err != nil {
				return nil, err
			}
			for _, r := range page {
				if from = r.Seq; len(found) < limit && (skip == nil || !skip(r.Seq)) {
					found = append(found, r)
				}
			}
			if len(page) < limit {
				break
			}
		}
	}
	s.announcer.settle()
	return found, nil
}

// Ready implements store.Queue.
func (s *Store) Ready(ctx context.Context, process string, after int64, limit int) ([]*store.Record, error) {
	return s.ready(ctx, "lane_scope IS NULL AND state = 1 AND due IS NULL AND NOT suspended AND NOT waits", process, after, limit, nil)
}

// Due implements store.Queue.
func (s *Store) Due(ctx context.Context, process string, until time.Time, limit int) ([]*store.Record, time.Time, error) {
	epoch, blocks := s.lease.current(), s.numbers.blocks()
	const mine = "state < 4 AND due IS NOT NULL AND process = $1 AND (seq >> 20) = ANY($2)"
	found, err := s.records(ctx, epoch, mine+" AND due <= $3 ORDER BY due, seq LIMIT $4", process, blocks, until.UnixNano(), limit)
	if err != nil {
		return nil, time.Time{}, err
	}
	var next *int64
	_, err = s.one(ctx, []any{&next}, "SELECT due FROM atom_execution WHERE "+mine+" AND due > $3 ORDER BY due LIMIT 1", process, blocks, until.UnixNano())
	s.announcer.settle()
	return found, timeOf(next), err
}

// Overdue implements store.Expiries.
func (s *Store) Overdue(ctx context.Context, limit int) (found []store.Overdue, next time.Time, err error) {
	var o store.Overdue
	var received, expires int64
	now := s.clock.now().UnixNano()
	err = s.each(ctx, []any{&o.Seq, &o.Process, &received, &expires}, func() error {
		switch {
		case expires > now && next.IsZero():
			next = time.Unix(0, expires).UTC()
		case expires <= now:
			o.Received = time.Unix(0, received).UTC()
			found = append(found, o)
		}
		return nil
	}, "SELECT seq, process, received, expires FROM atom_execution WHERE expires IS NOT NULL AND state < 4 AND (seq >> 20) = ANY($1) ORDER BY expires, seq LIMIT $2", s.numbers.blocks(), limit)
	return found, next, err
}

// Entries implements store.Journal.
func (s *Store) Entries(ctx context.Context, seq int64) ([]store.Entry, error) {
	entries, _, err := s.journal(ctx, "seq = $1 ORDER BY id", seq)
	return entries, err
}

func (s *Store) journal(ctx context.Context, which string, args ...any) (entries []store.Entry, last int64, err error) {
	var e store.Entry
	var at *int64
	err = s.each(ctx, []any{&last, &e.Path, &e.Kind, &at, &e.Body}, func() error {
		own := e
		own.At, own.Body = timeOf(at), slices.Clone(e.Body)
		entries = append(entries, own)
		return nil
	}, "SELECT id, path, kind, at, body FROM atom_journal WHERE "+which, args...)
	return entries, last, err
}

const outcomeColumns = ", started, ended, fingerprint, error, resolved, drop_documents, keep, documents, (waits AND EXISTS (SELECT FROM atom_lane AS l WHERE l.scope = lane_scope AND l.key = lane_key AND l.since IS NOT NULL)), (state < 4 AND EXISTS (SELECT FROM atom_running AS r WHERE seq = ANY(r.seqs)))"

// scanExecution scans recordColumns, outcomeColumns and more columns.
func (s *Store) scanExecution(r pgdb.Rows, more ...any) (*store.Execution, error) {
	var scan recordScan
	var o store.Outcome
	var started, ended, keep, documents *int64
	var fingerprint *string
	var drop *bool
	var held, running bool
	into := append(scan.into(), &started, &ended, &fingerprint, &o.Error, &o.Resolved, &drop, &keep, &documents, &held, &running)
	if err := r.Scan(append(into, more...)...); err != nil {
		return nil, err
	}
	record, err := scan.record()
	if err != nil {
		return nil, fmt.Errorf("read execution %d: %w", scan.x.Seq, err)
	}
	x := &store.Execution{Record: *record}
	if held && x.State == store.Accepted {
		x.State = store.Held
	}
	if scan.state < firstEnded {
		x.Elsewhere = running && !s.numbers.holds(x.Seq) // of its own executions it knows more
		return x, nil
	}
	o.Status, o.Started, o.Ended, o.Fingerprint, o.DropDocuments = store.Status(names[scan.state]), momentOf(*started), momentOf(*ended), *fingerprint, *drop
	o.Keep, o.Documents = time.Duration(*keep), time.Duration(*documents)
	x.Outcome = &o
	return x, nil
}

// execution returns an execution; nil if there is none. trace receives its
// trace, and trims how often its journal was trimmed.
func (s *Store) execution(ctx context.Context, seq int64, documents bool) (x *store.Execution, trims int, err error) {
	docs := ", NULL::bytea, NULL::bytea, NULL::bytea"
	if documents {
		docs = ", doc, data, trace"
	}
	err = s.query(ctx, func(r pgdb.Rows) error {
		var doc, data, trace []byte
		var err error
		if x, err = s.scanExecution(r, &doc, &data, &trace, &trims); err != nil {
			return err
		}
		if x.Doc, x.Data = doc, data; x.Outcome != nil {
			x.Outcome.Trace = trace
		}
		return nil
	}, "SELECT "+recordColumns+outcomeColumns+docs+", trims FROM atom_execution WHERE seq = $1", seq)
	return x, trims, err
}

// Get implements store.History.
func (s *Store) Get(ctx context.Context, seq int64, _ time.Time) (*store.Execution, error) {
	x, _, err := s.execution(ctx, seq, true)
	if err == nil && x == nil {
		err = store.ErrUnknown
	}
	if err != nil {
		return nil, err
	}
	if x.State == store.Held && x.Reason == "" && x.Outcome == nil && x.Attempt == 0 { // shown so in lists only
		x.State = store.Accepted
	}
	if s.numbers.holds(seq) {
		x.Epoch = s.lease.current()
	}
	x.Journal, err = s.Entries(ctx, seq)
	return x, err
}

// maxTailBody is the largest body that Tail returns.
const maxTailBody = 64 << 10

// Tail implements store.History.
func (s *Store) Tail(ctx context.Context, seq int64, _ time.Time, after store.JournalPosition) (*store.Tail, error) {
	x, trims, err := s.execution(ctx, seq, false)
	if err == nil && x == nil {
		err = store.ErrUnknown
	}
	if err != nil {
		return nil, err
	}
	t := &store.Tail{Execution: x, Next: store.JournalPosition{Entries: 1, Row: after.Row, Trims: trims}}
	from := after.Row
	if after == store.NoEntries {
		from = 1<<63 - 1
	} else if t.Whole = after.Row == 0 || after.Trims != trims || x.Outcome != nil; t.Whole {
		from = 0
	}
	entries, last, err := s.journal(ctx, "seq = $1 AND id > $2 ORDER BY id", seq, from)
	for i := range entries {
		if len(entries[i].Body) > maxTailBody {
			entries[i].Body = nil
		}
	}
	x.Journal = entries
	if last > 0 {
		t.Next.Row = last
	}
	return t, err
}

// Limits of one call of List. When it reaches one, it returns the matches so
// far.
const (
	listPage = 500
	listTime = time.Second
)

// List implements store.History.
func (s *Store) List(ctx context.Context, f store.Filter, cursor string, limit int) (found []*store.Execution, next string, err error) {
	at := store.Position{Seq: 1<<62 - 1, Received: time.Unix(0, 1<<62)}
	if cursor != "" {
		if at, err = store.ParseCursor(cursor); err != nil {
			return nil, "", err
		}
	}
	where, args := listFilter(&f)
	for start := time.Now(); ; {
		var page []*store.Execution
		err := s.query(ctx, func(r pgdb.Rows) error {
			x, err := s.scanExecution(r)
			page = append(page, x)
			return err
		}, fmt.Sprintf("SELECT %s%s FROM atom_execution WHERE (received, seq) < ($1, $2)%s ORDER BY received DESC, seq DESC LIMIT %d", recordColumns, outcomeColumns, where, listPage),
			append([]any{at.Received.UnixNano(), at.Seq}, args...)...)
		if err != nil {
			return nil, "", err
		}
		for _, x := range page {
			if f.Matches(x) {
				if len(found) == limit {
					return found, at.Cursor(), nil
				}
				found = append(found, x)
			}
			at = store.Position{Seq: x.Seq, Received: x.Received}
		}
		if len(page) < listPage {
			return found, "", nil
		}
		if time.Since(start) > listTime {
			return found, at.Cursor(), nil
		}
	}
}

// listFilter returns conditions that every execution a filter selects fulfills,
// with their arguments from $3 on.
func listFilter(f *store.Filter) (where string, args []any) {
	add := func(format string, arg any) {
		args = append(args, arg)
		where += " AND " + fmt.Sprintf(format, len(args)+2)
	}
	if f.Seq > 0 {
		add("seq = $%d", f.Seq)
	}
	if f.Process != "" {
		add("process = $%d", f.Process)
	}
	if !f.Since.IsZero() {
		add("received >= $%d", f.Since.UnixNano())
	}
	if !f.Until.IsZero() {
		add("received < $%d", f.Until.UnixNano())
	}
	if f.Fingerprint != "" {
		add("fingerprint = $%d", pgdb.Sanitize(f.Fingerprint))
	}
	if f.Unresolved {
		where += " AND state IN (4, 5) AND resolved IS NULL"
	}
	if len(f.Track) > 0 {
		add("tags @> $%d", tags(f.Track))
	}
	if len(f.Statuses) > 0 {
		var all []int16
		for _, name := range f.Statuses {
			if all = append(all, codes[name]); name == string(store.Held) {
				all = append(all, codeAccepted) // those in blocked lanes
			}
		}
		add("state = ANY($%d)", all)
	}
	return where, args
}

// Counts implements store.Backlog.
func (s *Store) Counts(ctx context.Context) (map[string]map[store.State]int64, error) {
	all := map[string]map[store.State]int64{}
	process, state, n := "", int16(0), int64(0)
	err := s.each(ctx, []any{&process, &state, &n}, func() error {
		if all[process] == nil {
			all[process] = map[store.State]int64{}
		}
		all[process][store.State(names[state])] = n
		return nil
	}, "SELECT process, state, count(*) FROM atom_execution WHERE state < 4 GROUP BY process, state")
	return all, err
}

// Oldest implements store.Backlog.
func (s *Store) Oldest(ctx context.Context, process string) (time.Time, error) {
	var received *int64
	_, err := s.one(ctx, []any{&received}, "SELECT min(received) FROM atom_execution WHERE process = $1 AND state IN (1, 3)", process)
	return timeOf(received), err
}

// PutContent implements store.Contents. Contents are small and few: they stay.
func (s *Store) PutContent(ctx context.Context, hash string, content []byte) error {
	if content == nil {
		content = []byte{}
	}
	return s.do(ctx, statement{"INSERT INTO atom_content(hash, body) VALUES($1, $2) ON CONFLICT (hash) DO UPDATE SET body = excluded.body", []any{hash, content}})
}

// Content implements store.Contents.
func (s *Store) Content(ctx context.Context, hash string) (body []byte, err error) {
	found, err := s.one(ctx, []any{&body}, "SELECT body FROM atom_content WHERE hash = $1", hash)
	if err == nil && !found {
		err = store.ErrUnknown
	}
	return body, err
}

// statement is an operation of one statement.
type statement struct {
	sql  string
	args []any
}

func (o statement) do(t *transaction) error {
	t.exec(o.sql, o.args...)
	return nil
}
