package cloud

import (
	"encoding/json"
	"time"

	"valence/internal/wire"
)

// Account is a tenant. Nothing of one account is visible to another.
type Account struct {
	ID      string    `json:"id"` // short name, part of URLs
	Created time.Time `json:"created"`
}

// Principal is an authenticated caller.
type Principal struct {
	Account      string
	User         string
	TokenID      string
	Role         Role
	Environments []string // ids of the environments it is limited to; empty: all
	From         string   // client address
}

// Token is an API token. Only its hash is stored.
type Token struct {
	ID           string    `json:"id"`
	Account      string    `json:"account"`
	Name         string    `json:"name"` // user name
	Role         Role      `json:"role"`
	Environments []string  `json:"environments,omitempty"`
	Hash         []byte    `json:"hash"`
	Created      time.Time `json:"created"`
	Expires      time.Time `json:"expires,omitzero"`
	By           string    `json:"by,omitempty"`
	Secret       string    `json:"-"` // the token itself, set only on creation
}

// Environment is a target of deployments.
type Environment struct {
	ID             string      `json:"id"`
	Account        string      `json:"account"`
	Name           string      `json:"name"`
	Classification string      `json:"classification"` // PROD or TEST
	Created        time.Time   `json:"created"`
	Policy         wire.Policy `json:"policy"`
	Revision       int64       `json:"revision"` // of the desired state of its atoms
}

// The classifications of environments.
const (
	Production = "PROD"
	Test       = "TEST"
)

// Atom is an enrolled atom. Its heartbeat and last-seen time are in memory
// only.
type Atom struct {
	ID       string            `json:"id"`
	Account  string            `json:"account"`
	Name     string            `json:"name"`
	Key      []byte            `json:"key"`      // Ed25519 public key
	SealKey  []byte            `json:"seal_key"` // X25519 public key
	Version  string            `json:"version"`
	Host     string            `json:"host,omitempty"`
	Enrolled time.Time         `json:"enrolled"`
	Revoked  bool              `json:"revoked,omitempty"`
	Revision int64             `json:"revision"`
	Triggers map[string]string `json:"triggers,omitempty"` // RUNNING or PAUSED as set by an operator, by process
	Switched map[string]int64  `json:"switched,omitempty"` // revision of Triggers, by process
	Retired  bool              `json:"retired,omitempty"`  // removed from service; it stops polling
	Purge    int               `json:"purge,omitempty"`    // maximum days of history; 0: as its processes say

	LastSeen   time.Time      `json:"-"`
	Status     string         `json:"-"` // ONLINE or OFFLINE
	Heartbeat  wire.Heartbeat `json:"-"`
	Generation int64          `json:"-"` // of the desired state
	Applied    int64          `json:"-"` // generation in effect on the atom
	Waiting    int            `json:"-"` // undelivered instructions
}

// The states of atoms.
const (
	Online  = "ONLINE"
	Offline = "OFFLINE"
)

// Attachment puts an atom into an environment. An atom is in one at most.
type Attachment struct {
	ID            string `json:"id"`
	Account       string `json:"account"`
	AtomID        string `json:"atom"`
	EnvironmentID string `json:"environment"`
}

// InstallToken lets one atom enroll, once.
type InstallToken struct {
	ID          string    `json:"id"`
	Account     string    `json:"account"`
	Environment string    `json:"environment,omitempty"` // id; "": the atom is attached later
	CreatedBy   string    `json:"by"`
	Hash        []byte    `json:"hash"`
	Created     time.Time `json:"created"`
	Expires     time.Time `json:"expires"`
	Used        bool      `json:"used,omitempty"`
	AtomID      string    `json:"atom,omitempty"` // the atom that used it
	Token       string    `json:"-"`              // set only on creation
}

// Component is a process of a project. Its id is derived from account, project
// and name, so it is the same in every package.
type Component struct {
	ID       string    `json:"id"`
	Account  string    `json:"account"`
	Project  string    `json:"project"`
	Name     string    `json:"name"`
	Type     string    `json:"type"`
	Version  string    `json:"version"` // of the newest package that contains it
	Created  time.Time `json:"created"`
	Modified time.Time `json:"modified"`
	By       string    `json:"by"`
}

// TypeProcess is the type of every component.
const TypeProcess = "process"

// Package is an immutable version of a project.
type Package struct {
	ID         string    `json:"id"`
	Account    string    `json:"account"`
	SHA256     string    `json:"sha256"` // identifies the archive
	Project    string    `json:"project"`
	Version    string    `json:"version"`
	Notes      string    `json:"notes,omitempty"`
	By         string    `json:"by"`
	Created    time.Time `json:"created"`
	Size       int64     `json:"size"`
	Components []string  `json:"components"`      // ids
	Needs      []string  `json:"needs,omitempty"` // extension fields that it reads, such as env.SHOP_URL
	// Triggers of its processes, by name. nil in packages stored by earlier
	// versions of this program.
	Triggers  map[string]Trigger `json:"triggers"`
	Statement []byte             `json:"statement,omitempty"`
	Signature []byte             `json:"signature,omitempty"` // of a publisher, see wire.Statement
}

// Trigger is the trigger of a process.
type Trigger struct {
	Kind string `json:"kind"`           // listen, schedule, subscribe
	Cron string `json:"cron,omitempty"` // of a schedule, as written
	Zone string `json:"zone,omitempty"` // of a schedule, as written
}

// Deployment assigns a package to an environment. Each project has one active
// deployment per environment.
type Deployment struct {
	ID             string             `json:"id"`
	Account        string             `json:"account"`
	PackageID      string             `json:"package"`
	EnvironmentID  string             `json:"environment"`
	Notes          string             `json:"notes,omitempty"`
	TestsSkipped   bool               `json:"tests_skipped,omitempty"` // the tests of the project did not run first
	By             string             `json:"by"`
	Created        time.Time          `json:"created"`
	Active         bool               `json:"active"`
	ListenerStatus string             `json:"listener_status"`
	Revision       int64              `json:"revision,omitempty"`  // in which ListenerStatus was set
	Statement      []byte             `json:"statement,omitempty"` // for this environment; overrides the package's
	Signature      []byte             `json:"signature,omitempty"`
	Results        []DeploymentResult `json:"-"`
}

// The listener statuses of a deployment.
const (
	Running = "RUNNING"
	Paused  = "PAUSED"
)

// DeploymentResult is the result of a deployment on one atom.
type DeploymentResult struct {
	Deployment string    `json:"deployment"`
	AtomID     string    `json:"atom"`
	State      string    `json:"state"` // a state of wire.DeploymentReport
	Detail     string    `json:"detail,omitempty"`
	At         time.Time `json:"at"`
}

// Extension is a value that an environment sets for its deployments. Its name
// is env.NAME, secret.NAME or connection.NAME.SETTING. The value of a secret is
// never returned.
type Extension struct {
	EnvironmentID string `json:"environment"`
	Account       string `json:"account"`
	Name          string `json:"name"`
	Value         string `json:"value,omitempty"`
	Sealed        []byte `json:"sealed,omitempty"` // the encrypted value of a secret
	Secret        bool   `json:"secret,omitempty"`
	Set           bool   `json:"-"` // false: a deployment needs it and it has no value
	Unread        bool   `json:"-"` // no deployment in the environment reads it; never set for connections
}

// ExecutionRequest asks an atom to run a process.
type ExecutionRequest struct {
	ID             string // executionrecord-<uuid>
	Account        string
	AtomID         string
	ProcessID      string
	ProcessName    string
	Props          json.RawMessage // JSON object
	Document       []byte
	DocumentType   string
	IdempotencyKey string
	By             string
	Resubmits      string `json:",omitempty"` // the record id of the failed execution to run again
	Created        time.Time
	Delivered      time.Time // zero: not acknowledged by the atom
}

// ExecutionRecord is the status or outcome of an execution on an atom.
type ExecutionRecord struct {
	ID            string // execution-<uuid>-YYYY.MM.DD
	RequestID     string
	Account       string
	AtomID        string
	EnvironmentID string
	Execution     string // the atom's own id of the execution
	ProcessID     string
	Status        string // such as COMPLETE
	Time          time.Time

	AtomName    string `json:",omitempty"`
	ProcessName string `json:",omitempty"`
	Type        string `json:",omitempty"` // such as exec_manual
	Message     string `json:",omitempty"`
	OriginalID  string `json:",omitempty"`
	// ResubmittedAs is the record id of the execution that ran this failed one
	// again. The store sets it when it stores that execution.
	ResubmittedAs string `json:",omitempty"`

	Duration time.Duration   `json:",omitempty"`
	In       *wire.Traffic   `json:",omitempty"` // incoming documents; nil: unknown
	Out      *wire.Traffic   `json:",omitempty"` // outgoing documents; nil: unknown
	Document json.RawMessage `json:",omitempty"`
}

// The statuses of execution records.
const (
	Aborted      = "ABORTED"
	Complete     = "COMPLETE"
	CompleteWarn = "COMPLETE_WARN"
	Discarded    = "DISCARDED"
	Enqueued     = "ENQUEUED"
	Failed       = "ERROR"
	InProcess    = "INPROCESS"
	Started      = "STARTED"
)

// Ended reports whether the execution has ended.
func (r *ExecutionRecord) Ended() bool { return ended(r.Status) }

func ended(status string) bool {
	return status != Enqueued && status != InProcess && status != Started
}

// Traffic returns the number of incoming or outgoing documents and their bytes.
// known is false if the atom did not report them or the execution has not
// ended.
func (r *ExecutionRecord) Traffic(in bool) (documents, bytes int, known bool) {
	t := r.Out
	if in {
		t = r.In
	}
	if t == nil || !r.Ended() {
		return 0, 0, false
	}
	return int(t.Documents), int(t.Bytes), true
}

// RecordFilter selects execution records. Empty fields match all.
type RecordFilter struct {
	From, To     time.Time // range of their time; To is excluded
	ID           string
	RequestID    string
	AtomID       string
	ProcessID    string
	Status       string
	Environments []string // ids
}

// AuditEntry is an entry of the audit log.
type AuditEntry struct {
	ID      int64     `json:"id"`
	Account string    `json:"account"`
	Who     string    `json:"who"`
	Action  string    `json:"action"`
	Object  string    `json:"object,omitempty"`
	Detail  string    `json:"detail,omitempty"`
	From    string    `json:"from,omitempty"`
	At      time.Time `json:"at"`
}

// Instruction is an undelivered instruction for an atom.
type Instruction struct {
	wire.Instruction
	Account string
	AtomID  string
	Request string // id of its execution request
	Created time.Time
}
