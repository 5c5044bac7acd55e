package processes

import (
	"time"

	"valence/internal/expression"
	"valence/internal/fault"
	"valence/internal/spec"
)

// StepKind declares one kind of step. Package atom/steps holds the table.
type StepKind struct {
	Kind   string // the key that selects this kind
	Doc    string
	Sample string       // YAML for the reference
	Fields []spec.Field // including Kind's own key, without the keys common to all steps
	New    func() any   // returns a pointer to empty settings
	Flow   Flow
	// MakesDocument reports whether the step produces a document, and so allows `into:`.
	MakesDocument bool
	// Items reports whether the step's own expressions may read `item`.
	Items bool
	// Check reports problems that involve several fields. It may be nil.
	Check func(settings any, c *CheckContext)
}

// IteratesElements reports whether the kind runs its list once per element:
// a loop whose own key holds a list.
func (k *StepKind) IteratesElements() bool {
	if k.Flow != Loop {
		return false
	}
	for _, f := range k.Fields {
		i := f.Info()
		if i.Key == k.Kind && i.Kind == spec.KindObject { // a list, or a mapping whose short form is a list
			for _, below := range i.Fields {
				if b := below.Info(); b.Key == i.Short {
					i = b
				}
			}
		}
		if f.Info().Key == k.Kind {
			return i.Kind == spec.KindExpr && i.Want == spec.List
		}
	}
	return false
}

// CheckContext is the input of a step's Check.
type CheckContext struct {
	Project *Project
	Process string
	Step    *Step
	Report  func(p *fault.Problem)
}

// Flow describes how a kind of step runs its lists of steps and whether the
// path continues after it.
type Flow int

// The flows.
const (
	Plain    Flow = iota // has no lists
	Choice               // runs one of its lists; exhaustive if the last list (else, default) is present
	Attempt              // try, catch, finally
	Loop                 // runs its list any number of times
	Parallel             // runs all of its lists
	Reply                // replies to the caller
	Throw                // never continues
	Stop                 // ends the innermost element, branch path or process
	Wait                 // suspends until a signal named by its own key; its list runs on timeout
	Resume               // sends a signal to waits named by its own key
	Sleep                // suspends for a duration
)

// ExternalCall describes a call that a step makes outside its execution: an
// operation of a connection or another process.
type ExternalCall struct {
	Operation Operation            // zero if the step calls no operation
	Process   string               // empty if the step starts no process
	Handoff   bool                 // the step does not wait for the call
	Body      *expression.Template // the document to send; nil means the current one
	Marks     *Marks               // nil if the step records no version
	Retry     *Retry               // the step's own policy; nil means the process's
	Timeout   time.Duration        // of one attempt; 0 means the connection's
}

// ExternalCaller is implemented by the settings of steps that make external calls.
type ExternalCaller interface{ ExternalCall() ExternalCall }

// Builder is implemented by the settings of steps whose document is the value of
// a template.
type Builder interface{ Builds() *expression.Template }

// Enveloper is implemented by the settings of steps that reply with header blocks
// of a SOAP envelope.
type Enveloper interface{ HeaderBlocks() *expression.Template }

// Thrower is implemented by the settings of steps that fail with a detail.
type Thrower interface{ FaultDetail() *expression.Template }

// Marks describes the version that a call records, so that an echo guard can
// recognize the event caused by the call.
type Marks struct {
	System string // the system written to
	Whole  bool   // the record is known only from the response, so until then events of the whole system wait
}

// Suspension describes how a step suspends its execution.
type Suspension struct {
	Name    string        // of a wait; empty for a sleep
	For     string        // duration of a sleep, as written
	Timeout time.Duration // of a wait; 0 means none
	Keyed   bool          // a resume can end the wait
}

// Suspender is implemented by the settings of steps that suspend.
type Suspender interface{ Suspends() Suspension }

// Decision is the value by which a step selects one of its lists.
type Decision struct {
	Value *expression.Expr
	Cases []Path // compared with the value; nil if it is a condition
}

// Decider is implemented by the settings of steps that run one of their lists.
type Decider interface{ Decides() Decision }

// Repetition describes how often a step runs its lists.
type Repetition struct {
	Max        int  // maximum number of iterations; 0 means one per element
	Pages      bool // the elements come from the pages of its external call
	Sequential bool // with the flow Parallel: one list after the other
}

// Repeater is implemented by the settings of steps that run their lists more
// than once, or one after the other.
type Repeater interface{ Repeats() Repetition }
