package store

import (
	"context"
	"errors"
	"time"
)

// ErrResolved is returned if the failed execution is already resolved.
var ErrResolved = errors.New("the failed execution is already resolved")

// Failures holds failed and expired executions until they are resolved. Nothing
// purges them before that.
type Failures interface {
	// Groups counts unresolved failures by process and fingerprint, the group
	// with the newest failure first. An empty process selects all.
	Groups(ctx context.Context, process string, limit int) ([]FailureGroup, error)
	// Problems counts failures and blocked keys by process. Processes without
	// any are omitted.
	Problems(ctx context.Context) (map[string]Problems, error)
	// Resolve resolves a failed or expired execution and accepts Next in the
	// same commit. The execution then moves to the history. Resolve returns
	// ErrResolved if it was resolved before, or ErrUnknown if there is no such
	// failure; in both cases nothing changes.
	Resolve(ctx context.Context, r *Resolution) error
}

// FailureGroup is the unresolved failures of one process with one fingerprint.
type FailureGroup struct {
	Process     string
	Fingerprint string
	Count       int64
	Newest      int64     // Seq of the newest
	Received    time.Time // when the newest was received
	First, Last time.Time // when they failed
	Status      Status    // of the newest
	Error       []byte    // of the newest, JSON
}

// Problems is the number of failures and blocked keys of one process.
type Problems struct {
	Failed int64 // unresolved failures
	// KeptBytes is the approximate size of the unresolved failures that ran in
	// memory.
	KeptBytes int64
	Blocked   int64 // keys that one of them blocks
	Behind    int64 // accepted executions that wait in blocked lanes
}

// Resolution is how a failed execution is resolved.
type Resolution struct {
	Seq  int64
	Note []byte // in the atom's encoding, never empty; becomes Outcome.Resolved
	// Next replaces the failed execution; nil if nothing does. It needs a
	// reserved Seq and a Due. If it has the lane of the failed execution and
	// that still holds its position, Next inherits the position. Otherwise it
	// joins the end of its lane.
	Next *Message
	// DropDocuments excludes the message and the journal from the history.
	DropDocuments bool
}
