package sqlite

import (
	"encoding/binary"
	"time"

	"valence/atom/store"
)

// Flags of an encoded outcome.
const (
	outcomeDrops    = 1 << iota // DropDocuments
	outcomeResolved             // Resolved follows
	outcomeShort                // Documents follows
)

// appendOutcome encodes an outcome, for lists without its trace.
func appendOutcome(b []byte, e *storedOutcome, trace bool) []byte {
	b = append(b, statusCode(string(e.Status)))
	b = appendTime(b, e.Started)
	b = appendTime(b, e.Ended)
	b = appendText(b, e.Fingerprint)
	b = appendBlob(b, e.Error)
	flags := byte(0)
	if e.DropDocuments {
		flags |= outcomeDrops
	}
	if len(e.Resolved) > 0 {
		flags |= outcomeResolved
	}
	if e.Documents > 0 {
		flags |= outcomeShort
	}
	b = append(b, flags)
	b = binary.AppendUvarint(b, uint64(e.Keep))
	if e.Documents > 0 {
		b = binary.AppendUvarint(b, uint64(e.Documents))
	}
	if len(e.Resolved) > 0 {
		b = appendBlob(b, e.Resolved)
	}
	if !trace {
		return append(b, 0)
	}
	b, docs := appendDoc(b, nil, e.Trace, e.traceFile)
	return append(b, docs...)
}

func (d *decoder) outcome() *storedOutcome {
	e := &storedOutcome{}
	e.Status = store.Status(statusName(d.byte()))
	e.Started, e.Ended, e.Fingerprint, e.Error = d.time(), d.time(), d.text(), d.blob()
	flags := d.byte()
	e.DropDocuments = flags&outcomeDrops != 0
	e.Keep = time.Duration(d.uvarint())
	if flags&outcomeShort != 0 {
		e.Documents = time.Duration(d.uvarint())
	}
	if flags&outcomeResolved != 0 {
		e.Resolved = d.blob()
	}
	e.Trace, e.traceFile = d.doc(d)
	return e
}
