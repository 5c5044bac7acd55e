package atom

import (
	"errors"
	"net/http"
	"net/url"
	"time"

	"valence/internal/document"
	"valence/internal/fault"
)

// Errors of taking work in, besides those of the store. All of them mean 503
// with Retry-After: not accepted, send again.
var (
	ErrBusy     = errors.New("the process has as many messages waiting as its backlog allows")
	ErrStopping = errors.New("the atom is stopping")
	ErrStarting = errors.New("the atom is starting")
	ErrPaused   = errors.New("the process is paused")
	ErrNoSuch   = errors.New("there is no such process")
)

// CodeInProgress is the failure of a request whose dedupe key belongs to one
// that still runs: 409 with Retry-After.
const CodeInProgress = "in_progress"

// KV is a name with a value, where order matters.
type KV struct{ Name, Value string }

// Request is what a process may read of the HTTP request that started it.
type Request struct {
	Method string
	Path   string
	Params []KV // captures of the listener's path, in order
	Query  url.Values
	Header http.Header
	Hidden []string // canonical names of headers that carry the caller's proof: never shown, never stored
	User   string
}

// Arrival is one authenticated and parsed message, before the process' own
// checks: profile, filter, dedupe.
type Arrival struct {
	Doc           *document.Document
	Request       *Request // nil where no HTTP request started it
	CorrelationID string
	Traceparent   string
	Principal     string // who sent it, "" for anybody
	SHA256        string // hex digest of the body as received
	Received      time.Time
	Props         *document.Object // nil: none
	Later         *Later           // nil: nobody collects a reply
	By            string           // what started it where neither a sender nor an operator did: BySchedule, BySubscription; ""
}

// Later asks that a message's reply is kept until its sender collects it.
type Later struct {
	Callback string // a URL that it is posted to as well; ""
}

// Reply is what a request/reply process answers.
type Reply struct {
	Execution string
	Doc       *document.Document
	Status    int // 0 is 200
	Headers   []KV
	None      bool // the path ended without a reply: an empty 200
	Duplicate bool // the stored reply of an earlier request with the same dedupe key
}

// Acknowledgement is what a sender gets for a message that was taken on.
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

// Answer is the acknowledgement that a listener's `ack:` describes.
type Answer struct {
	Status  int
	Body    *document.Document // nil: the receipt
	Headers []KV
}

// Progress is what a sender may know of an execution: nothing of the inside.
type Progress struct {
	Execution  string
	Process    string
	Status     string // a State, "running", or a Status
	ReceivedAt time.Time
	EndedAt    time.Time // zero while it lives

	CorrelationID string
	Later         bool       // it has a reply, or will have one
	Reply         *Collected // nil: there is none yet
	Gone          bool       // there was one, and its time is over
}

// Collected is a reply as it was kept: what is sent, byte by byte.
type Collected struct {
	Status  int
	Headers []KV
	Media   string // "" without a body
	Body    []byte
	Problem bool // it is a problem document
}

// View is an execution as operators see it.
type View struct {
	Execution     string            `json:"execution"`
	Process       string            `json:"process"`
	Status        string            `json:"status"`
	ReceivedAt    time.Time         `json:"received_at"`
	StartedAt     *time.Time        `json:"started_at,omitempty"`
	EndedAt       *time.Time        `json:"ended_at,omitempty"`
	Due           *time.Time        `json:"due,omitempty"`
	Reason        string            `json:"reason,omitempty"`     // what it waits for or is held by
	Key           string            `json:"key,omitempty"`        // of a sequence, while it waits for its turn
	Ahead         int64             `json:"ahead,omitempty"`      // how many are before it
	BlockedBy     string            `json:"blocked_by,omitempty"` // who has the turn: what runs, or the failed execution that blocks the key
	Attempts      int               `json:"attempts,omitempty"`
	CorrelationID string            `json:"correlation_id,omitempty"`
	Parent        string            `json:"parent,omitempty"`
	Original      string            `json:"original,omitempty"`   // the failed execution that it takes the place of
	Resolution    *ResolutionView   `json:"resolution,omitempty"` // of a failed one that was dealt with
	Track         map[string]string `json:"track,omitempty"`
	Plan          string            `json:"plan,omitempty"`
	Fingerprint   string            `json:"fingerprint,omitempty"`
	Error         *ErrorView        `json:"error,omitempty"`
	Input         *DocumentView     `json:"input,omitempty"`         // only when one is shown
	Steps         []StepView        `json:"steps,omitempty"`         // likewise
	StepsDropped  int               `json:"steps_dropped,omitempty"` // more than a trace holds
	Warnings      []string          `json:"warnings,omitempty"`      // likewise
	Sent          *Traffic          `json:"sent,omitempty"`          // likewise: what its calls have written, and its reply
	Reply         *DocumentView     `json:"reply,omitempty"`         // likewise
}

// ErrorView is why an execution failed.
type ErrorView struct {
	Code     string            `json:"code"`
	Message  string            `json:"message"`
	Step     string            `json:"step,omitempty"`
	Status   int               `json:"status,omitempty"`
	Body     string            `json:"body,omitempty"`
	Position string            `json:"position,omitempty"` // file:line:col
	Problems []fault.Violation `json:"errors,omitempty"`
	Cause    *ErrorView        `json:"cause,omitempty"`
}

// StepView is one step that ran.
type StepView struct {
	Path     string        `json:"path"`
	Kind     string        `json:"kind"`
	Name     string        `json:"name,omitempty"`
	Position string        `json:"position,omitempty"`
	At       *time.Time    `json:"at,omitempty"`
	TookMS   float64       `json:"took_ms"`
	Outcome  string        `json:"outcome"` // ok, failed, skipped, stopped, waiting
	Attempts int           `json:"attempts,omitempty"`
	Status   int           `json:"status,omitempty"` // of the other system
	Log      string        `json:"log,omitempty"`
	Error    *ErrorView    `json:"error,omitempty"`
	Document *DocumentView `json:"document,omitempty"`
}

// DocumentView is a document as operators see it: text as it is, data as
// data, bytes in base64.
type DocumentView struct {
	MediaType string `json:"media_type,omitempty"`
	Size      int    `json:"size"`
	Data      any    `json:"data,omitempty"` // json.RawMessage for JSON
	Text      string `json:"text,omitempty"`
	Base64    string `json:"base64,omitempty"`
}
