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

// resubmit resubmits a failed execution once, however often it is requested. It
// reports whether the request is stored or rejected. It postpones the request
// during a deployment, so that the execution runs on the new version.
func (h *requestHandler) resubmit(ctx context.Context, x *wire.Resubmit) bool {
	if x == nil {
		return true
	}
	done := h.resubmitOnce(ctx, x)
	h.running.setHandled(x.Request, done)
	return done
}

func (h *requestHandler) resubmitOnce(ctx context.Context, x *wire.Resubmit) bool {
	taken, err := h.spool.IsHandled(ctx, x.Request)
	if err != nil || taken {
		return err == nil
	}
	if h.deployer.converging() {
		return false
	}
	h.running.enter(x.Request)
	defer h.leave(x.Request)
	made, err := h.atom.Resubmit(ctx, x.Execution, atom.Resubmission{From: x.From, Order: x.Request})
	again := errors.Is(err, store.ErrResolved)
	if again {
		made, err = h.ownResubmission(ctx, x)
	}
	if err != nil {
		why := permanentReason(x, err)
		if why == nil {
			h.log.Warn("resubmission postponed", "request", x.Request, "execution", x.Execution, "error", err)
			return false
		}
		return h.rejectWith(ctx, wire.ExecutionReport{Request: x.Request, Process: x.Process, Kind: atom.ByResubmission, Original: x.Execution}, why)
	}
	w := spool.Request{ID: x.Request, Execution: made, Process: x.Process}
	if err := h.spool.Watch(ctx, w); err != nil {
		h.log.Error("cannot store a resubmission", "request", x.Request, "error", err)
		return false // repeated, and then recognized by its order
	}
	h.running.add(w)
	if again {
		h.reportIfEnded(ctx, w) // it may have ended
	}
	return true
}

// ownResubmission returns the execution that an earlier attempt at this request
// created before the atom stopped. It returns a resolvedError if the failed
// execution was resolved otherwise.
func (h *requestHandler) ownResubmission(ctx context.Context, x *wire.Resubmit) (string, error) {
	v, err := h.atom.Show(ctx, x.Execution)
	switch {
	case err != nil:
		return "", err
	case v.Resolution == nil:
		return "", store.ErrResolved
	case v.Resolution.Order == x.Request && v.Resolution.Execution != "":
		return v.Resolution.Execution, nil
	}
	return "", &resolvedError{v.Resolution}
}

// resolvedError reports how a failed execution was resolved by others.
type resolvedError struct{ resolution *atom.ResolutionView }

func (e *resolvedError) Error() string {
	if e.resolution.Execution != "" {
		return "already resolved: it was " + e.resolution.How + ", as " + e.resolution.Execution + " on its atom"
	}
	return "already resolved: it was " + e.resolution.How
}

// permanentReason returns why the request can never succeed, or nil if it may
// later.
func permanentReason(x *wire.Resubmit, err error) error {
	var handled *resolvedError
	var cannot *atom.ResubmissionError
	switch {
	case errors.As(err, &handled):
		return handled
	case errors.Is(err, store.ErrResolved), errors.Is(err, atom.ErrNotFailed):
		return err
	case errors.Is(err, store.ErrUnknown):
		return errors.New("the atom no longer has the execution " + x.Execution)
	case errors.As(err, &cannot) && x.From == atom.FromFailedStep && strings.Contains(cannot.Try, "from: start"):
		return errors.New(cannot.Reason + "; resubmit it from the start")
	case errors.As(err, &cannot):
		return cannot
	}
	return nil
}
