package atom

import (
	"encoding/json"
	"errors"
	"time"

	"valence/atom/activity"
	"valence/atom/connection"
	"valence/atom/run"
)

// Errors of accepting messages, besides those of the store. All but ErrNoSuch
// mean that the message was not accepted and may be sent again (503).
var (
	ErrBusy     = errors.New("the backlog of the process is full")
	ErrStopping = run.ErrStopping
	ErrStarting = errors.New("the atom is starting")
	ErrPaused   = errors.New("the process is paused")
	ErrNoSuch   = errors.New("there is no such process")
)

// Codes of failures, besides those of package fault.
const (
	CodeInProgress = run.CodeInProgress
	CodeKeyReused  = run.CodeKeyReused
	CodeDuplicate  = run.CodeDuplicate
	CodeConflict   = run.CodeConflict
)

// Types of messages and replies.
type (
	KV            = run.KV
	Request       = run.Request
	Message       = run.Message
	DeferredReply = run.DeferredReply
	Reply         = run.Reply
	Answer        = run.Answer
	StoredReply   = run.StoredReply
	Traffic       = run.Traffic
)

// Types that operators see.
type (
	ExecutionEnd   = run.End
	ErrorView      = run.ErrorView
	StepView       = run.StepView
	DocumentView   = run.DocumentView
	ResolutionView = run.ResolutionView
	ConnectionView = connection.View
)

// The kinds of an ExecutionEnd.
const (
	ByListener     = run.ByListener
	BySchedule     = run.BySchedule
	BySubscription = run.BySubscription
	ByHandoff      = run.ByHandoff
	ByResubmission = run.ByResubmission
	ByRequest      = run.ByRequest
)

// The states of a circuit.
const (
	CircuitClosed  = connection.Closed
	CircuitOpen    = connection.Open
	CircuitProbing = connection.Probing
)

// Types of the activity feed.
type (
	ActivityEvent = activity.Event
	Subscriber    = activity.Subscriber
	Watch         = activity.Watch
)

// The kinds of activity events.
const (
	ActivityAccepted  = activity.Accepted
	ActivityStarted   = activity.Started
	ActivitySuspended = activity.Suspended
	ActivityEnded     = activity.Ended
	ActivityPaused    = activity.Paused
	ActivityResumed   = activity.Resumed
)

// BareTrace returns a trace without its documents.
func BareTrace(trace []byte) []byte { return run.BareTrace(trace) }

// Acknowledgement is the result of accepting a message, for its sender.
type Acknowledgement struct {
	Execution     string
	Process       string
	Status        string // accepted duplicate filtered echo
	ReceivedAt    time.Time
	SHA256        string
	Location      string
	ReplyToken    string
	CorrelationID string
	Answer        *Answer // nil: the receipt
}

// Progress is the state of an execution as its sender may see it.
type Progress struct {
	Execution  string
	Process    string
	Status     string // a State, "running", or a Status
	ReceivedAt time.Time
	EndedAt    time.Time // zero while it lives

	CorrelationID string
	HasReply      bool         // it has a deferred reply, or will have one
	Reply         *StoredReply // nil: not yet, or not any more
	Gone          bool         // the reply has expired
}

// ExecutionView is an execution as operators see it.
type ExecutionView struct {
	Execution     string            `json:"execution"`
	Process       string            `json:"process"`
	Status        string            `json:"status"`
	ReceivedAt    time.Time         `json:"received_at"`
	StartedAt     *time.Time        `json:"started_at,omitempty"`
	EndedAt       *time.Time        `json:"ended_at,omitempty"`
	Due           *time.Time        `json:"due,omitempty"`
	Reason        string            `json:"reason,omitempty"`     // why it is suspended
	Key           string            `json:"key,omitempty"`        // sequence key, while it waits in its lane
	Ahead         int64             `json:"ahead,omitempty"`      // executions before it in the lane
	BlockedBy     string            `json:"blocked_by,omitempty"` // first execution of the lane: running, or failed and blocking it
	Attempts      int               `json:"attempts,omitempty"`
	CorrelationID string            `json:"correlation_id,omitempty"`
	Parent        string            `json:"parent,omitempty"`
	Original      string            `json:"original,omitempty"`   // failed execution that it runs again
	Resolution    *ResolutionView   `json:"resolution,omitempty"` // of a resolved failure or a superseded execution
	Track         map[string]string `json:"track,omitempty"`
	Plan          string            `json:"plan,omitempty"`
	Fingerprint   string            `json:"fingerprint,omitempty"`
	Error         *ErrorView        `json:"error,omitempty"`

	// Only if one execution is shown.
	Input *DocumentView `json:"input,omitempty"`
	// Durable is set if its journal has all answers with their headers.
	Durable bool            `json:"durable,omitempty"`
	Request json.RawMessage `json:"request,omitempty"`
	Props   json.RawMessage `json:"props,omitempty"`
	// DocumentsDropped is set if its documents are no longer stored.
	DocumentsDropped bool          `json:"documents_dropped,omitempty"`
	Steps            []StepView    `json:"steps,omitempty"`
	StepsDropped     int           `json:"steps_dropped,omitempty"` // beyond the size of a trace
	Warnings         []string      `json:"warnings,omitempty"`
	Sent             *Traffic      `json:"sent,omitempty"` // written by its calls, and its reply
	Reply            *DocumentView `json:"reply,omitempty"`
	ReplyStatus      int           `json:"reply_status,omitempty"` // HTTP status; 0 without a reply, and in older records
}
