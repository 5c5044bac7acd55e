package store

import (
	"context"
	"errors"
	"time"
)

// Wait errors that callers branch on.
var (
	// ErrNoWaiter is returned if no execution waits for the signal and the
	// signal is not to be kept.
	ErrNoWaiter = errors.New("no execution waits for this signal")
	// ErrSignaled is returned if a signal arrived for a wait before it was
	// given up.
	ErrSignaled = errors.New("the signal has arrived")
)

// Wait is one wait of a live execution. Each path can have one open.
type Wait struct {
	Path  string // key of its step in the journal
	ID    int64  // identifies Path in signals
	Match []byte // must equal the Match of a signal by name and key; nil: only Seq and WaitID select it
}

// Signal ends one wait. The first commit wins: of two signals, or a signal and
// a GiveUp, the second has no effect. As a condition of a Change it fails with
// ErrNoWaiter if no execution waits for it and it is not kept.
type Signal struct {
	Seq    int64 // with WaitID: the wait of one execution
	WaitID int64
	Match  []byte    // if Seq is 0: the oldest execution that waits for it
	Entry  Entry     // appended to the journal of the waiting execution, with the path of the wait
	Keep   time.Time // with Match: how long it is kept if no execution waits for it; zero: ErrNoWaiter
	Origin string    // "" or unique: a second signal with the same origin changes nothing
}

// SignalResult is the result of a signal.
type SignalResult string

// Results of a signal.
const (
	SignalDelivered SignalResult = "woke"     // an execution resumes with it
	SignalKept      SignalResult = "kept"     // it was early: its wait will find it
	SignalRepeated  SignalResult = "repeated" // an earlier signal ended the wait: it changed nothing
	SignalLate      SignalResult = "over"     // the wait was given up, or the execution has ended
)

// Waits tracks the waits of executions. Change.Waits opens waits, which end
// with their execution. The store remembers ended waits for a day, to tell
// repeated signals from late ones.
type Waits interface {
	// Signal commits a signal and returns when it is on disk. It returns
	// ErrNoWaiter, changing nothing, if no execution waits for it and it is not
	// kept.
	Signal(ctx context.Context, s *Signal) (SignalResult, error)
}
