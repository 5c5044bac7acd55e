package atom

import (
	"context"
	"errors"
	"time"

	"valence/internal/document"
	"valence/internal/fault"
)

// ExecuteOnce runs a process durably, whatever its trigger, for a request that
// may be made several times: of all calls with one request, one creates an
// execution, and the others are told which it is, as a duplicate; also after a
// restart, and where the process is not deployed any more. Requests are
// remembered for a week at least.
func (a *Atom) ExecuteOnce(ctx context.Context, request, name string, props *document.Object, doc *document.Document) (*Acknowledgement, error) {
	origin := "request:" + request
	if r, err := a.store.Origin(ctx, origin); err == nil {
		return a.acknowledge(&Acknowledgement{Process: name}, r), nil
	} else if !errors.Is(err, ErrUnknown) {
		return nil, err
	}
	return a.execute(ctx, origin, name, props, doc)
}

// acknowledge completes an acknowledgement with what the store says.
func (a *Atom) acknowledge(ack *Acknowledgement, r Receipt) *Acknowledgement {
	ack.Status, ack.ReceivedAt = ackAccepted, r.Received
	if r.Duplicate {
		ack.Status = ackDuplicate
	}
	ack.Execution = a.ExecutionID(r.Seq, r.Received)
	ack.Location = "/executions/" + ack.Execution
	return ack
}

// What started an execution, as Ended tells it.
const (
	ByListener     = "listener"
	BySchedule     = "schedule"
	BySubscription = "subscribe"
	ByHandoff      = "handoff"
	ByResubmission = "retry"
	ByRequest      = "manual"
)

// Ended tells how an execution ended.
type Ended struct {
	Execution string
	Process   string
	Kind      string // what started it
	Original  string // the execution that this one repeats; ""
	Status    Status
	Received  time.Time
	Started   time.Time
	Ended     time.Time
	Error     string   // "" without a failure
	In        *Traffic // the document that it was started with; nil: not known any more
	Out       *Traffic // what its calls have written, and its reply; nil: not known any more
}

// OnEnded names the function that is told of every execution that ends, after
// that is committed, or handed to the recorder for one that ran in memory. It
// is called by whoever ran the execution and must not block. It must be set
// before Run.
func (a *Atom) OnEnded(f func(Ended)) { a.onEnded = f }

func (a *Atom) tellEnded(e *execution, input *document.Document, o *Outcome, fail *fault.Failure) {
	if a.onEnded == nil && !a.audiences.heard() {
		return
	}
	x := Ended{Execution: e.id(), Process: e.plan.process.Name, Kind: e.meta.kind(e.request != nil), Original: e.meta.Original, Status: o.Status, Received: e.received, Started: o.Started, Ended: o.Ended}
	in, out := trafficOf(input), e.outbound()
	x.In, x.Out = &in, &out
	if fail != nil {
		x.Error = fail.Message
	}
	a.tell(x)
}

// tell tells all that want to know it of an end.
func (a *Atom) tell(x Ended) {
	a.audiences.tell(Happening{Event: HappenedEnded, Process: x.Process, Execution: x.Execution, Status: string(x.Status), Error: x.Error})
	if a.onEnded != nil {
		a.onEnded(x)
	}
}

// kind tells what started an execution; called says that a caller's request is
// there.
func (m *meta) kind(called bool) string {
	switch {
	case m.Original != "":
		return ByResubmission
	case m.Parent != "":
		return ByHandoff
	case m.By != "":
		return m.By
	case called || len(m.Request) > 0:
		return ByListener
	}
	return ByRequest
}
