package run

import (
	"bytes"
	"fmt"
	"strconv"

	"valence/atom/steps"
	"valence/atom/store"
	"valence/internal/document"
	"valence/internal/fault"
)

// maxEmit bounds the document of one `emit:`.
const maxEmit = 64 << 10

// Emit publishes progress to the followers of the execution. In a durable
// execution it is committed before the next step, so that a follower that
// returns later sees it again under the same id.
func (e *execution) Emit(f *steps.Frame, d *document.Document) error {
	_, replayed, err := e.once(f, KindEmit, f.Key(), func() ([]byte, error) {
		if err := e.refuse(f, "this report"); err != nil {
			return nil, err
		}
		text := []byte(redacted(d, e.redact).Data())
		if len(text) > maxEmit {
			return nil, &fault.Failure{Code: fault.CodeExpression, Source: fault.FromAtom,
				Message: fmt.Sprintf("emit: the document has %d bytes, more than the %d allowed for progress; put the rest into the reply", len(text), maxEmit)}
		}
		return text, nil
	})
	if err != nil || replayed || !e.durable { // in memory nobody can follow it, unless it replies early
		return err
	}
	if err := e.flush(); err != nil {
		return err
	}
	e.engine.Watchers.Wake(e.seq)
	return nil
}

// packEmit returns the body of an entry that reports progress: its number and its
// document.
func packEmit(n int, document []byte) []byte {
	return append(append(strconv.AppendInt(nil, int64(n), 10), ':'), document...)
}

// UnpackEmit returns the number and the document of an entry of KindEmit. The
// numbers of an execution ascend from 1, and none is used again after the journal
// was trimmed. The number is 0 if the entry was written before there were numbers.
func UnpackEmit(body []byte) (n int, document []byte) {
	number, document, found := bytes.Cut(body, []byte(":"))
	n, err := strconv.Atoi(string(number))
	if !found || err != nil {
		return 0, body
	}
	return n, document
}

// lastEmit returns the number of the last report of progress that an entry knows.
func lastEmit(x store.Entry) int {
	switch x.Kind {
	case KindEmit:
		n, _ := UnpackEmit(x.Body)
		return n
	case KindPage:
		if h, _, err := unpackHead(x.Body); err == nil {
			return h.Emits
		}
	}
	return 0
}
