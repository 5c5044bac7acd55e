package run

import (
	"valence/atom/steps"
	"valence/atom/store"
	"valence/internal/blob"
	"valence/internal/document"
)

// Traffic is the number and the size of documents.
type Traffic struct {
	Documents int64 `json:"documents"`
	Bytes     int64 `json:"bytes"`
}

func (t *Traffic) add(o Traffic) { t.Documents, t.Bytes = t.Documents+o.Documents, t.Bytes+o.Bytes }

// trafficOf counts one document. An empty document does not count.
func trafficOf(d *document.Document) Traffic {
	if d == nil || len(d.Body()) == 0 {
		return Traffic{}
	}
	return Traffic{1, blob.Size(d)}
}

// countWritten counts the document that a successful call has written. A call
// of an earlier run counts once, too, because every run replays it.
func (j *journal) countWritten(key string, c *steps.Call) {
	if op := c.Operation.Operation; !op.SendsBody || op.Safe {
		return
	}
	if t := trafficOf(c.Body); t.Documents > 0 {
		j.mu.Lock()
		j.addSent(key, t)
		j.mu.Unlock()
	}
}

// isOwn reports whether an entry was written by this execution, rather than by
// the failed one that it continues.
func (i *identity) isOwn(x store.Entry) bool {
	return i.meta.Original == "" || !x.At.Before(i.received)
}

// addSent adds documents written under a key. The caller holds j.mu.
func (j *journal) addSent(key string, t Traffic) {
	j.sent.add(t)
	for _, l := range j.loops {
		if l.Has(key) {
			l.sent.add(t)
		}
	}
}

// outbound returns the documents written by its calls, and its reply.
func (e *execution) outbound() Traffic {
	e.mu.Lock()
	defer e.mu.Unlock()
	t := e.sent
	if e.reply != nil && !e.reply.None {
		t.add(trafficOf(e.reply.Doc))
	}
	return t
}
