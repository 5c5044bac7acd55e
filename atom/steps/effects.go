// Package steps holds the steps of the language: one file per step with its
// settings, documentation and behavior. A step sees its execution through Frame,
// and acts on the world through Runtime, which package run implements.
package steps

import (
	"fmt"
	"time"

	"valence/connectors"
	"valence/internal/clock"
	"valence/internal/document"
	"valence/internal/expression"
	"valence/internal/fault"
	"valence/processes"
)

// Step is the behavior of a step's settings.
type Step interface {
	// Run runs the step once on a path. It fails with a *fault.Failure, or
	// returns the control signal that the frame returned.
	Run(f *Frame) error
}

// Effects are the effects that outlive a step. Each is journaled under the
// frame's key, so that it is not repeated when an execution runs again.
type Effects interface {
	// Call performs a connector operation with its retries.
	Call(f *Frame, c *Call) (*connectors.Result, error)
	// Handoff creates an execution of its own, committed with this step.
	Handoff(f *Frame, h *Handoff) error
	// Emit publishes progress to the followers of the execution.
	Emit(f *Frame, d *document.Document) error
	// PathEnded commits the results of a path soon after its end, however long
	// the other paths of the execution run.
	PathEnded()
	// Reply answers the caller. With rest, steps follow it in the background.
	Reply(f *Frame, r *Reply, rest bool) error
}

// Observer records events for operators.
type Observer interface {
	// Trace records a finished step.
	Trace(t StepTrace)
	// Warn makes the execution end with warnings.
	Warn(f *Frame, text string)
}

// ExecutionContext returns values that are fixed for an execution.
type ExecutionContext interface {
	// Name returns a root that is the same on every path: request, env, secret, execution.
	Name(root string) (any, bool)
	// Process returns a process of the version that the execution runs on.
	Process(name string) (*processes.Process, bool)
	// UUID returns the pseudo-random identifier of the n-th evaluation at a place.
	UUID(place string, n int) string
	// Clock returns the clock of the atom.
	Clock() *clock.Clock
}

// Runtime is the execution as its steps see it.
type Runtime interface {
	Effects
	Pager
	Suspender
	StateKeeper
	Cancellation
	Observer
	ExecutionContext
}

// Call is one call of a connection's operation.
type Call struct {
	Operation processes.Operation
	With      any              // decoded, as the operation's NewWith makes it
	Settings  *document.Object // With before decoding; identifies the call in caches and hand-offs
	Body      *document.Document
	Accept    connectors.Accept
	Retry     *processes.Retry // nil: the process' policy
	Timeout   time.Duration    // zero: the connection's
	Cache     time.Duration
	Unheld    bool   // an open circuit fails the call in place of holding the execution
	Paged     bool   // one page of many; its answer is journaled as a page
	Page      string // the page to read
	Mark      *Mark  // nil: the call is not marked

	template *expression.Template // of Settings
}

// Mark describes the record that a call writes in another system, for echo guards.
type Mark struct {
	System string
	Record string // "": only the answer names it
	// Version returns the record and the version that the call made, "" for none.
	Version func(*connectors.Result) (record, version string, err error)
}

// Handoff is work for an execution of its own.
type Handoff struct {
	Process string             // a process to start, or
	Call    *Call              // a call to perform
	Body    *document.Document // document that Process starts with
	Props   *document.Object
}

// Reply is the reply of a reply step.
type Reply struct {
	Doc     *document.Document
	Status  int // 0 is 200
	Headers *document.Object
	Blocks  *document.Object // header blocks of a SOAP envelope; nil: none
}

// StepTrace is the record of one step that ran.
type StepTrace struct {
	Key     string // structural path with iteration
	Step    *processes.Step
	Start   time.Time
	Took    time.Duration
	Outcome string // ok failed skipped stopped
	Err     error
	Doc     *document.Document // its result; nil: none
	Set     *document.Object   // variables that it set; nil: none
	Log     string
}

// signal ends a path without a failure.
type signal string

func (s signal) Error() string { return string(s) }

const (
	replied signal = "replied" // this step answered; the rest of its list still runs
	ended   signal = "ended"   // a reply's list is over: the process ends
	stopped signal = "stopped" // the nearest element, branch path or process ends
	// abandoned ends a path because another path of a branch with `on_error: stop`
	// failed. It is also the cause of the end of the path's context.
	abandoned signal = "abandoned"
)

// Detached ends the run of an execution in memory whose remaining steps run
// durably.
const Detached = signal("detached")

// Interrupted ends a run because the atom stops. It is neither a failure nor an
// attempt.
const Interrupted = signal("interrupted")

// Suspended ends a run until Due: for a retry, a sleep or a wait, or because a
// missing connection holds the execution.
type Suspended struct {
	Due    time.Time // zero: until a signal
	Held   string    // reason for holding; "": not held
	For    []string  // holds whose release continues it
	Reason string    // for operators
	Waits  []int64   // that it is suspended on
}

func (p *Suspended) Error() string { return fmt.Sprintf("suspended until %s", p.Due) }

// catchable reports whether err is a failure that a try may catch.
func catchable(err error) (*fault.Failure, bool) {
	f, ok := err.(*fault.Failure)
	return f, ok && !endsExecution(f)
}

// endsExecution reports whether a failure ends the execution, whatever encloses
// the step that failed.
func endsExecution(f *fault.Failure) bool {
	return f.Code == fault.CodeCancelled || f.Code == fault.CodeDeadline || f.Code == fault.CodeJournalMismatch
}

// ending returns the first of some errors that ends the execution; nil if none does.
func ending(errs []error) error {
	for _, err := range errs {
		if f, ok := err.(*fault.Failure); ok && endsExecution(f) {
			return f
		}
	}
	return nil
}

// EndsRun reports whether err ends the run without ending the execution: then
// nothing more may happen on this path, finally included.
func EndsRun(err error) bool {
	if _, ok := err.(*Suspended); ok {
		return true
	}
	return err == Detached || err == Interrupted
}
