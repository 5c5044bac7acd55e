package atom

import (
	"context"
	"encoding/json"
	"errors"
	"strings"
	"time"

	"valence/internal/document"
	"valence/internal/fault"
)

// StatusRunning is what operators see of a live execution that runs now.
const StatusRunning = "running"

// Show gives one execution with its steps and documents; ErrUnknown if there
// is none with this id.
func (a *Atom) Show(ctx context.Context, id string) (*View, error) {
	x, err := a.get(ctx, id)
	if err != nil {
		return nil, err
	}
	v := a.view(x)
	a.behind(ctx, x, v)
	v.Input = documentView(recordDocument(&x.Record))
	v.Steps = a.stepViews(ctx, x)
	if x.Outcome != nil {
		var t stored
		if json.Unmarshal(x.Outcome.Trace, &t) == nil {
			v.Reply, v.Warnings, v.StepsDropped, v.Sent = t.Reply, t.Warnings, t.Dropped, t.Sent
		}
	}
	return v, nil
}

func (a *Atom) get(ctx context.Context, id string) (*Execution, error) {
	seq, received, ok := a.ParseID(id)
	if !ok {
		return nil, ErrUnknown
	}
	return a.store.Get(ctx, seq, received)
}

// List gives executions newest first, without steps and documents.
func (a *Atom) List(ctx context.Context, f Filter, cursor string, limit int) ([]*View, string, error) {
	found, next, err := a.list(ctx, f, cursor, limit)
	if err != nil {
		return nil, "", err
	}
	views := make([]*View, len(found))
	for i, x := range found {
		views[i] = a.view(x)
		a.behind(ctx, x, views[i])
	}
	return views, next, nil
}

// list is the store's List; a text that is an execution's id finds that one.
func (a *Atom) list(ctx context.Context, f Filter, cursor string, limit int) ([]*Execution, string, error) {
	if seq, _, ok := a.ParseID(f.Text); ok {
		one := f
		one.Seq, one.Text = seq, ""
		found, _, err := a.store.List(ctx, one, "", 1)
		if len(found) > 0 || err != nil {
			return found, "", err
		}
	}
	return a.store.List(ctx, f, cursor, limit)
}

func (a *Atom) view(x *Execution) *View {
	v := &View{
		Execution: a.ExecutionID(x.Seq, x.Received), Process: x.Process, Status: a.statusOf(x), ReceivedAt: x.Received,
		Attempts: x.Attempt, Track: x.Track, Plan: x.Plan,
	}
	if m, err := parseMeta(x.Meta); err == nil {
		v.CorrelationID, v.Parent, v.Original = m.Correlation, m.Parent, m.Original
	}
	if x.Outcome == nil {
		if !x.Due.IsZero() && v.Status != StatusRunning {
			due := x.Due
			v.Due = &due
		}
		if v.Status != StatusRunning {
			v.Reason = x.Why
		}
		return v
	}
	started, ended := x.Outcome.Started, x.Outcome.Ended
	v.StartedAt, v.EndedAt, v.Fingerprint = &started, &ended, x.Outcome.Fingerprint
	v.Resolution = resolution(x.Outcome)
	if len(x.Outcome.Error) > 0 {
		e := &ErrorView{}
		if json.Unmarshal(x.Outcome.Error, e) == nil {
			v.Error = e
		}
	}
	return v
}

func (a *Atom) statusOf(x *Execution) string {
	if x.Outcome != nil {
		return string(x.Outcome.Status)
	}
	if _, ok := a.running.Load(x.Seq); ok {
		return StatusRunning
	}
	return string(x.State)
}

// stepViews puts together what the trace and the journal hold: the trace has
// every step of the last run, the journal the answers of calls, and of a live
// execution only the journal is there.
func (a *Atom) stepViews(ctx context.Context, x *Execution) []StepView {
	var t stored
	if x.Outcome != nil && len(x.Outcome.Trace) > 0 {
		if err := json.Unmarshal(x.Outcome.Trace, &t); err != nil {
			a.log.Error("a trace cannot be read", "execution", a.ExecutionID(x.Seq, x.Received), "error", err)
		}
	}
	views := make([]StepView, 0, len(t.Steps))
	at := map[string]int{}
	for _, s := range t.Steps {
		if s.Outcome != "log" {
			at[s.Key] = len(views)
		}
		views = append(views, s.view())
	}
	for _, e := range x.Journal {
		i, ok := at[e.Path]
		if !ok {
			i = len(views)
			at[e.Path] = i
			views = append(views, a.journalView(ctx, x, e))
		}
		a.fromJournal(&views[i], e)
	}
	return views
}

// journalView names a step that only the journal knows.
func (a *Atom) journalView(ctx context.Context, x *Execution, e Entry) StepView {
	when := e.At
	v := StepView{Path: e.Path, Kind: e.Kind, At: &when, Outcome: "ok"}
	p, err := a.planOf(ctx, x.Process, x.Plan)
	if err != nil {
		return v
	}
	if e.Kind == kindState {
		v.Kind = "state as it was read" // before the first step that needs it
		return v
	}
	path, _, _ := strings.Cut(e.Path, "[")
	if s := findStep(p.process.Steps, path); s != nil {
		v.Kind, v.Name, v.Position = s.Kind, s.Name, s.Pos.String()
	}
	return v
}

func (a *Atom) fromJournal(v *StepView, e Entry) {
	switch e.Kind {
	case kindCall:
		r, fail, err := unpackCall(e.Body)
		switch {
		case err != nil:
		case fail != nil:
			v.Outcome, v.Error, v.Status = "failed", errorView(fail), fail.Status
		default:
			v.Status, v.Document = r.Status, documentView(r.Doc)
		}
	case kindWait, kindSleep:
		if v.Outcome == "ok" {
			v.Outcome = "waiting"
		}
	case kindWake:
		if v.Outcome == "waiting" {
			v.Outcome = "ok"
		}
		if r, _, err := unpackCall(e.Body); err == nil && r != nil {
			v.Document = documentView(r.Doc)
		}
	case kindState:
		v.Document = documentView(document.FromJSON(e.Body))
	case kindAttempt:
		var n attempt
		if json.Unmarshal(e.Body, &n) == nil {
			v.Attempts = n.N
			if v.Error == nil && n.Failure != nil && v.Document == nil {
				v.Outcome, v.Error = "waiting", errorView(n.Failure.failure())
			}
		}
	}
}

// Cancel ends a live execution. The first commit wins: ErrEnded tells that it
// had ended already. One that runs ends within the time that its `finally` has.
func (a *Atom) Cancel(ctx context.Context, id string) error {
	x, err := a.get(ctx, id)
	if err != nil {
		return err
	}
	if x.Outcome != nil {
		return ErrEnded
	}
	why := &fault.Failure{Code: fault.CodeCancelled, Origin: fault.FromAtom, Message: "an operator cancelled it"}
	if e, ok := a.running.Load(x.Seq); ok {
		e.(*execution).cancel(why)
		return nil
	}
	q := a.queue(x.Process)
	q.take(x.Seq)
	text, err := json.Marshal(errorView(why))
	if err != nil {
		return err
	}
	now := time.Now().UTC()
	c := &Change{Seq: x.Seq, Outcome: &Outcome{Status: Cancelled, Started: now, Ended: now, Error: text, Trace: []byte(`{"steps":[]}`)}}
	if err := a.concluded(ctx, &x.Record, c, why); err != nil {
		return err
	}
	if err := a.store.Apply(ctx, c); err != nil {
		return err
	}
	a.followers.tell(x.Seq)
	q.gone()
	if e, ok := a.running.Load(x.Seq); ok { // it started meanwhile: its commits fail now
		e.(*execution).cancel(why)
	}
	a.metrics.Process(x.Process).Ended(string(Cancelled), now.Sub(x.Received))
	if a.onEnded != nil || a.audiences.heard() {
		m, err := parseMeta(x.Meta)
		if err != nil {
			m = &meta{} // it was cancelled, whatever started it
		}
		in := trafficOf(recordDocument(&x.Record))
		a.tell(Ended{Execution: id, In: &in, Process: x.Process, Kind: m.kind(false), Original: m.Original, Status: Cancelled, Received: x.Received, Started: now, Ended: now, Error: why.Message})
	}
	return nil
}

// IsUnavailable reports whether err means "not accepted, send again": the
// store, the backlog, a pause or a stop.
func IsUnavailable(err error) bool {
	var f *fault.Failure
	if errors.As(err, &f) && f.Code == fault.CodeUnavailable && f.Origin == fault.FromAtom {
		return true
	}
	for _, e := range []error{ErrUnavailable, ErrFull, ErrBusy, ErrLaneFull, ErrStopping, ErrPaused, ErrStarting} {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}
