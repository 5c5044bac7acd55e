package cloud

import (
	"context"
	"fmt"
	"strings"
	"time"

	"valence/internal/wire"
)

// Where a resubmission starts.
const (
	FromStart      = "start"
	FromFailedStep = "failed_step"
)

// maxTries limits the failed resubmissions of one execution. An atom that has
// acknowledged a request reports its result within reportWithin; older versions
// ignore the request.
const (
	maxTries     = 100
	reportWithin = time.Minute
)

// Resubmit asks the atom of a failed execution, named by the id of its record
// or request, to run it again from the start ("") or from the failed step. It
// returns the id of the new request, whose record names the failed one as its
// original. When Resubmit returns, the request is on disk. ErrConflict says why
// an execution cannot be resubmitted; failures on the atom are in the record.
func (s *Executions) Resubmit(ctx context.Context, p Principal, id, from string) (request string, err error) {
	const action = "execution.resubmit"
	if err := p.Allow(action); err != nil {
		return "", err
	}
	if from != "" && from != FromStart && from != FromFailedStep {
		return "", invalid("from", "must be start or failed_step")
	}
	x, err := s.failedRecord(ctx, p, id)
	if err != nil {
		return "", err
	}
	if err := s.checkResubmitTarget(p, action, x); err != nil {
		return "", err
	}
	line := s.mailboxes.of(x.AtomID)
	if line.length() >= maxWaiting {
		return "", mailboxFull()
	}
	if err := s.checkWaitingQuota(p.Account); err != nil {
		return "", err
	}
	r := ExecutionRequest{
		ID: "executionrecord-" + newID(), Account: p.Account, AtomID: x.AtomID, ProcessID: x.ProcessID, ProcessName: x.ProcessName,
		By: p.User, Resubmits: x.ID, Created: time.Now().UTC(),
	}
	m := &Instruction{Account: p.Account, AtomID: r.AtomID, Request: r.ID, Created: r.Created, Instruction: wire.Instruction{
		ID: s.mailboxes.nextID(), Kind: wire.KindResubmit,
		Resubmit: &wire.Resubmit{Request: r.ID, Execution: x.Execution, Process: x.ProcessName, From: from},
	}}
	// The write is not canceled with the caller: a stored request is delivered.
	whole := context.WithoutCancel(ctx)
	if err := s.enqueueResubmission(whole, &r, m); err != nil {
		return "", err
	}
	line.add(m.ID)
	s.o.Metrics.Request()
	if err := s.auditResubmission(whole, p, x, from); err != nil {
		return "", err
	}
	return r.ID, s.withdrawIfRevoked(ctx, r.AtomID)
}

// auditResubmission adds the entry to the audit log.
func (s *Executions) auditResubmission(ctx context.Context, p Principal, x *ExecutionRecord, from string) error {
	c, err := s.begin(ctx)
	if err != nil {
		return err
	}
	defer c.end()
	detail := x.ProcessName + " on " + x.AtomName
	if x.EnvironmentID != "" {
		detail += " in " + s.environmentName(x.EnvironmentID)
	}
	if from == FromFailedStep {
		detail += ", from the failed step"
	}
	c.audit(p, "execution.resubmit", x.ID, detail)
	return s.commit(ctx, c)
}

// failedRecord returns the record of a failed execution.
func (s *Executions) failedRecord(ctx context.Context, p Principal, id string) (*ExecutionRecord, error) {
	f := RecordFilter{ID: id, Environments: p.Environments}
	if strings.HasPrefix(id, "executionrecord-") {
		f.ID, f.RequestID = "", id
	}
	found, _, err := s.store.Records(ctx, p.Account, f, Cursor{}, 1)
	if err != nil {
		return nil, unavailable(err)
	}
	if len(found) == 0 {
		return nil, notFound("execution record", id)
	}
	x := found[0]
	switch {
	case !x.Ended():
		return nil, conflict("the execution has not ended (status %s): resubmit it if it fails", x.Status)
	case x.Status != Failed:
		return nil, conflict("the execution ended with status %s, and only failed executions can be resubmitted: execute the process again", x.Status)
	case !x.HasRun() && x.OriginalID != "":
		return nil, conflict("this resubmission never ran: resubmit the execution %s", x.OriginalID)
	case !x.HasRun():
		return nil, conflict("the request never ran on its atom: execute the process again")
	}
	return x, nil
}

// HasRun reports whether the request became an execution on the atom.
func (r *ExecutionRecord) HasRun() bool {
	return !strings.HasPrefix(r.Execution, notRunPrefix) && !strings.HasPrefix(r.Execution, withdrawnPrefix)
}

// checkResubmitTarget checks that the atom of an execution still polls.
func (s *Executions) checkResubmitTarget(p Principal, action Action, x *ExecutionRecord) error {
	s.mu.RLock()
	defer s.mu.RUnlock()
	a, err := s.atomFor(p, action, x.AtomID)
	switch {
	case err != nil:
		return err
	case a.Revoked:
		return conflict("the atom %s was revoked: on its machine, run valence failed resubmit %s", a.Name, x.Execution)
	case a.Retired:
		return conflict("the atom %s was retired: on its machine, run valence failed resubmit %s", a.Name, x.Execution)
	}
	return nil
}

// enqueueResubmission stores a resubmission unless an earlier one may run or
// has run. The idempotency key makes concurrent calls store one.
func (s *Executions) enqueueResubmission(ctx context.Context, r *ExecutionRequest, m *Instruction) error {
	for n := range maxTries {
		r.IdempotencyKey = fmt.Sprintf("resubmit %s %d", r.Resubmits, n+1)
		first, err := s.store.Enqueue(ctx, r, m)
		if err != nil {
			return unavailable(err)
		}
		if first == r.ID {
			return nil
		}
		if err := s.checkEarlierResubmission(ctx, r, first); err != nil {
			return err
		}
	}
	return conflict("%d resubmissions of this execution were rejected: look at it on its atom's machine", maxTries)
}

// checkEarlierResubmission returns an error unless an earlier request for the
// same execution came to nothing.
func (s *Executions) checkEarlierResubmission(ctx context.Context, r *ExecutionRequest, id string) error {
	first, err := s.store.ExecutionRequest(ctx, r.Account, id)
	if err != nil {
		return unavailable(err)
	}
	if first == nil || first.Resubmits != r.Resubmits { // a client happened to use the same key
		return nil
	}
	found, _, err := s.store.Records(ctx, r.Account, RecordFilter{RequestID: id}, Cursor{}, 1)
	switch {
	case err != nil:
		return unavailable(err)
	case len(found) > 0 && found[0].HasRun():
		return conflict("the execution has already been resubmitted: valence cloud executions show %s", found[0].ID)
	case len(found) > 0: // it was rejected or withdrawn
	case first.Delivered.IsZero():
		return conflict("%s has already requested this, and the atom has not accepted it yet: valence cloud executions show %s", first.By, id)
	case r.Created.Sub(first.Delivered) < reportWithin:
		return conflict("%s has already requested this, and the atom has not reported the result yet: valence cloud executions show %s", first.By, id)
	}
	return nil
}
