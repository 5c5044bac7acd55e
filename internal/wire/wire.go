// Package wire defines the protocol between atoms and their control plane: the
// instructions, request signatures, sealed secrets and packages.
//
// The atom always initiates. Every request is a POST of JSON below /atom/v1/,
// or the GET of a package. All are signed except the enrollment.
package wire

import (
	"encoding/json"
	"time"
)

// Paths of the control plane's atom API.
const (
	PathEnroll   = "/atom/v1/enrol"
	PathPoll     = "/atom/v1/poll"
	PathReports  = "/atom/v1/reports"
	PathPackages = "/atom/v1/packages/" // followed by the package's SHA-256 in hex
)

// EnrollRequest registers an atom. It is authenticated by the install token;
// all other requests are signed.
type EnrollRequest struct {
	Token         string `json:"token"`
	Name          string `json:"name"`
	Key           []byte `json:"key"`            // Ed25519 public key
	SealKey       []byte `json:"seal_key"`       // X25519 public key for sealing secrets
	SealSignature []byte `json:"seal_signature"` // of SealKey, by Key
	Version       string `json:"version"`
	Host          string `json:"host,omitempty"`
}

// EnrollResponse is the response to EnrollRequest.
type EnrollResponse struct {
	Atom        string `json:"atom"`
	Account     string `json:"account"`
	Environment string `json:"environment,omitempty"` // name; "" until attached
}

// PollRequest fetches instructions and desired state, reports the atom's heartbeat
// and acknowledges instructions. The response may take Wait seconds.
type PollRequest struct {
	Instance   string    `json:"instance"` // random ID of this run of the atom; a second live one is fenced
	Generation int64     `json:"generation"`
	Ack        []int64   `json:"ack,omitempty"` // instructions whose effect is stored
	Wait       int       `json:"wait"`          // seconds; 0: respond immediately
	Heartbeat  Heartbeat `json:"heartbeat"`
}

// Heartbeat is the state of an atom.
type Heartbeat struct {
	Version   string    `json:"version"`
	Host      string    `json:"host,omitempty"`
	StartedAt time.Time `json:"started_at"`
	Packages  []string  `json:"packages,omitempty"` // SHA-256 of each running package
	TriggerStatus
	Backlog int64  `json:"backlog"`
	Failed  int64  `json:"failed"`            // unresolved failed executions
	Dropped int64  `json:"dropped,omitempty"` // reports dropped since the start
	Health  string `json:"health"`            // "ok" or a description of the problem
	// Features are the instructions that older atoms ignore and this one carries out.
	Features []string `json:"features,omitempty"`
}

// TriggerStatus is the state of all triggers of an atom. Triggers are sent only
// when changed; otherwise only the digest. Older atoms always send them,
// without a digest.
type TriggerStatus struct {
	Triggers []Trigger `json:"listeners,omitempty"`
	Digest   string    `json:"listeners_print,omitempty"` // "": no triggers
	Switched int64     `json:"switched,omitempty"`        // with Triggers: the generation whose switches were applied
}

// Trigger is the state of a process' trigger.
type Trigger struct {
	Process string `json:"process"`
	Kind    string `json:"kind"`           // listen, schedule, subscribe
	State   string `json:"state"`          // running, paused, failing
	Cron    string `json:"cron,omitempty"` // of a schedule, as written
	Zone    string `json:"zone,omitempty"` // likewise
}

// PollResponse is the response to PollRequest.
type PollResponse struct {
	Instructions []Instruction `json:"messages,omitempty"`
	Desired      *Desired      `json:"desired,omitempty"` // if the atom's generation is outdated
	Fenced       bool          `json:"fenced,omitempty"`  // another live atom has this identity
	SendTriggers bool          `json:"tell,omitempty"`    // the control plane does not know the triggers with this digest
}

// Instruction is an execution request or a command to carry out once. IDs increase per atom; an
// instruction is repeated until acknowledged.
type Instruction struct {
	ID       int64     `json:"id"`
	Kind     string    `json:"kind"` // execute, cancel, restart, retire, logs, resubmit, replay
	Execute  *Execute  `json:"execute,omitempty"`
	Cancel   string    `json:"cancel,omitempty"`  // ID of an execution request or of an execution
	Process  string    `json:"process,omitempty"` // restart: the process whose trigger restarts; "": the atom
	Lines    int       `json:"lines,omitempty"`   // logs: number of lines
	Resubmit *Resubmit `json:"resubmit,omitempty"`
	Replay   *Replay   `json:"replay,omitempty"`
}

// The kinds of instructions.
const (
	KindExecute  = "execute"
	KindCancel   = "cancel"
	KindRestart  = "restart"
	KindRetire   = "retire"
	KindLogs     = "logs"
	KindResubmit = "resubmit"
	KindReplay   = "replay" // also the feature of atoms that carry it out
)

// Execute runs a process. Repeating the same Request has no effect.
type Execute struct {
	Request      string          `json:"request"`
	Process      string          `json:"process"` // name
	Props        json.RawMessage `json:"props,omitempty"`
	Document     []byte          `json:"document,omitempty"`
	DocumentType string          `json:"document_type,omitempty"`
}

// Resubmit runs a failed execution again. Repeating the same Request has no
// effect. Older atoms ignore it.
type Resubmit struct {
	Request   string `json:"request"`
	Execution string `json:"execution"`      // the atom's ID of the failed execution
	Process   string `json:"process"`        // name
	From      string `json:"from,omitempty"` // start (default), failed_step
}

// Replay runs executions of the atom's history through a package that is not
// deployed, and reports the changes. Nothing is called. Older atoms ignore
// it.
type Replay struct {
	Deployment Deployment `json:"deployment"` // without an ID
	Last       int        `json:"last"`       // newest executions of each process
}

// Desired is the desired state of an atom, which converges on the newest
// generation.
type Desired struct {
	Generation  int64             `json:"generation"`
	Environment string            `json:"environment"` // name
	Deployments []Deployment      `json:"deployments"`
	Values      map[string]string `json:"values,omitempty"`
	Secrets     map[string][]byte `json:"secrets,omitempty"`     // sealed for the atom, see Seal
	Connections json.RawMessage   `json:"connections,omitempty"` // overrides: settings by connection
	Paused      []string          `json:"paused,omitempty"`      // processes whose triggers must be paused
	SwitchedIn  map[string]int64  `json:"switched,omitempty"`    // by process: the generation in which an operator paused or resumed it
	PurgeDays   int               `json:"purge_days,omitempty"`  // longest retention of executions; 0: as configured by their processes
	Policy      Policy            `json:"policy"`
}

// Deployment is one package of the environment.
type Deployment struct {
	ID        string `json:"id"`
	Package   string `json:"package"` // SHA-256 of the archive
	Project   string `json:"project"`
	Version   string `json:"version"`
	Signature []byte `json:"signature,omitempty"` // of a publisher, see Statement
	Statement []byte `json:"statement,omitempty"` // the signed text
}

// Policy is the environment's policy for its atoms.
type Policy struct {
	RollbackRate    float64 `json:"rollback_rate,omitempty"`    // failure rate of a new version above which it is rolled back, 0..1; 0: never
	RollbackMinutes int     `json:"rollback_minutes,omitempty"` // how long a version counts as new; 0 is 5
	SendDocuments   bool    `json:"send_documents,omitempty"`   // with execution records
	ShortPoll       bool    `json:"short_poll,omitempty"`
}

// Reports is a batch of reports. Each has its own ID, so that repeating a batch
// has no effect.
type Reports struct {
	Instance    string             `json:"instance"`
	Generation  int64              `json:"generation,omitempty"` // as in PollRequest, with Heartbeat
	Heartbeat   *Heartbeat         `json:"heartbeat,omitempty"`  // if it changed since the held poll was sent
	Executions  []ExecutionReport  `json:"executions,omitempty"`
	Deployments []DeploymentReport `json:"deployments,omitempty"`
	Logs        []LogLine          `json:"logs,omitempty"`
	LogsFor     int64              `json:"logs_for,omitempty"` // ID of the instruction that requested the logs
	Replay      *ReplayReport      `json:"replay,omitempty"`
}

// ExecutionReport is the state or outcome of an execution.
type ExecutionReport struct {
	Execution string          `json:"execution"`         // the atom's ID of it
	Request   string          `json:"request,omitempty"` // the execution request that started it
	Process   string          `json:"process"`
	Kind      string          `json:"kind"`   // manual listener subscribe schedule handoff retry
	Status    string          `json:"status"` // the atom's status; rejected: it could not run
	Received  time.Time       `json:"received"`
	Started   time.Time       `json:"started,omitzero"`
	Ended     time.Time       `json:"ended,omitzero"`
	Error     string          `json:"error,omitempty"`
	Original  string          `json:"original,omitempty"` // of a resubmission
	In        *Traffic        `json:"in,omitempty"`       // input documents; nil: unknown
	Out       *Traffic        `json:"out,omitempty"`      // documents written by calls, and the reply; nil: unknown
	Document  json.RawMessage `json:"document,omitempty"` // the reply or last document, if the policy requests it
}

// Traffic counts documents and their bytes in one direction.
type Traffic struct {
	Documents int64 `json:"documents"`
	Bytes     int64 `json:"bytes"`
}

// DeploymentReport is the result of a generation on an atom.
type DeploymentReport struct {
	Generation int64     `json:"generation"`
	Package    string    `json:"package,omitempty"`
	State      string    `json:"state"` // active, failed, rolled_back
	Detail     string    `json:"detail,omitempty"`
	At         time.Time `json:"at"`
}

// ReplayReport is the state or result of a replay. The response is CodeConflict
// if nobody waits for it any more.
type ReplayReport struct {
	Instruction int64           `json:"instruction"` // ID of the instruction that requested it
	AtomStarted time.Time       `json:"atom_started"`
	State       string          `json:"state"` // queued, running, finished, failed
	Done        int             `json:"done"`
	Total       int             `json:"total"`
	Error       string          `json:"error,omitempty"`
	Result      json.RawMessage `json:"result,omitempty"` // when finished
}

// LogLine is one line of an atom's log.
type LogLine struct {
	At    time.Time `json:"at"`
	Level string    `json:"level"`
	Text  string    `json:"text"`
}

// ErrorResponse is the body of every unsuccessful response.
type ErrorResponse struct {
	Code  string `json:"code"`            // unknown_token bad_signature replayed wrong_epoch revoked overloaded fenced …
	Error string `json:"error"`           // for people
	Epoch string `json:"epoch,omitempty"` // with wrong_epoch: the epoch to sign with
}
