package run

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"valence/atom/activity"
	"valence/atom/connection"
	"valence/atom/queue"
	"valence/atom/steps"
	"valence/atom/store"
	"valence/internal/blob"
	"valence/internal/document"
	"valence/internal/fault"
)

// Unclean stops in a row of the atom while an execution was running.
const (
	isolateAfter = 2 // then it runs alone in its process
	failAfter    = 3 // then it is not run again
)

// Run runs a durable execution once: until it ends or is suspended, or until
// the atom stops.
func (g *Engine) Run(q *queue.Queue, r *store.Record) queue.Result {
	gate := g.isolation.of(r.Process)
	alone := gate.enter(g.Work, r.Crashes >= isolateAfter)
	defer gate.leave(alone)
	a := &activeRun{over: make(chan struct{})}
	g.running.Store(r.Seq, a)
	defer func() { g.running.CompareAndDelete(r.Seq, a); close(a.over) }()
	if !g.Store.Holds(r.Epoch) || !g.heedCancel(r.Seq, a) {
		return queue.Result{}
	}
	result := g.run(q, r, a)
	if result.Ended {
		g.cancels.Delete(r.Seq)
	}
	return result
}

// run is Run for an execution that is registered as running.
func (g *Engine) run(q *queue.Queue, r *store.Record, a *activeRun) queue.Result {
	work, release := blob.Begin(blob.Into(g.Work, g.Blobs))
	defer release() // after the last commit
	life, end := context.WithCancelCause(work)
	defer end(nil)
	a.live(end)
	ctx, strike := context.WithCancelCause(life)
	defer strike(nil)
	e, f, err := g.revive(ctx, r, a)
	if e == nil {
		return g.hold(r, a, err)
	}
	f.UseLife(life)
	run := durableRun{e, r}
	if why := a.cancelled(); why != nil && !e.begun {
		return run.finish(f, why)
	}
	if result, begun := run.begin(ctx); !begun {
		return result
	}
	if err == nil { // otherwise no step runs
		g.Store.Started(r.Seq)
	}
	g.Watchers.Wake(r.Seq)
	if g.Activity.Active() {
		g.Activity.Publish(activity.Event{Event: activity.Started, Process: r.Process, Execution: e.id()})
	}
	if err == nil {
		a.start(strike)
		if e.meta.Call != nil {
			err = run.runCall(f)
		} else {
			err = steps.RunProcess(f)
		}
	}
	released := false
	if s := (*steps.Suspended)(nil); errors.As(err, &s) && s.Held != "" {
		released = q.ReleaseSlot()
	}
	result := run.finish(f, err)
	result.SlotReleased = released
	return result
}

// durableRun is the run of a durable execution.
type durableRun struct {
	*execution
	record *store.Record
}

// revive returns the execution of a record, with the journal of earlier runs.
// It returns no execution if the version or the values that it needs cannot be
// read. An execution returned with an error must end with it.
func (g *Engine) revive(ctx context.Context, r *store.Record, a *activeRun) (*execution, *steps.Frame, error) {
	p, err := g.Deployments.Plan(ctx, r.Process, r.Plan)
	if err != nil {
		return nil, nil, err
	}
	env, err := g.Deployments.Env(ctx, r.Env)
	if err != nil {
		return nil, nil, err
	}
	m, err := ParseMeta(r.Meta)
	if err != nil {
		return nil, nil, fmt.Errorf("read the metadata of the execution: %w", err)
	}
	e := newExecution(g, p, m, r.Received, inputs{env: env, envHash: r.Env, redact: p.redact()})
	e.epoch = r.Epoch
	e.seq, e.started, e.durable, e.lane, e.tracked, e.run = r.Seq, g.Clock.Wall(), true, r.Lane, r.Track, a
	if len(m.Request) > 0 {
		request := document.Raw(m.Request)
		e.request = func() any { return request }
	}
	entries, unread := e.readJournal(ctx, r)
	unread = cmp.Or(r.DocumentErr, unread)
	if unread != nil && !errors.Is(unread, store.ErrDocumentLost) {
		return nil, nil, unread
	}
	if isCancelRequested(entries) {
		a.cancel()
	}
	e.begun = hasBegun(r, entries)
	e.repeats = e.begun && (r.Crashes > 0 || !g.Store.Fresh(r.Seq))
	began := r.Received
	if !m.Began.IsZero() { // its journal is that of another execution, whose times count
		began = m.Began
	}
	f := steps.NewFrame(ctx, e, p.Process, RecordDocument(r), m.props(), began)
	if unread != nil {
		g.Log.Error("document lost", "process", r.Process, "execution", e.id(), "error", unread)
		return e, f, &fault.Failure{Code: fault.CodeDocumentLost, Source: fault.FromAtom,
			Message: "a stored document of this execution is missing or damaged; resubmit it with the document, or delete it"}
	}
	if len(m.Refused) > 0 {
		return e, f, m.refusal()
	}
	if r.Crashes >= failAfter {
		return e, f, &fault.Failure{Code: fault.CodeCrashed, Source: fault.FromAtom,
			Message: "the atom stopped uncleanly each time it ran this execution; resubmit it to run it again"}
	}
	return e, f, nil
}

// readJournal reads the entries of earlier runs. An execution that this start of
// the atom accepted and that was never suspended has no journal.
func (e *execution) readJournal(ctx context.Context, r *store.Record) ([]store.Entry, error) {
	entries, j := r.Entries, &e.journal
	if !j.engine.Store.Fresh(r.Seq) || r.Attempt > 0 || j.own.meta.Replied || j.own.meta.Original != "" || e.Cancelled() != nil {
		var err error
		if entries, err = j.engine.Store.Entries(ctx, r.Seq); err != nil {
			return nil, fmt.Errorf("read the journal: %w", err)
		}
	}
	if len(entries) == 0 {
		return nil, nil
	}
	j.earlier = make(map[string]store.Entry, len(entries))
	for _, x := range entries {
		j.earlier[x.Kind+" "+x.Path] = x
		j.emits = max(j.emits, lastEmit(x))
	}
	j.count = len(entries)
	return entries, nil
}

// hold suspends an execution that cannot run now for an external reason. A
// cancelled one ends.
func (g *Engine) hold(r *store.Record, a *activeRun, err error) queue.Result {
	if g.Work.Err() != nil {
		return queue.Result{}
	}
	if entries, err := g.Store.Entries(g.Work, r.Seq); err == nil && isCancelRequested(entries) {
		a.cancel()
	}
	if why := a.startLastCommit(); why != nil {
		err := g.endCancelled(g.Work, r, why)
		if err == nil {
			return queue.Result{Ended: true}
		}
		g.Log.Error("cannot end a cancelled execution", "process", r.Process, "execution", g.IDs.ExecutionID(r.Seq, r.Received), "error", err)
	}
	g.Log.Error("execution held", "process", r.Process, "execution", g.IDs.ExecutionID(r.Seq, r.Received), "error", err)
	due := g.Clock.Now().Add(holdTime)
	if err := g.apply(&store.Change{Seq: r.Seq, Epoch: r.Epoch, Disposition: &store.Suspension{State: store.Held, Due: due, Reason: err.Error()}}); err != nil {
		g.retryLater(r.Process, err)
		return queue.Result{}
	}
	return queue.Result{Due: due}
}

// runCall runs the hand-off of one call. Its step is in the plan, and the
// execution that handed it off has computed its settings.
func (d durableRun) runCall(f *steps.Frame) error {
	s := d.plan.Step(d.meta.Call.Path)
	if s == nil {
		return mismatch(d.meta.Call.Path, errNoSuchStep)
	}
	settings, _ := document.Decode(document.Parse(string(d.meta.Call.With))).(*document.Object)
	return steps.RunCall(f, s, settings)
}

// finish commits how a run ended.
func (d durableRun) finish(f *steps.Frame, err error) queue.Result {
	if late := d.settle(); late != nil && (err == nil || isSuspended(err)) {
		err = late
	}
	d.mu.Lock()
	c := d.takePending()
	d.mu.Unlock()
	if err == steps.Interrupted {
		if d.count == 0 { // a later cancellation must know that it has begun
			c.Entries = append(c.Entries, store.Entry{Kind: KindBegun, At: Now()})
		}
		if len(c.Entries) > 0 || len(c.Handoffs) > 0 {
			_ = d.commitLast(c)
		}
		return queue.Result{}
	}
	why := d.run.startLastCommit()
	var suspended *steps.Suspended
	switch {
	case errors.As(err, &suspended) && why != nil: // its next run ends it
		return d.suspend(c, &store.Suspension{State: store.Accepted, Reason: why.Message}, suspended)
	case errors.As(err, &suspended):
		return d.suspend(c, d.suspension(suspended), suspended)
	case why != nil:
		err = cancelledEnd(why, err)
	}
	return d.conclude(c, f, err)
}

// cancelledEnd returns the failure of a cancelled execution whose run ended
// with err.
func cancelledEnd(why *fault.Failure, err error) error {
	if err == nil {
		return why
	}
	if f := fault.AsFailure(err); f.Code == fault.CodeCancelled {
		return f
	}
	end := *why
	end.Cause = err
	return &end
}

// commitLast commits the last change of a run. It logs errors that are not
// expected, and returns them all.
func (d durableRun) commitLast(c *store.Change) error {
	c.Cancelled = d.run.cancelled() != nil
	err := d.engine.apply(c)
	switch {
	case err == nil:
		d.engine.Watchers.Wake(d.seq)
	case errors.Is(err, store.ErrEnded), errors.Is(err, store.ErrConflict), errors.Is(err, store.ErrCancelled), err == steps.Interrupted:
	default:
		d.engine.Log.Error("cannot commit the end of a run; the execution runs again", "process", d.record.Process, "execution", d.id(), "error", err)
		d.engine.retryLater(d.record.Process, err)
	}
	return err
}

// retryLater makes a queue read executions again whose run could not commit.
func (g *Engine) retryLater(process string, err error) {
	if err == steps.Interrupted || errors.Is(err, store.ErrEnded) {
		return
	}
	time.AfterFunc(holdTime, g.Queues.Queue(process).Reload)
}

// suspension returns how a run is suspended.
func (d durableRun) suspension(why *steps.Suspended) *store.Suspension {
	s := &store.Suspension{State: store.Waiting, Due: why.Due, Reason: why.Reason, Waits: why.Waits}
	if why.Held != "" {
		s.State, s.For = store.Held, why.For
		if s.Reason == "" {
			s.Reason = why.Held
		}
	}
	return s
}

// suspend commits that a run is suspended.
func (d durableRun) suspend(c *store.Change, s *store.Suspension, why *steps.Suspended) queue.Result {
	c.Disposition = s
	switch err := d.commitLast(c); {
	case errors.Is(err, store.ErrCancelled): // its next run ends it
		d.run.cancel()
		return d.suspend(c, &store.Suspension{State: store.Accepted, Reason: d.run.cancelled().Message}, why)
	case err != nil:
		return queue.Result{}
	}
	if d.engine.Activity.Active() {
		d.engine.Activity.Publish(activity.Event{Event: activity.Suspended, Process: d.record.Process, Execution: d.id(), Status: string(s.State), Reason: s.Reason})
	}
	releaseLate(d.engine.Deployments, why.For)
	return queue.Result{Due: s.Due}
}

// releaseLate releases executions whose circuits closed before their
// suspension was committed.
func releaseLate(deployments Deployments, holds []string) {
	for _, h := range holds {
		name, release := connection.HeldConnection(h), ""
		if at := strings.LastIndexByte(name, '/'); at >= 0 {
			release, name = name[:at], name[at+1:]
		}
		if c, ok := deployments.Connection(release, name); ok {
			c.Circuit.ReleaseLate()
		}
	}
}

// conclude commits that an execution has ended, with its result or with err.
func (d durableRun) conclude(c *store.Change, f *steps.Frame, err error) queue.Result {
	whole := c
	if c.Epoch != 0 { // another member may have cancelled it: then it ends again
		whole = cloneChange(c)
	}
	result := err
	var fail *fault.Failure
	if err != nil {
		fail = fault.AsFailure(err)
	}
	if fail != nil {
		d.dropReply(c)
	}
	if fail == nil && d.meta.Deferred != nil && !d.replied {
		d.warnings = append(d.warnings, d.missingReply())
	}
	o := d.outcome(fail, d.plan.Process.Delivery.Retention.Documents > 0 || fail != nil && !d.rejects(fail))
	c.Disposition = &o
	if fail == nil {
		if u := d.staged.update(); u != nil {
			c.Require = append(c.Require, u)
		}
	}
	if d.meta.Deferred != nil {
		d.concludeReply(c, fail)
	}
	if m := d.engine.onFailure(d.execution, &o); m != nil {
		c.Handoffs = append(c.Handoffs, m)
	}
	var refused *fault.Failure
	switch err := d.commitLast(c); {
	case errors.Is(err, store.ErrCancelled): // likewise
		d.run.cancel()
		d.forgetMissingReply()
		return d.conclude(whole, f, cancelledEnd(d.run.cancelled(), result))
	case errors.Is(err, store.ErrConflict): // nothing was changed: the execution fails instead
		return d.conclude(d.dropEnd(c), f, d.staged.conflict(d.plan.Process.Name))
	case fail == nil && errors.As(err, &refused): // likewise
		return d.conclude(d.dropEnd(c), f, refused)
	case err != nil:
		return queue.Result{}
	}
	d.plan.Stats.Ended(string(o.Status), o.Ended.Sub(d.record.Received))
	if d.plan.Process.Schedule != nil {
		d.engine.WakeSchedules() // the next run may wait for this end
	}
	d.engine.reportEnd(d.execution, f.Input(), &o, fail)
	d.logEnd(o.Status, fail)
	return queue.Result{Ended: true}
}

// dropReply drops a reply that is not committed from the change that ends a
// failed execution: its sender receives the failure.
func (d durableRun) dropReply(c *store.Change) {
	if c.Reply == nil {
		return
	}
	origin := d.callbackOrigin()
	c.Reply, c.ClaimResult = nil, nil
	c.Handoffs = slices.DeleteFunc(c.Handoffs, func(m *store.Message) bool { return m.Origin == origin })
	c.Entries = slices.DeleteFunc(c.Entries, func(x store.Entry) bool { return x.Kind == KindReply })
	d.reply, d.replied = nil, false
}

// dropEnd returns the change that ends an execution whose successful end was
// refused: with the results of its calls, and without the effects of the end.
func (d durableRun) dropEnd(c *store.Change) *store.Change {
	d.dropReply(c)
	d.forgetMissingReply()
	done := slices.DeleteFunc(c.Entries, func(x store.Entry) bool { return x.Kind == KindHandoff || x.Kind == KindMark })
	return &store.Change{Seq: c.Seq, Epoch: c.Epoch, Entries: done, Trim: c.Trim}
}

// forgetMissingReply removes the warning of a successful end without a reply.
func (d durableRun) forgetMissingReply() {
	d.warnings = slices.DeleteFunc(d.warnings, func(w string) bool { return w == d.missingReply() })
}

// cloneChange returns a copy whose lists are its own.
func cloneChange(c *store.Change) *store.Change {
	own := *c
	own.Require, own.Entries, own.Handoffs = slices.Clone(c.Require), slices.Clone(c.Entries), slices.Clone(c.Handoffs)
	return &own
}
