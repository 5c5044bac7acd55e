package run

import (
	"encoding/binary"
	"encoding/json"
	"hash/fnv"
	"slices"
	"strconv"

	"valence/atom/steps"
	"valence/atom/store"
	"valence/connectors"
	"valence/internal/document"
	"valence/internal/fault"
)

// pageLoop is one occurrence of a loop over a paged call. Its journal holds the
// current page and the entries of its elements, and nothing of finished pages.
type pageLoop struct {
	store.JournalTrim
	written int             // entries that this run has appended
	seen    map[uint64]bool // hashes of the positions that this run has read
	sent    Traffic         // by its calls on all pages so far
}

// pageHead is the progress of a loop, before the page itself in an entry.
type pageHead struct {
	Base   int             `json:"base"`
	Pages  int             `json:"pages,omitempty"`
	Mark   string          `json:"mark,omitempty"`
	Next   string          `json:"next,omitempty"`
	Done   bool            `json:"done,omitempty"`
	Failed int             `json:"failed,omitempty"`
	Code   string          `json:"code,omitempty"`
	First  string          `json:"first,omitempty"`
	Bad    json.RawMessage `json:"bad,omitempty"`
	Sent   *Traffic        `json:"sent,omitempty"`  // by calls on earlier pages
	Emits  int             `json:"emits,omitempty"` // number of the execution's last report of progress
}

func packPage(p *steps.Page, sent Traffic, emits int) ([]byte, error) {
	h := pageHead{Base: p.Base, Pages: p.Pages, Mark: p.Mark, Next: p.Next, Done: p.Done, Failed: p.Failed, Code: p.Code, First: p.First, Emits: emits}
	if sent.Documents > 0 {
		h.Sent = &sent
	}
	if len(p.Bad) > 0 {
		h.Bad = document.AppendJSON(nil, p.Bad)
	}
	head, err := json.Marshal(h)
	if err != nil {
		return nil, err
	}
	out := binary.BigEndian.AppendUint32(nil, uint32(len(head)))
	out = append(out, head...)
	if p.Items == nil {
		return out, nil
	}
	return append(out, p.Items.Body()...), nil
}

// unpackHead returns the head of an entry, and the items after it.
func unpackHead(b []byte) (h pageHead, items []byte, err error) {
	if len(b) < 4 || int(binary.BigEndian.Uint32(b)) > len(b)-4 {
		return h, nil, errEntry
	}
	n := 4 + int(binary.BigEndian.Uint32(b))
	if json.Unmarshal(b[4:n], &h) != nil {
		return h, nil, errEntry
	}
	return h, b[n:], nil
}

func unpackPage(b []byte) (p *steps.Page, sent Traffic, err error) {
	h, items, err := unpackHead(b)
	if err != nil {
		return nil, sent, err
	}
	if h.Sent != nil {
		sent = *h.Sent
	}
	p = &steps.Page{Items: document.FromJSON(items), Next: h.Next, Base: h.Base, Pages: h.Pages, Mark: h.Mark, Done: h.Done, Failed: h.Failed, Code: h.Code, First: h.First}
	if h.Bad != nil {
		p.Bad, _ = document.Decode(document.Parse(string(h.Bad))).([]any)
	}
	return p, sent, nil
}

// pageLoop returns the loop that the frame's step runs.
func (j *journal) pageLoop(f *steps.Frame) *pageLoop {
	key := f.Key()
	within := f.Prefix() + f.Step().Path + ".steps."
	j.mu.Lock()
	defer j.mu.Unlock()
	for _, l := range j.loops {
		if l.Key == key {
			return l
		}
	}
	l := &pageLoop{JournalTrim: store.JournalTrim{Scope: store.Scope{Within: within, Iter: f.Iter()}, Key: key}}
	j.loops = append(j.loops, l)
	return l
}

// Page returns the page after last, or the page of an earlier run.
func (e *execution) Page(f *steps.Frame, c *steps.Call, last *steps.Page) (*steps.Page, error) {
	l := e.pageLoop(f)
	switch {
	case last == nil:
		if x, ok := e.journaled(KindPage, l.Key); ok {
			return l.replay(e, f, x)
		}
		last = &steps.Page{}
	case last.Next == "": // only the end of the loop stays in the journal
		p := *last
		p.Items, p.Done = nil, true
		return &p, l.turn(e, f, &p)
	}
	p := *last
	if c.Page != "" {
		if err := l.advance(&p, c); err != nil {
			return nil, err
		}
	}
	r, err := e.Call(f, c)
	if err != nil {
		return nil, err
	}
	l.remember(c.Page)
	if r.Next != "" && r.Next == c.Page {
		return nil, &fault.Failure{Code: fault.CodeAnswer, Source: fault.FromConnector, Message: "the page names itself as the next page"}
	}
	p.Items, p.Next = pageItems(r, e.redact, e.durable), r.Next
	return &p, l.turn(e, f, &p)
}

// maxSeen bounds the positions that a loop remembers.
const maxSeen = 100_000

// advance counts the page that c requests and fails if the other system's paging
// does not end: after the maximum number of pages, or when a position comes
// again. This run remembers its positions; across restarts, p stores one of them,
// which is replaced after ever longer intervals (Brent's algorithm).
func (l *pageLoop) advance(p *steps.Page, c *steps.Call) error {
	limit := 0
	if w, ok := c.With.(connectors.PageLimit); ok {
		limit = w.MaxPages()
	}
	if limit == 0 {
		limit = connectors.DefaultMaxPages
	}
	if p.Pages++; p.Pages >= limit {
		return pagingFailure("there are more than %d pages, the maximum that `max:` of `pages:` allows", limit)
	}
	sum := hashOf(c.Page)
	mark := strconv.FormatUint(sum, 36)
	if l.seen[sum] || p.Mark == mark {
		return pagingFailure("page %d leads back to a page that was read before: the other system's paging runs in a circle", p.Pages)
	}
	if p.Pages&(p.Pages-1) == 0 {
		p.Mark = mark
	}
	return nil
}

// remember adds a position that was read.
func (l *pageLoop) remember(position string) {
	if l.seen == nil {
		l.seen = map[uint64]bool{}
	}
	if len(l.seen) < maxSeen {
		l.seen[hashOf(position)] = true
	}
}

func hashOf(position string) uint64 {
	h := fnv.New64a()
	h.Write([]byte(position))
	return h.Sum64()
}

func pagingFailure(format string, args ...any) *fault.Failure {
	f := fault.Failf(fault.CodeAnswer, format, args...)
	f.Source = fault.FromConnector
	return f
}

// replay returns the page of an earlier run.
func (l *pageLoop) replay(e *execution, f *steps.Frame, x store.Entry) (*steps.Page, error) {
	p, sent, err := unpackPage(x.Body)
	if err != nil {
		return nil, mismatch(l.Key, err)
	}
	if e.isOwn(x) {
		e.mu.Lock()
		e.addSent(l.Key, sent)
		l.sent = sent
		e.mu.Unlock()
	}
	f.AdvanceClock(x.At)
	return p, nil
}

func pageItems(r *connectors.Result, redact []string, durable bool) *document.Document {
	doc := r.Doc
	if durable && len(redact) > 0 {
		doc = redacted(doc, redact)
	}
	return document.FromJSON([]byte(doc.Data()))
}

// turn replaces everything that the journal holds of the previous page by
// p, in one commit.
func (l *pageLoop) turn(e *execution, f *steps.Frame, p *steps.Page) error {
	at := e.clock(f)
	f.AdvanceClock(at)
	e.mu.Lock()
	sent, emits := l.sent, e.emits
	e.mu.Unlock()
	body, err := packPage(p, sent, emits)
	if err != nil {
		return err
	}
	e.dropPage(l)
	return e.appendEntry(store.Entry{Path: l.Key, Kind: KindPage, At: at, Body: body}, nil)
}

// dropPage drops the journal of the current page.
func (j *journal) dropPage(l *pageLoop) {
	inLoop := func(x store.Entry) bool { return l.Has(x.Path) }
	j.mu.Lock()
	defer j.mu.Unlock()
	dropped := l.written
	l.written = 0
	for name, x := range j.earlier {
		if inLoop(x) {
			delete(j.earlier, name)
			dropped++
		}
	}
	j.count -= min(dropped, j.count)
	if !j.own.durable {
		j.entries = slices.DeleteFunc(j.entries, inLoop)
		return
	}
	c := j.change()
	c.Entries = slices.DeleteFunc(c.Entries, inLoop)
	c.Trim = append(c.Trim, l.JournalTrim)
}
