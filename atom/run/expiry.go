package run

import (
	"context"
	"encoding/json"
	"errors"
	"sync"
	"time"

	"valence/atom/queue"
	"valence/atom/store"
	"valence/internal/fault"
)

// expiryBatch is how many executions one pass expires.
const expiryBatch = 256

// Expirer ends executions that have not begun in time. It waits for the earliest
// of their times, by Engine.Clock, which the store has in an index.
type Expirer struct {
	engine *Engine
	kick   chan struct{}

	mu   sync.Mutex
	next time.Time // zero: nothing expires
}

// Expect makes Run look for expired executions at a time. It does not block.
func (x *Expirer) Expect(at time.Time) {
	x.mu.Lock()
	sooner := x.next.IsZero() || at.Before(x.next)
	if sooner {
		x.next = at
	}
	x.mu.Unlock()
	if sooner {
		select {
		case x.kick <- struct{}{}:
		default:
		}
	}
}

// Run expires executions as their time comes, until ctx ends.
func (x *Expirer) Run(ctx context.Context) {
	for ctx.Err() == nil {
		x.mu.Lock()
		x.next = time.Time{}
		x.mu.Unlock()
		wait := time.Minute
		list, next, err := x.engine.Store.Overdue(ctx, expiryBatch)
		switch {
		case err != nil:
			if ctx.Err() == nil {
				x.engine.Log.Error("cannot read expired executions", "error", err)
			}
			wait = 5 * time.Second
		case len(list) > 0:
			for _, o := range list {
				if err := x.engine.expire(ctx, o); err != nil && ctx.Err() == nil {
					x.engine.Log.Error("cannot expire an execution", "process", o.Process, "execution", x.engine.IDs.ExecutionID(o.Seq, o.Received), "error", err)
					wait = time.Second
				}
			}
			if wait == time.Minute {
				continue
			}
		case !next.IsZero():
			x.Expect(next)
		}
		x.sleep(ctx, wait)
	}
}

// sleep returns after wait, at the next expected time, or when ctx ends.
func (x *Expirer) sleep(ctx context.Context, wait time.Duration) {
	now := x.engine.Clock.Now
	deadline := now().Add(wait)
	for {
		x.mu.Lock()
		next := x.next
		x.mu.Unlock()
		if next.IsZero() || next.After(deadline) {
			next = deadline
		}
		timer := time.NewTimer(max(next.Sub(now()), 10*time.Millisecond))
		select {
		case <-timer.C:
			return
		case <-x.kick:
			timer.Stop()
		case <-ctx.Done():
			timer.Stop()
			return
		}
	}
}

// expire ends an execution that has not begun. If it begins at the same time,
// the first commit wins.
func (g *Engine) expire(ctx context.Context, o store.Overdue) error {
	x, err := g.Store.Get(ctx, o.Seq, o.Received)
	if errors.Is(err, store.ErrUnknown) || err == nil && x.Outcome != nil {
		return nil
	}
	if err != nil {
		return err
	}
	ctx = context.WithoutCancel(ctx)
	e, _, err := g.revive(ctx, &x.Record, &activeRun{})
	if e == nil {
		return err
	}
	q := g.Queues.Queue(o.Process)
	removed := q.Remove(o.Seq)
	switch err := (durableRun{e, &x.Record}).expire(ctx); {
	case err == nil:
		q.DropEnded(o.Seq)
		return nil
	case errors.Is(err, store.ErrEnded):
		return nil
	default:
		if removed {
			q.Reload()
		}
		if errors.Is(err, store.ErrBegun) {
			return nil
		}
		return err
	}
}

// begin commits that an execution begins, if it could expire or be superseded.
// It reports whether it may run; otherwise the result is for its queue.
func (d durableRun) begin(ctx context.Context) (queue.Result, bool) {
	if d.plan.Process.Delivery.Expires.Request == 0 && !d.meta.Coalesced || d.record.Attempt > 0 || d.meta.Replied {
		return queue.Result{}, true
	}
	switch err := d.engine.apply(&store.Change{Seq: d.record.Seq, Epoch: d.record.Epoch, Require: []store.Condition{store.Begin{}}}); {
	case err == nil:
		return queue.Result{}, true
	case !errors.Is(err, store.ErrExpired):
		d.engine.retryLater(d.record.Process, err)
		return queue.Result{}, false
	}
	err := d.expire(ctx)
	if err != nil && !errors.Is(err, store.ErrEnded) {
		d.engine.Expirer.Expect(d.engine.Clock.Now().Add(time.Second))
	}
	return queue.Result{Ended: err == nil}, false
}

// expire commits that an execution has not begun in time.
func (d durableRun) expire(ctx context.Context) error {
	g := d.engine
	after := d.plan.Process.Delivery.Expires.Request
	why := &fault.Failure{Code: fault.CodeExpired, Source: fault.FromAtom, Message: "it had not begun after " + after.String() + ", the limit of `expires: { request }`"}
	text, err := json.Marshal(NewErrorView(why))
	if err != nil {
		return err
	}
	now := time.Now().UTC()
	o := &store.Outcome{
		Status: store.Expired, Started: now, Ended: now, Error: text, Trace: emptyTrace,
		Fingerprint: fingerprint(d.record.Process, why), Keep: g.retentionOf(d.plan.Process).Records,
	}
	c := &store.Change{Seq: d.record.Seq, Require: []store.Condition{store.NotBegun{}}, Disposition: o}
	if err := g.concludeReply(ctx, d.record, c, why); err != nil {
		return err
	}
	d.tracked = d.record.Track
	if m := g.onFailure(d.execution, o); m != nil {
		c.Handoffs = append(c.Handoffs, m)
	}
	if err := g.Store.Apply(ctx, c); err != nil {
		return err
	}
	g.Watchers.Wake(d.record.Seq)
	g.reportEnd(d.execution, RecordDocument(d.record), o, why)
	d.plan.Stats.Ended(string(store.Expired), now.Sub(d.record.Received))
	g.Log.Error("execution expired before it began", "process", d.record.Process, "execution", d.id())
	return nil
}
