package atom

import (
	"fmt"

	"valence/atom/steps"
	"valence/internal/document"
	"valence/internal/fault"
)

// maxEmit bounds what one `emit:` tells.
const maxEmit = 64 << 10

// Emit tells whoever follows the execution how far it is. In a durable
// execution it is committed before the next step: whoever comes back later is
// told again, under the same id.
func (e *execution) Emit(f *steps.Frame, d *document.Document) error {
	key := f.Key()
	if x, ok := e.journaled(kindEmit, key); ok {
		f.Happened(x.At)
		return nil
	}
	text := []byte(redacted(d, e.redact).Data())
	if len(text) > maxEmit {
		return &fault.Failure{Code: fault.CodeExpression, Origin: fault.FromAtom,
			Message: fmt.Sprintf("emit: tells %d bytes, more than the %d that progress may have; put the rest into the reply", len(text), maxEmit)}
	}
	now := e.clock(f)
	if err := e.note(Entry{Path: key, Kind: kindEmit, At: now, Body: text}, nil); err != nil {
		return err
	}
	f.Happened(now)
	if !e.durable {
		return nil // nobody can follow it, unless it replies early
	}
	if err := e.flush(); err != nil {
		return err
	}
	e.atom.followers.tell(e.seq)
	return nil
}
