package agent

import (
	"context"
	"errors"
	"strings"

	"valence/atom"
	"valence/atom/agent/spool"
	"valence/atom/store"
	"valence/internal/wire"
)

// onEnded is called by the atom for every execution that ends.
func (h *requestHandler) onEnded(e atom.ExecutionEnd) {
	h.deployer.observe(e)
	r := &h.running
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.hold(&e) {
		h.reportEnd(e)
	}
}

// leave is called once a request is in the spool, or will not be. It reports
// the end of its execution if that came first.
func (h *requestHandler) leave(request string) {
	r := &h.running
	r.mu.Lock()
	defer r.mu.Unlock()
	if e := r.entering[request]; e != nil {
		h.reportEnd(*e)
	}
	delete(r.entering, request)
}

// maxErrorLength limits an error text in a report, in bytes.
const maxErrorLength = 8 << 10

func truncate(text string) string {
	if len(text) > maxErrorLength {
		return strings.ToValidUTF8(text[:maxErrorLength], "") + " …"
	}
	return text
}

// reportEnd adds the report of an ended execution to the outbox. The caller
// holds requests.mu, which preserves the order of an execution's reports.
func (h *requestHandler) reportEnd(e atom.ExecutionEnd) {
	r := wire.ExecutionReport{
		Execution: e.Execution, Process: e.Process, Kind: e.Kind, Original: e.Original, Status: string(e.Status), In: (*wire.Traffic)(e.In), Out: (*wire.Traffic)(e.Out),
		Received: e.Received, Started: e.Started, Ended: e.Ended, Error: truncate(e.Error),
	}
	list := h.running.byExecution[e.Execution]
	if len(list) == 0 {
		h.outbox.addOptional(r)
		return
	}
	delete(h.running.byExecution, e.Execution)
	for _, o := range list {
		if r.Request = o.ID; r.Original == "" {
			r.Kind = atom.ByRequest
		}
		h.outbox.add(r, o.ID)
	}
}

// reportIfEnded reports the execution of a request if it has ended.
func (h *requestHandler) reportIfEnded(ctx context.Context, w spool.Request) {
	v, err := h.atom.Show(ctx, w.Execution)
	e := atom.ExecutionEnd{Execution: w.Execution, Process: w.Process, Kind: atom.ByRequest}
	switch {
	case errors.Is(err, store.ErrUnknown):
		e.Status, e.Error, e.Received = store.Failed, "the execution has ended, and the atom no longer has its record", h.options.Clock().UTC()
		e.Started, e.Ended = e.Received, e.Received
	case err != nil || v.EndedAt == nil:
		return
	default:
		e.Status, e.Received, e.Ended, e.Original = store.Status(v.Status), v.ReceivedAt, *v.EndedAt, v.Original
		if v.StartedAt != nil {
			e.Started = *v.StartedAt
		}
		if v.Original != "" {
			e.Kind = atom.ByResubmission
		}
		if v.Error != nil {
			e.Error = v.Error.Message
		}
		if e.Out = v.Sent; v.Input != nil { // unknown or absent input is not reported
			e.In = &atom.Traffic{Documents: 1, Bytes: int64(v.Input.Size)}
		}
	}
	h.running.mu.Lock()
	defer h.running.mu.Unlock()
	if len(h.running.byExecution[w.Execution]) > 0 {
		h.reportEnd(e)
	}
}

// reconcile reports executions that ended while the agent was not running. Then
// it reports long-running ones until ctx ends.
func (h *requestHandler) reconcile(ctx context.Context) {
	if err := h.spool.DeleteExpired(ctx); err != nil && ctx.Err() == nil {
		h.log.Warn("cannot delete expired rejections", "error", err)
	}
	for _, w := range h.running.runningFor(0) {
		h.reportIfEnded(ctx, w)
	}
	for sleep(ctx, reportRunningAfter/2) {
		for _, w := range h.running.runningFor(reportRunningAfter) {
			v, err := h.atom.Show(ctx, w.Execution)
			if err != nil {
				continue
			}
			if v.EndedAt != nil {
				h.reportIfEnded(ctx, w)
				continue
			}
			h.reportRunning(w, v)
		}
	}
}

// reportRunning reports a request as running.
func (h *requestHandler) reportRunning(w spool.Request, v *atom.ExecutionView) {
	r := wire.ExecutionReport{Execution: w.Execution, Request: w.ID, Process: w.Process, Kind: atom.ByRequest, Status: v.Status, Received: v.ReceivedAt, Original: v.Original}
	if v.Original != "" {
		r.Kind = atom.ByResubmission
	}
	h.running.mu.Lock()
	defer h.running.mu.Unlock()
	for _, o := range h.running.byExecution[w.Execution] {
		if o.ID == w.ID && !o.reported {
			o.reported = true
			h.outbox.add(r, "")
		}
	}
}
