package atom

import (
	"context"
	"encoding/json"
	"errors"
	"time"

	"valence/atom/run"
	"valence/atom/store"
	"valence/internal/document"
	"valence/internal/share"
)

// The statuses of an Acknowledgement.
const (
	ackAccepted  = "accepted"
	ackDuplicate = "duplicate"
	ackFiltered  = run.Filtered
	ackEcho      = run.Echo
)

// open returns nil if the trigger of a process accepts messages, otherwise why not.
func (a *Atom) open(d *DeployedProcess) error {
	if err := a.phase.ready(); err != nil {
		return err
	}
	if d.Paused() {
		return ErrPaused
	}
	return nil
}

// busy reports whether the backlog of a process has reached this member's share
// of its limit.
func (a *Atom) busy(d *DeployedProcess) bool {
	return a.engine.Queues.Queue(d.Process.Name).Full(share.Of(d.Process.Delivery.Backlog, a.Members()))
}

// Members returns the number of members of the group, of which this atom is
// one; 1 without a group.
func (a *Atom) Members() int { return a.store.Members() }

// Accept accepts a message for a fire-and-forget process. When it returns
// without an error, the message is on disk. It fails with a *fault.Failure if
// the message is invalid for the process; see IsUnavailable for other errors.
func (a *Atom) Accept(ctx context.Context, d *DeployedProcess, in *Message) (*Acknowledgement, error) {
	if err := a.open(d); err != nil {
		return nil, err
	}
	ack, err := a.acceptOnce(ctx, d, in, "")
	if err != nil {
		return nil, err
	}
	if ack.Execution != "" {
		ack.ReplyToken = a.ids.ReplyToken(ack.Execution)
	}
	if l := d.Process.Listen; l != nil && l.Ack != nil {
		if ack.Answer, err = a.engine.Answer(ctx, d.deployed(), in, l.Ack); err != nil {
			a.engine.Log.Error("cannot compute an acknowledgement; sending the receipt", "process", d.Process.Name, "error", err)
		}
	}
	return ack, nil
}

// acceptOnce admits a message and stores it. If the origin was seen before, it
// stores nothing.
func (a *Atom) acceptOnce(ctx context.Context, d *DeployedProcess, in *Message, origin string) (*Acknowledgement, error) {
	if a.busy(d) {
		return nil, ErrBusy
	}
	m, dropped, err := a.engine.Admit(ctx, d.deployed(), in)
	if err != nil {
		return nil, err
	}
	ack := &Acknowledgement{Process: d.Process.Name, Status: dropped, ReceivedAt: in.Received, SHA256: in.SHA256, CorrelationID: in.CorrelationID}
	if dropped != "" {
		return ack, nil
	}
	m.Origin = origin
	a.engine.Queues.AddSenders(1)
	r, err := a.store.Accept(ctx, m)
	a.engine.Queues.AddSenders(-1)
	if err != nil {
		return nil, err
	}
	if r.Duplicate && m.Dedupe != nil && origin == "" {
		others, err := run.CheckRepeat(r.Holder, m.Dedupe, d.Process.Delivery.Dedupe.Shared)
		if err != nil {
			return nil, err
		}
		if others {
			ack.Status = ackDuplicate
			return ack, nil
		}
	}
	return a.acknowledge(ack, r), nil
}

// acknowledge completes an acknowledgement with the receipt of the store.
func (a *Atom) acknowledge(ack *Acknowledgement, r store.Receipt) *Acknowledgement {
	ack.Status, ack.ReceivedAt = ackAccepted, r.Received
	if r.Duplicate {
		ack.Status = ackDuplicate
	}
	ack.Execution = a.ExecutionID(r.Seq, r.Received)
	ack.Location = "/executions/" + ack.Execution
	return ack
}

// AcceptDeferred accepts a message whose reply is collected later
// (in.Deferred). It is on disk when AcceptDeferred returns an acknowledgement.
// Otherwise it returns a reply: the stored one for a repeat under `dedupe`, or
// an empty one for a message that was dropped.
func (a *Atom) AcceptDeferred(ctx context.Context, d *DeployedProcess, in *Message) (*Acknowledgement, *Reply, error) {
	if err := a.open(d); err != nil {
		return nil, nil, err
	}
	if in.Deferred.Callback != "" {
		if err := a.deployments.checkCallback(ctx, d, in.Deferred.Callback); err != nil {
			return nil, nil, err
		}
	}
	ack, err := a.acceptOnce(ctx, d, in, "")
	switch {
	case err != nil:
		return nil, nil, err
	case ack.Status == ackFiltered || ack.Status == ackEcho:
		return nil, &Reply{None: true}, nil
	case ack.Status == ackDuplicate:
		reply, err := a.engine.Repeat(ctx, d.deployed(), in)
		return nil, reply, err
	}
	ack.ReplyToken = a.ids.ReplyToken(ack.Execution)
	return ack, nil, nil
}

// Request runs a request/reply process in memory and returns its reply; see
// run.Engine.Request.
func (a *Atom) Request(ctx context.Context, d *DeployedProcess, in *Message) (*Reply, error) {
	if err := a.open(d); err != nil {
		return nil, err
	}
	return a.engine.Request(ctx, d.deployed(), in)
}

// KnowsCallback reports whether this atom made a callback token.
func (a *Atom) KnowsCallback(token string) bool {
	_, _, _, ok := a.ids.ParseCallback(token)
	return ok
}

// DeliverCallback ends the wait of a callback token. repeated reports that an
// earlier callback ended it; this one changed nothing. It fails with
// store.ErrUnknown for a token that this atom did not make, and with
// store.ErrEnded if the wait is over; see IsUnavailable for other errors.
func (a *Atom) DeliverCallback(ctx context.Context, token string, doc *document.Document) (repeated bool, err error) {
	seq, received, wait, ok := a.ids.ParseCallback(token)
	if !ok {
		return false, store.ErrUnknown
	}
	if err := a.phase.ready(); err != nil {
		return false, err
	}
	signal := func() (store.SignalResult, error) {
		wake, err := run.WakeEntry(doc, run.Now())
		if err != nil {
			return "", err
		}
		return a.store.Signal(ctx, &store.Signal{Seq: seq, WaitID: wait, Entry: wake})
	}
	result, err := signal()
	for range maxResubmissions {
		if err != nil || result != store.SignalLate {
			break
		}
		var ok bool
		if seq, received, ok = a.currentAttempt(ctx, seq, received); !ok {
			break
		}
		result, err = signal()
	}
	switch {
	case err != nil:
		return false, err
	case result == store.SignalLate:
		return false, store.ErrEnded
	}
	return result == store.SignalRepeated, nil
}

// maxResubmissions bounds how often a callback is passed on.
const maxResubmissions = 100

// currentAttempt returns the execution that runs a failed one again with the
// same message. The other system knows only the address of the failed one.
func (s *views) currentAttempt(ctx context.Context, seq int64, received time.Time) (int64, time.Time, bool) {
	x, err := s.store.Get(ctx, seq, received)
	if err != nil || x.Outcome == nil || x.Outcome.Resolved == nil {
		return 0, time.Time{}, false
	}
	var v ResolutionView
	if json.Unmarshal(x.Outcome.Resolved, &v) != nil || v.How != run.ResolvedAgain {
		return 0, time.Time{}, false
	}
	next, err := s.get(ctx, v.Execution)
	if err != nil {
		return 0, time.Time{}, false
	}
	m, err := run.ParseMeta(next.Meta)
	if err != nil || m.Root == "" { // another message
		return 0, time.Time{}, false
	}
	return next.Seq, next.Received, true
}

// IsUnavailable reports whether err means that a message was not accepted and
// may be sent again: because of the store, the backlog, a pause or a stop.
func IsUnavailable(err error) bool {
	if run.IsUnavailable(err) {
		return true
	}
	for _, e := range []error{ErrBusy, ErrPaused, ErrStarting} {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}
