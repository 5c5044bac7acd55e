package atom

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"valence/atom/run"
	"valence/atom/steps"
	"valence/atom/store"
	"valence/internal/document"
	"valence/internal/fault"
)

// failures list failed and expired executions, resubmit them and delete them.
type failures struct {
	store       store.Store
	ids         *run.IDs
	engine      *run.Engine
	deployments *deployments
	views       *views
	phase       *phase
	log         *slog.Logger
	work        context.Context // of batches
	batches     batches
}

// The values of Resubmission.From.
const (
	FromStart      = "start"
	FromFailedStep = "failed_step"
)

// The values of Resubmission.Version.
const (
	VersionCurrent  = "current"
	VersionOriginal = "original"
)

// ErrNotFailed means that the execution neither failed nor expired.
var ErrNotFailed = errors.New("the execution did not fail")

// ResubmissionError is why an execution cannot be resubmitted as requested.
type ResubmissionError struct{ Reason, Try string }

// Error returns the reason.
func (e *ResubmissionError) Error() string { return e.Reason }

// Resubmission says how to run a failed execution again. The zero value runs it
// from the start, on the deployed version, with its own message.
type Resubmission struct {
	From    string // "": FromStart
	Version string // "": VersionCurrent
	// Document replaces the message; nil: it is unchanged. A changed message has
	// new idempotency keys.
	Document *document.Document
	// Order identifies the request, so that a repeat can tell from the resolution
	// that this request made it; "": the request is not repeated.
	Order string
}

// FailureGroupView is the failures of one cause, as operators see them.
type FailureGroupView struct {
	Fingerprint string     `json:"fingerprint"`
	Process     string     `json:"process"`
	Count       int64      `json:"count"`
	FirstAt     time.Time  `json:"first_at"`
	LastAt      time.Time  `json:"last_at"`
	Status      string     `json:"status"`
	Example     string     `json:"example"` // the newest of them
	Error       *ErrorView `json:"error,omitempty"`
}

// Failed returns the unresolved failed and expired executions, newest first.
func (s *failures) Failed(ctx context.Context, f store.Filter, cursor string, limit int) ([]*ExecutionView, string, error) {
	return s.views.List(ctx, unresolved(f), cursor, limit)
}

// unresolved returns a filter that selects unresolved failures.
func unresolved(f store.Filter) store.Filter {
	f.Unresolved = true
	if len(f.Statuses) == 0 {
		f.Statuses = []string{string(store.Failed), string(store.Expired)}
	}
	return f
}

// FailureGroups counts unresolved failures by cause, the one with the newest
// failure first; of one process, or of all with "".
func (s *failures) FailureGroups(ctx context.Context, process string, limit int) ([]FailureGroupView, error) {
	groups, err := s.store.Groups(ctx, process, limit)
	if err != nil {
		return nil, err
	}
	views := make([]FailureGroupView, len(groups))
	for i, g := range groups {
		v := FailureGroupView{Fingerprint: g.Fingerprint, Process: g.Process, Count: g.Count, FirstAt: g.First, LastAt: g.Last, Status: string(g.Status),
			Example: s.ids.ExecutionID(g.Newest, g.Received)}
		if e := (&ErrorView{}); len(g.Error) > 0 && json.Unmarshal(g.Error, e) == nil {
			v.Error = e
		}
		views[i] = v
	}
	return views, nil
}

// Problems counts failures and blocked keys by process.
func (s *failures) Problems(ctx context.Context) (map[string]store.Problems, error) {
	return s.store.Problems(ctx)
}

// Resubmit runs a failed or expired execution again, as a new execution that is
// linked to it, and returns the id of the new one. Both are committed together,
// so a failure is resubmitted at most once: after that, Resubmit fails with
// store.ErrResolved. The checks of admission are skipped, except the profile for
// a changed message.
func (s *failures) Resubmit(ctx context.Context, id string, r Resubmission) (string, error) {
	if err := s.phase.ready(); err != nil {
		return "", err
	}
	ctx, stop := run.Detach(ctx)
	defer stop()
	x, err := s.views.get(ctx, id)
	if err != nil {
		return "", err
	}
	if err := unresolvedFailure(x); err != nil {
		return "", err
	}
	next, err := s.rerun(ctx, x, id, r)
	if err != nil {
		return "", err
	}
	made := s.ids.ExecutionID(next.Seq, next.Received)
	if err := s.resolve(ctx, x, &ResolutionView{How: run.ResolvedAgain, Execution: made, At: next.Received, Order: r.Order}, next); err != nil {
		return "", err
	}
	s.log.Info("execution resubmitted", "process", x.Process, "execution", id, "as", made)
	return made, nil
}

// Discard deletes a failed or expired execution. Its record stays in the history
// like others, without its documents.
func (s *failures) Discard(ctx context.Context, id string) error {
	ctx, stop := run.Detach(ctx)
	defer stop()
	x, err := s.views.get(ctx, id)
	if err != nil {
		return err
	}
	if err := unresolvedFailure(x); err != nil {
		return err
	}
	return s.resolve(ctx, x, &ResolutionView{How: run.ResolvedDeleted, At: run.Now()}, nil)
}

// unresolvedFailure returns an error unless x is an unresolved failure.
func unresolvedFailure(x *store.Execution) error {
	switch {
	case x.Outcome == nil || x.Outcome.Status != store.Failed && x.Outcome.Status != store.Expired:
		return ErrNotFailed
	case x.Outcome.Resolved != nil:
		return store.ErrResolved
	}
	return nil
}

// resolve commits how a failure was resolved.
func (s *failures) resolve(ctx context.Context, x *store.Execution, v *ResolutionView, next *store.Message) error {
	note, err := json.Marshal(v)
	if err != nil {
		return err
	}
	drop := v.How == run.ResolvedDeleted
	if p, err := s.deployments.Plan(ctx, x.Process, x.Plan); err == nil && p.Process.Delivery.Retention.Documents == 0 {
		drop = true // they were kept only until the resolution
	}
	return s.store.Resolve(ctx, &store.Resolution{Seq: x.Seq, Note: note, Next: next, DropDocuments: drop})
}

// rerun returns the message that runs a failed execution again.
func (s *failures) rerun(ctx context.Context, x *store.Execution, id string, r Resubmission) (*store.Message, error) {
	if r.Document == nil && (x.DocumentErr != nil || codeOf(x.Outcome) == fault.CodeDocumentLost) {
		return nil, &ResubmissionError{"its document is missing or damaged", "give the document to run it with"}
	}
	m, err := run.ParseMeta(x.Meta)
	if err != nil {
		return nil, err
	}
	next := &store.Message{Process: x.Process, Plan: x.Plan, Env: x.Env, Received: run.Now(), Track: x.Track, DocType: x.DocType, Doc: x.Doc, Data: x.Data}
	p, err := s.planFor(ctx, x, r.Version, next)
	if err != nil {
		return nil, err
	}
	if m.Call != nil {
		if err := s.sameStep(ctx, x, p, m.Call.Path); err != nil {
			return nil, err
		}
	}
	if d := p.Process.Delivery.Expires.Request; d > 0 {
		next.Expires = s.engine.Clock.Now().Add(d)
	}
	if m.Root == "" {
		m.Root = id
	}
	m.Original, m.RequestID, m.Replied, m.Memory, m.Began = id, r.Order, false, m.Memory && r.From == FromFailedStep, time.Time{}
	switch r.From {
	case "", FromStart:
	case FromFailedStep:
		if err := s.copyJournal(ctx, x, m, p, r, next); err != nil {
			return nil, err
		}
	default:
		return nil, &ResubmissionError{"a resubmission starts from `start` or `failed_step`, not from " + r.From, "from: start"}
	}
	switch {
	case len(m.Refused) > 0:
		if err := s.checkAgain(ctx, x, m, p, r.Document, next); err != nil {
			return nil, err
		}
	case r.Document != nil:
		if err := s.replaceDocument(ctx, x, m, p, r.Document, next); err != nil {
			return nil, err
		}
	}
	if x.Lane != nil && r.Document == nil {
		lane := *x.Lane
		next.Lane = &lane // its position, if it still has it
	}
	next.Seq, next.Due, next.Meta = s.store.Reserve(), s.engine.Clock.Now(), m.Append(nil)
	if next.Seq == 0 {
		return nil, store.ErrUnavailable
	}
	return next, nil
}

// planFor returns the plan that a resubmission runs on, and sets it in next.
func (s *failures) planFor(ctx context.Context, x *store.Execution, version string, next *store.Message) (*run.Plan, error) {
	switch version {
	case VersionOriginal:
		p, err := s.deployments.Plan(ctx, x.Process, x.Plan)
		if err != nil {
			return nil, &ResubmissionError{"cannot use the version it ran on: " + err.Error(), "version: current"}
		}
		return p, nil
	case "", VersionCurrent:
		d, ok := s.deployments.process(x.Process)
		if !ok {
			return nil, &ResubmissionError{"the process " + x.Process + " is not deployed any more", "version: original, or deploy it again"}
		}
		next.Plan, next.Env = d.plan.Name(), d.release.envHash
		return d.plan, nil
	}
	return nil, &ResubmissionError{"a resubmission runs on the original or the current version, not on " + version, "version: current"}
}

// copyJournal copies the journal of the failed execution to a resubmission,
// without the entries that failed it.
func (s *failures) copyJournal(ctx context.Context, x *store.Execution, m *run.Meta, p *run.Plan, r Resubmission, next *store.Message) error {
	switch {
	case r.Document != nil:
		return &ResubmissionError{"the steps before the failed one ran with the old message", "from: start"}
	case m.Memory:
		return &ResubmissionError{"it ran in memory and has no journal to continue from", "from: start"}
	case codeOf(x.Outcome) == CodeConflict:
		return &ResubmissionError{"the state that it has read is out of date, and would be read from the journal again", "from: start"}
	}
	var t run.StoredTrace
	if len(x.Outcome.Trace) > 0 {
		if err := json.Unmarshal(x.Outcome.Trace, &t); err != nil {
			return fmt.Errorf("read its trace: %w", err)
		}
	}
	failed := map[string]bool{}
	for _, key := range t.Failed {
		failed[key] = true
	}
	checked, woken := map[string]bool{}, map[string]bool{}
	for _, e := range x.Journal {
		woken[e.Path] = woken[e.Path] || e.Kind == run.KindWake
	}
	for _, e := range x.Journal {
		if e.Path == "" || failed[e.Path] || e.Kind == run.KindWait && !woken[e.Path] { // a wait that was given up begins again
			continue
		}
		if path := run.StructuralPath(e.Path); !checked[path] {
			checked[path] = true
			if err := s.sameStep(ctx, x, p, path); err != nil {
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

// codeOf returns the code of a failure.
func codeOf(o *store.Outcome) string {
	var v ErrorView
	if len(o.Error) == 0 || json.Unmarshal(o.Error, &v) != nil {
		return ""
	}
	return v.Code
}

// replaceDocument puts another document in the place of the failed one.
func (s *failures) replaceDocument(ctx context.Context, x *store.Execution, m *run.Meta, p *run.Plan, d *document.Document, next *store.Message) error {
	if m.Call == nil {
		if err := steps.Match(p.Process.Delivery.Profile, d); err != nil {
			return err
		}
	}
	m.Root = "" // another document has other effects
	return s.engine.Replace(ctx, next, p, m, d, x.Lane != nil)
}

// checkAgain makes a message that its process refused into one that it accepts,
// perhaps with another document.
func (s *failures) checkAgain(ctx context.Context, x *store.Execution, m *run.Meta, p *run.Plan, d *document.Document, next *store.Message) error {
	own := d == nil
	if own {
		d = run.RecordDocument(&x.Record)
	}
	err := steps.Match(p.Process.Delivery.Profile, d)
	if err == nil {
		m.Refused = nil
		err = s.engine.Replace(ctx, next, p, m, d, true)
	}
	if f := (*fault.Failure)(nil); err != nil && own && errors.As(err, &f) && !f.Retryable {
		return &ResubmissionError{"the process still refuses the message: " + f.Message, "correct the process, or give another document"}
	}
	return err
}

// sameStep checks that a step that ran is the same in the version that the
// execution continues with.
func (s *failures) sameStep(ctx context.Context, x *store.Execution, to *run.Plan, path string) error {
	from, err := s.deployments.Plan(ctx, x.Process, x.Plan)
	if err != nil {
		return &ResubmissionError{"cannot read the version it ran on: " + err.Error(), "from: start"}
	}
	if from.Process.Hash == to.Process.Hash {
		return nil
	}
	was, is := from.Step(path), to.Step(path)
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
	return &ResubmissionError{"the step " + name + ", which has run, is different in the current version", "version: original, or from: start"}
}

// resolution returns how a failed execution was resolved; nil if it is unresolved.
func resolution(o *store.Outcome) *ResolutionView {
	if o == nil || len(o.Resolved) == 0 {
		return nil
	}
	v := &ResolutionView{}
	if json.Unmarshal(o.Resolved, v) != nil {
		return nil
	}
	return v
}
