package run

import (
	"cmp"
	"encoding/base64"
	"encoding/json"
	"strconv"
	"sync"
	"unicode/utf8"

	"valence/atom/steps"
	"valence/internal/document"
	"valence/internal/fault"
	"valence/processes"
)

// Bounds of a trace. Steps beyond them are only counted.
const (
	maxTraced     = 2000
	maxTraceBytes = 4 << 20
	maxFailures   = 500 // failed steps beyond maxTraced
)

// trace collects the finished steps of one run. The zero value is empty.
type trace struct {
	mu      sync.Mutex
	steps   []steps.StepTrace
	bytes   int
	dropped int
}

func (t *trace) add(s steps.StepTrace) {
	t.mu.Lock()
	defer t.mu.Unlock()
	size := 100
	if s.Doc != nil {
		size += len(s.Doc.Body())
	}
	most := maxTraced
	if s.Err != nil {
		most += maxFailures
	}
	if len(t.steps) >= most || t.bytes+size > maxTraceBytes {
		t.dropped++
		return
	}
	t.bytes += size
	t.steps = append(t.steps, s)
}

// Trace records a finished step.
func (e *execution) Trace(s steps.StepTrace) {
	if s.Outcome != "log" && s.Outcome != "skipped" {
		e.plan.Stats.Step(s.Step.Kind, s.Took)
	}
	e.trace.add(s)
	if e.engine.Traced != nil {
		e.engine.Traced(e.seq, s)
	}
}

// tracedStep is one step in a stored trace.
type tracedStep struct {
	Key     string          `json:"k"`
	Kind    string          `json:"s"`
	Name    string          `json:"n,omitempty"`
	Calls   string          `json:"c,omitempty"` // connection.operation
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
	Set     json.RawMessage `json:"v,omitempty"`
	Error   *ErrorView      `json:"e,omitempty"`
}

// StoredTrace is a trace as Outcome.Trace holds it.
type StoredTrace struct {
	Steps    []tracedStep  `json:"steps"`
	Dropped  int           `json:"dropped,omitempty"`
	Warnings []string      `json:"warnings,omitempty"`
	Reply    *DocumentView `json:"reply,omitempty"`
	// ReplyStatus is the HTTP status of the reply; 0 without one, and in records of
	// older versions.
	ReplyStatus int      `json:"reply_status,omitempty"`
	Failed      []string `json:"failed,omitempty"` // keys of the occurrences that failed the execution
	Sent        *Traffic `json:"sent,omitempty"`   // by its calls, and its reply
}

// packTrace returns the trace as JSON. It is written by hand because it is
// written for every execution. The journal of a durable execution holds the
// answers of its calls, so the trace omits them.
func (e *execution) packTrace(documents bool) []byte {
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
	if e.reply != nil && !e.reply.None {
		dst = append(dst, `,"reply_status":`...)
		dst = strconv.AppendInt(dst, int64(cmp.Or(e.reply.Status, 200)), 10)
	}
	if e.reply != nil && documents {
		dst = append(dst, `,"reply":`...)
		dst = appendView(dst, redacted(e.reply.Doc, e.redact))
	}
	return append(dst, '}')
}

func (e *execution) packStep(dst []byte, s *steps.StepTrace, documents bool) []byte {
	dst = append(dst, `{"k":`...)
	dst = document.AppendString(dst, s.Key)
	dst = append(dst, e.engine.labels.label(s.Step)...)
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
		view := NewErrorView
		if s.Step.Kind == "call" {
			view = newCallErrorView
		}
		text, err := json.Marshal(view(fault.AsFailure(s.Err)))
		if err != nil {
			text = []byte("null")
		}
		dst = append(dst, text...)
	}
	if s.Doc != nil && documents && !(e.durable && s.Step.Kind == "call") {
		dst = appendContent(dst, redacted(s.Doc, e.redact))
	}
	if s.Set != nil && documents {
		dst = append(dst, `,"v":`...)
		dst = append(dst, redacted(document.FromValue(s.Set), e.redact).Body()...)
	}
	return append(dst, '}')
}

// appendContent appends the members of tracedStep that hold a document.
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

// appendView appends a document as a DocumentView.
func appendView(dst []byte, d *document.Document) []byte {
	text, err := json.Marshal(NewDocumentView(d))
	if err != nil {
		return append(dst, "null"...)
	}
	return append(dst, text...)
}

// stepLabels caches the part of a trace that is the same whenever a step runs.
type stepLabels struct{ byStep sync.Map } // *processes.Step → []byte

// label returns the part of a trace that is the same whenever a step runs.
func (t *stepLabels) label(s *processes.Step) []byte {
	if l, ok := t.byStep.Load(s); ok {
		return l.([]byte)
	}
	l := append([]byte(`,"s":`), document.AppendString(nil, s.Kind)...)
	if s.Name != "" {
		l = append(append(l, `,"n":`...), document.AppendString(nil, s.Name)...)
	}
	if o := operationOf(s); o != "" {
		l = append(append(l, `,"c":`...), document.AppendString(nil, o)...)
	}
	l = append(append(l, `,"p":`...), document.AppendString(nil, s.Pos.String())...)
	t.byStep.Store(s, l)
	return l
}

// BareTrace returns a trace without its documents, which may be kept for a
// shorter time.
func BareTrace(trace []byte) []byte {
	var t StoredTrace
	if len(trace) == 0 || json.Unmarshal(trace, &t) != nil {
		return nil
	}
	t.Reply = nil
	for i := range t.Steps {
		s := &t.Steps[i]
		s.Type, s.JSON, s.Text, s.Base64, s.Size, s.Set = "", nil, "", "", 0, nil
	}
	bare, err := json.Marshal(t)
	if err != nil {
		return nil
	}
	return bare
}
