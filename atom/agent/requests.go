package agent

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"sync"

	"valence/atom"
	"valence/atom/agent/spool"
	"valence/internal/fault"
	"valence/internal/wire"
)

// requestHandler carries out the instructions of the control plane and reports the
// executions that result.
type requestHandler struct {
	*core
	running  requests
	replays  *replays
	deployer *deployer
	outbox   *outbox
	poller   *poller
	restart  chan struct{}
}

// parallelProcesses is the number of processes whose requests are accepted
// concurrently.
const parallelProcesses = 8

// handleInstructions handles instructions and reports whether none was postponed.
// Requests for the same process are handled in order.
func (h *requestHandler) handleInstructions(ctx context.Context, instructions []wire.Instruction) bool {
	byProcess := map[string][]wire.Instruction{}
	var order []string
	var others []wire.Instruction
	for _, m := range instructions {
		if m.Kind != wire.KindExecute || m.Execute == nil {
			others = append(others, m)
			continue
		}
		if byProcess[m.Execute.Process] == nil {
			order = append(order, m.Execute.Process)
		}
		byProcess[m.Execute.Process] = append(byProcess[m.Execute.Process], m)
	}
	var undone sync.Map
	var all sync.WaitGroup
	free := make(chan struct{}, parallelProcesses)
	for _, process := range order {
		free <- struct{}{}
		all.Go(func() {
			defer func() { <-free }()
			done := true
			for _, m := range byProcess[process] {
				done = done && h.execute(ctx, m) // if one is postponed, so are the later ones of this process, to preserve the order
				if h.running.setHandled(m.Execute.Request, done); done {
					h.poller.acks.add(m.ID, m.Execute.Request)
				}
			}
			if !done {
				undone.Store(process, true)
			}
		})
	}
	all.Wait()
	done := true
	undone.Range(func(any, any) bool { done = false; return false })
	// Restarts come last. One restart covers all requested ones.
	slices.SortStableFunc(others, func(x, y wire.Instruction) int {
		switch {
		case x.Kind == wire.KindRestart && y.Kind == wire.KindRestart:
			return cmp.Compare(y.ID, x.ID)
		case x.Kind == wire.KindRestart:
			return 1
		case y.Kind == wire.KindRestart:
			return -1
		}
		return 0
	})
	for _, m := range others {
		if h.handleCommand(ctx, m) {
			request := ""
			if m.Resubmit != nil {
				request = m.Resubmit.Request
			}
			h.poller.acks.add(m.ID, request)
		} else {
			done = false
		}
	}
	return done
}

// execute accepts an execution request once. It reports whether the request is
// stored or rejected.
func (h *requestHandler) execute(ctx context.Context, m wire.Instruction) bool {
	x := m.Execute
	taken, err := h.spool.IsHandled(ctx, x.Request) // needed because the atom's store deletes origins after some days
	if err != nil || taken {
		return err == nil
	}
	props, doc, err := decodeInput(ctx, x)
	if err != nil {
		return h.reject(ctx, x, err)
	}
	h.running.enter(x.Request)
	defer h.leave(x.Request)
	ack, err := h.atom.ExecuteOnce(ctx, x.Request, x.Process, atom.Input{Props: props, Document: doc})
	invalid := (*fault.Failure)(nil)
	switch {
	case err == nil:
	case errors.Is(err, atom.ErrNoSuch) && h.deployer.converging():
		return false // may be deployed in a moment
	case errors.Is(err, atom.ErrNoSuch):
		return h.reject(ctx, x, errors.New("no process "+x.Process+" is deployed to this atom"))
	case atom.IsUnavailable(err) || ctx.Err() != nil || !errors.As(err, &invalid):
		h.log.Warn("execution request postponed", "request", x.Request, "process", x.Process, "error", err)
		return false
	default:
		return h.reject(ctx, x, err)
	}
	if ack.Execution == "" {
		return h.reject(ctx, x, errors.New("the filter of the process "+x.Process+" rejected this document"))
	}
	w := spool.Request{ID: x.Request, Execution: ack.Execution, Process: x.Process}
	if ack.Status != "accepted" && h.running.executionOf(x.Request) != "" {
		return true // repeated while running
	}
	if err := h.spool.Watch(ctx, w); err != nil {
		h.log.Error("cannot store an execution request", "request", x.Request, "error", err)
		return false
	}
	h.running.add(w)
	if ack.Status != "accepted" { // repeated, perhaps after a restart: it may have ended
		h.reportIfEnded(ctx, w)
	}
	return true
}

// reject stores and reports the rejection of an execution request.
func (h *requestHandler) reject(ctx context.Context, x *wire.Execute, why error) bool {
	return h.rejectWith(ctx, wire.ExecutionReport{Request: x.Request, Process: x.Process, Kind: atom.ByRequest}, why)
}

// rejectWith stores a rejection with the report r.
func (h *requestHandler) rejectWith(ctx context.Context, r wire.ExecutionReport, why error) bool {
	h.log.Warn("execution request rejected", "request", r.Request, "process", r.Process, "reason", why)
	now := h.options.Clock().UTC()
	r.Status, r.Received, r.Ended, r.Error = wire.StatusRejected, now, now, truncate(why.Error())
	if err := h.spool.Reject(ctx, r.Request, spool.NewReport(spool.KindRequested, r)); err != nil {
		h.log.Error("cannot store a rejection", "request", r.Request, "error", err)
		return false
	}
	h.outbox.wakeSender()
	return true
}
