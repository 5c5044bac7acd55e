package store

import "time"

// Change is everything that one commit does to a live execution. The store
// applies all of it or, if a condition does not hold, nothing.
type Change struct {
	Seq         int64
	Epoch       int64 // Record.Epoch of the run that makes the change; 0: no run does
	Require     []Condition
	Entries     []Entry        // appended to the journal; resets Crashes
	Handoffs    []*Message     // accepted in the same commit
	Disposition Disposition    // nil: the execution goes on
	Reply       *DeferredReply // reply that the sender may collect
	ClaimResult *ClaimResult   // result for repeats of the message
	Waits       []Wait         // waits that the execution opens; those already known are ignored
	Trim        []JournalTrim  // entries to delete from the journal as it was before; resets Crashes
	Marks       []Mark         // versions of other systems' records that the execution made
	Writes      []Write        // calls that the execution is about to make
	// Cancel says that the entries request the cancellation of an execution that
	// another member runs: News.Cancelled reports it there, and a suspended
	// execution becomes ready.
	Cancel bool
	// Cancelled says that the run which makes the change knows of a cancellation.
	Cancelled bool
}

// Outcome returns how the change ends the execution, or nil if it does not.
func (c *Change) Outcome() *Outcome {
	o, _ := c.Disposition.(*Outcome)
	return o
}

// Suspension returns how the change suspends the execution, or nil if it does not.
func (c *Change) Suspension() *Suspension {
	s, _ := c.Disposition.(*Suspension)
	return s
}

// Disposition is the fate of an execution in a change: *Suspension sets it
// aside and *Outcome ends it. A nil Disposition lets it go on.
type Disposition interface{ disposition() }

func (*Suspension) disposition() {}
func (*Outcome) disposition()    {}

// Condition is a race with other commits that a change must win. The store
// checks every condition before it changes anything, and returns the error of
// the first that does not hold. Committing the change also decides the race for
// the others: the execution has begun, the wait is over, the signal is
// delivered.
//
// The conditions are Begin, NotBegun, GiveUp, *Signal and *StateUpdate.
type Condition interface{ condition() }

// Begin requires that Expires has not passed, and fails with ErrExpired
// otherwise. From then on the execution cannot expire or be superseded. An
// execution that has begun may begin again.
type Begin struct{}

// NotBegun requires that an execution accepted with Expires has not begun, and
// fails with ErrBegun otherwise. From then on it cannot begin.
type NotBegun struct{}

// GiveUp requires that no signal has arrived for a wait of the execution, and
// fails with ErrSignaled otherwise. From then on signals for it are late.
type GiveUp struct{ WaitID int64 }

func (Begin) condition()        {}
func (NotBegun) condition()     {}
func (GiveUp) condition()       {}
func (*Signal) condition()      {}
func (*StateUpdate) condition() {}

// Suspension sets a live execution aside without memory or goroutine. With the
// state Accepted and no Due it is ready again at once, and OnReady reports it.
type Suspension struct {
	State  State
	Due    time.Time // when it runs again; zero with Held or Waits: when it is woken
	Reason string    // shown to operators
	For    []string  // with Held: the holds whose Release makes it ready
	// Waits are the IDs of the waits on which paths are suspended. If the signal
	// of one has arrived during the run, the execution is ready again at once.
	Waits []int64
}

// Outcome is how an execution ended.
type Outcome struct {
	Status      Status
	Started     time.Time
	Ended       time.Time
	Fingerprint string // groups failures; "" unless failed
	Error       []byte // JSON, as shown to operators; nil without a failure
	Trace       []byte // steps with times and documents, in the atom's encoding
	// DropDocuments deletes the message and the journal when the execution
	// moves to the history.
	DropDocuments bool
	// Keep is the retention of the execution in the history; zero: the store's
	// default.
	Keep time.Duration
	// Documents is the retention of the message, the journal and the documents
	// of the trace; zero: Keep. After that the execution is shown as with
	// DropDocuments.
	Documents time.Duration
	// Resolved is how a failed or expired execution was resolved; nil: it is
	// unresolved.
	Resolved []byte
}
