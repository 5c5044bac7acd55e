package store

import (
	"context"
	"time"
)

// Coalesce lets a message supersede an earlier one of the same process and key
// that has not begun and is not due yet. The newer message inherits its Due,
// and the earlier execution ends with Superseded, which OnReady reports. The
// message needs a Seq and a Due.
type Coalesce struct {
	Key        string
	Superseded Outcome // outcome of the earlier execution
}

// Mark is a version of another system's record that one of our calls wrote. In
// a Change it also completes the Write with the same path.
type Mark struct {
	Path    string // key of the call in the journal; "" for an execution in memory
	System  string
	Record  string
	Version string // "" if the call wrote no version
	Until   time.Time
}

// Write is a call that changes a record of another system. It is pending from
// before the call until its Mark.
type Write struct {
	Seq    int64
	Path   string
	System string
	Record string // "" if only the response names it
	Until  time.Time
}

// Echoes remembers the versions that our own calls wrote, so that the events
// they cause can be recognized. Change.Marks and Change.Writes add to it; both
// expire at Until.
type Echoes interface {
	// Mark stores versions written by executions that run in memory.
	Mark(ctx context.Context, marks ...Mark) error
	// Marked reports whether one of our calls wrote this version.
	Marked(ctx context.Context, system, record, version string) (bool, error)
	// Writes returns the calls that were pending when the atom last stopped.
	Writes(ctx context.Context) ([]Write, error)
}
