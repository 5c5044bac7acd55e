package sqlite

import (
	"time"

	"valence/atom/store/sqlite/history"
)

// recordEncoder encodes executions for the history. Results are overwritten
// after reset.
type recordEncoder struct {
	bareTrace func([]byte) []byte // Options.BareTrace

	messages messageEncoder
	buf      []byte // holds the results
	entries  []storedEntry
	single   [1]*storedMessage
	bare     storedMessage
	keys     []uint64
	records  []history.Record
}

// chunkBytes is the size of an allocation.
const chunkBytes = 256 << 10

// reset allows the buffers to be reused.
func (p *recordEncoder) reset() {
	p.buf = reuseBuffer(p.buf)
	clear(p.records)
	p.records = p.records[:0]
	clear(p.entries)
	p.keys = p.keys[:0]
}

// grow returns an empty slice with room for about n bytes.
func (p *recordEncoder) grow(n int) []byte {
	if cap(p.buf)-len(p.buf) < n {
		p.buf = make([]byte, 0, max(n, min(2*cap(p.buf)+chunkBytes, maxReuse)))
	}
	return p.buf[len(p.buf):]
}

// commit marks b, which was appended to the result of grow, as used.
func (p *recordEncoder) commit(b []byte) []byte {
	if len(b) <= cap(p.buf)-len(p.buf) {
		p.buf = p.buf[:len(p.buf)+len(b)]
	}
	return b[:len(b):len(b)]
}

// nextRecord returns a record that is not moved by later ones.
func (p *recordEncoder) nextRecord() *history.Record {
	if len(p.records) == cap(p.records) {
		p.records = make([]history.Record, 0, 256)
	}
	p.records = p.records[:len(p.records)+1]
	return &p.records[len(p.records)-1]
}

// encode returns the history records of an execution. There are two if its
// documents are kept for a shorter time than the execution: one with the
// documents, and one without. Readers prefer the first.
func (p *recordEncoder) encode(h *storedMessage, entries []storedEntry, e *storedOutcome, attempt, crashes int) []*history.Record {
	whole := p.encodeOne(h, entries, e, attempt, crashes)
	if e.Documents <= 0 || e.DropDocuments || days(e.Documents) >= whole.Keep && whole.Keep > 0 {
		return []*history.Record{whole}
	}
	bare := *e
	bare.DropDocuments, bare.Trace = true, p.bareTrace(e.Trace)
	rest := p.encodeOne(h, entries, &bare, attempt, crashes)
	whole.Keep, rest.Bare = days(e.Documents), true
	return []*history.Record{whole, rest}
}

// days returns a duration in days, rounded up.
func days(d time.Duration) int { return int((d + 24*time.Hour - 1) / (24 * time.Hour)) }

func (p *recordEncoder) encodeOne(h *storedMessage, entries []storedEntry, e *storedOutcome, attempt, crashes int) *history.Record {
	p.bare = storedMessage{Message: h.Message} // documents are inline in the history
	if e.DropDocuments {
		bare := *h.Message
		bare.Doc, bare.Data = nil, nil
		p.bare.Message, entries = &bare, nil
	}
	p.single[0] = &p.bare
	head, docs := p.messages.encode(p.single[:])
	b := appendText(p.grow(len(head)+len(e.Error)+len(h.Process)+len(e.Fingerprint)+64), h.Process)
	b = appendBlob(b, head)
	b = append(b, byte(min(attempt, 255)), byte(min(crashes, 255)))
	summary := p.commit(appendOutcome(b, e, false))
	p.entries = p.entries[:0]
	size := len(docs) + len(e.Trace) + 64
	for _, l := range entries {
		p.entries = append(p.entries, storedEntry{Entry: l.Entry})
		size += len(l.Path) + len(l.Kind) + len(l.Body) + 40
	}
	b = appendBlob(p.grow(size), docs)
	b = appendEntries(b, p.entries)
	b, inline := appendDoc(b, nil, e.Trace, nil)
	body := p.commit(append(b, inline...))
	r := p.nextRecord()
	*r = history.Record{
		Seq: h.Seq, Received: h.Received.UnixNano(), Process: h.Process, Status: statusCode(string(e.Status)),
		Keep: days(e.Keep), Summary: summary, Body: body, Keys: p.trackKeys(h.Track),
	}
	return r
}

// trackKeys returns the keys of tracked values.
func (p *recordEncoder) trackKeys(track map[string]string) []uint64 {
	if len(track) == 0 {
		return nil
	}
	if cap(p.keys)-len(p.keys) < len(track) {
		p.keys = make([]uint64, 0, max(len(track), 256))
	}
	at := len(p.keys)
	for name, value := range track {
		p.keys = append(p.keys, history.Key(name, value))
	}
	return p.keys[at:len(p.keys):len(p.keys)]
}
