package run

import (
	"context"
	"encoding/json"
	"net/http"
	"time"

	"valence/atom/store"
	"valence/internal/document"
	"valence/internal/mask"
)

// StepView is a step that ran, as operators see it.
type StepView struct {
	Path string `json:"path"`
	// Parent is the path of the step that it ran in: a loop, a branch, a called
	// process; "" on the top level. It precedes the step in the list.
	Parent string `json:"parent,omitempty"`
	Kind   string `json:"kind"`
	Name   string `json:"name,omitempty"`
	// Operation is the operation of a call, as connection.operation.
	Operation string        `json:"operation,omitempty"`
	Position  string        `json:"position,omitempty"`
	At        *time.Time    `json:"at,omitempty"`
	TookMS    float64       `json:"took_ms"`
	Outcome   string        `json:"outcome"` // ok, failed, skipped, stopped, waiting
	Attempts  int           `json:"attempts,omitempty"`
	Status    int           `json:"status,omitempty"`  // of the other system
	Headers   http.Header   `json:"headers,omitempty"` // of its answer, with credentials masked
	Log       string        `json:"log,omitempty"`
	Error     *ErrorView    `json:"error,omitempty"`
	Document  *DocumentView `json:"document,omitempty"`
	// Set holds the variables that a set step set, by name.
	Set json.RawMessage `json:"set,omitempty"`

	traced bool // it is from the trace of the last run, which knows how it ended
}

// view returns the step as operators see it.
func (t tracedStep) view() StepView {
	at := time.UnixMicro(t.At).UTC()
	v := StepView{Path: t.Key, Kind: t.Kind, Name: t.Name, Operation: t.Calls, Position: t.Pos, At: &at, TookMS: float64(t.Took) / 1000, Outcome: t.Outcome, Log: t.Log, Error: t.Error, Set: t.Set, traced: true}
	if t.JSON != nil || t.Text != "" || t.Base64 != "" {
		v.Document = &DocumentView{MediaType: t.Type, Size: t.Size, Text: t.Text, Base64: t.Base64}
		if t.JSON != nil {
			v.Document.MediaType, v.Document.Data = "application/json", t.JSON
		}
	}
	return v
}

// StepViews returns the steps of an execution. The trace has every step of the
// last run, the journal has the answers of calls. A live execution has only its
// journal.
func (g *Engine) StepViews(ctx context.Context, x *store.Execution) []StepView {
	var t StoredTrace
	if x.Outcome != nil && len(x.Outcome.Trace) > 0 {
		if err := json.Unmarshal(x.Outcome.Trace, &t); err != nil {
			g.Log.Error("cannot read a trace", "execution", g.IDs.ExecutionID(x.Seq, x.Received), "error", err)
		}
	}
	views := make([]StepView, 0, len(t.Steps))
	at := map[string]int{}
	for _, s := range t.Steps {
		if i, ok := at[s.Key]; ok && views[i].Outcome == "log" { // the line of this step
			s.Log, s.At = views[i].Log, min(s.At, views[i].At.UnixMicro())
			views[i] = s.view()
			continue
		}
		at[s.Key] = len(views)
		views = append(views, s.view())
	}
	for _, e := range x.Journal {
		if e.Path == "" {
			continue // of the execution, not of a step
		}
		i, ok := at[e.Path]
		if !ok {
			i = len(views)
			at[e.Path] = i
			views = append(views, g.journalView(ctx, x, e))
		}
		views[i].addEntry(e)
	}
	return nest(views)
}

// journalView returns the view of a step that is not in the trace.
func (g *Engine) journalView(ctx context.Context, x *store.Execution, e store.Entry) StepView {
	when := e.At
	v := StepView{Path: e.Path, Kind: e.Kind, At: &when, Outcome: "ok"}
	p, err := g.Deployments.Plan(ctx, x.Process, x.Plan)
	if err != nil {
		return v
	}
	if e.Kind == KindState {
		v.Kind = "state as it was read" // it precedes the first step
		return v
	}
	if s := p.Step(StructuralPath(e.Path)); s != nil {
		v.Kind, v.Name, v.Operation, v.Position = s.Kind, s.Name, operationOf(s), s.Pos.String()
	}
	return v
}

// addEntry adds a journal entry of the step.
func (v *StepView) addEntry(e store.Entry) {
	switch e.Kind {
	case KindCall:
		r, fail, err := unpackCall(e.Body)
		switch {
		case err != nil:
		case fail != nil:
			v.Outcome, v.Error, v.Status = "failed", newCallErrorView(fail), fail.Status
		default:
			v.Status, v.Headers, v.Document = r.Status, mask.Headers(r.Headers), NewDocumentView(r.Doc)
			if !v.traced {
				v.Outcome, v.Error = "ok", nil
			}
		}
		if v.Attempts > 0 {
			v.Attempts++ // the failed ones and this one
		}
	case KindWait, KindSleep:
		if v.Outcome == "ok" {
			v.Outcome = "waiting"
		}
	case KindWake:
		if v.Outcome == "waiting" {
			v.Outcome = "ok"
		}
		if r, _, err := unpackCall(e.Body); err == nil && r != nil {
			v.Document = NewDocumentView(r.Doc)
		}
	case KindState:
		v.Document = NewDocumentView(document.FromJSON(e.Body))
	case KindAttempt:
		var n attempt
		if json.Unmarshal(e.Body, &n) == nil {
			v.Attempts = n.N
			if !v.traced && n.Failure != nil {
				v.Outcome, v.Error = "waiting", NewErrorView(n.Failure.failure())
			}
		}
	}
}
