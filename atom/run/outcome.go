package run

import (
	"encoding/hex"
	"encoding/json"
	"time"

	"valence/atom/activity"
	"valence/atom/store"
	"valence/internal/document"
	"valence/internal/fault"
)

// emptyTrace is the trace of an execution that ended before it ran.
var emptyTrace = []byte(`{"steps":[]}`)

// outcome returns how a run ended.
func (e *execution) outcome(fail *fault.Failure, documents bool) store.Outcome {
	if fail != nil {
		e.failed = fail.Keys
	}
	o := store.Outcome{
		Status: store.Completed, Started: e.started.UTC(), Ended: e.engine.Clock.Wall(), Trace: e.engine.Masks.JSON(e.packTrace(documents)),
		DropDocuments: !documents,
	}
	keep := e.engine.retentionOf(e.plan.Process)
	if o.Keep = keep.Records; keep.Documents < keep.Records {
		o.Documents = keep.Documents
	}
	switch {
	case fail == nil && len(e.warnings) > 0:
		o.Status = store.CompletedWithWarnings
	case fail == nil:
	case fail.Code == fault.CodeCancelled:
		o.Status = store.Cancelled
	case e.rejects(fail):
		o.Status = store.Rejected
	default:
		o.Status = store.Failed
		o.Fingerprint = fingerprint(e.plan.Process.Name, fail)
	}
	if fail != nil {
		if text, err := json.Marshal(NewErrorView(fail)); err == nil {
			o.Error = e.engine.Masks.JSON(text)
		}
	}
	return o
}

// rejects reports whether a failure is the answer to a caller that the message
// was wrong: a `throw` with a status of 4xx, or a `validate` of the document that
// the caller sent.
func (e *execution) rejects(fail *fault.Failure) bool {
	told := !e.durable || e.meta.Deferred != nil && !e.replied
	return told && fail != nil && (fail.OfInput || fail.Source == fault.FromAuthor && fail.Status >= 400 && fail.Status <= 499)
}

// maxAnswer is the number of bytes of an answer that a fingerprint covers.
const maxAnswer = 4 << 10

// fingerprint groups failures of one cause: those with the same process, step,
// code, normalized message and normalized answer.
func fingerprint(process string, f *fault.Failure) string {
	parts := []string{"fingerprint", process, f.Step, f.Code, normalize(f.Message)}
	if answer := answerOf(f); len(answer) > 0 {
		parts = append(parts, normalize(string(answer[:min(len(answer), maxAnswer)])))
	}
	b := Derive(parts...)
	return hex.EncodeToString(b[:8])
}

// answerOf returns the answer of the other system that a failure is about; nil
// if there is none.
func answerOf(f *fault.Failure) []byte {
	for f != nil {
		if len(f.Body) > 0 {
			return f.Body
		}
		f, _ = f.Cause.(*fault.Failure)
	}
	return nil
}

// normalize replaces every word that contains a digit by #, so that messages
// about different records are equal.
func normalize(message string) string {
	out := make([]byte, 0, len(message))
	word, digits := 0, false
	flush := func() {
		if digits {
			out = append(out[:word], '#')
		}
		word, digits = len(out), false
	}
	for i := 0; i < len(message); i++ {
		c := message[i]
		letter := c|0x20 >= 'a' && c|0x20 <= 'z' || c >= '0' && c <= '9' || c >= 0x80 || c == '-' || c == '_'
		if !letter {
			flush()
			out = append(out, c)
			word = len(out)
			continue
		}
		digits = digits || c >= '0' && c <= '9'
		out = append(out, c)
	}
	flush()
	return string(out)
}

// The kinds of an End.
const (
	ByListener     = "listener"
	BySchedule     = "schedule"
	BySubscription = "subscribe"
	ByHandoff      = "handoff"
	ByResubmission = "retry"
	ByRequest      = "manual"
)

// End describes how an execution ended.
type End struct {
	Execution string
	Process   string
	Kind      string // one of ByListener …
	Request   string // id of the request that started it, see Message; ""
	Original  string // the failed execution that it runs again; ""
	Status    store.Status
	Received  time.Time
	Started   time.Time
	Ended     time.Time
	Error     string   // "" without a failure
	In        *Traffic // the document that started it; nil: not known any more
	Out       *Traffic // documents written by its calls, and its reply; nil: not known any more
}

// observedEnds reports whether anybody listens to ends.
func (g *Engine) observedEnds() bool { return g.Ended != nil || g.Activity.Active() }

// reportEnd reports the end of an execution that ran or expired.
func (g *Engine) reportEnd(e *execution, input *document.Document, o *store.Outcome, fail *fault.Failure) {
	if !g.observedEnds() {
		return
	}
	x := End{Execution: e.id(), Process: e.plan.Process.Name, Kind: e.meta.kind(e.request != nil), Request: e.meta.RequestID, Original: e.meta.Original,
		Status: o.Status, Received: e.received, Started: o.Started, Ended: o.Ended}
	in, out := trafficOf(input), e.outbound()
	x.In, x.Out = &in, &out
	if fail != nil {
		x.Error = g.Masks.String(fail.Message)
	}
	g.publishEnd(x)
}

func (g *Engine) publishEnd(x End) {
	g.Activity.Publish(activity.Event{Event: activity.Ended, Process: x.Process, Execution: x.Execution, Status: string(x.Status), Error: x.Error})
	if g.Ended != nil {
		g.Ended(x)
	}
}

// kind returns the kind of an End. called reports whether the request of its
// caller is at hand.
func (m *Meta) kind(called bool) string {
	switch {
	case m.Original != "":
		return ByResubmission
	case m.Parent != "":
		return ByHandoff
	case m.By != "":
		return m.By
	case called || len(m.Request) > 0:
		return ByListener
	}
	return ByRequest
}

// onFailure returns the message for the project's on_failure process, which is
// accepted in the commit of the failure; nil if there is none.
func (g *Engine) onFailure(e *execution, o *store.Outcome) *store.Message {
	name := e.plan.Project.Defaults.OnFailure
	if name == "" || o.Status != store.Failed && o.Status != store.Expired || e.meta.Alarm || e.plan.Process.Name == name {
		return nil
	}
	d, ok := g.Deployments.Deployed(name)
	if !ok {
		g.Log.Error("the on_failure process is not deployed any more", "process", name, "execution", e.id())
		return nil
	}
	in := &Message{Doc: document.FromJSON(e.failureRecord(o)), CorrelationID: e.meta.Correlation, Traceparent: e.meta.Trace, Received: g.Clock.Wall().Truncate(time.Millisecond)}
	m, dropped, err := g.Admit(g.Work, d, in)
	if err != nil {
		g.Log.Error("the on_failure process rejected a failure", "process", name, "execution", e.id(), "error", err)
		return nil
	}
	if dropped != "" {
		return nil
	}
	meta := &Meta{Correlation: e.meta.Correlation, Trace: e.meta.Trace, Parent: e.id(), Alarm: true, Coalesced: m.Coalesce != nil}
	if m.Lane != nil {
		m.Lane.Limit = 0
	}
	m.Origin, m.Meta = DeriveText("alarm", e.id()), meta.Append(nil)
	return m
}

// failureRecord returns the document that an on_failure process starts with.
func (e *execution) failureRecord(o *store.Outcome) []byte {
	rec := struct {
		Execution     string          `json:"execution"`
		Process       string          `json:"process"`
		Status        store.Status    `json:"status"`
		Fingerprint   string          `json:"fingerprint,omitempty"`
		Error         json.RawMessage `json:"error,omitempty"`
		Track         json.RawMessage `json:"track,omitempty"`
		ReceivedAt    string          `json:"received_at"`
		EndedAt       string          `json:"ended_at"`
		CorrelationID string          `json:"correlation_id,omitempty"`
	}{e.id(), e.plan.Process.Name, o.Status, o.Fingerprint, o.Error, nil, TimeText(e.received), TimeText(o.Ended), e.meta.Correlation}
	if len(e.tracked) > 0 {
		rec.Track = document.AppendJSON(nil, document.FromPlain(e.tracked))
	}
	text, err := json.Marshal(rec)
	if err != nil { // stored errors are JSON
		e.engine.Log.Error("cannot encode a failure", "execution", e.id(), "error", err)
		return []byte("{}")
	}
	return text
}
