package run

import (
	"context"
	"encoding/json"
	"errors"
	"strconv"
	"strings"
	"sync"
	"time"

	"valence/atom/steps"
	"valence/atom/store"
	"valence/internal/fault"
)

// commitTime bounds a detached operation.
const commitTime = 30 * time.Second

// Detach returns a context for an operation that changes the store. Such an
// operation must not end halfway because its client hangs up.
func Detach(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeout(context.WithoutCancel(ctx), commitTime)
}

// forgetAfter is how long a run that is about to start can find that its
// execution was cancelled before it began.
const forgetAfter = time.Minute

// wasCancelled returns the failure of a cancelled execution.
func wasCancelled(cause error) *fault.Failure {
	return &fault.Failure{Code: fault.CodeCancelled, Source: fault.FromAtom, Message: "cancelled by an operator", Cause: cause}
}

// cancellation is a request to cancel an execution: from before its commit
// until the execution ends.
type cancellation struct {
	done  chan struct{} // closed when it was committed or refused
	err   error         // why it was refused
	ended bool          // its commit has ended the execution, which had not begun
}

// activeRun is one run of a durable execution, as a cancellation sees it.
type activeRun struct {
	over chan struct{} // closed after its last commit

	mu      sync.Mutex
	pending *cancellation           // nil: none
	strike  context.CancelCauseFunc // interrupts the steps; nil: they have not started
	end     context.CancelCauseFunc // ends everything that the run does; nil: it does nothing yet
	lost    bool                    // another member runs the execution
	why     *fault.Failure          // set once a cancellation is committed
	closed  bool                    // its last commit has begun: no cancellation reaches it
}

// take hands a cancellation to the run. It reports false if the last commit of the
// run has begun.
func (a *activeRun) take(c *cancellation) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.closed {
		return false
	}
	a.pending = c
	return true
}

// live lets interrupt end the run.
func (a *activeRun) live(end context.CancelCauseFunc) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.end = end; a.lost {
		end(steps.Interrupted)
	}
}

// interrupt ends the run, because another member runs the execution.
func (a *activeRun) interrupt() {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.lost = true; a.end != nil {
		a.end(steps.Interrupted)
	}
}

// cancel cancels the run: the steps are interrupted if they have started.
func (a *activeRun) cancel() {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.why == nil {
		a.why = wasCancelled(nil)
	}
	if a.strike != nil {
		a.strike(a.why)
	}
}

// start lets a cancellation interrupt the steps, unless the run is cancelled
// already: then its steps find the place that earlier runs have reached, and
// fail there.
func (a *activeRun) start(strike context.CancelCauseFunc) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.why == nil {
		a.strike = strike
	}
}

// cancelled returns the failure of a cancelled run; nil if it is not cancelled.
func (a *activeRun) cancelled() *fault.Failure {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.why
}

// startLastCommit begins the last commit of the run, after a cancellation that is being
// committed. It returns the failure of a cancelled run.
func (a *activeRun) startLastCommit() *fault.Failure {
	for {
		a.mu.Lock()
		c := a.pending
		if a.closed || c == nil || c.isDone() {
			a.closed = true
			why := a.why
			a.mu.Unlock()
			return why
		}
		a.mu.Unlock()
		<-c.done
	}
}

func (c *cancellation) isDone() bool {
	select {
	case <-c.done:
		return true
	default:
		return false
	}
}

// Cancelled implements steps.Cancellation.
func (e *execution) Cancelled() *fault.Failure {
	if e.run == nil {
		return nil // in memory: its context says it
	}
	return e.run.cancelled()
}

// refuse fails an effect that is not in the journal if the execution was
// cancelled and the path is not in `finally`. The failure names the effect.
func (e *execution) refuse(f *steps.Frame, effect string) error {
	why := e.Cancelled()
	if why == nil || f.Shielded() {
		return nil
	}
	refused := *why
	refused.Message += " before " + effect
	return &refused
}

// Begun implements steps.Cancellation.
func (e *execution) Begun(f *steps.Frame) map[int]bool {
	begun := map[int]bool{}
	within, iter := f.Prefix()+f.Step().Path+".", f.Iter()+"["
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, x := range e.earlier {
		rest, ok := strings.CutPrefix(x.Path, within)
		at := strings.IndexByte(rest, '[')
		if !ok || at < 0 {
			continue
		}
		if rest, ok = strings.CutPrefix(rest[at:], iter); !ok {
			continue
		}
		index, _, _ := strings.Cut(rest, "]")
		if n, err := strconv.Atoi(index); err == nil {
			begun[n] = true
		}
	}
	return begun
}

// Cancel requests the cancellation of a live execution. When it returns nil,
// the request is on disk: the execution ends as cancelled, after its `finally`,
// whatever it is doing and also after a crash. One that has not begun has ended.
// Cancel fails with store.ErrEnded if the execution ended first, and changes
// nothing if it fails. A context that ends does not end the commit.
func (g *Engine) Cancel(ctx context.Context, seq int64, received time.Time) error {
	ctx, stop := Detach(ctx)
	defer stop()
	for {
		epoch, own := g.Store.Lease(seq)
		if !own {
			return g.cancelElsewhere(ctx, seq, received)
		}
		c, repeated := g.cancelOnce(ctx, &cancelRequest{seq: seq, received: received, epoch: epoch})
		if repeated && c.err == nil {
			return g.isLive(ctx, seq, received)
		}
		if !errors.Is(c.err, store.ErrFenced) || ctx.Err() != nil {
			return c.err
		}
	} // another member runs it since then, or this one under another epoch
}

// cancelRequest is a cancellation at the atom that runs the execution.
type cancelRequest struct {
	seq       int64
	received  time.Time
	epoch     int64
	committed bool // by another member
}

// cancelOnce commits a cancellation, unless one is being committed: then it waits for
// the result of that.
func (g *Engine) cancelOnce(ctx context.Context, r *cancelRequest) (c *cancellation, repeated bool) {
	c = &cancellation{done: make(chan struct{})}
	if earlier, repeated := g.cancels.LoadOrStore(r.seq, c); repeated {
		c := earlier.(*cancellation)
		<-c.done
		return c, true
	}
	c.err = g.commitCancel(ctx, r, c)
	seq := r.seq
	switch {
	case c.err != nil:
		g.cancels.Delete(seq)
	case c.ended: // a worker may have its record at hand
		time.AfterFunc(forgetAfter, func() { g.cancels.CompareAndDelete(seq, c) })
	}
	close(c.done)
	return c, false
}

// cancelElsewhere commits the cancellation of an execution that another member runs, or
// that is about to be taken over. Only a member that runs an execution ends it: it
// knows whether steps have run, and runs its `finally`.
func (g *Engine) cancelElsewhere(ctx context.Context, seq int64, received time.Time) error {
	for {
		x, err := g.Store.Get(ctx, seq, received)
		switch {
		case err != nil:
			return err
		case x.Outcome != nil:
			return store.ErrEnded
		case isCancelRequested(x.Journal):
			return nil
		}
		err = g.Store.Apply(ctx, &store.Change{Seq: seq, Cancel: true, Entries: []store.Entry{{Kind: KindCancel, At: Now()}}, Require: giveUpWaits(x.Journal)})
		if !errors.Is(err, store.ErrSignaled) { // otherwise the journal has the signal now
			return err
		}
	}
}

// isLive returns nil if an execution is live, otherwise store.ErrEnded.
func (g *Engine) isLive(ctx context.Context, seq int64, received time.Time) error {
	x, err := g.Store.Get(ctx, seq, received)
	if err == nil && x.Outcome != nil {
		return store.ErrEnded
	}
	return err
}

// heedCancel waits for a cancellation that is being committed, and cancels a run that
// starts after one. It reports false if it has ended the execution.
func (g *Engine) heedCancel(seq int64, a *activeRun) bool {
	x, ok := g.cancels.Load(seq)
	if !ok {
		return true
	}
	c := x.(*cancellation)
	<-c.done
	if c.err == nil {
		a.cancel()
	}
	return c.err != nil || !c.ended
}

// commitCancel commits a cancellation. No run starts its steps meanwhile, and none
// that runs begins its last commit.
func (g *Engine) commitCancel(ctx context.Context, r *cancelRequest, c *cancellation) error {
	change := &store.Change{Seq: r.seq, Epoch: r.epoch, Cancelled: true, Entries: []store.Entry{{Kind: KindCancel, At: Now()}}}
	for {
		if a, ok := g.running.Load(r.seq); ok {
			a := a.(*activeRun)
			if !a.take(c) {
				<-a.over
				continue
			}
			if !r.committed {
				if err := g.Store.Apply(ctx, change); err != nil {
					return err
				}
			}
			a.cancel()
			return nil
		}
		x, err := g.Store.Get(ctx, r.seq, r.received)
		switch {
		case err != nil:
			return err
		case x.Outcome != nil:
			return store.ErrEnded
		case isCancelRequested(x.Journal) && (!r.committed || hasBegun(&x.Record, x.Journal)):
			return nil // the store has made it ready if it was suspended
		case hasBegun(&x.Record, x.Journal):
			change.Require = giveUpWaits(x.Journal)
			change.Disposition = &store.Suspension{State: store.Accepted, Reason: "cancelled by an operator"}
			if err := g.Store.Apply(ctx, change); !errors.Is(err, store.ErrSignaled) {
				return err
			}
			continue // the journal has the signal now
		}
		c.ended = true
		x.Epoch = r.epoch
		return g.endUnbegun(ctx, x)
	}
}

// giveUpWaits returns the conditions that end the open waits of a cancelled
// execution, so that nobody delivers a signal to it. Those in a `finally` stay.
func giveUpWaits(entries []store.Entry) []store.Condition {
	woken := map[string]bool{}
	for _, x := range entries {
		if x.Kind == KindWake {
			woken[x.Path] = true
		}
	}
	var list []store.Condition
	for _, x := range entries {
		if x.Kind == KindWait && !woken[x.Path] && !strings.Contains(x.Path, ".finally.") {
			list = append(list, store.GiveUp{WaitID: waitID(x.Path)})
		}
	}
	return list
}

// isCancelRequested reports whether a journal holds a request to cancel.
func isCancelRequested(entries []store.Entry) bool {
	for _, x := range entries {
		if x.Kind == KindCancel {
			return true
		}
	}
	return false
}

// hasBegun reports whether a step of an execution may have run. The entries of a
// resubmission are older than itself, until it begins.
func hasBegun(r *store.Record, entries []store.Entry) bool {
	if r.Attempt > 0 || r.Crashes > 0 {
		return true
	}
	m, err := ParseMeta(r.Meta)
	for _, x := range entries {
		if x.Kind != KindCancel && (err != nil || m.Original == "" || !x.At.Before(r.Received)) {
			return true
		}
	}
	return false
}

// endUnbegun ends an execution that has not begun. If a worker is about to run
// it, that finds the cancellation.
func (g *Engine) endUnbegun(ctx context.Context, x *store.Execution) error {
	why := wasCancelled(nil)
	if err := g.endCancelled(ctx, &x.Record, why); err != nil {
		return err
	}
	g.Queues.Queue(x.Process).DropEnded(x.Seq)
	return nil
}

// endCancelled commits the end of a cancelled execution that does not run.
func (g *Engine) endCancelled(ctx context.Context, r *store.Record, why *fault.Failure) error {
	text, err := json.Marshal(NewErrorView(why))
	if err != nil {
		return err
	}
	now := time.Now().UTC()
	c := &store.Change{Seq: r.Seq, Epoch: r.Epoch, Cancelled: true, Disposition: &store.Outcome{Status: store.Cancelled, Started: now, Ended: now, Error: text, Trace: emptyTrace}}
	if err := g.concludeReply(ctx, r, c, why); err != nil {
		return err
	}
	if err := g.Store.Apply(ctx, c); err != nil {
		return err
	}
	g.Watchers.Wake(r.Seq)
	g.Metrics.Process(r.Process).Ended(string(store.Cancelled), now.Sub(r.Received))
	if g.observedEnds() {
		m, err := ParseMeta(r.Meta)
		if err != nil {
			m = &Meta{} // it was cancelled, whatever started it
		}
		in := trafficOf(RecordDocument(r))
		g.publishEnd(End{Execution: g.IDs.ExecutionID(r.Seq, r.Received), In: &in, Process: r.Process, Kind: m.kind(false), Request: m.RequestID, Original: m.Original,
			Status: store.Cancelled, Received: r.Received, Started: now, Ended: now, Error: why.Message})
	}
	return nil
}
