package sqlite

import (
	"time"

	"valence/atom"
	"valence/internal/store/sqlite/history"
)

// packer puts executions into the form of the history. What it made is
// overwritten after reset.
type packer struct {
	heads heads
	room  []byte // of what was made
	lines []line
	one   [1]*held
	bare  held
	items []history.Item
}

// chunkBytes is the room that is made at once.
const chunkBytes = 256 << 10

// reset makes the memory of what was made that of what comes next.
func (p *packer) reset() {
	p.room = kept(p.room)
	clear(p.items)
	p.items = p.items[:0]
	clear(p.lines)
}

// begin gives room for about n bytes more.
func (p *packer) begin(n int) []byte {
	if cap(p.room)-len(p.room) < n {
		p.room = make([]byte, 0, max(n, min(2*cap(p.room)+chunkBytes, keptBytes)))
	}
	return p.room[len(p.room):]
}

// end takes the room that was used.
func (p *packer) end(b []byte) []byte {
	if len(b) <= cap(p.room)-len(p.room) {
		p.room = p.room[:len(p.room)+len(b)]
	}
	return b[:len(b):len(b)]
}

// next gives an item whose place does not change.
func (p *packer) next() *history.Item {
	if len(p.items) == cap(p.items) {
		p.items = make([]history.Item, 0, 256)
	}
	p.items = p.items[:len(p.items)+1]
	return &p.items[len(p.items)-1]
}

// pack gives the items of an execution: one, or two where its documents are kept
// for a shorter time than its record. Then one is with them and goes with the
// days that are kept so long, and the other without. Readers prefer the first.
func (p *packer) pack(h *held, lines []line, e *ending, attempt, unclean int) []*history.Item {
	whole := p.item(h, lines, e, attempt, unclean)
	if e.Documents <= 0 || e.DropDocuments || days(e.Documents) >= whole.Keep && whole.Keep > 0 {
		return []*history.Item{whole}
	}
	bare := *e
	bare.DropDocuments, bare.Trace = true, atom.BareTrace(e.Trace)
	rest := p.item(h, lines, &bare, attempt, unclean)
	whole.Keep, rest.Bare = days(e.Documents), true
	return []*history.Item{whole, rest}
}

// days gives the whole days that something is kept.
func days(d time.Duration) int { return int((d + 24*time.Hour - 1) / (24 * time.Hour)) }

func (p *packer) item(h *held, lines []line, e *ending, attempt, unclean int) *history.Item {
	p.bare = held{Acceptance: h.Acceptance} // nothing is kept apart there
	if e.DropDocuments {
		bare := *h.Acceptance
		bare.Doc, bare.Data = nil, nil
		p.bare.Acceptance, lines = &bare, nil
	}
	p.one[0] = &p.bare
	head, docs := p.heads.encode(p.one[:])
	b := appendText(p.begin(len(head)+len(e.Error)+len(h.Process)+len(e.Fingerprint)+64), h.Process)
	b = appendBlob(b, head)
	b = append(b, byte(min(attempt, 255)), byte(min(unclean, 255)))
	summary := p.end(appendEnding(b, e, false))
	p.lines = p.lines[:0]
	size := len(docs) + len(e.Trace) + 64
	for _, l := range lines {
		p.lines = append(p.lines, line{Entry: l.Entry})
		size += len(l.Path) + len(l.Kind) + len(l.Body) + 40
	}
	b = appendBlob(p.begin(size), docs)
	b = appendLines(b, p.lines)
	b, inline := appendDoc(b, nil, e.Trace, nil)
	body := p.end(append(b, inline...))
	it := p.next()
	*it = history.Item{
		Seq: h.Seq, Received: h.Received.UnixNano(), Process: h.Process, Status: number(string(e.Status)),
		Keep: days(e.Keep), Summary: summary, Body: body,
	}
	return it
}
