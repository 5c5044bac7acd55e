package cloud

import (
	"context"
	"fmt"
	"strings"
	"time"

	"valence/internal/wire"
)

// Where a resubmission begins, as the atom names it.
const (
	FromStart      = "start"
	FromFailedStep = "failed_step"
)

// How often one execution may be resubmitted in vain, and how long after an
// atom has taken a request it surely tells what came of it: an older one passes
// over it.
const (
	maxTries   = 100
	passedOver = time.Minute
)

// ResubmitExecution asks the atom of a failed execution, named by the id of its
// record or of its request, to run it again from the start ("") or from the
// failed step. It gives the request: what came of it is followed as of any
// other, and its record tells the failed one as its original. When it returns,
// the request is on disk. ErrConflict tells why an execution cannot be
// resubmitted; that the atom cannot is told by the record.
func (s *Service) ResubmitExecution(ctx context.Context, p Principal, id, from string) (request string, err error) {
	const action = "execution.resubmit"
	if err := p.Allow(action); err != nil {
		return "", err
	}
	if from != "" && from != FromStart && from != FromFailedStep {
		return "", invalid("from", "a resubmission begins at start or at failed_step")
	}
	x, err := s.resubmittable(ctx, p, id)
	if err != nil {
		return "", err
	}
	if err := s.resubmitter(p, action, x); err != nil {
		return "", err
	}
	line := s.lines.of(x.AtomID)
	if line.length() >= maxWaiting {
		return "", busy()
	}
	r := ExecutionRequest{
		ID: "executionrecord-" + newID(), Account: p.Account, AtomID: x.AtomID, ProcessID: x.ProcessID, ProcessName: x.ProcessName,
		By: p.User, Resubmits: x.ID, Created: time.Now().UTC(),
	}
	m := &Message{Account: p.Account, AtomID: r.AtomID, Request: r.ID, Created: r.Created, Message: wire.Message{
		ID: s.lines.next(), Kind: wire.KindResubmit,
		Resubmit: &wire.Resubmit{Request: r.ID, Execution: x.Execution, Process: x.ProcessName, From: from},
	}}
	// Whether the caller waits or not: what is stored is to be handed out.
	whole := context.WithoutCancel(ctx)
	if err := s.enqueueOnce(whole, &r, m); err != nil {
		return "", err
	}
	line.add(m.ID)
	s.o.Metrics.Request()
	if err := s.noteResubmission(whole, p, x, from); err != nil {
		return "", err
	}
	return r.ID, s.takeBack(ctx, r.AtomID)
}

// noteResubmission writes the line of the audit log.
func (s *Service) noteResubmission(ctx context.Context, p Principal, x *ExecutionRecord, from string) error {
	c, err := s.begin(ctx)
	if err != nil {
		return err
	}
	defer c.end()
	detail := x.ProcessName + " on " + x.AtomName
	if from == FromFailedStep {
		detail += ", from the failed step"
	}
	c.audit(p, "execution.resubmit", x.ID, detail)
	return s.commit(ctx, c)
}

// resubmittable finds the record of an execution that failed.
func (s *Service) resubmittable(ctx context.Context, p Principal, id string) (*ExecutionRecord, error) {
	f := RecordFilter{ID: id, Environments: p.Environments}
	if strings.HasPrefix(id, "executionrecord-") {
		f.ID, f.RequestID = "", id
	}
	found, _, err := s.store.Records(ctx, p.Account, f, Place{}, 1)
	if err != nil {
		return nil, unavailable(err)
	}
	if len(found) == 0 {
		return nil, missing("execution record", id)
	}
	x := found[0]
	switch {
	case !x.Ended():
		return nil, conflict("the execution has not ended, it is %s: resubmit it if it fails", x.Status)
	case x.Status != Failed:
		return nil, conflict("the execution ended as %s, and only what failed can be resubmitted: execute the process again", x.Status)
	case !x.HasRun() && x.OriginalID != "":
		return nil, conflict("this resubmission was not made, so it did not fail: resubmit the execution %s", x.OriginalID)
	case !x.HasRun():
		return nil, conflict("it never ran on its atom: execute the process again")
	}
	return x, nil
}

// HasRun reports whether there is an execution on the atom; a record may also
// tell that a request did not become one.
func (r *ExecutionRecord) HasRun() bool {
	return !strings.HasPrefix(r.Execution, neverRan) && !strings.HasPrefix(r.Execution, withdrawn)
}

// resubmitter makes sure that the atom of an execution can be asked.
func (s *Service) resubmitter(p Principal, action Action, x *ExecutionRecord) error {
	s.mu.RLock()
	defer s.mu.RUnlock()
	a, err := s.atomFor(p, action, x.AtomID)
	switch {
	case err != nil:
		return err
	case a.Revoked:
		return conflict("the atom %s was revoked and is not asked for anything any more: on its machine, valence failed resubmit %s", a.Name, x.Execution)
	case a.Retired:
		return conflict("the atom %s was retired and does not ask any more: on its machine, valence failed resubmit %s", a.Name, x.Execution)
	}
	return nil
}

// enqueueOnce stores a resubmission, unless there is one already that may run,
// or has run. Its key is what makes it one where two ask at the same time.
func (s *Service) enqueueOnce(ctx context.Context, r *ExecutionRequest, m *Message) error {
	for n := range maxTries {
		r.IdempotencyKey = fmt.Sprintf("resubmit %s %d", r.Resubmits, n+1)
		first, err := s.store.Enqueue(ctx, r, m)
		if err != nil {
			return unavailable(err)
		}
		if first == r.ID {
			return nil
		}
		if err := s.inVain(ctx, r, first); err != nil {
			return err
		}
	}
	return conflict("it was resubmitted %d times in vain: look at it on its atom's machine", maxTries)
}

// inVain gives an error unless an earlier request for the same came to nothing.
func (s *Service) inVain(ctx context.Context, r *ExecutionRequest, id string) error {
	first, err := s.store.Request(ctx, r.Account, id)
	if err != nil {
		return unavailable(err)
	}
	if first == nil || first.Resubmits != r.Resubmits { // somebody's own key, by chance
		return nil
	}
	found, _, err := s.store.Records(ctx, r.Account, RecordFilter{RequestID: id}, Place{}, 1)
	switch {
	case err != nil:
		return unavailable(err)
	case len(found) > 0 && found[0].HasRun():
		return conflict("it was resubmitted already: valence cloud executions show %s", found[0].ID)
	case len(found) > 0: // it was rejected, or taken back
	case first.Delivered.IsZero():
		return conflict("%s has asked for that already, and its atom has not taken it yet: valence cloud executions show %s", first.By, id)
	case r.Created.Sub(first.Delivered) < passedOver:
		return conflict("%s has asked for that already, and its atom has not told yet what came of it: valence cloud executions show %s", first.By, id)
	}
	return nil
}
