package processes

import (
	"time"

	"valence/internal/expression"
)

// Delivery holds the settings that apply to messages of every trigger.
type Delivery struct {
	Profile        *Profile
	Filter         *expression.Expr
	Dedupe         *Dedupe
	Sequence       *Sequence  // nil means unordered
	Coalesce       *Coalesce  // nil means every message runs
	EchoGuard      *EchoGuard // nil means no message is an echo
	Workers        int
	WorkersWritten bool // the file sets the number of workers
	Backlog        int
	Retry          *Retry // nil means the project's
	Track          []Track
	Retention      Retention
	Redact         []string
	Expires        Expires
}

// Dedupe recognizes repeated messages.
type Dedupe struct {
	Key           *expression.Expr
	Window        time.Duration
	AcceptMissing bool // accept messages whose key is nil
	Shared        bool // all callers share the keys
}

// Sequence runs executions of one key one at a time, in the order in which
// they were accepted.
type Sequence struct {
	Key   *expression.Expr
	Skip  bool   // a failed execution does not block its key
	Scope string // processes with the same scope share their keys; empty means the process alone
	Limit int    // maximum number of waiting executions per key; 0 means unlimited
}

// Coalesce runs only the newest of the messages of one key within a window.
type Coalesce struct {
	Key    *expression.Expr
	Window time.Duration
	Shared bool // all callers share the keys
}

// EchoGuard drops events caused by the project's own calls.
type EchoGuard struct {
	System  string
	Record  *expression.Expr
	Version *expression.Expr
}

// Track is one searchable field of an execution.
type Track struct {
	Name  string
	Value *expression.Expr
}

// Retention bounds how long finished executions are stored.
type Retention struct {
	Documents time.Duration // zero means documents are dropped when the execution ends
	Records   time.Duration
}

// Expires bounds how long messages and replies wait.
type Expires struct {
	Request  time.Duration // from acceptance to the first start; zero means forever
	Response time.Duration // how long a deferred reply is stored after completion
}
