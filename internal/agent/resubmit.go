package agent

import (
	"context"
	"errors"
	"strings"

	"valence/atom"
	"valence/internal/wire"
)

// resubmit runs a failed execution again, once however often it is asked for,
// and reports whether that has had its effect: an execution that is stored, or
// a rejection. It waits for a generation that is being worked on: what was
// deployed before is what it is to run on.
func (a *Agent) resubmit(ctx context.Context, x *wire.Resubmit) bool {
	if x == nil {
		return true
	}
	done := a.resubmitOnce(ctx, x)
	a.requests.dealt(x.Request, done)
	return done
}

func (a *Agent) resubmitOnce(ctx context.Context, x *wire.Resubmit) bool {
	taken, err := a.spool.wasTaken(ctx, x.Request)
	if err != nil || taken {
		return err == nil
	}
	if a.converging() {
		return false
	}
	a.requests.mu.Lock()
	a.requests.entering++
	a.requests.mu.Unlock()
	defer a.entered()
	made, err := a.atom.Resubmit(ctx, x.Execution, atom.Resubmission{From: x.From, Order: x.Request})
	again := errors.Is(err, atom.ErrResolved)
	if again {
		made, err = a.resolvedBy(ctx, x)
	}
	if err != nil {
		why := unfit(x, err)
		if why == nil {
			a.log.Warn("a resubmission must wait", "request", x.Request, "execution", x.Execution, "error", err)
			return false
		}
		return a.rejected(ctx, wire.ExecutionReport{Request: x.Request, Process: x.Process, Kind: atom.ByResubmission, Original: x.Execution}, why)
	}
	w := watched{x.Request, made, x.Process}
	if err := a.spool.watch(ctx, w); err != nil {
		a.log.Error("a resubmission could not be kept", "request", x.Request, "error", err)
		return false // it comes again, and is known by its order
	}
	a.requests.watch(w)
	if again {
		a.look(ctx, w) // it may have ended
	}
	return true
}

// resolvedBy gives the execution that this very order has made before; the
// atom was killed, or its disk was full, before that was noted here. It fails
// with a *handledError where somebody else has dealt with the failed one.
func (a *Agent) resolvedBy(ctx context.Context, x *wire.Resubmit) (string, error) {
	v, err := a.atom.Show(ctx, x.Execution)
	switch {
	case err != nil:
		return "", err
	case v.Resolution == nil:
		return "", atom.ErrResolved
	case v.Resolution.Order == x.Request && v.Resolution.Execution != "":
		return v.Resolution.Execution, nil
	}
	return "", &handledError{v.Resolution}
}

// handledError tells how somebody else has dealt with a failed execution.
type handledError struct{ by *atom.ResolutionView }

func (e *handledError) Error() string {
	if e.by.Execution != "" {
		return "somebody has dealt with it already: it was " + e.by.How + ", as " + e.by.Execution + " on its atom"
	}
	return "somebody has dealt with it already: it was " + e.by.How
}

// unfit tells why an execution is never to be resubmitted as it was asked
// for, nil if it may be another time.
func unfit(x *wire.Resubmit, err error) error {
	var handled *handledError
	var cannot *atom.UnfitError
	switch {
	case errors.As(err, &handled):
		return handled
	case errors.Is(err, atom.ErrResolved), errors.Is(err, atom.ErrNotFailed):
		return err
	case errors.Is(err, atom.ErrUnknown):
		return errors.New("the atom does not have the execution " + x.Execution + " any more")
	case errors.As(err, &cannot) && x.From == atom.FromFailedStep && strings.Contains(cannot.Try, "from: start"):
		return errors.New(cannot.Reason + "; resubmit it from the start")
	case errors.As(err, &cannot):
		return cannot
	}
	return nil
}
