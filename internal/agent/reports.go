package agent

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"valence/internal/wire"
)

// maxOffered bounds what is gathered in memory of executions that nobody asked
// for, between two writes; more of them are counted and not reported.
const maxOffered = 2_000

// outbox is what is to be reported and is not on disk yet.
type outbox struct {
	mu      sync.Mutex
	items   []outgoing
	offered int // of them, that nobody asked for
	urgent  bool
	wake    chan struct{} // of gather
	send    chan struct{} // of sendReports
	dropped atomic.Int64
}

// outgoing is a report; answers is the request that is settled with it, "" if none.
type outgoing struct {
	wire.ExecutionReport
	answers string
}

func (o *outbox) init() {
	o.wake, o.send = make(chan struct{}, 1), make(chan struct{}, 1)
}

func ring(bell chan struct{}) {
	select {
	case bell <- struct{}{}:
	default:
	}
}

// put takes a report that somebody waits for.
func (o *outbox) put(r wire.ExecutionReport, answers string) {
	o.mu.Lock()
	o.items, o.urgent = append(o.items, outgoing{r, answers}), true
	o.mu.Unlock()
	ring(o.wake)
}

// offer takes a report that nobody asked for, if there is room.
func (o *outbox) offer(r wire.ExecutionReport) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.offered >= maxOffered {
		o.dropped.Add(1)
		return
	}
	o.offered++
	o.items = append(o.items, outgoing{r, ""})
	if len(o.items) == 1 {
		ring(o.wake)
	}
}

// take empties the outbox.
func (o *outbox) take() []outgoing {
	o.mu.Lock()
	defer o.mu.Unlock()
	items := o.items
	o.items, o.offered, o.urgent = nil, 0, false
	return items
}

func (o *outbox) hurry() bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.urgent
}

// nudge lets what is on disk be sent.
func (o *outbox) nudge() { ring(o.send) }

// gather puts what is to be reported on disk, in batches, until ctx ends.
func (a *Agent) gather(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-a.outbox.wake:
		}
		if !a.outbox.hurry() {
			t := time.NewTimer(a.pace.Batch)
			for waiting := true; waiting; {
				select {
				case <-ctx.Done():
					waiting = false
				case <-t.C:
					waiting = false
				case <-a.outbox.wake:
					waiting = !a.outbox.hurry()
				}
			}
			t.Stop()
		}
		for items := a.outbox.take(); len(items) > 0 && !a.keep(ctx, items); {
			if !sleep(ctx, time.Second) {
				return // those that were asked for are watched: the next start reports them
			}
		}
	}
}

// keep writes reports to disk and reports whether it could.
func (a *Agent) keep(ctx context.Context, items []outgoing) bool {
	reports := make([]report, 0, len(items))
	var done []string
	documents := a.policy().SendDocuments
	for i := range items {
		x, kind := &items[i], another
		if x.Request != "" {
			kind = aRequest
		}
		if x.answers != "" {
			done = append(done, x.answers)
			if documents {
				a.attach(ctx, &x.ExecutionReport)
			}
		}
		reports = append(reports, reportOf(kind, x.ExecutionReport))
	}
	dropped, err := a.spool.add(ctx, reports, done)
	if err != nil {
		if ctx.Err() == nil {
			a.log.Error("reports could not be kept", "reports", len(reports), "error", err)
		}
		return false
	}
	if dropped > 0 {
		a.outbox.dropped.Add(dropped)
		a.log.Warn("reports of executions were dropped: the control plane has been away for long", "dropped", dropped)
	}
	a.outbox.nudge()
	return true
}

// maxAttached bounds a document in a report.
const maxAttached = 256 << 10

// attach adds the reply of an execution to its report, or, where it has none,
// its last document.
func (a *Agent) attach(ctx context.Context, r *wire.ExecutionReport) {
	v, err := a.atom.Show(ctx, r.Execution)
	if err != nil {
		return
	}
	last := v.Reply
	for i := len(v.Steps) - 1; i >= 0 && last == nil; i-- {
		if s := &v.Steps[i]; s.Outcome == "ok" && !strings.Contains(s.Path, ".") { // not of a branch, or an element of a loop
			last = s.Document
		}
	}
	if last == nil {
		return
	}
	if text, err := json.Marshal(last); err == nil && len(text) <= maxAttached {
		r.Document = text
	}
}

// sendReports sends what is on disk until ctx ends.
func (a *Agent) sendReports(ctx context.Context) {
	b := backoff{first: a.pace.First, most: a.pace.Most}
	limit := batchReports
	for {
		n, err := a.sendBatch(ctx, &limit)
		var wait time.Duration
		switch {
		case ctx.Err() != nil:
			return
		case err != nil:
			if b.next == 0 {
				a.log.Warn("reports cannot be sent; they wait on disk", "waiting", a.spool.number.Load(), "error", err)
			}
			wait = b.after(err)
		case n > 0:
			b.reset()
			continue
		default:
			b.reset()
			wait = time.Hour // until something is there
		}
		t := time.NewTimer(wait)
		select {
		case <-ctx.Done():
			t.Stop()
			return
		case <-t.C:
		case <-a.outbox.send:
			if err != nil { // something new is no reason to ask again sooner
				select {
				case <-ctx.Done():
				case <-t.C:
				}
			}
			t.Stop()
		}
	}
}

// sendBatch sends the next reports and gives how many the control plane has
// taken. Reports that it will never take are dropped, one by one.
func (a *Agent) sendBatch(ctx context.Context, limit *int) (int, error) {
	batch, err := a.spool.batch(ctx, *limit)
	if err != nil || len(batch) == 0 {
		return 0, err
	}
	body, damaged := bodies(a.instance, batch)
	if len(damaged) > 0 { // they must not hold up the others
		a.log.Error("kept reports are damaged and are dropped", "reports", len(damaged))
		a.outbox.dropped.Add(int64(len(damaged)))
		return len(damaged), a.spool.sent(ctx, damaged)
	}
	if len(body.Deployments) > 0 { // the poll that is held told how it was before
		h := a.heartbeat(ctx)
		body.Generation, body.Heartbeat = a.known(), &h
	}
	call, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	err = a.link.call(call, wire.PathReports, body, nil)
	if err == nil && body.Heartbeat != nil {
		a.standing.tell(body.Heartbeat.Print)
	}
	refused := (*Refused)(nil)
	isRefused := errors.As(err, &refused)
	if isRefused && (refused.Status == http.StatusRequestTimeout || hopeless(refused)) && len(batch) > 1 {
		*limit = max(len(batch)/2, 1)
		return 1, nil
	}
	if isRefused && hopeless(refused) {
		a.log.Error("the control plane does not take a report; it is dropped", "report", string(batch[0].body), "error", err)
		a.outbox.dropped.Add(1)
		err = nil
	}
	if err != nil {
		return 0, err
	}
	*limit = min(*limit*2, batchReports)
	return len(batch), a.spool.sent(ctx, batch)
}

// hopeless reports whether the same request would be refused again. A proxy may
// find anything to be a bad request for as long as it is not right itself.
func hopeless(r *Refused) bool {
	switch r.Status {
	case http.StatusBadRequest, http.StatusUnprocessableEntity:
		return r.ours()
	}
	return r.Status == http.StatusRequestEntityTooLarge
}

// lastWords keeps what was not on disk when the agent was stopped, and tries
// once to send it.
func (a *Agent) lastWords() {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
	defer cancel()
	if items := a.outbox.take(); len(items) > 0 {
		a.keep(ctx, items)
	}
	if a.connected.Load() {
		limit := batchReports
		if _, err := a.sendBatch(ctx, &limit); err != nil {
			a.log.Debug("the last reports are sent at the next start", "error", err)
		}
	}
}
