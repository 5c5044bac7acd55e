// Package testrun runs the tests of a project: it starts each run in an engine,
// answers its calls with mocks, and compares the outcome with the expectations
// of the test. Package sandbox is the engine.
package testrun

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"time"

	"valence/connectors"
	"valence/internal/document"
	"valence/internal/fault"
	"valence/processes"
)

// Engine runs processes without a network, a disk or the clock of the machine.
// It may be used by many goroutines.
type Engine interface {
	// Run runs one process until nothing happens any more. A failure of the
	// process is not an error.
	Run(ctx context.Context, s *Scenario) (*Outcome, error)
}

// Scenario is one run of a process.
type Scenario struct {
	Process string
	Input   *document.Document
	Request *Request // nil: none
	Props   *document.Object
	State   *document.Object // nil: none
	Env     map[string]string
	Secrets map[string]string
	Signals []Signal
	Answer  func(*Call) Answer // one attempt; called by one goroutine at a time
	Crash   *Crash             // nil: the store is in memory, and nothing crashes
	Start   time.Time          // virtual time of the message; zero: the same for all
	Alone   bool               // executions that it hands off do not run
	MaxKept int64              // bytes of steps and documents that the run may make; 0: any number
}

// ErrTooLarge is the error of a run that makes more than Scenario.MaxKept.
var ErrTooLarge = errors.New("the run makes too many steps and documents")

// Crash makes a run use the store of an atom on disk, and crash once.
type Crash struct {
	// At is the event, counted from 1, at which the atom stops at once. It then
	// starts again on its data. 0: it does not stop.
	At int
	// Again answers an attempt that a run of the execution before the crash has
	// made already. before is its answer then. It is required with At.
	Again func(c *Call, before Answer) Answer
}

// Request is the HTTP request of a listener.
type Request struct {
	Method, Path, User string
	Params             []processes.NamedText
	Query              url.Values
	Header             http.Header
	Operation          string // of a SOAP service; "" for other listeners
}

// Signal ends a wait.
type Signal struct {
	Wait  string
	After time.Duration // since the wait began
	By    string        // processes.ByCallback or ByResume
	Body  *document.Document
}

// Call is one attempt of a call.
type Call struct {
	Operation string // connection.operation
	Key       string // of the occurrence of its step
	Step      *processes.Step
	With      *document.Object   // nil: no settings
	Body      *document.Document // nil: nothing is sent
	Accept    connectors.Accept
	Reads     bool // it changes nothing in the other system
}

// Answer is the answer to an attempt.
type Answer struct {
	Missing bool // no mock answers it
	Doc     *document.Document
	Status  int
	Header  http.Header
	Fail    *processes.MockFailure // nil: it is answered
	Body    []byte                 // of a failure; nil: none
	Detail  []byte                 // JSON of the detail of a failure; nil: none
	After   time.Duration
	Err     error // the mock itself failed
}

// Outcome is the result of a run: its end and its effects.
type Outcome struct {
	Status      string
	Error       []byte             // JSON of the failure; nil: none
	Reply       *document.Document // nil: none
	ReplyStatus int                // 0 without a reply
	ReplyFrom   *processes.Step    // nil: not known
	CallerGone  bool               // a crash left the caller without the reply
	Took        time.Duration
	Log         []string
	Calls       []*MadeCall // in virtual time
	Unanswered  []*Call
	Broken      []error // failures of mocks
	Unused      []int   // indices of signals that ended no wait
	HandedOff   []HandedOff
	Steps       map[fault.Pos]int // how often each step ran
	Trace       []TracedStep      // of the target: the steps that ran
	Events      []Event           // of a run with a store on disk, until the crash
	Documents   []MadeDocument    // likewise: the last one of each step
	IDs         []string          // likewise: of the executions, in the order in which they began
}

// The events at which a run can crash.
const (
	BeforeCall = "before the call"
	AfterCall  = "after the answer"
	AfterStep  = "after the step"
)

// Event is a moment of a run.
type Event struct {
	Kind string // BeforeCall, AfterCall or AfterStep
	Step *processes.Step
}

// Occurrence is one place in the executions of a run, which is the same in every
// run.
type Occurrence struct {
	Execution int    // in the order in which they began
	Key       string // of the occurrence of the step in it
}

// MadeDocument is the document that an occurrence of a step made.
type MadeDocument struct {
	Of   Occurrence
	Step *processes.Step
	Doc  *document.Document
}

// TracedStep is a step that ran.
type TracedStep struct {
	Key  string // of its occurrence
	Step *processes.Step
	Doc  *document.Document // that it made; nil: none
}

// Lost is the status of a run whose execution in memory ended with a crash.
const Lost = "lost"

// HandedOff is an execution that the run has created.
type HandedOff struct {
	Process, Status string
	Error           []byte
}

// MadeCall is a call with all of its attempts.
type MadeCall struct {
	Call
	Of       Occurrence
	At       time.Time
	Attempts int
	// BodyFrom is the step that made the body: the call itself, or one before it.
	BodyFrom *processes.Step
}
