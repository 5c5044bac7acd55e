package run

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"net/http"
	"time"

	"valence/atom/store"
	"valence/connectors"
	"valence/internal/document"
	"valence/internal/fault"
)

// The kinds of journal entries.
const (
	KindCall    = "call"    // final result of a call: an answer or a failure
	KindAttempt = "attempt" // a failed attempt that is repeated
	KindHandoff = "handoff" // an execution was handed off
	KindMark    = "mark"    // the version that a call made was stored
	KindReply   = "reply"   // the caller was answered
	KindPage    = "page"    // a page of a paged call, with the progress of its loop
	KindState   = "state"   // the state of the process when it began
	KindChanges = "changes" // a comparison with the records of the last run
	KindEmit    = "emit"    // progress was reported
	KindWait    = "wait"    // a wait began
	KindSleep   = "sleep"   // a sleep began
	KindWake    = "wake"    // a wait or a sleep ended, with a payload or without one because its time was over
	KindResume  = "resume"  // a signal was sent; with a body, nobody waited for it
	KindCancel  = "cancel"  // the cancellation of the execution was requested; without a path
	KindBegun   = "begun"   // a run was interrupted before its first entry; without a path
)

// callHead is the first part of the body of a call's entry, before the bytes of
// the answer.
type callHead struct {
	Status  int         `json:"s,omitempty"`
	Headers http.Header `json:"h,omitempty"`
	Type    string      `json:"t,omitempty"`
	Data    int         `json:"d,omitempty"` // length of the data view after the body; 0: the body is the data view
	Failure *failure    `json:"f,omitempty"`
}

// failure is a fault.Failure as it is stored.
type failure struct {
	Code      string            `json:"code"`
	Message   string            `json:"message,omitempty"`
	Source    fault.Source      `json:"origin,omitempty"`
	Status    int               `json:"status,omitempty"`
	Body      []byte            `json:"body,omitempty"`
	Detail    json.RawMessage   `json:"detail,omitempty"`
	Retryable bool              `json:"retryable,omitempty"`
	Step      string            `json:"step,omitempty"`
	Pos       fault.Pos         `json:"pos"`
	Problems  []fault.Violation `json:"problems,omitempty"`
	Cause     *failure          `json:"cause,omitempty"`
}

func storedFailure(f *fault.Failure) *failure {
	s := &failure{Code: f.Code, Message: f.Message, Source: f.Source, Status: f.Status, Body: f.Body, Detail: f.Detail, Retryable: f.Retryable, Step: f.Step, Pos: f.Pos, Problems: f.Problems}
	var cause *fault.Failure
	if errors.As(f.Cause, &cause) {
		s.Cause = storedFailure(cause)
	}
	return s
}

func (s *failure) failure() *fault.Failure {
	f := &fault.Failure{Code: s.Code, Message: s.Message, Source: s.Source, Status: s.Status, Body: s.Body, Detail: s.Detail, Retryable: s.Retryable, Step: s.Step, Pos: s.Pos, Problems: s.Problems}
	if s.Cause != nil {
		f.Cause = s.Cause.failure()
	}
	return f
}

// packCall returns the body of a call's entry.
func packCall(r *connectors.Result, f *fault.Failure) ([]byte, error) {
	var o callHead
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

var errEntry = errors.New("invalid journal entry")

// unpackCall reads the result of packCall.
func unpackCall(b []byte) (*connectors.Result, *fault.Failure, error) {
	if len(b) < 4 {
		return nil, nil, errEntry
	}
	n := int(binary.BigEndian.Uint32(b))
	if n > len(b)-4 {
		return nil, nil, errEntry
	}
	var o callHead
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

// attempt is the body of the entry of a failed attempt.
type attempt struct {
	N       int       `json:"n"` // attempts made so far
	Due     time.Time `json:"due"`
	Failure *failure  `json:"failure"`
}

// repliedEntry is the body of a reply's entry.
type repliedEntry struct {
	Status  int             `json:"status,omitempty"`
	Headers json.RawMessage `json:"headers,omitempty"`
	Blocks  []byte          `json:"blocks,omitempty"`
	Type    string          `json:"type"`
	Data    int             `json:"data,omitempty"`
	Body    []byte          `json:"body"`
}

func packReply(r *Reply) ([]byte, error) {
	x := repliedEntry{Status: r.Status, Blocks: r.Blocks, Type: r.Doc.MediaType(), Body: r.Doc.Body()}
	if !r.Doc.IsJSON() {
		x.Data = len(r.Doc.Data())
		x.Body = append(append([]byte{}, r.Doc.Body()...), r.Doc.Data()...)
	}
	if len(r.Headers) > 0 {
		o := &document.Object{}
		for _, h := range r.Headers {
			o.Set(h.Name, h.Value)
		}
		x.Headers = document.AppendJSON(nil, o)
	}
	return json.Marshal(x)
}

func unpackReply(b []byte) (*Reply, error) {
	var x repliedEntry
	if err := json.Unmarshal(b, &x); err != nil || x.Data > len(x.Body) {
		return nil, errEntry
	}
	r := &Reply{Status: x.Status, Blocks: x.Blocks, Doc: unpackDocument(x.Body, x.Type, x.Data)}
	if len(x.Headers) > 0 {
		o, _ := document.Decode(document.Parse(string(x.Headers))).(*document.Object)
		r.Headers = headerList(o)
	}
	return r, nil
}

func headerList(o *document.Object) []KV {
	if o == nil {
		return nil
	}
	list := make([]KV, 0, o.Len())
	for i := range o.Len() {
		name, v := o.At(i)
		switch v := v.(type) {
		case nil:
		case string:
			list = append(list, KV{name, v})
		default:
			list = append(list, KV{name, string(document.AppendJSON(nil, v))})
		}
	}
	return list
}

// SetDocument stores a document in a message, without the values at the paths
// to redact.
func SetDocument(m *store.Message, d *document.Document, redact []string) {
	if d == nil {
		return
	}
	d = redacted(d, redact)
	m.DocType, m.Doc = d.MediaType(), d.Body()
	if !d.IsJSON() {
		m.Data = document.Shared(d.Data())
	}
}

// RecordDocument returns the document of a record.
func RecordDocument(r *store.Record) *document.Document {
	switch {
	case r.DocType == "application/json":
		return document.FromJSON(r.Doc)
	case len(r.Doc) == 0 && len(r.Data) == 0:
		return document.Empty
	}
	return document.New(r.Doc, r.DocType, string(r.Data))
}

// storedHead is the first part of a packed StoredReply, before its body.
type storedHead struct {
	Status  int    `json:"s"`
	Headers []KV   `json:"h,omitempty"`
	Media   string `json:"t,omitempty"`
	Problem bool   `json:"p,omitempty"`
}

func (c *StoredReply) pack() []byte {
	head, err := json.Marshal(storedHead{c.Status, c.Headers, c.Media, c.Problem})
	if err != nil {
		panic(err) // numbers and strings
	}
	out := make([]byte, 0, 4+len(head)+len(c.Body))
	out = binary.BigEndian.AppendUint32(out, uint32(len(head)))
	return append(append(out, head...), c.Body...)
}

// UnpackStoredReply reads the body of a store.DeferredReply.
func UnpackStoredReply(b []byte) (*StoredReply, error) {
	if len(b) < 4 || int(binary.BigEndian.Uint32(b)) > len(b)-4 {
		return nil, errEntry
	}
	n := 4 + int(binary.BigEndian.Uint32(b))
	var h storedHead
	if err := json.Unmarshal(b[4:n], &h); err != nil {
		return nil, errEntry
	}
	return &StoredReply{Status: h.Status, Headers: h.Headers, Media: h.Media, Body: b[n:], Problem: h.Problem}, nil
}
