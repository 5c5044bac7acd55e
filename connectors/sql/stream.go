package sql

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"database/sql"
	"encoding/hex"
	"encoding/json"
	"math"
	"strings"
	"sync"
	"time"

	"valence/connectors"
	"valence/internal/document"
	"valence/internal/spec"
)

// A loop over a query reads it in pages. The query stays open between them, so
// that its cost is linear. Only as many streams stay open as leave half of the
// pool to calls, and for idleTime. A stream that was closed, or lost in a crash,
// is resumed: with `key:` after the last key, otherwise by reading the query
// again up to the last row, which must be the same.
const (
	pageRows = 1000
	idleTime = 5 * time.Minute
)

// MaxPages implements connectors.PageLimit: a stream has no limit.
func (q *query) MaxPages() int { return math.MaxInt }

// streams are the open streams that wait for their next page.
type streams struct {
	mu     sync.Mutex
	limit  int
	closed bool
	open   map[string]*stream
}

// stream is a query that is read in pages. One goroutine uses it at a time.
type stream struct {
	id     string
	key    string
	read   int64 // rows so far
	tx     *work
	rows   *sql.Rows
	reader *reader
	cancel context.CancelFunc
	keep   bool // may stay open between pages
	idle   *time.Timer
}

// place is the position of a page.
type place struct {
	Stream string `json:"stream"`
	Read   int64  `json:"read"`           // rows of the pages before
	Last   string `json:"last,omitempty"` // hash of the last row
	Key    any    `json:"-"`
}

// encode returns the position as text.
func (p *place) encode() string {
	o := &document.Object{}
	o.Set("stream", p.Stream)
	o.Set("read", integer(p.Read))
	o.Set("last", p.Last)
	o.Set("key", p.Key)
	return string(document.AppendJSON(nil, o))
}

func parsePlace(text string) (*place, error) {
	p := &place{}
	if text == "" {
		return p, nil
	}
	if err := json.Unmarshal([]byte(text), p); err != nil {
		return nil, badCall("the position of a page is not valid")
	}
	p.Key, _ = document.Key(document.Parse(text), "key")
	p.Key = document.Decode(p.Key)
	return p, nil
}

// take returns the open stream at a position, or nil.
func (s *streams) take(p *place) *stream {
	s.mu.Lock()
	x := s.open[p.Stream]
	delete(s.open, p.Stream)
	s.mu.Unlock()
	if x == nil {
		return nil
	}
	x.idle.Stop()
	if x.read != p.Read { // the page before is read again
		x.close()
		return nil
	}
	return x
}

// put leaves a stream open until its next page, if it may stay open.
func (s *streams) put(x *stream) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed || !x.keep || len(s.open) >= s.limit {
		x.close()
		return
	}
	x.idle = time.AfterFunc(idleTime, func() {
		if late := s.take(&place{Stream: x.id, Read: x.read}); late != nil {
			late.close()
		}
	})
	s.open[x.id] = x
}

func (s *streams) close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = true
	for _, x := range s.open {
		x.idle.Stop()
		x.close()
	}
	clear(s.open)
}

func (x *stream) close() {
	x.cancel()
	_ = x.rows.Close()
	x.tx.end()
}

// page returns the next page of a loop over a query.
func (c *connection) page(ctx context.Context, w *query, position string) (*connectors.Result, error) {
	p, err := parsePlace(position)
	if err != nil {
		return nil, err
	}
	open := c.streams.take(p)
	r, err := connectors.Within(ctx, func() (*connectors.Result, error) { return c.turn(ctx, open, w, p) }, func(*connectors.Result) {})
	if err != nil {
		return nil, c.failed(ctx, "query", err)
	}
	return r, nil
}

// turn reads a page of a stream, which it opens unless it is open.
func (c *connection) turn(ctx context.Context, x *stream, w *query, p *place) (*connectors.Result, error) {
	if x == nil {
		var err error
		if x, err = c.stream(ctx, w, p); err != nil {
			return nil, err
		}
	}
	stop := context.AfterFunc(ctx, x.cancel)
	rows, more, err := x.page()
	if !stop() && err == nil {
		err = ctx.Err()
	}
	if err != nil {
		x.close()
		return nil, err
	}
	list := []byte{'['}
	for i, r := range rows {
		if i > 0 {
			list = append(list, ',')
		}
		list = append(list, r.doc...)
	}
	out := &connectors.Result{Doc: document.FromJSON(append(list, ']'))}
	if !more {
		x.close()
		return out, nil
	}
	last := rows[len(rows)-1]
	next := &place{Stream: x.id, Read: x.read, Last: hashOf(last.doc), Key: last.values[x.key]}
	out.Next = next.encode()
	c.streams.put(x)
	return out, nil
}

func hashOf(row []byte) string {
	sum := sha256.Sum256(row)
	return hex.EncodeToString(sum[:16])
}

// page reads the next rows.
func (x *stream) page() (rows []row, more bool, err error) {
	var columns []string
	if x.key != "" {
		columns = []string{x.key}
	}
	if rows, more, err = rowsOf(x.reader, pageRows, columns); err != nil {
		return nil, false, err
	}
	for _, r := range rows {
		if x.key != "" && (r.values[x.key] == nil || isBytes(r.values[x.key])) {
			return nil, false, badCall("the column %q, the key of the loop, has a row with null or bytes", x.key)
		}
	}
	x.read += int64(len(rows))
	return rows, more, nil
}

// stream opens a stream at a position.
func (c *connection) stream(ctx context.Context, w *query, p *place) (*stream, error) {
	text, args, err := c.streamed(w, p)
	if err != nil {
		return nil, err
	}
	life, cancel := context.WithCancel(context.Background())
	defer context.AfterFunc(ctx, cancel)()
	tx, err := c.begin(life, true)
	if err != nil {
		cancel()
		return nil, err
	}
	x := &stream{id: rand.Text(), key: w.Key, read: p.Read, tx: tx, cancel: cancel, keep: true}
	if x.keep, err = c.mayStayOpen(life, tx); err == nil {
		x.rows, err = tx.QueryContext(life, text, args...)
	}
	if err != nil {
		cancel()
		tx.end()
		return nil, err
	}
	if x.reader, err = c.dialect.reader(x.rows); err == nil && p.Read > 0 && w.Key == "" {
		err = x.skip(p)
	}
	if err != nil {
		x.close()
		return nil, err
	}
	return x, nil
}

// streamed returns the query of a stream, after the last key if there is one.
func (c *connection) streamed(w *query, p *place) (string, []any, error) {
	s := w.SQL
	if w.Key != "" {
		names, err := c.dialect.names([]string{w.Key})
		if err != nil {
			return "", nil, badCall("%v", err)
		}
		end, values := "\n) valence_rows order by "+names[0], s.Values
		s = spec.Statement{Texts: append([]string{}, s.Texts...)}
		n := len(s.Texts) - 1
		s.Texts[n] = strings.TrimRight(s.Texts[n], "; \t\r\n")
		if p.Read > 0 {
			s.Texts[n] += "\n) valence_rows where " + names[0] + " > "
			s.Texts = append(s.Texts, " order by "+names[0])
			values = append(append([]any{}, values...), p.Key)
		} else {
			s.Texts[n] += end
		}
		s.Texts[0] = "select * from (" + s.Texts[0]
		s.Values = values
	}
	return c.dialect.render(s.Texts, s.Values)
}

// mayStayOpen reports whether an open query lets others write. In SQLite it
// does only with a write-ahead log.
func (c *connection) mayStayOpen(ctx context.Context, tx *work) (bool, error) {
	if !c.dialect.claimsAll {
		return true, nil
	}
	var mode string
	err := tx.QueryRowContext(ctx, "pragma journal_mode").Scan(&mode)
	return strings.EqualFold(mode, "wal"), err
}

// skip reads the rows before a position. The last one must be the same.
func (x *stream) skip(p *place) error {
	var doc []byte
	for range p.Read {
		var more bool
		var err error
		if doc, more, err = x.reader.next(doc[:0]); err != nil {
			return err
		}
		if !more {
			return changed(p)
		}
	}
	if hashOf(doc) != p.Last {
		return changed(p)
	}
	return nil
}

func changed(p *place) error {
	return connectors.Failf(CodeChanged, false, nil, "the query was interrupted after %d rows and now returns others, so that the loop cannot continue: add `key:` with a unique column, "+
		"or order the query and exclude changes", p.Read)
}
