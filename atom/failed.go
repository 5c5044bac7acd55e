package atom

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"valence/atom/steps"
	"valence/internal/document"
	"valence/processes"
)

// Where a resubmission begins.
const (
	FromStart      = "start"
	FromFailedStep = "failed_step"
)

// Which version a resubmission runs on.
const (
	VersionCurrent  = "current"
	VersionOriginal = "original"
)

// How a failed execution was dealt with.
const (
	resolvedAgain   = "resubmitted"
	resolvedDeleted = "deleted"
)

// ErrNotFailed: the execution did not fail or expire, so there is nothing to mend.
var ErrNotFailed = errors.New("the execution did not fail")

// UnfitError tells why a resubmission cannot be made as it was asked for.
type UnfitError struct{ Reason, Try string }

func (e *UnfitError) Error() string { return e.Reason }

// Resubmission is how a failed execution is to run again. The zero value runs
// it from the start, on the version that is deployed now, with its own message.
type Resubmission struct {
	From    string // "": FromStart
	Version string // "": VersionCurrent
	// Document takes the place of the message; nil: as it was. A changed message
	// makes new idempotency keys.
	Document *document.Document
	// Order names who asks, so that one who asks again can tell from the
	// resolution that it was this that did it; "": nobody who would.
	Order string
}

// ResolutionView is how a failed execution was dealt with.
type ResolutionView struct {
	How       string    `json:"how"` // resubmitted, deleted
	Execution string    `json:"execution,omitempty"`
	At        time.Time `json:"at"`
	Order     string    `json:"order,omitempty"` // the request of the control plane that asked for it
}

// FailureGroupView is the failures of one cause, as operators see it.
type FailureGroupView struct {
	Fingerprint string     `json:"fingerprint"`
	Process     string     `json:"process"`
	Count       int64      `json:"count"`
	FirstAt     time.Time  `json:"first_at"`
	LastAt      time.Time  `json:"last_at"`
	Status      string     `json:"status"`
	Error       *ErrorView `json:"error,omitempty"`
}

// Failed gives the failed and expired executions that nobody has dealt with,
// newest first.
func (a *Atom) Failed(ctx context.Context, f Filter, cursor string, limit int) ([]*View, string, error) {
	return a.List(ctx, unresolved(f), cursor, limit)
}

func unresolved(f Filter) Filter {
	f.Unresolved = true
	if len(f.Statuses) == 0 {
		f.Statuses = []string{string(Failed), string(Expired)}
	}
	return f
}

// FailureGroups counts them by cause, the cause of the newest first; of one
// process, or of all with "".
func (a *Atom) FailureGroups(ctx context.Context, process string, limit int) ([]FailureGroupView, error) {
	groups, err := a.store.Groups(ctx, process, limit)
	if err != nil {
		return nil, err
	}
	views := make([]FailureGroupView, len(groups))
	for i, g := range groups {
		v := FailureGroupView{Fingerprint: g.Fingerprint, Process: g.Process, Count: g.Count, FirstAt: g.First, LastAt: g.Last, Status: string(g.Status)}
		if e := (&ErrorView{}); len(g.Error) > 0 && json.Unmarshal(g.Error, e) == nil {
			v.Error = e
		}
		views[i] = v
	}
	return views, nil
}

// Resubmit runs a failed or expired execution again, as an execution of its
// own that is linked to it, and gives its id. Both are committed together: it
// is never run twice by one failure, and ErrResolved tells that it was dealt
// with before. Resubmission passes by the checks of intake, but for the
// profile where the message is a new one.
func (a *Atom) Resubmit(ctx context.Context, id string, r Resubmission) (string, error) {
	if err := a.ready(); err != nil {
		return "", err
	}
	x, err := a.get(ctx, id)
	if err != nil {
		return "", err
	}
	if err := mendable(x); err != nil {
		return "", err
	}
	next, err := a.again(ctx, x, id, r)
	if err != nil {
		return "", err
	}
	made := a.ExecutionID(next.Seq, next.Received)
	behind, err := a.resolve(ctx, x, &ResolutionView{How: resolvedAgain, Execution: made, At: next.Received, Order: r.Order}, next)
	if err != nil {
		return "", err
	}
	a.queue(next.Process).offer(&Record{Acceptance: *next, State: Accepted, Behind: behind})
	a.audiences.tell(Happening{Event: HappenedAccepted, Process: next.Process, Execution: made})
	a.log.Info("resubmitted", "process", x.Process, "execution", id, "as", made)
	return made, nil
}

// Discard deletes a failed or expired execution: its record stays in the
// history for as long as records do, its documents do not.
func (a *Atom) Discard(ctx context.Context, id string) error {
	x, err := a.get(ctx, id)
	if err != nil {
		return err
	}
	if err := mendable(x); err != nil {
		return err
	}
	_, err = a.resolve(ctx, x, &ResolutionView{How: resolvedDeleted, At: now()}, nil)
	return err
}

// ready tells whether executions may be created.
func (a *Atom) ready() error {
	switch {
	case a.stopping.Load():
		return ErrStopping
	case !a.started.Load():
		return ErrStarting
	}
	return nil
}

func mendable(x *Execution) error {
	switch {
	case x.Outcome == nil || x.Outcome.Status != Failed && x.Outcome.Status != Expired:
		return ErrNotFailed
	case x.Outcome.Resolved != nil:
		return ErrResolved
	}
	return nil
}

// resolve notes how a failure was dealt with; behind tells that what follows it
// waits for its turn in a sequence.
func (a *Atom) resolve(ctx context.Context, x *Execution, v *ResolutionView, next *Acceptance) (behind bool, err error) {
	note, err := json.Marshal(v)
	if err != nil {
		return false, err
	}
	drop := v.How == resolvedDeleted
	if p, err := a.planOf(ctx, x.Process, x.Plan); err == nil && p.process.Delivery.Retention.Documents == 0 {
		drop = true // they were kept only for this
	}
	r := &Resolution{Seq: x.Seq, Note: note, Next: next, DropDocuments: drop}
	err = a.store.Resolve(ctx, r)
	return r.Behind, err
}

// again makes what takes the place of a failed execution.
func (a *Atom) again(ctx context.Context, x *Execution, id string, r Resubmission) (*Acceptance, error) {
	m, err := parseMeta(x.Meta)
	if err != nil {
		return nil, err
	}
	next := &Acceptance{Process: x.Process, Plan: x.Plan, Env: x.Env, Received: now(), Track: x.Track, DocType: x.DocType, Doc: x.Doc, Data: x.Data}
	p, err := a.version(ctx, x, r.Version, next)
	if err != nil {
		return nil, err
	}
	if m.Call != nil {
		if err := a.sameStep(ctx, x, p, m.Call.Path); err != nil {
			return nil, err
		}
	}
	if d := p.process.Delivery.Expires.Request; d > 0 {
		next.Expires = next.Received.Add(d)
	}
	if m.Root == "" {
		m.Root = id
	}
	m.Original, m.Replied, m.Memory, m.Began = id, false, m.Memory && r.From == FromFailedStep, time.Time{}
	switch r.From {
	case "", FromStart:
	case FromFailedStep:
		if err := a.journalFor(ctx, x, m, p, r, next); err != nil {
			return nil, err
		}
	default:
		return nil, &UnfitError{"a resubmission begins at start or at failed_step, not at " + r.From, "from: start"}
	}
	if r.Document != nil {
		if err := a.edited(ctx, x, m, p, r.Document, next); err != nil {
			return nil, err
		}
	}
	if x.Lane != nil && r.Document == nil {
		lane := *x.Lane
		next.Lane = &lane // its place, if it still has it
	}
	next.Seq, next.Due, next.Meta = a.store.Reserve(), next.Received, m.append(nil)
	return next, nil
}

// version gives the plan that a resubmission runs on.
func (a *Atom) version(ctx context.Context, x *Execution, version string, next *Acceptance) (*plan, error) {
	switch version {
	case VersionOriginal:
		p, err := a.planOf(ctx, x.Process, x.Plan)
		if err != nil {
			return nil, &UnfitError{"the version it ran on cannot be used: " + err.Error(), "version: current"}
		}
		return p, nil
	case "", VersionCurrent:
		d, ok := a.Process(x.Process)
		if !ok {
			return nil, &UnfitError{"the process " + x.Process + " is not deployed any more", "version: original, or deploy it again"}
		}
		next.Plan, next.Env = d.plan.name(), d.release.envHash
		return d.plan, nil
	}
	return nil, &UnfitError{"a resubmission runs on the original or the current version, not on " + version, "version: current"}
}

// journalFor gives a resubmission what the failed execution did, without what
// failed it.
func (a *Atom) journalFor(ctx context.Context, x *Execution, m *meta, p *plan, r Resubmission, next *Acceptance) error {
	switch {
	case r.Document != nil:
		return &UnfitError{"a changed message makes what was done before it worthless", "from: start"}
	case m.Memory:
		return &UnfitError{"it ran in memory, on its caller's request, and has no journal to go on from", "from: start"}
	case codeOf(x.Outcome) == CodeConflict:
		return &UnfitError{"what it has read of the state is out of date, and would be as often as it goes on with it", "from: start"}
	}
	var t stored
	if len(x.Outcome.Trace) > 0 {
		if err := json.Unmarshal(x.Outcome.Trace, &t); err != nil {
			return fmt.Errorf("read what it did: %w", err)
		}
	}
	failed := map[string]bool{}
	for _, key := range t.Failed {
		failed[key] = true
	}
	checked, woken := map[string]bool{}, map[string]bool{}
	for _, e := range x.Journal {
		woken[e.Path] = woken[e.Path] || e.Kind == kindWake
	}
	for _, e := range x.Journal {
		if failed[e.Path] || e.Kind == kindWait && !woken[e.Path] { // what was given up waiting begins to wait again
			continue
		}
		if path := structural(e.Path); !checked[path] {
			checked[path] = true
			if err := a.sameStep(ctx, x, p, path); err != nil {
				return err
			}
		}
		next.Entries = append(next.Entries, e)
	}
	if m.Began.IsZero() {
		m.Began = x.Received
	}
	return nil
}

// codeOf gives the code of a failure.
func codeOf(o *Outcome) string {
	var v ErrorView
	if len(o.Error) == 0 || json.Unmarshal(o.Error, &v) != nil {
		return ""
	}
	return v.Code
}

// edited puts another message in the place of the failed one.
func (a *Atom) edited(ctx context.Context, x *Execution, m *meta, p *plan, d *document.Document, next *Acceptance) error {
	if m.Call == nil {
		if err := steps.Match(p.process.Delivery.Profile, d); err != nil {
			return err
		}
	}
	m.Root = "" // other content: another effect
	e := &execution{atom: a, plan: p, meta: m, received: next.Received, redact: redactOf(p)}
	var err error
	if e.env, err = a.envOf(ctx, next.Env); err != nil {
		return err
	}
	setDocument(next, d, e.redact)
	if m.Call != nil {
		return nil
	}
	f := steps.NewFrame(ctx, e, p.process, d, nil, next.Received)
	if x.Lane != nil {
		if next.Lane, err = laneFor(f, p.release, p.process); err != nil {
			return err
		}
	}
	next.Track, err = e.track(f)
	return err
}

// structural gives the path of a key without the indices of loops.
func structural(key string) string {
	var b strings.Builder
	for {
		i := strings.IndexByte(key, '[')
		if i < 0 {
			b.WriteString(key)
			return b.String()
		}
		b.WriteString(key[:i])
		_, key, _ = strings.Cut(key[i:], "]")
	}
}

// sameStep makes sure that a step which ran is the same in the version that
// its execution is to go on with.
func (a *Atom) sameStep(ctx context.Context, x *Execution, to *plan, path string) error {
	from, err := a.planOf(ctx, x.Process, x.Plan)
	if err != nil {
		return &UnfitError{"the version it ran on cannot be read: " + err.Error(), "from: start"}
	}
	if from.process.Hash == to.process.Hash {
		return nil
	}
	was, is := from.step(path), to.step(path)
	if was != nil && is != nil && was.Kind == is.Kind && was.Fingerprint == is.Fingerprint {
		return nil
	}
	name := path
	if was != nil {
		name = was.Name
		if name == "" {
			name = was.Kind + " at " + was.Pos.String()
		}
	}
	return &UnfitError{"the step " + name + ", which it had done, is not the same in the current version", "version: original, or from: start"}
}

// alarm makes the execution that the project's on_failure asks for, nil if it
// asks for none: it is committed with the failure.
func (a *Atom) alarm(e *execution, o *Outcome) *Acceptance {
	name := e.plan.project.Defaults.OnFailure
	if name == "" || o.Status != Failed && o.Status != Expired || e.meta.Alarm || e.plan.process.Name == name {
		return nil
	}
	d, ok := a.Process(name)
	if !ok {
		a.log.Error("the process of on_failure is not deployed any more", "process", name, "execution", e.id())
		return nil
	}
	at := now()
	in := &Arrival{Doc: document.FromJSON(a.failureRecord(e, o)), CorrelationID: e.meta.Correlation, Traceparent: e.meta.Trace, Received: at}
	taken, out, err := a.intake(a.work, d, in)
	if err != nil {
		a.log.Error("on_failure does not take the record", "process", name, "execution", e.id(), "error", err)
		return nil
	}
	if out != "" {
		return nil
	}
	m := &meta{Correlation: e.meta.Correlation, Trace: e.meta.Trace, Parent: e.id(), Alarm: true, Coalesced: taken.Coalesce != nil}
	if taken.Lane != nil {
		taken.Lane.Limit = 0
	}
	origin := derive("alarm", e.id())
	taken.Origin, taken.Meta = fmt.Sprintf("%x", origin), m.append(nil)
	return taken
}

// failureRecord is what an on_failure process starts with.
func (a *Atom) failureRecord(e *execution, o *Outcome) []byte {
	rec := struct {
		Execution     string          `json:"execution"`
		Process       string          `json:"process"`
		Status        Status          `json:"status"`
		Fingerprint   string          `json:"fingerprint,omitempty"`
		Error         json.RawMessage `json:"error,omitempty"`
		Track         json.RawMessage `json:"track,omitempty"`
		ReceivedAt    string          `json:"received_at"`
		EndedAt       string          `json:"ended_at"`
		CorrelationID string          `json:"correlation_id,omitempty"`
	}{e.id(), e.plan.process.Name, o.Status, o.Fingerprint, o.Error, nil, timeText(e.received), timeText(o.Ended), e.meta.Correlation}
	if len(e.tracked) > 0 {
		rec.Track = document.AppendJSON(nil, document.FromPlain(e.tracked))
	}
	text, err := json.Marshal(rec)
	if err != nil { // what is stored as an error is JSON
		a.log.Error("a failure could not be written down", "execution", e.id(), "error", err)
		return []byte("{}")
	}
	return text
}

// resolution reads how a failed execution was dealt with.
func resolution(o *Outcome) *ResolutionView {
	if o == nil || len(o.Resolved) == 0 {
		return nil
	}
	v := &ResolutionView{}
	if json.Unmarshal(o.Resolved, v) != nil {
		return nil
	}
	return v
}

// step finds a step by its structural path, in this process and in those that
// it calls; nil if there is none.
func (p *plan) step(path string) *processes.Step {
	process := p.process
	for {
		own, rest, calls := strings.Cut(path, "/")
		s := findStep(process.Steps, own)
		if s == nil || !calls {
			return s
		}
		r, ok := s.Settings.(processes.Reacher)
		if !ok {
			return nil
		}
		called, ok := p.project.Processes[r.Reach().Process]
		if !ok {
			return nil
		}
		process, path = called, rest
	}
}
