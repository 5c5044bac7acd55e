package atom

import (
	"context"
	"time"
)

// Coalesce makes an acceptance the newest message of a key: with another of
// its process and key that has not begun, and whose Due is to come, it takes
// that Due, and the other ends. It needs a Seq and a Due. OnReady is told of
// both.
type Coalesce struct {
	Key        string
	Superseded Outcome // how the other ends
}

// Mark is a version of a record of another system that a call of ours made.
// In a Change it also ends the Write with its path.
type Mark struct {
	Path    string // key of the call in the journal; "" for an execution in memory
	System  string
	Record  string
	Version string // "": none was made
	Until   time.Time
}

// Write is a call that changes a record of another system, from before it is
// made until its Mark.
type Write struct {
	Seq    int64
	Path   string
	System string
	Record string // "": the answer names it
	Until  time.Time
}

// Echoes keeps what our own calls wrote, so that the events they cause are
// known. Marks are entered by Change.Marks, writes by Change.Writes, and both
// are forgotten after their time.
type Echoes interface {
	// Mark keeps versions that executions in memory made.
	Mark(ctx context.Context, marks ...Mark) error
	// Marked tells whether a call of ours made this version.
	Marked(ctx context.Context, system, record, version string) (bool, error)
	// Writes gives the calls that were being made when the last run ended.
	Writes(ctx context.Context) ([]Write, error)
}
