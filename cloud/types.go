package cloud

import (
	"encoding/json"
	"time"

	"valence/internal/wire"
)

// Account is a tenant: nothing of one is visible to another.
type Account struct {
	ID      string    `json:"id"` // a short name, part of URLs
	Created time.Time `json:"created"`
}

// Principal is who asks. Every method of Service that takes one judges by it.
type Principal struct {
	Account      string
	User         string
	TokenID      string
	Role         Role
	Environments []string // ids that it is limited to; empty: all
	From         string   // address
}

// Token is an API token. Only its hash is kept.
type Token struct {
	ID           string    `json:"id"`
	Account      string    `json:"account"`
	Name         string    `json:"name"` // the user that it stands for
	Role         Role      `json:"role"`
	Environments []string  `json:"environments,omitempty"`
	Hash         []byte    `json:"hash"`
	Created      time.Time `json:"created"`
	Expires      time.Time `json:"expires,omitzero"`
	By           string    `json:"by,omitempty"`
	Secret       string    `json:"-"` // the token itself, only on creation
}

// Environment is a place that packages are deployed to.
type Environment struct {
	ID             string      `json:"id"`
	Account        string      `json:"account"`
	Name           string      `json:"name"`
	Classification string      `json:"classification"` // PROD or TEST
	Created        time.Time   `json:"created"`
	Policy         wire.Policy `json:"policy"`
	Revision       int64       `json:"revision"` // of what its atoms are to be like
}

// The classifications of environments.
const (
	Production = "PROD"
	Test       = "TEST"
)

// Atom is one that has enrolled. What it says of itself, and since when
// nothing was heard, is kept in memory.
type Atom struct {
	ID       string            `json:"id"`
	Account  string            `json:"account"`
	Name     string            `json:"name"`
	Key      []byte            `json:"key"`      // Ed25519, public
	SealKey  []byte            `json:"seal_key"` // X25519, public
	Version  string            `json:"version"`
	Host     string            `json:"host,omitempty"`
	Enrolled time.Time         `json:"enrolled"`
	Revoked  bool              `json:"revoked,omitempty"`
	Revision int64             `json:"revision"`
	Triggers map[string]string `json:"triggers,omitempty"` // running or paused, by process, where an operator said so
	Switched map[string]int64  `json:"switched,omitempty"` // the revision of that, by process
	Retired  bool              `json:"retired,omitempty"`  // it was told to stop asking
	Purge    int               `json:"purge,omitempty"`    // most days that it keeps executions; 0: as their processes say

	LastSeen   time.Time      `json:"-"`
	Status     string         `json:"-"` // ONLINE or OFFLINE
	Heartbeat  wire.Heartbeat `json:"-"`
	Generation int64          `json:"-"` // of what it is to be like
	Applied    int64          `json:"-"` // the generation that it has
	Waiting    int            `json:"-"` // messages that it has not acknowledged
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

// InstallToken lets one atom enrol, once.
type InstallToken struct {
	ID          string    `json:"id"`
	Account     string    `json:"account"`
	Environment string    `json:"environment,omitempty"` // id; "": the atom is attached later
	CreatedBy   string    `json:"by"`
	Hash        []byte    `json:"hash"`
	Created     time.Time `json:"created"`
	Expires     time.Time `json:"expires"`
	Used        bool      `json:"used,omitempty"`
	AtomID      string    `json:"atom,omitempty"` // that used it
	Token       string    `json:"-"`              // only on creation
}

// Component is a process of a project. Its id follows from account, project
// and name, so it is the same in every package.
type Component struct {
	ID       string    `json:"id"`
	Account  string    `json:"account"`
	Project  string    `json:"project"`
	Name     string    `json:"name"`
	Type     string    `json:"type"`
	Version  string    `json:"version"` // of the newest package with it
	Created  time.Time `json:"created"`
	Modified time.Time `json:"modified"`
	By       string    `json:"by"`
}

// TypeProcess is the type of every component there is.
const TypeProcess = "process"

// Package is a version of a project: an archive, which never changes.
type Package struct {
	ID         string    `json:"id"`
	Account    string    `json:"account"`
	SHA256     string    `json:"sha256"` // names the archive
	Project    string    `json:"project"`
	Version    string    `json:"version"`
	Notes      string    `json:"notes,omitempty"`
	By         string    `json:"by"`
	Created    time.Time `json:"created"`
	Size       int64     `json:"size"`
	Components []string  `json:"components"`      // ids
	Needs      []string  `json:"needs,omitempty"` // extension fields that it reads, such as env.SHOP_URL
	// Triggers are what starts its processes, by name. Packages of earlier
	// versions of this program do not say; nil.
	Triggers  map[string]Trigger `json:"triggers"`
	Statement []byte             `json:"statement,omitempty"`
	Signature []byte             `json:"signature,omitempty"` // of a publisher, see wire.Statement
}

// Trigger is what starts a process.
type Trigger struct {
	Kind string `json:"kind"`           // listen, schedule, subscribe
	Cron string `json:"cron,omitempty"` // of a schedule, as its file has it
	Zone string `json:"zone,omitempty"` // likewise
}

// The kinds of triggers.
const (
	TriggerListen    = "listen"
	TriggerSchedule  = "schedule"
	TriggerSubscribe = "subscribe"
)

// Deployment gives an environment a package. Of one project one is active.
type Deployment struct {
	ID             string             `json:"id"`
	Account        string             `json:"account"`
	PackageID      string             `json:"package"`
	EnvironmentID  string             `json:"environment"`
	Notes          string             `json:"notes,omitempty"`
	By             string             `json:"by"`
	Created        time.Time          `json:"created"`
	Active         bool               `json:"active"`
	ListenerStatus string             `json:"listener_status"`
	Revision       int64              `json:"revision,omitempty"`  // in which ListenerStatus was said
	Statement      []byte             `json:"statement,omitempty"` // for this environment, in place of the package's
	Signature      []byte             `json:"signature,omitempty"`
	Results        []DeploymentResult `json:"-"`
}

// The states of listeners that a deployment may ask for.
const (
	Running = "RUNNING"
	Paused  = "PAUSED"
)

// DeploymentResult is what became of a deployment on an atom.
type DeploymentResult struct {
	Deployment string    `json:"deployment"`
	AtomID     string    `json:"atom"`
	State      string    `json:"state"` // active, failed, rolled_back
	Detail     string    `json:"detail,omitempty"`
	At         time.Time `json:"at"`
}

// Extension is a value that an environment gives its deployments. Its name is
// that of a field: env.NAME, secret.NAME or connection.NAME.SETTING. The value
// of a secret is never given back.
type Extension struct {
	EnvironmentID string `json:"environment"`
	Account       string `json:"account"`
	Name          string `json:"name"`
	Value         string `json:"value,omitempty"`
	Sealed        []byte `json:"sealed,omitempty"` // of a secret
	Secret        bool   `json:"secret,omitempty"`
	Set           bool   `json:"-"` // false: a deployment needs it and it has no value
	Unread        bool   `json:"-"` // something is deployed there, and none of it reads it; not known of connections
}

// ExecutionRequest asks an atom to run a process.
type ExecutionRequest struct {
	ID             string // executionrecord-<uuid>
	Account        string
	AtomID         string
	ProcessID      string
	ProcessName    string
	Props          json.RawMessage // an object
	Document       []byte
	DocumentType   string
	IdempotencyKey string
	By             string
	Resubmits      string `json:",omitempty"` // the record of the failed execution that is to run again
	Created        time.Time
	Delivered      time.Time // zero: the atom has not acknowledged it
}

// ExecutionRecord is how an execution stands on its atom, or ended.
type ExecutionRecord struct {
	ID            string // execution-<uuid>-YYYY.MM.DD
	RequestID     string
	Account       string
	AtomID        string
	EnvironmentID string
	Execution     string // the atom's own id of it
	ProcessID     string
	Status        string // COMPLETE …
	Time          time.Time

	AtomName    string          `json:",omitempty"`
	ProcessName string          `json:",omitempty"`
	Type        string          `json:",omitempty"` // exec_manual …
	Message     string          `json:",omitempty"`
	OriginalID  string          `json:",omitempty"`
	Duration    time.Duration   `json:",omitempty"`
	In          *wire.Traffic   `json:",omitempty"` // documents that came in; nil: not known
	Out         *wire.Traffic   `json:",omitempty"` // documents that went out; likewise
	Document    json.RawMessage `json:",omitempty"`
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

// Ended reports whether the execution is over.
func (r *ExecutionRecord) Ended() bool { return ended(r.Status) }

func ended(status string) bool {
	return status != Enqueued && status != InProcess && status != Started
}

// Traffic tells how many documents came in, or went out, and their bytes; known
// is false where the atom has not told, or the execution has not ended.
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

// RecordFilter chooses execution records. Empty fields choose all.
type RecordFilter struct {
	From, To     time.Time // of their time; To is not included
	ID           string
	RequestID    string
	AtomID       string
	ProcessID    string
	Status       string
	Environments []string // ids
}

// AuditEntry is a line of the audit log.
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

// Message waits for an atom until it acknowledges it.
type Message struct {
	wire.Message
	Account string
	AtomID  string
	Request string // the execution request that it is about
	Created time.Time
}
