package agent

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"strings"
	"time"

	"valence/atom/agent/cloudclient"
	"valence/atom/agent/spool"
	"valence/internal/wire"
)

// reporter stores reports and sends them to the control plane.
type reporter struct {
	*core
	outbox     *outbox
	sent       *sentTriggers
	deployer   *deployer
	heartbeats *heartbeats
}

// persistReports writes reports to disk in batches until ctx ends.
func (r *reporter) persistReports(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-r.outbox.added:
		}
		if !r.outbox.isUrgent() {
			t := time.NewTimer(r.timing.Batch)
			for waiting := true; waiting; {
				select {
				case <-ctx.Done():
					waiting = false
				case <-t.C:
					waiting = false
				case <-r.outbox.added:
					waiting = !r.outbox.isUrgent()
				}
			}
			t.Stop()
		}
		for items := r.drain(); len(items) > 0 && !r.persist(ctx, items); {
			if !sleep(ctx, time.Second) {
				return // requested executions are tracked; the next start reports them
			}
		}
	}
}

// drain returns the buffered reports and logs that others were dropped.
func (r *reporter) drain() []pendingReport {
	items, refused := r.outbox.drain()
	if refused > 0 {
		r.log.Warn("execution reports dropped: executions end faster than their reports are stored", "dropped", refused)
	}
	return items
}

// persist writes reports to disk and reports whether that succeeded.
func (r *reporter) persist(ctx context.Context, items []pendingReport) bool {
	reports := make([]spool.Report, 0, len(items))
	var done []string
	documents := r.deployer.policy().SendDocuments
	for i := range items {
		x, kind := &items[i], spool.KindOther
		if x.Request != "" {
			kind = spool.KindRequested
		}
		if x.completes != "" {
			done = append(done, x.completes)
			if documents {
				r.attachDocument(ctx, &x.ExecutionReport)
			}
		}
		reports = append(reports, spool.NewReport(kind, x.ExecutionReport))
	}
	dropped, err := r.spool.AddReports(ctx, reports, done)
	if err != nil {
		if ctx.Err() == nil {
			r.log.Error("cannot store reports", "reports", len(reports), "error", err)
		}
		return false
	}
	if dropped > 0 {
		r.outbox.dropped.Add(dropped)
		r.log.Warn("execution reports dropped: the control plane has been unreachable for too long", "dropped", dropped)
	}
	r.outbox.wakeSender()
	return true
}

// maxDocument limits the document in a report, in bytes.
const maxDocument = 256 << 10

// attachDocument adds an execution's reply or, without one, its last document.
func (r *reporter) attachDocument(ctx context.Context, x *wire.ExecutionReport) {
	v, err := r.atom.Show(ctx, x.Execution)
	if err != nil {
		return
	}
	last := v.Reply
	for i := len(v.Steps) - 1; i >= 0 && last == nil; i-- {
		if s := &v.Steps[i]; s.Outcome == "ok" && !strings.Contains(s.Path, ".") { // not within a branch or loop
			last = s.Document
		}
	}
	if last == nil {
		return
	}
	if text, err := json.Marshal(last); err == nil && len(text) <= maxDocument {
		x.Document = r.options.Masks.JSON(text)
	}
}

// sendReports sends the reports on disk until ctx ends.
func (r *reporter) sendReports(ctx context.Context) {
	b := cloudclient.Backoff{Initial: r.timing.MinBackoff, Max: r.timing.MaxBackoff}
	limit := spool.MaxBatch
	for {
		n, err := r.sendBatch(ctx, &limit)
		var wait time.Duration
		switch {
		case ctx.Err() != nil:
			return
		case err != nil:
			if !b.Failing() {
				r.log.Warn("cannot send reports; they are kept on disk", "waiting", r.spool.Waiting(), "error", err)
			}
			wait = b.After(err)
		case n > 0:
			b.Reset()
			continue
		default:
			b.Reset()
			wait = time.Hour // until woken
		}
		t := time.NewTimer(wait)
		select {
		case <-ctx.Done():
			t.Stop()
			return
		case <-t.C:
		case <-r.outbox.ready:
			if err != nil { // new reports do not shorten the delay
				select {
				case <-ctx.Done():
				case <-t.C:
				}
			}
			t.Stop()
		}
	}
}

// sendBatch sends the next reports and returns how many were delivered. Reports
// that the control plane permanently rejects are dropped one by one.
func (r *reporter) sendBatch(ctx context.Context, limit *int) (int, error) {
	batch, err := r.spool.NextBatch(ctx, *limit)
	if err != nil || len(batch) == 0 {
		return 0, err
	}
	body, damaged := spool.Decode(r.instance, batch)
	if len(damaged) > 0 { // must not block the others
		r.log.Error("stored reports are damaged; dropped", "reports", len(damaged))
		r.outbox.dropped.Add(int64(len(damaged)))
		return len(damaged), r.spool.RemoveSent(ctx, damaged)
	}
	if len(body.Deployments) > 0 { // the held poll carried the previous state
		h := r.heartbeats.heartbeat(ctx)
		body.Generation, body.Heartbeat = r.deployer.latestGeneration(), &h
	}
	call, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	err = r.client.Call(call, wire.PathReports, body, nil)
	if err == nil && body.Heartbeat != nil {
		r.sent.set(body.Heartbeat.Digest)
	}
	refused := (*cloudclient.ResponseError)(nil)
	isRefused := errors.As(err, &refused)
	if isRefused && (refused.Status == http.StatusRequestTimeout || isPermanentRejection(refused)) && len(batch) > 1 {
		*limit = max(len(batch)/2, 1)
		return 1, nil
	}
	if isRefused && isPermanentRejection(refused) {
		r.log.Error("the control plane rejected a report; dropped", "report", string(batch[0].Body), "error", err)
		r.outbox.dropped.Add(1)
		err = nil
	}
	if err != nil {
		return 0, err
	}
	*limit = min(*limit*2, spool.MaxBatch)
	return len(batch), r.spool.RemoveSent(ctx, batch)
}

// isPermanentRejection reports whether a repeated request would be rejected
// again. A 400 from a misconfigured proxy is not permanent.
func isPermanentRejection(r *cloudclient.ResponseError) bool {
	switch r.Status {
	case http.StatusBadRequest, http.StatusUnprocessableEntity:
		return r.FromControlPlane()
	}
	return r.Status == http.StatusRequestEntityTooLarge
}

// flushOnStop writes the buffered reports to disk and tries once to send them.
func (r *reporter) flushOnStop() {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
	defer cancel()
	if items := r.drain(); len(items) > 0 {
		r.persist(ctx, items)
	}
	if r.connected.Load() {
		limit := spool.MaxBatch
		if _, err := r.sendBatch(ctx, &limit); err != nil {
			r.log.Debug("the last reports are sent after the next start", "error", err)
		}
	}
}
