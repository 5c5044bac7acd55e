package run

import (
	"encoding/base64"
	"encoding/json"
	"time"
	"unicode/utf8"

	"valence/internal/document"
	"valence/internal/fault"
)

// ErrorView is a failure as operators see it.
type ErrorView struct {
	Code     string            `json:"code"`
	Message  string            `json:"message"`
	Step     string            `json:"step,omitempty"`
	Status   int               `json:"status,omitempty"`
	Body     string            `json:"body,omitempty"`
	Position string            `json:"position,omitempty"` // file:line:col
	Problems []fault.Violation `json:"errors,omitempty"`
	Cause    *ErrorView        `json:"cause,omitempty"`

	// Only of calls: whether another attempt could succeed, and the detail that the
	// other system sent. Records of older versions have neither.
	Retryable *bool           `json:"retryable,omitempty"`
	Detail    json.RawMessage `json:"detail,omitempty"`
}

// DocumentView is a document as operators see it: text and JSON as they are,
// other bytes in base64.
type DocumentView struct {
	MediaType string `json:"media_type,omitempty"`
	Size      int    `json:"size"`
	Data      any    `json:"data,omitempty"` // json.RawMessage for JSON
	Text      string `json:"text,omitempty"`
	Base64    string `json:"base64,omitempty"`
}

// NewDocumentView returns the view of a document; nil if it is empty.
func NewDocumentView(d *document.Document) *DocumentView {
	if d == nil || len(d.Body()) == 0 {
		return nil
	}
	v := &DocumentView{MediaType: d.MediaType(), Size: len(d.Body())}
	switch body := d.Body(); {
	case d.IsJSON():
		v.Data = json.RawMessage(body)
	case utf8.Valid(body):
		v.Text = string(body)
	default:
		v.Base64 = base64.StdEncoding.EncodeToString(body)
	}
	return v
}

// NewErrorView returns the view of a failure.
func NewErrorView(f *fault.Failure) *ErrorView {
	v := &ErrorView{Code: f.Code, Message: f.Message, Step: f.Step, Status: f.Status, Problems: f.Problems}
	if v.Message == "" && f.Cause != nil {
		v.Message = f.Cause.Error()
	}
	if f.Pos.Line > 0 {
		v.Position = f.Pos.String()
	}
	if len(f.Body) > 0 && utf8.Valid(f.Body) {
		v.Body = string(f.Body)
	}
	if f.Source == fault.FromAuthor && json.Valid(f.Detail) {
		v.Detail = f.Detail
	}
	if cause, ok := f.Cause.(*fault.Failure); ok {
		v.Cause = NewErrorView(cause)
	}
	return v
}

// newCallErrorView returns the view of the failure of a call.
func newCallErrorView(f *fault.Failure) *ErrorView {
	v := NewErrorView(f)
	v.Retryable = &f.Retryable
	if json.Valid(f.Detail) {
		v.Detail = f.Detail
	}
	return v
}

// How a failed execution was resolved.
const (
	ResolvedAgain      = "resubmitted"
	ResolvedDeleted    = "deleted"
	ResolvedSuperseded = "superseded" // by a newer message of its coalesce key
	ResolvedDropped    = "dropped"    // its process has too many failures
)

// ResolutionView is how a failed execution was resolved.
type ResolutionView struct {
	How       string    `json:"how"` // resubmitted, deleted, superseded, dropped
	Execution string    `json:"execution,omitempty"`
	At        time.Time `json:"at"`
	Order     string    `json:"order,omitempty"` // request of the control plane that asked for it
}
