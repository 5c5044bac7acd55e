package atom

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"net/http"
	"time"

	"valence/connectors"
	"valence/internal/document"
	"valence/internal/fault"
)

// The kinds of journal entries.
const (
	kindCall    = "call"    // the final outcome of a call: an answer, or a failure
	kindAttempt = "attempt" // an attempt that failed and will be made again
	kindHandoff = "handoff" // an execution of its own was created
	kindMark    = "mark"    // the version that a call made is known
	kindReply   = "reply"   // the caller was answered
	kindPage    = "page"    // a page of a paged call, and how far its loop has come
	kindState   = "state"   // what the process remembered when it began
	kindChanges = "changes" // what a comparison with the last run's records found
	kindEmit    = "emit"    // whoever follows the execution was told something
	kindWait    = "wait"    // a wait has begun
	kindSleep   = "sleep"   // a sleep has begun
	kindWake    = "wake"    // one of them has ended: with a payload, or without one because its time was over
	kindResume  = "resume"  // a signal was given, or nobody waited for it
)

// outcome is the body of a call's entry: what the call gave, before the bytes
// of the answer.
type outcome struct {
	Status  int         `json:"s,omitempty"`
	Headers http.Header `json:"h,omitempty"`
	Type    string      `json:"t,omitempty"`
	Data    int         `json:"d,omitempty"` // length of the data view behind the body; 0: the body is the data view
	Failure *failure    `json:"f,omitempty"`
}

// failure is a fault.Failure as it is stored.
type failure struct {
	Code      string            `json:"code"`
	Message   string            `json:"message,omitempty"`
	Origin    fault.Origin      `json:"origin,omitempty"`
	Status    int               `json:"status,omitempty"`
	Body      []byte            `json:"body,omitempty"`
	Retryable bool              `json:"retryable,omitempty"`
	Step      string            `json:"step,omitempty"`
	Pos       fault.Pos         `json:"pos"`
	Problems  []fault.Violation `json:"problems,omitempty"`
	Cause     *failure          `json:"cause,omitempty"`
}

func storedFailure(f *fault.Failure) *failure {
	s := &failure{Code: f.Code, Message: f.Message, Origin: f.Origin, Status: f.Status, Body: f.Body, Retryable: f.Retryable, Step: f.Step, Pos: f.Pos, Problems: f.Problems}
	var cause *fault.Failure
	if errors.As(f.Cause, &cause) {
		s.Cause = storedFailure(cause)
	}
	return s
}

func (s *failure) failure() *fault.Failure {
	f := &fault.Failure{Code: s.Code, Message: s.Message, Origin: s.Origin, Status: s.Status, Body: s.Body, Retryable: s.Retryable, Step: s.Step, Pos: s.Pos, Problems: s.Problems}
	if s.Cause != nil {
		f.Cause = s.Cause.failure()
	}
	return f
}

// packCall makes the body of a call's entry.
func packCall(r *connectors.Result, f *fault.Failure) ([]byte, error) {
	var o outcome
	var body []byte
	var data string
	if f != nil {
		o.Failure = storedFailure(f)
	} else {
		o.Status, o.Headers, o.Type = r.Status, r.Headers, r.Doc.MediaType()
		body = r.Doc.Body()
		if !r.Doc.IsJSON() {
			data = r.Doc.Data()
			o.Data = len(data)
		}
	}
	head, err := json.Marshal(o)
	if err != nil {
		return nil, err
	}
	out := make([]byte, 0, 4+len(head)+len(body)+len(data))
	out = binary.BigEndian.AppendUint32(out, uint32(len(head)))
	out = append(out, head...)
	out = append(out, body...)
	return append(out, data...), nil
}

var errEntry = errors.New("a journal entry cannot be read")

// unpackCall reads what packCall made.
func unpackCall(b []byte) (*connectors.Result, *fault.Failure, error) {
	if len(b) < 4 {
		return nil, nil, errEntry
	}
	n := int(binary.BigEndian.Uint32(b))
	if n > len(b)-4 {
		return nil, nil, errEntry
	}
	var o outcome
	if err := json.Unmarshal(b[4:4+n], &o); err != nil {
		return nil, nil, errEntry
	}
	if o.Failure != nil {
		return nil, o.Failure.failure(), nil
	}
	rest := b[4+n:]
	if o.Data > len(rest) {
		return nil, nil, errEntry
	}
	return &connectors.Result{Doc: unpackDocument(rest, o.Type, o.Data), Status: o.Status, Headers: o.Headers}, nil, nil
}

func unpackDocument(b []byte, mediaType string, data int) *document.Document {
	if mediaType == "application/json" {
		return document.FromJSON(b)
	}
	body := b[: len(b)-data : len(b)-data]
	return document.New(body, mediaType, string(b[len(b)-data:]))
}

// attempt is the body of an attempt's entry.
type attempt struct {
	N       int       `json:"n"` // attempts made so far
	Due     time.Time `json:"due"`
	Failure *failure  `json:"failure"`
}

// replied is the body of a reply's entry.
type repliedEntry struct {
	Status  int             `json:"status,omitempty"`
	Headers json.RawMessage `json:"headers,omitempty"`
	Type    string          `json:"type"`
	Data    int             `json:"data,omitempty"`
	Body    []byte          `json:"body"`
}
