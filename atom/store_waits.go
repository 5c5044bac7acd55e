package atom

import (
	"context"
	"errors"
	"time"
)

// Errors of waits that a caller of the store branches on.
var (
	// ErrNobody: no execution waits for the signal, and it is not to be kept.
	ErrNobody = errors.New("no execution waits for this")
	// ErrSignalled: what the execution gave up waiting for was stored before.
	ErrSignalled = errors.New("what it waited for has come")
)

// Wait is one thing that a live execution waits for. Several may be open at
// once, one for each path.
type Wait struct {
	Path  string // the key of its step in the journal
	Place int64  // stands for Path in signals
	Match []byte // what a signal by name and key must have; nil: only its place ends it
}

// Signal ends one wait. The first commit wins: of two signals, or a signal and
// a Change that gives up, the second has no effect.
type Signal struct {
	Seq    int64 // with Place: the wait of one execution
	Place  int64
	Match  []byte    // without Seq: the oldest execution that waits for it
	Entry  Entry     // added to the journal of who waits, with the wait's Path
	Keep   time.Time // with Match, where nobody waits: kept until then; zero: ErrNobody
	Origin string    // "" or unique: a second signal with it changes nothing
}

// Landing is what became of a signal.
type Landing string

// The landings.
const (
	Woke     Landing = "woke"     // an execution goes on with it
	Kept     Landing = "kept"     // it came early: its wait finds it
	Repeated Landing = "repeated" // there was one before: it changed nothing
	Over     Landing = "over"     // the wait was given up, or the execution has ended
)

// Waits keeps what executions wait for. Waits are entered by Change.Waits and
// end with their execution. An ended wait is known for a day, so that a
// repeated signal is told from a late one.
type Waits interface {
	// Signal commits a signal and returns once it is on disk. It fails with
	// ErrNobody, changing nothing.
	Signal(ctx context.Context, s *Signal) (Landing, error)
}
