package atom

import (
	"context"
	"errors"
	"time"
)

// ErrResolved: somebody has dealt with the failed execution already.
var ErrResolved = errors.New("the failed execution has been dealt with already")

// Failures keeps what failed or expired until somebody deals with it. Until
// then nothing purges it.
type Failures interface {
	// Groups counts what nobody has dealt with by process and fingerprint, the
	// one with the newest failure first; of one process, or of all with "".
	Groups(ctx context.Context, process string, limit int) ([]FailureGroup, error)
	// Resolve notes that a failed or expired execution was dealt with, and
	// accepts Next in the same commit. From then on the execution is history.
	// It fails with ErrResolved if that happened before, with ErrUnknown if
	// there is no such failure, and changes nothing then.
	Resolve(ctx context.Context, r *Resolution) error
}

// FailureGroup is the failures of one cause.
type FailureGroup struct {
	Process     string
	Fingerprint string
	Count       int64
	Newest      int64 // Seq of the newest
	First, Last time.Time
	Status      Status // of the newest
	Error       []byte // of the newest, JSON
}

// Resolution is how a failed execution was dealt with.
type Resolution struct {
	Seq  int64
	Note []byte // the atom's own, never empty; it becomes Outcome.Resolved
	// Next is what takes the failed one's place, nil if nothing does. It has a
	// Seq that Reserve gave and a Due. With the Lane of the failed one it also
	// takes that place, if the failed one still has it; with another Lane, or if
	// not, it goes to the end: then it is Behind, and OnReady tells its turn.
	Next   *Acceptance
	Behind bool // set by the store: Next waits for its turn in its lane
	// DropDocuments asks that neither the message nor the journal is kept in
	// the history.
	DropDocuments bool
}
