package store

import (
	"context"
	"errors"
)

// ErrFenced is returned, with ErrUnavailable, if another member of the group
// runs the execution now. Nothing was changed, and repeating the change never
// succeeds: the run that made it ends without a trace.
var ErrFenced = errors.New("another member of the group runs this execution")

// Leases says which executions this atom runs. In a group of atoms, each member
// runs those that it has accepted and those that it has taken over, as long as
// it renews its lease. A single atom runs all.
//
// A name can be claimed by one member at a time, for as long as its lease lasts.
//
// An epoch is one lease, until it ends. Record.Epoch is the epoch under which a
// record was read.
type Leases interface {
	// Join makes the atom run executions of earlier starts and of members whose
	// lease has ended. adopted receives their number by process, at once and
	// whenever there are more: Ready, Due and Heads return them from then on,
	// whatever their Seq. lost is called when the lease has ended: Ready, Due
	// and Heads return nothing from before it any more, and the changes of its
	// runs fail with ErrFenced. The functions are called in the order of these
	// events and must not block. Join must be called once, while Run runs.
	Join(ctx context.Context, adopted func(live map[string]int64), lost func()) error
	// Holds reports whether the lease of an epoch lasts. A run must ask before
	// each effect outside the store.
	Holds(epoch int64) bool
	// ClaimName claims a name for this atom. It reports whether it has the name, and
	// the epoch of the lease. The atom has the name as long as Holds(epoch), or
	// until ReleaseName.
	ClaimName(ctx context.Context, name string) (epoch int64, claimed bool, err error)
	// ReleaseName releases a name, so that another member can claim it at once.
	ReleaseName(ctx context.Context, name string) error
	// Fresh reports whether this start of the atom has accepted an execution.
	// Any other may have a journal, or have run.
	Fresh(seq int64) bool
}
