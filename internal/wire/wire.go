// Package wire is what an atom and its control plane say to each other: the
// messages, how a request is signed, how a secret is sealed, and how a project
// is packed. Both sides use it, and neither knows the other.
//
// An atom only ever asks. Every request is a POST (or the GET of a package)
// below /atom/v1/, in JSON, and all but the enrolment are signed.
package wire

import (
	"encoding/json"
	"time"
)

// The paths of the control plane that an atom asks.
const (
	PathEnrol    = "/atom/v1/enrol"
	PathPoll     = "/atom/v1/poll"
	PathReports  = "/atom/v1/reports"
	PathPackages = "/atom/v1/packages/" // followed by the package's SHA-256 in hex
)

// Enrol makes an atom known. It is the only request that is not signed; the
// install token proves it.
type Enrol struct {
	Token         string `json:"token"`
	Name          string `json:"name"`
	Key           []byte `json:"key"`            // Ed25519 public key
	SealKey       []byte `json:"seal_key"`       // X25519 public key that secrets are sealed for
	SealSignature []byte `json:"seal_signature"` // of SealKey, by Key
	Version       string `json:"version"`
	Host          string `json:"host,omitempty"`
}

// Enrolled answers an enrolment.
type Enrolled struct {
	Atom        string `json:"atom"`
	Account     string `json:"account"`
	Environment string `json:"environment,omitempty"` // name; "" until it is attached
}

// Poll asks for what there is, tells how the atom is, and acknowledges what it
// got. The answer may take up to Wait seconds.
type Poll struct {
	Instance   string    `json:"instance"` // of this run of the atom, random: a second live one is fenced
	Generation int64     `json:"generation"`
	Ack        []int64   `json:"ack,omitempty"` // messages whose effect is stored
	Wait       int       `json:"wait"`          // seconds; 0: answer at once
	Heartbeat  Heartbeat `json:"heartbeat"`
}

// Heartbeat is how an atom is.
type Heartbeat struct {
	Version   string    `json:"version"`
	Host      string    `json:"host,omitempty"`
	StartedAt time.Time `json:"started_at"`
	Packages  []string  `json:"packages,omitempty"` // SHA-256 of each that runs
	Standing
	Backlog int64  `json:"backlog"`
	Failed  int64  `json:"failed"` // executions that nobody has dealt with
	Health  string `json:"health"` // ok, or why not
}

// Standing is how the triggers of an atom stand. They are told when they are
// others than were told before; otherwise Print alone is, which names them.
// Older atoms tell them always, without a Print.
type Standing struct {
	Listeners []Listener `json:"listeners,omitempty"`
	Print     string     `json:"listeners_print,omitempty"` // "": there are none
	Switched  int64      `json:"switched,omitempty"`        // with Listeners: the generation whose switches were made
}

// Listener is the state of one process' trigger.
type Listener struct {
	Process string `json:"process"`
	Kind    string `json:"kind"`           // listen, schedule, subscribe
	State   string `json:"state"`          // running, paused
	Cron    string `json:"cron,omitempty"` // of a schedule, as its file has it
	Zone    string `json:"zone,omitempty"` // likewise
}

// Polled answers a poll.
type Polled struct {
	Messages []Message `json:"messages,omitempty"`
	Desired  *Desired  `json:"desired,omitempty"` // where the atom's generation is not the newest
	Fenced   bool      `json:"fenced,omitempty"`  // another live atom has this identity
	Tell     bool      `json:"tell,omitempty"`    // the listeners that Print names are not known here: tell them
}

// Message is one thing to be done once. Ids grow for each atom; a message
// comes again until it is acknowledged.
type Message struct {
	ID       int64     `json:"id"`
	Kind     string    `json:"kind"` // execute, cancel, restart, retire, logs, resubmit
	Execute  *Execute  `json:"execute,omitempty"`
	Cancel   string    `json:"cancel,omitempty"`  // an execution request's id, or an execution's own
	Process  string    `json:"process,omitempty"` // restart: whose trigger; "": every one
	Lines    int       `json:"lines,omitempty"`   // of the log, with logs
	Resubmit *Resubmit `json:"resubmit,omitempty"`
}

// The kinds of messages.
const (
	KindExecute  = "execute"
	KindCancel   = "cancel"
	KindRestart  = "restart"
	KindRetire   = "retire"
	KindLogs     = "logs"
	KindResubmit = "resubmit"
)

// Execute runs a process. Request is unique: the same one again does nothing.
type Execute struct {
	Request      string          `json:"request"`
	Process      string          `json:"process"` // name
	Props        json.RawMessage `json:"props,omitempty"`
	Document     []byte          `json:"document,omitempty"`
	DocumentType string          `json:"document_type,omitempty"`
}

// Resubmit runs a failed execution again. Request is unique, as with Execute:
// the same one again does nothing. Atoms that do not know it pass over it.
type Resubmit struct {
	Request   string `json:"request"`
	Execution string `json:"execution"`      // the atom's own id of the failed one
	Process   string `json:"process"`        // name
	From      string `json:"from,omitempty"` // start (the default), failed_step
}

// Desired is what an atom is to be like. It converges on the newest generation.
type Desired struct {
	Generation  int64             `json:"generation"`
	Environment string            `json:"environment"` // name
	Deployments []Deployment      `json:"deployments"`
	Values      map[string]string `json:"values,omitempty"`
	Secrets     map[string][]byte `json:"secrets,omitempty"`     // sealed for the atom, see Seal
	Connections json.RawMessage   `json:"connections,omitempty"` // overrides: settings by connection
	Paused      []string          `json:"paused,omitempty"`      // processes whose triggers are to be paused
	Switched    map[string]int64  `json:"switched,omitempty"`    // by process: the generation in which an operator paused or resumed it
	PurgeDays   int               `json:"purge_days,omitempty"`  // most that executions are kept; 0: as their processes say
	Policy      Policy            `json:"policy"`
}

// Deployment is one package of the environment.
type Deployment struct {
	ID        string `json:"id"`
	Package   string `json:"package"` // SHA-256 of the archive
	Project   string `json:"project"`
	Version   string `json:"version"`
	Signature []byte `json:"signature,omitempty"` // of a publisher, see Statement
	Statement []byte `json:"statement,omitempty"` // what was signed
}

// Policy is what an environment asks of its atoms.
type Policy struct {
	RollbackRate    float64 `json:"rollback_rate,omitempty"`    // most failures of a new version, 0..1; 0: no rollback by rate
	RollbackMinutes int     `json:"rollback_minutes,omitempty"` // how long a version is new; 0 is 5
	SendDocuments   bool    `json:"send_documents,omitempty"`   // with execution records
	ShortPoll       bool    `json:"short_poll,omitempty"`
}

// Reports is a batch of what happened. Each has an id of its own, so that a
// batch that is sent again changes nothing.
type Reports struct {
	Instance    string             `json:"instance"`
	Generation  int64              `json:"generation,omitempty"` // as in Poll, with Heartbeat
	Heartbeat   *Heartbeat         `json:"heartbeat,omitempty"`  // where the poll that is held told of another state
	Executions  []ExecutionReport  `json:"executions,omitempty"`
	Deployments []DeploymentReport `json:"deployments,omitempty"`
	Logs        []LogLine          `json:"logs,omitempty"`
	LogsFor     int64              `json:"logs_for,omitempty"` // the message that asked for them
}

// ExecutionReport is how an execution stands, or ended.
type ExecutionReport struct {
	Execution string          `json:"execution"`         // the atom's id of it
	Request   string          `json:"request,omitempty"` // the execution request that asked for it
	Process   string          `json:"process"`
	Kind      string          `json:"kind"`   // manual listener subscribe schedule handoff retry
	Status    string          `json:"status"` // as the atom has it; rejected: it could not be run
	Received  time.Time       `json:"received"`
	Started   time.Time       `json:"started,omitzero"`
	Ended     time.Time       `json:"ended,omitzero"`
	Error     string          `json:"error,omitempty"`
	Original  string          `json:"original,omitempty"` // of a resubmission
	In        *Traffic        `json:"in,omitempty"`       // documents that it was started with; nil: not known
	Out       *Traffic        `json:"out,omitempty"`      // documents that its calls have written, and its reply; likewise
	Document  json.RawMessage `json:"document,omitempty"` // the reply or the last document, where the policy asks for it
}

// Traffic is how many documents went one way, and how large they were.
type Traffic struct {
	Documents int64 `json:"documents"`
	Bytes     int64 `json:"bytes"`
}

// DeploymentReport is what became of a generation on an atom.
type DeploymentReport struct {
	Generation int64     `json:"generation"`
	Package    string    `json:"package,omitempty"`
	State      string    `json:"state"` // active, failed, rolled_back
	Detail     string    `json:"detail,omitempty"`
	At         time.Time `json:"at"`
}

// LogLine is one line of an atom's log that operators should see.
type LogLine struct {
	At    time.Time `json:"at"`
	Level string    `json:"level"`
	Text  string    `json:"text"`
}

// Refusal is the body of every answer that is not a success.
type Refusal struct {
	Code  string `json:"code"`            // unknown_token bad_signature replayed wrong_epoch revoked overloaded fenced …
	Error string `json:"error"`           // for people
	Epoch string `json:"epoch,omitempty"` // with wrong_epoch: the one to sign with
}
