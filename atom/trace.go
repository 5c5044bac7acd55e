package atom

import (
	"encoding/base64"
	"encoding/json"
	"strconv"
	"sync"
	"time"
	"unicode/utf8"

	"valence/atom/steps"
	"valence/internal/document"
	"valence/internal/fault"
	"valence/processes"
)

// What a trace holds at most; the rest is counted.
const (
	maxTraced     = 2000
	maxTraceBytes = 4 << 20
)

// trace collects what the steps of one run did. Its zero value is empty.
type trace struct {
	mu      sync.Mutex
	steps   []steps.Traced
	bytes   int
	dropped int
}

func (t *trace) add(s steps.Traced) {
	t.mu.Lock()
	defer t.mu.Unlock()
	size := 100
	if s.Doc != nil {
		size += len(s.Doc.Body())
	}
	if len(t.steps) >= maxTraced || t.bytes+size > maxTraceBytes {
		t.dropped++
		return
	}
	t.bytes += size
	t.steps = append(t.steps, s)
}

// Trace records a finished step.
func (e *execution) Trace(s steps.Traced) {
	if s.Outcome != "log" && s.Outcome != "skipped" {
		e.plan.stats.Step(s.Step.Kind, s.Took)
	}
	e.trace.add(s)
}

// tracedStep is one step in a stored trace.
type tracedStep struct {
	Key     string          `json:"k"`
	Kind    string          `json:"s"`
	Name    string          `json:"n,omitempty"`
	Pos     string          `json:"p,omitempty"`
	At      int64           `json:"a"` // µs since 1970
	Took    int64           `json:"t"` // µs
	Outcome string          `json:"o"`
	Log     string          `json:"l,omitempty"`
	Type    string          `json:"m,omitempty"`
	JSON    json.RawMessage `json:"j,omitempty"`
	Text    string          `json:"x,omitempty"`
	Base64  string          `json:"b,omitempty"`
	Size    int             `json:"z,omitempty"`
	Error   *ErrorView      `json:"e,omitempty"`
}

// stored is the trace of an execution as it is stored.
type stored struct {
	Steps    []tracedStep  `json:"steps"`
	Dropped  int           `json:"dropped,omitempty"`
	Warnings []string      `json:"warnings,omitempty"`
	Reply    *DocumentView `json:"reply,omitempty"`
	Failed   []string      `json:"failed,omitempty"` // keys of the occurrences that failed it
	Sent     *Traffic      `json:"sent,omitempty"`   // what went out, if anything did
}

// pack writes the trace as JSON; it is written for every execution, so by hand.
// The answers of a durable execution's calls are in its journal and left out.
func (e *execution) pack(documents bool) []byte {
	sent := e.outbound()
	t := &e.trace
	t.mu.Lock()
	defer t.mu.Unlock()
	dst := make([]byte, 0, 256+160*len(t.steps)+t.bytes)
	dst = append(dst, `{"steps":[`...)
	for i := range t.steps {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = e.packStep(dst, &t.steps[i], documents)
	}
	dst = append(dst, ']')
	if t.dropped > 0 {
		dst = append(dst, `,"dropped":`...)
		dst = strconv.AppendInt(dst, int64(t.dropped), 10)
	}
	if len(e.warnings) > 0 {
		dst = append(dst, `,"warnings":`...)
		dst = document.AppendJSON(dst, document.FromPlain(e.warnings))
	}
	if len(e.failed) > 0 {
		dst = append(dst, `,"failed":`...)
		dst = document.AppendJSON(dst, document.FromPlain(e.failed))
	}
	if sent.Documents > 0 {
		dst = append(dst, `,"sent":{"documents":`...)
		dst = strconv.AppendInt(dst, sent.Documents, 10)
		dst = append(dst, `,"bytes":`...)
		dst = strconv.AppendInt(dst, sent.Bytes, 10)
		dst = append(dst, '}')
	}
	if e.reply != nil && documents {
		dst = append(dst, `,"reply":`...)
		dst = appendView(dst, redacted(e.reply.Doc, e.redact))
	}
	return append(dst, '}')
}

func (e *execution) packStep(dst []byte, s *steps.Traced, documents bool) []byte {
	dst = append(dst, `{"k":`...)
	dst = document.AppendString(dst, s.Key)
	dst = append(dst, e.atom.label(s.Step)...)
	dst = append(dst, `,"a":`...)
	dst = strconv.AppendInt(dst, s.Start.UnixMicro(), 10)
	dst = append(dst, `,"t":`...)
	dst = strconv.AppendInt(dst, s.Took.Microseconds(), 10)
	dst = append(dst, `,"o":"`...)
	dst = append(dst, s.Outcome...)
	dst = append(dst, '"')
	if s.Log != "" {
		dst = append(dst, `,"l":`...)
		dst = document.AppendString(dst, s.Log)
	}
	if s.Err != nil {
		dst = append(dst, `,"e":`...)
		text, err := json.Marshal(errorView(fault.AsFailure(s.Err)))
		if err != nil {
			text = []byte("null")
		}
		dst = append(dst, text...)
	}
	if s.Doc != nil && documents && !(e.durable && s.Step.Kind == "call") {
		dst = appendContent(dst, redacted(s.Doc, e.redact))
	}
	return append(dst, '}')
}

// appendContent writes a document's members of tracedStep.
func appendContent(dst []byte, d *document.Document) []byte {
	dst = append(dst, `,"z":`...)
	dst = strconv.AppendInt(dst, int64(len(d.Body())), 10)
	switch body := d.Body(); {
	case d.IsJSON():
		dst = append(dst, `,"j":`...)
		return append(dst, body...)
	case utf8.Valid(body):
		dst = append(dst, `,"x":`...)
		dst = document.AppendString(dst, string(body))
	default:
		dst = append(dst, `,"b":"`...)
		dst = base64.StdEncoding.AppendEncode(dst, body)
		dst = append(dst, '"')
	}
	dst = append(dst, `,"m":`...)
	return document.AppendString(dst, d.MediaType())
}

// appendView writes a document as a DocumentView.
func appendView(dst []byte, d *document.Document) []byte {
	text, err := json.Marshal(documentView(d))
	if err != nil {
		return append(dst, "null"...)
	}
	return append(dst, text...)
}

// label gives the part of a trace that is the same each time a step runs.
func (a *Atom) label(s *processes.Step) []byte {
	if l, ok := a.labels.Load(s); ok {
		return l.([]byte)
	}
	l := append([]byte(`,"s":`), document.AppendString(nil, s.Kind)...)
	if s.Name != "" {
		l = append(append(l, `,"n":`...), document.AppendString(nil, s.Name)...)
	}
	l = append(append(l, `,"p":`...), document.AppendString(nil, s.Pos.String())...)
	a.labels.Store(s, l)
	return l
}

func documentView(d *document.Document) *DocumentView {
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

func errorView(f *fault.Failure) *ErrorView {
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
	if cause, ok := f.Cause.(*fault.Failure); ok {
		v.Cause = errorView(cause)
	}
	return v
}

func (t tracedStep) view() StepView {
	at := time.UnixMicro(t.At).UTC()
	v := StepView{Path: t.Key, Kind: t.Kind, Name: t.Name, Position: t.Pos, At: &at, TookMS: float64(t.Took) / 1000, Outcome: t.Outcome, Log: t.Log, Error: t.Error}
	if t.JSON != nil || t.Text != "" || t.Base64 != "" {
		v.Document = &DocumentView{MediaType: t.Type, Size: t.Size, Text: t.Text, Base64: t.Base64}
		if t.JSON != nil {
			v.Document.MediaType, v.Document.Data = "application/json", t.JSON
		}
	}
	return v
}

// BareTrace gives a trace without the documents in it: what is kept of one
// whose documents are kept for a shorter time.
func BareTrace(trace []byte) []byte {
	var t stored
	if len(trace) == 0 || json.Unmarshal(trace, &t) != nil {
		return nil
	}
	t.Reply = nil
	for i := range t.Steps {
		s := &t.Steps[i]
		s.Type, s.JSON, s.Text, s.Base64, s.Size = "", nil, "", "", 0
	}
	bare, err := json.Marshal(t)
	if err != nil {
		return nil
	}
	return bare
}
