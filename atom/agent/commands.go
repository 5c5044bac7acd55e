package agent

import (
	"context"
	"errors"

	"valence/atom/store"
	"valence/internal/wire"
)

// handleCommand handles an instruction other than an execution request. It reports
// whether the instruction has had its effect.
func (h *requestHandler) handleCommand(ctx context.Context, m wire.Instruction) bool {
	switch m.Kind {
	case wire.KindCancel:
		return h.cancel(ctx, m.Cancel)
	case wire.KindRestart:
		if m.Process != "" {
			return h.restartTrigger(m.Process)
		}
		return h.requestRestart(ctx, m.ID)
	case wire.KindLogs:
		return h.sendLog(ctx, m)
	case wire.KindRetire:
		return h.retire(ctx, m.ID)
	case wire.KindResubmit:
		return h.resubmit(ctx, m.Resubmit)
	case wire.KindReplay:
		return h.replays.accept(ctx, m)
	}
	h.log.Warn("unknown kind of instruction from the control plane; ignored", "kind", m.Kind)
	return true // otherwise it would be repeated forever
}

// restartTrigger restarts one trigger.
func (h *requestHandler) restartTrigger(process string) bool {
	if err := h.atom.Restart(process); err != nil {
		h.log.Warn("cannot restart trigger: no such process", "process", process)
	}
	return true
}

// cancel cancels an execution, given its request ID or its own ID. It reports
// whether nothing is left to cancel.
func (h *requestHandler) cancel(ctx context.Context, name string) bool {
	if h.running.isPostponed(name) {
		return false // it would start afterwards
	}
	id := h.running.executionOf(name)
	if id == "" {
		id = name
	}
	err := h.atom.Cancel(ctx, id)
	if err == nil || errors.Is(err, store.ErrEnded) || errors.Is(err, store.ErrUnknown) {
		return true
	}
	h.log.Warn("cannot cancel execution", "execution", id, "error", err)
	return false
}

// requestRestart stores and requests a restart of the atom. The repeated
// instruction is recognized after the restart.
func (h *requestHandler) requestRestart(ctx context.Context, id int64) bool {
	done, err := h.deployer.recordRestart(ctx, id)
	if err != nil {
		return false // otherwise the atom would restart repeatedly
	}
	if done {
		return true
	}
	h.log.Info("the control plane requested a restart")
	notify(h.restart)
	return false
}

// retire decommissions the atom: deployed projects stop, accepted messages
// finish, and polling ends.
func (h *requestHandler) retire(ctx context.Context, id int64) bool {
	if err := h.deployer.retire(ctx); err != nil {
		return false // after a restart everything would run again
	}
	h.log.Warn("this atom was retired by its control plane; nothing deployed runs any more")
	h.poller.acks.add(id, "")
	if _, err := h.poller.pollOnce(ctx, 0, h.poller.acks.all()); err != nil {
		h.log.Debug("cannot confirm the retirement to the control plane", "error", err)
	}
	return true
}

// sendLog sends the last lines of the log to the control plane. It is not
// retried because the operator is waiting.
func (h *requestHandler) sendLog(ctx context.Context, m wire.Instruction) bool {
	r := wire.Reports{Instance: h.instance, LogsFor: m.ID}
	if h.options.Logs != nil {
		r.Logs = h.options.Logs(m.Lines)
	}
	ctx, cancel := context.WithTimeout(ctx, h.timing.LogTimeout) // the next poll waits for it
	defer cancel()
	err := h.client.Call(ctx, wire.PathReports, r, nil)
	if err != nil && !errors.Is(err, context.Canceled) {
		h.log.Debug("cannot send the requested log lines", "error", err)
	}
	return true
}
