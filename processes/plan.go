package processes

import (
	"valence/connectors"
	"valence/internal/convert"
	"valence/internal/expression"
	"valence/internal/fault"
)

// Pattern is how a process responds to its trigger.
type Pattern string

// The patterns.
const (
	RequestReply  Pattern = "request/reply"
	FireAndForget Pattern = "fire-and-forget"
	EarlyReply    Pattern = "early reply" // replies, then continues durably
	Called        Pattern = "called"      // no trigger
)

// Process is the plan of one process. It holds no state of executions.
type Process struct {
	Name        string
	Description string
	Pos         fault.Pos
	Hash        string // of the process, the processes it waits for and its profiles
	Pattern     Pattern
	Listen      *Listen    // at most one of the three triggers is set
	Schedule    *Schedule  //
	Subscribe   *Subscribe //
	State       bool       // an expression reads `state`
	Delivery    Delivery
	Steps       Block
	Calls       []ProcessCall       // of other processes, in the order of the file
	Reads       []RequestRead       // of named headers and query parameters, in the order of the file
	Waits       map[string]WaitInfo // by the name of the wait
	Resumes     []ResumeCall        // in the order of the file
	Namespaces  convert.Namespaces  // of its profiles; the trigger's profile comes first
	// SuspendsCaller reports whether the execution may be suspended while a
	// caller waits for its reply: by a `wait` before the reply or by `sequence:`.
	// The request is then durable from acceptance.
	SuspendsCaller bool
}

// RequestRead is a part of the HTTP request that a process reads by its name.
type RequestRead struct {
	In   string // query or headers
	Name string
}

// WaitInfo describes one `wait` of a process.
type WaitInfo struct {
	Path  string // of its step
	Loops int    // number of enclosing loops
	Keyed bool   // a resume can end it
}

// ResumeCall is one `resume` of a process.
type ResumeCall struct {
	Wait string
	Pos  fault.Pos
}

// ProcessCall is one step that starts another process.
type ProcessCall struct {
	Process string
	Handoff bool // the step does not wait for the process
	Pos     fault.Pos
}

// Block is a list of steps that run one after the other.
type Block []*Step

// Each calls f with every step of the block and of the lists of its steps.
func (b Block) Each(f func(*Step)) {
	for _, s := range b {
		f(s)
		for _, l := range s.Lists {
			l.Steps.Each(f)
		}
	}
}

// Step is one step. Settings is the pointer returned by its kind's New.
type Step struct {
	Kind        string
	Path        string // structural and unique in the process, such as "4.then.0"
	Name        string // empty if it has none
	Into        string
	Description string
	When        *expression.Expr // nil means always
	Pos         fault.Pos
	Fingerprint string // of its kind and settings as written, including nested steps
	Settings    any
	Idempotent  Idempotency // declared in the `with:` of a call; empty means as its connection
	Lists       []List      // its lists of steps, in the order of their declaration
}

// Label returns the name of the step, or its kind and path if it has none.
func (s *Step) Label() string {
	if s.Name != "" {
		return s.Name
	}
	return s.Kind + " at " + s.Path
}

// List is one list of steps of a step.
type List struct {
	Key   string // then, else, steps, …; for a path the key that holds the paths
	Name  string // of the path; empty for other lists
	Steps Block
}

// Path is one of several named lists of steps.
type Path struct {
	Name  string
	Pos   fault.Pos
	Steps Block
}

// Operation identifies the operation that a call uses.
type Operation struct {
	Connection string
	Connector  *connectors.Connector
	Operation  *connectors.Operation
}
