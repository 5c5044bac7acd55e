package atom

import (
	"valence/atom/steps"
	"valence/internal/document"
)

// Traffic is how many documents went one way, and how large they were.
type Traffic struct {
	Documents int64 `json:"documents"`
	Bytes     int64 `json:"bytes"`
}

func (t *Traffic) add(o Traffic) { t.Documents, t.Bytes = t.Documents+o.Documents, t.Bytes+o.Bytes }

// trafficOf counts one document; one that is empty is none.
func trafficOf(d *document.Document) Traffic {
	if d == nil || len(d.Body()) == 0 {
		return Traffic{}
	}
	return Traffic{1, int64(len(d.Body()))}
}

// wrote counts the document that a call has written: one that was sent to be
// kept, and was taken. A call that an earlier run made counts once, too: it is
// passed in every run.
func (e *execution) wrote(key string, c *steps.Call) {
	if op := c.Operation.Operation; !op.SendsBody || op.Safe {
		return
	}
	if t := trafficOf(c.Body); t.Documents > 0 {
		e.mu.Lock()
		e.sends(key, t)
		e.mu.Unlock()
	}
}

// own reports whether an entry is of this execution, and not of the one that it
// goes on for.
func (e *execution) own(x Entry) bool { return e.meta.Original == "" || !x.At.Before(e.received) }

// sends adds what was written at a place. The caller holds mu.
func (e *execution) sends(key string, t Traffic) {
	e.sent.add(t)
	for _, s := range e.streams {
		if s.Has(key) {
			s.sent.add(t)
		}
	}
}

// outbound is what went out: what calls have written, and the reply.
func (e *execution) outbound() Traffic {
	e.mu.Lock()
	defer e.mu.Unlock()
	t := e.sent
	if e.reply != nil && !e.reply.None {
		t.add(trafficOf(e.reply.Doc))
	}
	return t
}
