// Package steps holds the steps of the language: one file per step with its
// settings, its documentation and what it does. Frame is what a step sees of
// the execution that runs it; Runtime is what it may do to the world, and
// package atom implements that.
package steps

import (
	"fmt"
	"time"

	"valence/connectors"
	"valence/internal/document"
	"valence/internal/fault"
	"valence/processes"
)

// Step is the behaviour behind a step's settings.
type Step interface {
	// Run does the step once on a path. It fails with a *fault.Failure, or
	// gives back what the frame gave it: control signals are no failures.
	Run(f *Frame) error
}

// Effects are the things that outlive a step. Each is journaled under the
// frame's key: when an execution runs again, what was done is not done twice.
type Effects interface {
	// Call performs a connector operation with its retries.
	Call(f *Frame, c *Call) (*connectors.Result, error)
	// Handoff creates an execution of its own, committed with this step.
	Handoff(f *Frame, h *Handoff) error
	// Emit tells whoever follows the execution how far it is.
	Emit(f *Frame, d *document.Document) error
	// Reply answers the caller. With rest, steps follow it in the background.
	Reply(f *Frame, r *Reply, rest bool) error
}

// Marker remembers what calls write in other systems, for echo guards. All of
// it belongs to the frame's step.
type Marker interface {
	// Writes notes that a call is about to change a record of a system, "" for
	// one that only its answer names.
	Writes(f *Frame, system, record string, timeout time.Duration) error
	// Marks notes the version that it made, "" for none.
	Marks(f *Frame, system, record, version string) error
	// Unwritten is told that the run ends without an answer.
	Unwritten(f *Frame, system string)
}

// Observer is told what happens, for operators.
type Observer interface {
	// Trace records a finished step.
	Trace(t Traced)
	// Warn makes the execution end with warnings.
	Warn(f *Frame, text string)
}

// World answers what is fixed for an execution.
type World interface {
	// Name reads a root that is the same on every path: request, env, secret, execution.
	Name(root string) (any, bool)
	// Process finds a process of the version that the execution runs on.
	Process(name string) (*processes.Process, bool)
	// UUID gives the pseudo-random identifier of a place that is evaluated the n-th time.
	UUID(place string, n int) string
}

// Runtime is what an execution offers to its steps.
type Runtime interface {
	Effects
	Pages
	Marker
	Suspender
	Memory
	Observer
	World
}

// Call is one call of a connection's operation.
type Call struct {
	Operation processes.Operation
	With      any              // decoded, as the operation's NewWith makes it
	Settings  *document.Object // With before decoding: it names the call in caches and hand-offs
	Body      *document.Document
	Accept    connectors.Accept
	Retry     *processes.Retry // nil: the process' policy
	Timeout   time.Duration    // zero: the connection's
	Cache     time.Duration
	Paged     bool   // one page of many: its answer is journaled as a page
	Page      string // which
}

// Handoff is work given to an execution of its own.
type Handoff struct {
	Process string             // a process to start, or
	Call    *Call              // a call to perform
	Body    *document.Document // what Process starts with
	Props   *document.Object
}

// Reply is what a reply step says.
type Reply struct {
	Doc     *document.Document
	Status  int // 0 is 200
	Headers *document.Object
}

// Traced is one step that ran.
type Traced struct {
	Key     string // structural path with iteration
	Step    *processes.Step
	Start   time.Time
	Took    time.Duration
	Outcome string // ok failed skipped stopped
	Err     error
	Doc     *document.Document // what it made, nil if it made none
	Log     string
}

// signal is how a path ends without a failure.
type signal string

func (s signal) Error() string { return string(s) }

const (
	replied signal = "replied" // this step answered; the rest of its list still runs
	ended   signal = "ended"   // a reply's list is over: the process ends
	stopped signal = "stopped" // the nearest element, branch path or process ends
)

// Detached ends the run of an execution in memory whose rest was committed to
// run durably.
const Detached = signal("detached")

// Interrupted ends a run that the atom's stop cut short; it is no failure and
// no attempt.
const Interrupted = signal("interrupted")

// Parked ends a run until Due: a retry, a sleep or a wait, or something that
// is not there and holds the execution.
type Parked struct {
	Due    time.Time // zero: until a signal
	Held   string    // what it is held by; "" if nothing holds it
	For    []string  // what lets it go on, of what holds it
	Why    string    // for whoever looks at it
	Signal bool      // it waits for a signal
}

func (p *Parked) Error() string { return fmt.Sprintf("parked until %s", p.Due) }

// catchable reports whether err is a failure that a try may catch.
func catchable(err error) (*fault.Failure, bool) {
	f, ok := err.(*fault.Failure)
	if !ok || f.Code == fault.CodeCancelled || f.Code == fault.CodeDeadline || f.Code == fault.CodeJournalMismatch {
		return nil, false
	}
	return f, true
}

// leaves reports whether err ends the run without ending the execution: then
// nothing more may happen on this path, finally included.
func leaves(err error) bool {
	if _, ok := err.(*Parked); ok {
		return true
	}
	return err == Detached || err == Interrupted
}
