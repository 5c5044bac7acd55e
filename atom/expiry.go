package atom

import (
	"context"
	"encoding/json"
	"errors"
	"sync"
	"time"

	"valence/internal/fault"
)

// expiryBatch is how many executions are ended in one go.
const expiryBatch = 256

// expiries ends what has not begun in time. It holds one time for all: the
// rest is an index of the store.
type expiries struct {
	atom *Atom
	kick chan struct{}

	mu   sync.Mutex
	next time.Time // zero: nothing to wait for
}

func newExpiries(a *Atom) *expiries { return &expiries{atom: a, kick: make(chan struct{}, 1)} }

// soon makes sure that it is looked at a time. It does not block.
func (x *expiries) soon(at time.Time) {
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

// run ends executions as their time comes, until ctx ends.
func (x *expiries) run(ctx context.Context) {
	for ctx.Err() == nil {
		x.mu.Lock()
		x.next = time.Time{}
		x.mu.Unlock()
		wait := time.Minute
		list, next, err := x.atom.store.Overdue(ctx, expiryBatch)
		switch {
		case err != nil:
			if ctx.Err() == nil {
				x.atom.log.Error("cannot look what has expired", "error", err)
			}
			wait = 5 * time.Second
		case len(list) > 0:
			for _, o := range list {
				if err := x.atom.expire(ctx, o); err != nil && ctx.Err() == nil {
					x.atom.log.Error("an execution could not be ended as expired", "process", o.Process, "execution", x.atom.ExecutionID(o.Seq, o.Received), "error", err)
					wait = time.Second
				}
			}
			if wait == time.Minute {
				continue
			}
		case !next.IsZero():
			x.soon(next)
		}
		x.sleep(ctx, wait)
	}
}

func (x *expiries) sleep(ctx context.Context, wait time.Duration) {
	deadline := time.Now().Add(wait)
	for {
		x.mu.Lock()
		next := x.next
		x.mu.Unlock()
		if next.IsZero() || next.After(deadline) {
			next = deadline
		}
		timer := time.NewTimer(max(time.Until(next), 10*time.Millisecond))
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

// expire ends an execution that has not begun; the first commit wins.
func (a *Atom) expire(ctx context.Context, o Overdue) error {
	x, err := a.store.Get(ctx, o.Seq, o.Received)
	if errors.Is(err, ErrUnknown) || err == nil && x.Outcome != nil {
		return nil
	}
	if err != nil {
		return err
	}
	ctx = context.WithoutCancel(ctx)
	e, _, err := a.revive(ctx, &x.Record)
	if e == nil {
		return err
	}
	q := a.queue(o.Process)
	taken := q.take(o.Seq)
	switch err := e.expire(ctx, &x.Record); {
	case err == nil:
		q.gone()
		return nil
	case errors.Is(err, ErrBegun), errors.Is(err, ErrEnded):
		return nil
	default:
		if taken {
			q.lookAgain()
		}
		return err
	}
}

// begin commits that an execution begins, where it had a time to begin by. It
// reports whether it may run; otherwise what its queue is to know.
func (e *execution) begin(ctx context.Context, r *Record) (afterRun, bool) {
	if e.plan.process.Delivery.Expires.Request == 0 && !e.meta.Coalesced || r.Attempt > 0 || e.meta.Replied {
		return afterRun{}, true
	}
	switch err := e.atom.apply(&Change{Seq: r.Seq, Begins: true}); {
	case err == nil:
		return afterRun{}, true
	case !errors.Is(err, ErrExpired):
		return afterRun{}, false
	}
	err := e.expire(ctx, r)
	if errors.Is(err, ErrUnavailable) || errors.Is(err, ErrFull) {
		e.atom.expiries.soon(time.Now().Add(time.Second))
	}
	return afterRun{ended: err == nil}, false
}

// expire commits that an execution's time to begin is over.
func (e *execution) expire(ctx context.Context, r *Record) error {
	a := e.atom
	after := e.plan.process.Delivery.Expires.Request
	why := &fault.Failure{Code: fault.CodeExpired, Origin: fault.FromAtom, Message: "it had not begun after " + after.String() + ", the time that `expires: { request }` gives it"}
	text, err := json.Marshal(errorView(why))
	if err != nil {
		return err
	}
	now := time.Now().UTC()
	c := &Change{Seq: r.Seq, Unbegun: true, Outcome: &Outcome{
		Status: Expired, Started: now, Ended: now, Error: text, Trace: []byte(`{"steps":[]}`),
		Fingerprint: fingerprint(r.Process, why), Keep: a.retention(e.plan.process).Records,
	}}
	if err := a.concluded(ctx, r, c, why); err != nil {
		return err
	}
	e.tracked = r.Track
	if alarm := a.alarm(e, c.Outcome); alarm != nil {
		c.Handoffs = append(c.Handoffs, alarm)
	}
	if err := a.store.Apply(ctx, c); err != nil {
		return err
	}
	a.followers.tell(r.Seq)
	a.tellEnded(e, recordDocument(r), c.Outcome, why)
	e.plan.stats.Ended(string(Expired), now.Sub(r.Received))
	a.log.Error("an execution has expired before it began", "process", r.Process, "execution", e.id())
	return nil
}
