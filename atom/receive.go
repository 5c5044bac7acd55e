package atom

import (
	"context"
	"crypto/rand"
	"errors"

	"valence/atom/run"
	"valence/atom/store"
	"valence/atom/trigger"
	"valence/connectors"
	"valence/internal/document"
	"valence/internal/fault"
	"valence/internal/traceparent"
)

// maxDeliveries is how often a source may deliver a message that the process
// fails to check before the message counts as refused.
const maxDeliveries = 10

// errPropsTooLarge refuses a message whose metadata does not fit a record.
var errPropsTooLarge = fault.Failf(fault.CodeTooLarge, "the properties of the message are larger than 64 KiB")

// Receive implements trigger.Subscribed.
func (d triggered) Receive(ctx context.Context, ds []*trigger.Delivery) {
	err := d.atom.open(d.DeployedProcess)
	if err == nil && d.atom.busy(d.DeployedProcess) {
		err = ErrBusy
	}
	if err != nil {
		redeliver(ds, err)
		return
	}
	r := reception{triggered: d, stopped: map[string]error{}, immediate: map[*store.Arrival]*run.Immediate{}}
	for i, c := range d.candidates(ctx, ds) {
		r.add(ds[i], c)
	}
	for len(r.arrivals) > 0 {
		d.atom.engine.Queues.AddSenders(1)
		err = d.atom.store.AcceptAll(ctx, r.arrivals)
		d.atom.engine.Queues.AddSenders(-1)
		if err != nil {
			redeliver(r.deliveries, err)
			return
		}
		r.settle()
	}
}

func redeliver(ds []*trigger.Delivery, err error) {
	for _, m := range ds {
		m.Redeliver(err)
	}
}

// settle sets the results of a commit. It leaves the arrivals that need another
// one: messages whose dedupe key belongs to another message, which are to be
// stored as refused, and those after them in their source.
func (r *reception) settle() {
	deliveries, arrivals := r.deliveries, r.arrivals
	r.deliveries, r.arrivals = nil, nil
	for i, m := range deliveries {
		switch a := arrivals[i]; {
		case a.Conflict(a.Receipt) != nil:
			if r.refuseRepeat(m, a) {
				r.deliveries, r.arrivals = append(r.deliveries, m), append(r.arrivals, a)
			}
		case errors.Is(a.Err, store.ErrKeyReused):
			r.deliveries, r.arrivals = append(r.deliveries, m), append(r.arrivals, a)
		case a.Err != nil:
			m.Redeliver(a.Err)
		case a.Receipt.Duplicate:
			m.Result, m.Err = trigger.Duplicate, nil
		case a.Receipt.Ended:
			r.immediate[a].Stored(a.Receipt.Seq)
		}
	}
}

// refuseRepeat refuses a message whose dedupe key belongs to one with another
// body. It reports whether the message is to be stored as refused.
func (r *reception) refuseRepeat(m *trigger.Delivery, a *store.Arrival) bool {
	_, err := run.CheckRepeat(a.Receipt.Holder, a.Message.Dedupe, r.Process.Delivery.Dedupe.Shared)
	if m.DeadLetter != "" {
		m.Result, m.Err = trigger.DeadLettered, err
		return false
	}
	kept := r.atom.engine.Refuse(r.deployed(), r.message(m.Message), fault.AsFailure(err))
	kept.Origin, kept.Remember = a.Message.Origin, a.Message.Remember
	a.Message, a.Outcome, a.Repeats = kept, nil, nil
	m.Result, m.Err = trigger.Refused, err
	return true
}

// Cursor implements trigger.Subscribed.
func (d triggered) Cursor(ctx context.Context, stream string) ([]byte, error) {
	return d.atom.store.Cursor(ctx, d.source(stream))
}

// source identifies a stream of the process' subscription.
func (d triggered) source(stream string) string {
	return run.DeriveText("source", d.Process.Name, d.Process.Subscribe.Connection, stream)
}

// origin returns the origin of a message among all messages of the atom. Related
// origins stay related, so that the store can write them next to each other.
func (d triggered) origin(message string) string {
	return run.DeriveText("origins", d.Process.Name, d.Process.Subscribe.Connection)[:16] + message
}

// reception checks the messages of one commit.
type reception struct {
	triggered
	deliveries []*trigger.Delivery // of arrivals
	arrivals   []*store.Arrival
	stopped    map[string]error // by stream: why its next messages must wait
	immediate  map[*store.Arrival]*run.Immediate
}

// add adds a message to the commit, or sets its result.
func (r *reception) add(m *trigger.Delivery, c candidate) {
	if m.Result == "" {
		if err := r.stopped[m.Stream]; err != nil {
			m.Redeliver(err)
			return
		}
		r.check(m, c)
	}
	if m.Result == trigger.Redelivered {
		r.stopped[m.Stream] = m.Err
	}
}

func (r *reception) check(m *trigger.Delivery, c candidate) {
	err := c.err
	a := &store.Arrival{Message: c.accepted}
	m.Result = trigger.Accepted
	switch {
	case c.unidentified:
		m.Redeliver(err)
		return
	case err == nil && c.dropped != "":
		m.Result = trigger.Dropped
	case err == nil && c.immediate != nil:
		a.Outcome = c.immediate.Outcome()
		r.immediate[a] = c.immediate
	case err == nil:
	case !connectors.Refused(err) && (m.Delivery <= maxDeliveries || IsUnavailable(err)):
		m.Redeliver(err)
		return
	case m.DeadLetter != "":
		m.Result, m.Err = trigger.DeadLettered, refusal(err)
		return
	default:
		m.Result, m.Err = trigger.Refused, err
		a.Message = r.atom.engine.Refuse(r.deployed(), c.in, fault.AsFailure(err))
	}
	if a.Message != nil && m.Origin != "" && m.Remember > 0 {
		a.Message.Origin = r.origin(m.Origin)
		a.Message.Remember = r.atom.engine.Clock.Now().Add(m.Remember)
	}
	if a.Message != nil && a.Message.Dedupe != nil {
		dedupe := a.Message.Dedupe
		a.Repeats = func(holder []byte) bool {
			_, err := run.CheckRepeat(holder, dedupe, r.Process.Delivery.Dedupe.Shared)
			return err == nil
		}
	}
	if m.Cursor != nil {
		a.Cursor = &store.Cursor{Source: r.source(m.Stream), From: m.From, To: m.Cursor}
	} else if a.Message == nil {
		return
	}
	r.deliveries, r.arrivals = append(r.deliveries, m), append(r.arrivals, a)
}

// admit applies the checks of the process to a message.
func (d triggered) admit(ctx context.Context, m *connectors.Message, in *Message) (*store.Message, string, error) {
	if m.Invalid != nil {
		f := *fault.AsFailure(m.Invalid)
		f.Retryable = false
		return nil, "", &f
	}
	return d.atom.engine.Admit(ctx, d.deployed(), in)
}

// message returns a message of the subscription as the engine admits it.
func (d triggered) message(m *connectors.Message) *Message {
	in := &Message{Doc: m.Doc, Received: run.Now(), Props: m.Props, CorrelationID: m.CorrelationID, Traceparent: traceparent.OrNew(m.Traceparent),
		ReplyTo: m.ReplyTo, By: BySubscription}
	if in.Doc == nil {
		in.Doc = document.Empty
	}
	if in.CorrelationID == "" {
		in.CorrelationID = rand.Text()
	}
	in.SHA256 = run.HashBody(in.Doc)
	return in
}

// refusal returns err as an error that connectors.Refused recognizes.
func refusal(err error) error {
	if connectors.Refused(err) {
		return err
	}
	f := *fault.AsFailure(err)
	f.Retryable = false
	return &f
}

// checkIdentity fails for a message that a faulty connector made.
func checkIdentity(m *connectors.Message) error {
	switch {
	case m.Origin != "" && m.Remember <= 0 && m.Cursor == nil:
		return errors.New("the connector sets the origin of a message, but not how long to remember it")
	case m.Cursor != nil && len(m.Cursor) == 0:
		return errors.New("the connector sets an empty cursor")
	case m.Cursor != nil && m.DeadLetter != "":
		return errors.New("the connector sets a cursor and a dead-letter target")
	}
	return nil
}
