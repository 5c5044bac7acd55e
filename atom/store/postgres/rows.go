package postgres

import (
	"cmp"
	"encoding/binary"
	"errors"
	"maps"
	"slices"
	"strings"
	"time"

	"valence/atom/store"
	"valence/internal/pgdb"
)

// row is the part of a live execution that changes decide by. The transaction
// holds its lock, so its fields are current.
type row struct {
	seq       int64
	process   string
	received  int64
	state     int16
	due       *int64
	suspended bool
	waits     bool // it is not the head of its lane
	expires   *int64
	cancelled bool // by a change with Cancel
	lane      *store.Lane
	resolved  bool // of an ended one
	drop      bool
	keep      int64
	documents int64
}

func (r *row) live() bool { return r.state < firstEnded }

const lockColumns = "seq, process, received, state, due, suspended, waits, expires, cancelled, lane_scope, lane_key, lane_pos, lane_block, resolved IS NOT NULL, coalesce(drop_documents, false), coalesce(keep, 0), coalesce(documents, 0)"

// lock reads and locks executions that are not locked yet, in order of Seq.
func (t *transaction) lock(seqs ...int64) error {
	seqs = slices.DeleteFunc(slices.Compact(slices.Sorted(slices.Values(seqs))), func(seq int64) bool { return t.rows[seq] != nil })
	if len(seqs) == 0 {
		return nil
	}
	var r row
	var scope *string
	var key []byte
	var pos *int64
	var block *bool
	into := []any{&r.seq, &r.process, &r.received, &r.state, &r.due, &r.suspended, &r.waits, &r.expires, &r.cancelled, &scope, &key, &pos, &block, &r.resolved, &r.drop, &r.keep, &r.documents}
	return t.each(into, func() error {
		own := r
		if scope != nil {
			own.lane = &store.Lane{Scope: *scope, Key: string(key), Pos: *pos, Block: *block}
		}
		t.rows[own.seq] = &own
		r.due, r.expires = nil, nil
		return nil
	}, "SELECT "+lockColumns+" FROM atom_execution WHERE seq = ANY($1) ORDER BY seq FOR UPDATE", seqs)
}

// row returns an execution that is locked; nil if there is none.
func (t *transaction) row(seq int64) (*row, error) {
	if t.rows[seq] == nil {
		if err := t.lock(seq); err != nil {
			return nil, err
		}
	}
	return t.rows[seq], nil
}

// appendTrack encodes tracked values.
func appendTrack(track map[string]string) []byte {
	if len(track) == 0 {
		return nil
	}
	var b []byte
	for _, k := range slices.Sorted(maps.Keys(track)) {
		for _, s := range []string{k, track[k]} {
			b = append(binary.AppendUvarint(b, uint64(len(s))), s...)
		}
	}
	return b
}

var errDamaged = errors.New("the stored data is damaged")

func parseTrack(b []byte) (map[string]string, error) {
	if len(b) == 0 {
		return nil, nil
	}
	track, name := map[string]string{}, ""
	for odd := false; len(b) > 0; odd = !odd {
		n, size := binary.Uvarint(b)
		if size <= 0 || n > uint64(len(b)-size) {
			return nil, errDamaged
		}
		s := string(b[size : size+int(n)])
		b = b[size+int(n):]
		if !odd {
			name = s
		} else {
			track[name] = s
		}
	}
	return track, nil
}

// tags returns tracked values for the index.
func tags(track map[string]string) []string {
	if len(track) == 0 {
		return nil
	}
	all := make([]string, 0, len(track))
	for _, k := range slices.Sorted(maps.Keys(track)) {
		all = append(all, tag(k, track[k]))
	}
	return all
}

// maxTag bounds the values that the index holds.
const maxTag = 200

func tag(name, value string) string {
	s := pgdb.Sanitize(name + "=" + value)
	if len(s) > maxTag {
		s = strings.ToValidUTF8(s[:maxTag], "")
	}
	return s
}

// insertExecution inserts an execution, live or ended.
func (t *transaction) insertExecution(x *store.Execution, waits bool, due time.Time, kept int64) {
	insertExecution(t.batch, t.s, x, waits, due, kept)
	if o := x.Outcome; o == nil || x.Unresolved() {
		t.use(x.Seq, x.Doc, x.Data, x.Meta)
	}
}

const insertSQL = `INSERT INTO atom_execution(seq, process, plan, env, received, state, due, waits, expires, origin, meta, track, tags, doc_type, lane_scope, lane_key, lane_pos, lane_block, doc, data,
	started, ended, fingerprint, error, trace, resolved, drop_documents, keep, documents, keep_until, documents_until, kept)
	VALUES($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20, $21, $22, $23, $24, $25, $26, $27, $28, $29, $30, $31, $32)`

func insertExecution(b *pgdb.Batch, s *Store, x *store.Execution, waits bool, due time.Time, kept int64) {
	m := &x.Message
	args := []any{m.Seq, m.Process, m.Plan, m.Env, m.Received.UnixNano(), codes[string(x.State)], nanos(due), waits, nanos(m.Expires), text(m.Origin), m.Meta,
		appendTrack(m.Track), tags(m.Track), pgdb.Sanitize(m.DocType), nil, nil, nil, nil, m.Doc, m.Data}
	if l := m.Lane; l != nil {
		copy(args[14:], []any{l.Scope, []byte(l.Key), l.Pos, l.Block})
	}
	o := x.Outcome
	if o == nil {
		b.Queue(insertSQL, append(args, make([]any, 12)...)...)
		return
	}
	args[5] = codes[string(o.Status)]
	if o.DropDocuments && !x.Unresolved() {
		args[18], args[19] = nil, nil
	}
	keep, documents := s.retention(o, x.Unresolved(), o.Ended)
	b.Queue(insertSQL, append(args, o.Started.UnixNano(), o.Ended.UnixNano(), pgdb.Sanitize(o.Fingerprint), o.Error, o.Trace, o.Resolved, o.DropDocuments, int64(o.Keep), int64(o.Documents),
		keep, documents, cmp.Or[any](orNil(kept)))...)
}

func orNil(n int64) any {
	if n == 0 {
		return nil
	}
	return n
}

// text returns a value for bytea; "" is NULL.
func text(s string) []byte {
	if s == "" {
		return nil
	}
	return []byte(s)
}

// retention returns until when an execution and its documents are kept; nil
// stands for always.
func (s *Store) retention(o *store.Outcome, unresolved bool, from time.Time) (keep, documents any) {
	return retention(o, unresolved, from, s.o.Records)
}

func retention(o *store.Outcome, unresolved bool, from time.Time, records time.Duration) (keep, documents any) {
	if unresolved {
		return nil, nil
	}
	life := cmp.Or(o.Keep, records)
	if o.Documents > 0 && !o.DropDocuments && o.Documents < life {
		documents = from.Add(o.Documents).UnixNano()
	}
	return from.Add(life).UnixNano(), documents
}

// insertEntries appends to a journal.
func (t *transaction) insertEntries(seq int64, entries []store.Entry) {
	insertEntries(t.batch, seq, entries)
	for i := range entries {
		t.use(seq, entries[i].Body)
	}
}

func insertEntries(b *pgdb.Batch, seq int64, entries []store.Entry) {
	for i := range entries {
		e := &entries[i]
		b.Queue("INSERT INTO atom_journal(seq, path, kind, at, body) VALUES($1, $2, $3, $4, $5)", seq, e.Path, e.Kind, nanos(e.At), e.Body)
	}
}

// recordColumns are the columns of a record, without documents as NULL.
const recordColumns = "seq, process, plan, env, received, state, due, reason, attempt, crashes, origin, meta, track, doc_type, lane_scope, lane_key, lane_pos, lane_block"

// recordScan scans recordColumns and documents.
type recordScan struct {
	x         store.Record
	state     int16
	received  int64
	due       *int64
	origin    []byte
	track     []byte
	scope     *string
	key       []byte
	pos       *int64
	block     *bool
	doc, data []byte
}

func (s *recordScan) into() []any {
	m := &s.x.Message
	return []any{&m.Seq, &m.Process, &m.Plan, &m.Env, &s.received, &s.state, &s.due, &s.x.Reason, &s.x.Attempt, &s.x.Crashes, &s.origin, &m.Meta, &s.track, &m.DocType,
		&s.scope, &s.key, &s.pos, &s.block}
}

// record returns the scanned record.
func (s *recordScan) record() (*store.Record, error) {
	x := s.x
	x.Received, x.Due, x.Origin = time.Unix(0, s.received).UTC(), timeOf(s.due), string(s.origin)
	if s.state < firstEnded {
		x.State = store.State(names[s.state])
	}
	var err error
	if x.Track, err = parseTrack(s.track); err != nil {
		return nil, err
	}
	if s.scope != nil {
		x.Lane = &store.Lane{Scope: *s.scope, Key: string(s.key), Pos: *s.pos, Block: *s.block}
	}
	x.Doc, x.Data = s.doc, s.data
	return &x, nil
}
