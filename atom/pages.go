package atom

import (
	"encoding/binary"
	"encoding/json"
	"slices"
	"time"

	"valence/atom/steps"
	"valence/connectors"
	"valence/internal/document"
	"valence/internal/fault"
)

// stream is one occurrence of a loop over a paged call. Its journal holds the
// page it is at and what its elements did; of finished pages nothing.
type stream struct {
	Forget
	noted int     // entries of it that this run has written
	sent  Traffic // by calls in it, of all pages so far
}

// pageHead is how far a loop has come, before the page itself in an entry.
type pageHead struct {
	Base   int             `json:"base"`
	Next   string          `json:"next,omitempty"`
	Done   bool            `json:"done,omitempty"`
	Failed int             `json:"failed,omitempty"`
	Code   string          `json:"code,omitempty"`
	First  string          `json:"first,omitempty"`
	Bad    json.RawMessage `json:"bad,omitempty"`
	Sent   *Traffic        `json:"sent,omitempty"` // by calls on earlier pages
}

func packPage(p *steps.Page, sent Traffic) ([]byte, error) {
	h := pageHead{Base: p.Base, Next: p.Next, Done: p.Done, Failed: p.Failed, Code: p.Code, First: p.First}
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

func unpackPage(b []byte) (p *steps.Page, sent Traffic, err error) {
	if len(b) < 4 || int(binary.BigEndian.Uint32(b)) > len(b)-4 {
		return nil, sent, errEntry
	}
	n := 4 + int(binary.BigEndian.Uint32(b))
	var h pageHead
	if json.Unmarshal(b[4:n], &h) != nil {
		return nil, sent, errEntry
	}
	if h.Sent != nil {
		sent = *h.Sent
	}
	p = &steps.Page{Items: document.FromJSON(b[n:]), Next: h.Next, Base: h.Base, Done: h.Done, Failed: h.Failed, Code: h.Code, First: h.First}
	if h.Bad != nil {
		p.Bad, _ = document.Decode(document.Parse(string(h.Bad))).([]any)
	}
	return p, sent, nil
}

// stream gives the loop that a step runs.
func (e *execution) stream(f *steps.Frame) *stream {
	key := f.Key()
	within := f.Prefix() + f.Step().Path + ".steps."
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, s := range e.streams {
		if s.Key == key {
			return s
		}
	}
	s := &stream{Forget: Forget{Scope: Scope{Within: within, Iter: f.Iter()}, Key: key}}
	e.streams = append(e.streams, s)
	return s
}

// Page gives the page behind last, or the one that an earlier run was at.
func (e *execution) Page(f *steps.Frame, c *steps.Call, last *steps.Page) (*steps.Page, error) {
	s := e.stream(f)
	if last == nil {
		if x, ok := e.journaled(kindPage, s.Key); ok {
			p, sent, err := unpackPage(x.Body)
			if err != nil {
				return nil, mismatch(s.Key, err)
			}
			if e.own(x) {
				e.mu.Lock()
				e.sends(s.Key, sent)
				s.sent = sent
				e.mu.Unlock()
			}
			f.Happened(x.At)
			return p, nil
		}
		last = &steps.Page{}
	}
	r, err := e.Call(f, c)
	if err != nil {
		return nil, err
	}
	if r.Next != "" && r.Next == c.Page {
		return nil, &fault.Failure{Code: fault.CodeAnswer, Origin: fault.FromConnector, Message: "the page says that the next page is itself"}
	}
	p := *last
	p.Items, p.Next = listOf(r, e.redact, e.durable), r.Next
	at := e.clock(f)
	f.Happened(at)
	return &p, e.turn(s, &p, at)
}

func listOf(r *connectors.Result, redact []string, durable bool) *document.Document {
	doc := r.Doc
	if durable && len(redact) > 0 {
		doc = redacted(doc, redact)
	}
	return document.FromJSON([]byte(doc.Data()))
}

// Done notes that all pages are gone through: only that stays in the journal.
func (e *execution) Done(f *steps.Frame, last *steps.Page) error {
	p := *last
	p.Items, p.Next, p.Done = nil, "", true
	at := e.clock(f)
	f.Happened(at)
	return e.turn(e.stream(f), &p, at)
}

// turn puts a page in the place of all that the journal holds of the one
// before, in one commit.
func (e *execution) turn(s *stream, p *steps.Page, at time.Time) error {
	e.mu.Lock()
	sent := s.sent
	e.mu.Unlock()
	body, err := packPage(p, sent)
	if err != nil {
		return err
	}
	e.mu.Lock()
	gone := s.noted
	s.noted = 0
	for name, x := range e.done {
		if s.Has(x.Path) {
			delete(e.done, name)
			gone++
		}
	}
	e.count -= min(gone, e.count)
	if e.durable {
		e.pending = slices.DeleteFunc(e.pending, func(x Entry) bool { return s.Has(x.Path) })
		e.forget = append(e.forget, s.Forget)
	} else {
		e.entries = slices.DeleteFunc(e.entries, func(x Entry) bool { return s.Has(x.Path) })
	}
	e.mu.Unlock()
	return e.note(Entry{Path: s.Key, Kind: kindPage, At: at, Body: body}, nil)
}
