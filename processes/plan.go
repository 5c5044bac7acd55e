// Package processes is the language: YAML files in, checked and immutable
// plans out. It answers everything that can be answered from the files alone,
// without network, clock, database or secret.
package processes

import (
	"time"

	"valence/connectors"
	"valence/internal/convert"
	"valence/internal/cron"
	"valence/internal/expression"
	"valence/internal/fault"
	"valence/internal/profile"
	"valence/internal/spec"
)

// Project is everything that the files of one project declare, checked.
type Project struct {
	Processes    map[string]*Process
	Connections  map[string]*Connection
	Auths        map[string]*Auth
	Profiles     map[string]*Profile
	Environments map[string]*Environment
	Defaults     Defaults // the `project:` component, or its defaults

	needs []Need
	kinds map[string]*StepKind
}

// File is one file of a project. Name is its path with slashes, as it is
// printed in problems.
type File struct {
	Name    string
	Content []byte
}

// Pattern is how a process treats whoever starts it.
type Pattern string

// The patterns.
const (
	RequestReply  Pattern = "request/reply"
	FireAndForget Pattern = "fire-and-forget"
	EarlyReply    Pattern = "early reply" // answers, and goes on durably
	Called        Pattern = "called"      // no trigger
)

// Process is one compiled process. It holds nothing of any execution.
type Process struct {
	Name        string
	Description string
	Pos         fault.Pos
	Hash        string // names the content: this process, what it calls, and the profiles it uses
	Pattern     Pattern
	Listen      *Listen    // nil without the trigger
	Schedule    *Schedule  // likewise
	Subscribe   *Subscribe // likewise
	State       bool       // an expression reads `state`
	Delivery    Delivery
	Steps       Block
	Calls       []ProcessCall // of other processes, in the order of the file
	Waits       map[string]WaitPlace
	// SuspendsCaller is true where a caller waits for a reply and there is a
	// `wait` before it, or a `sequence`: then what it sent is durable from
	// acceptance.
	SuspendsCaller bool
}

// WaitPlace is where the `wait` of a name stands in its process.
type WaitPlace struct {
	Path  string // of its step
	Loops int    // how many loops enclose it
	Keyed bool   // a resume can end it
}

// ProcessCall is one place where a process starts another.
type ProcessCall struct {
	Process string
	Handoff bool // mode: handoff; otherwise the caller waits
	Pos     fault.Pos
}

// Block is a list of steps that run one after the other.
type Block []*Step

// Step is one step. Settings is the pointer that its kind's New made.
type Step struct {
	Kind        string
	Path        string // structural and unique in the process, such as "4.then.0"
	Name        string // "" if it has none
	Into        string
	Description string
	When        *expression.Expr // nil: always
	Pos         fault.Pos
	Fingerprint string // of its kind and settings as written, nested steps included
	Settings    any
	Lists       []List // the lists of steps below it, in the order they are declared
}

// List is one of the lists of steps below a step.
type List struct {
	Key   string // then, else, steps, …; for a path the key that holds the paths
	Name  string // of the path; "" for a list that is no path
	Steps Block
}

// Path is one of several named lists of steps.
type Path struct {
	Name  string
	Pos   fault.Pos
	Steps Block
}

// Operation is what a call performs.
type Operation struct {
	Connection string
	Connector  *connectors.Connector
	Operation  *connectors.Operation
}

// Listen is the trigger of a web service.
type Listen struct {
	Pos           fault.Pos
	Path          string // with {name} captures
	Methods       []string
	Input         string // none json xml text binary form multipart
	Output        string // json xml text binary; "" is fire-and-forget
	Auth          string // name of an auth component, or "none"
	Ack           *Ack   // nil: 200 and a receipt
	Timeout       time.Duration
	TimeoutAction string // cancel or continue
	ReplyModes    []string
	Callbacks     *Callbacks // nil: nobody is called back
	Limits        Limits
}

// Schedule is the trigger of a time.
type Schedule struct {
	Pos     fault.Pos
	Cron    *cron.Schedule
	Overlap string // skip queue allow
	Misfire string // once skip all
}

// Subscribe is the trigger of a connection that delivers messages. Its
// settings still hold expressions over env and secret; Resolve decodes them.
type Subscribe struct {
	Pos        fault.Pos
	Connection string
	Connector  *connectors.Connector
	Settings   *expression.Template
}

// Ack is the answer of a fire-and-forget listener in place of the receipt.
type Ack struct {
	Status  int
	Body    *expression.Template // nil: the receipt
	Headers *expression.Template // an object; nil: none
}

// Limits bound what a listener takes on. Zero is unlimited, save for Body.
type Limits struct {
	Body        int64
	Concurrency int
	Rate        float64 // a second
}

// Delivery holds what applies however a message arrives.
type Delivery struct {
	Profile   *Profile
	Filter    *expression.Expr
	Dedupe    *Dedupe
	Sequence  *Sequence  // nil: in no order
	Coalesce  *Coalesce  // nil: each message runs
	EchoGuard *EchoGuard // nil: nothing is taken for an echo
	Workers   int
	Backlog   int
	Retry     *Retry // nil: the project's
	Track     []Track
	Retention Retention
	Redact    []string
	Expires   Expires
}

// Dedupe recognises repeats.
type Dedupe struct {
	Key           *expression.Expr
	Window        time.Duration
	AcceptMissing bool
}

// Track is one searchable field of an execution.
type Track struct {
	Name  string
	Value *expression.Expr
}

// Retention tells how long finished executions are kept.
type Retention struct {
	Documents time.Duration // zero: documents are not kept at all once finished
	Records   time.Duration
}

// Retry is a retry policy. MaxAttempts counts the first attempt.
type Retry struct {
	MaxAttempts int
	Backoff     time.Duration
	MaxBackoff  time.Duration
	Jitter      bool
	RetryOn     []string // nil: whatever the connector calls retryable
}

// Defaults are the project-wide settings.
type Defaults struct {
	Name      string
	OnFailure string // process that is started for each failure; "": none
	Retry     *Retry
	Retention Retention
	Redact    []string
}

// Connection is a connector configured for one system. Its settings still
// hold expressions over env and secret; Open decodes them with the values.
type Connection struct {
	Name      string
	Connector *connectors.Connector
	Pos       fault.Pos
	Hash      string
	Settings  *expression.Template // timeout, concurrency and rate among them
}

// Auth is how callers prove who they are. Settings still hold expressions
// over env and secret, decoded by package authn.
type Auth struct {
	Name     string
	Scheme   string // none api_key basic bearer jwt hmac mtls
	Pos      fault.Pos
	Settings *expression.Template
}

// Profile is the shape of a message.
type Profile struct {
	Name   string
	Pos    fault.Pos
	Hash   string
	Schema *profile.Schema
	Source []byte         // the schema as JSON text, as it was written
	Shape  *convert.Shape // of the data view of XML messages
}

// Circuit tells when a connection is taken to be down.
type Circuit struct {
	Failures int           // in a row; 0: never
	Probe    time.Duration // until a call is tried again
}

// ConnectionLimits bound the use of one connection. Zero is unlimited.
type ConnectionLimits struct {
	Timeout     time.Duration // of one attempt of a call that has none of its own
	Concurrency int           // calls at once
	Circuit     Circuit
	Rate        float64 // calls a second
}

// Need is one place where a value of the environment is read.
type Need struct {
	Kind string // env or secret
	Name string
	Pos  fault.Pos
}

// Environment holds the values of one place.
type Environment struct {
	Name        string
	Pos         fault.Pos
	Values      map[string]string
	Secrets     map[string]SecretSource
	Connections map[string]*expression.Template // settings that replace a connection's
}

// SecretSource is where a secret's value comes from. One of the two is set.
type SecretSource struct {
	File     string
	Variable string
}

// Catalog is what a project may use: assembled where the program is wired.
type Catalog struct {
	Steps      []StepKind
	Connectors connectors.Registry
	Own        bool // the atom's own components are among the files: names may begin with valence-
}

// Flow tells lint how a kind runs the lists of steps below it.
type Flow int

// The flows.
const (
	Plain    Flow = iota // no lists below
	Choice               // one of its lists runs: exhaustive if its last list (else, default) is there
	Attempt              // try, catch, finally
	Loop                 // its list runs any number of times
	Parallel             // its lists all run
	Reply                // answers the caller
	Throw                // never goes on
	Stop                 // ends the nearest element, branch path or process
	Wait                 // suspends until a signal, named by its own key; its list runs when none comes in time
	Resume               // gives a signal to what waits under the name of its own key
	Sleep                // suspends for a time
)

// StepKind declares one kind of step: package atom/steps holds the table.
type StepKind struct {
	Kind   string // the key that makes a mapping this step
	Doc    string
	Sample string       // as an author would write it
	Fields []spec.Field // Kind's own key among them; the keys common to all steps are not
	New    func() any
	Flow   Flow
	// MakesDocument is true where the step may have `into:`.
	MakesDocument bool
	// Items is true where its own expressions read a record as `item`.
	Items bool
	// Check finds what single fields cannot. It may be nil.
	Check func(settings any, c *CheckContext)
}

// CheckContext is what a step's Check may ask and tell.
type CheckContext struct {
	Project *Project
	Process string
	Step    *Step
	Report  func(p *fault.Problem)
}
