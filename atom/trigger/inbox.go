package trigger

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"valence/connectors"
)

// Result is the fate of a delivered message.
type Result string

// Results of a delivery.
const (
	Accepted     Result = "accepted"
	Duplicate    Result = "duplicate"
	Dropped      Result = "dropped"       // by the process' filter or echo guard
	Refused      Result = "refused"       // and kept as a failed execution
	DeadLettered Result = "dead_lettered" // refused, and left to the source
	Redelivered  Result = "redelivered"   // not accepted; the source delivers it again
)

// Results are all results of a delivery.
var Results = []Result{Accepted, Duplicate, Dropped, Refused, DeadLettered, Redelivered}

// Delivery is one message of a subscription and its fate.
type Delivery struct {
	*connectors.Message
	From []byte // the cursor before the message, if it has one
	// Early is set for a message that may have been delivered before an unclean
	// stop of the atom, which it may have caused. It must be stored before it runs.
	Early  bool
	Result Result
	// Err is the answer to the listener, see connectors.Inbox. With
	// DeadLettered and Redelivered it is not nil; with Refused it is the reason
	// for the log.
	Err error
}

// answer returns the error for the listener.
func (d *Delivery) answer() error {
	if d.Result == DeadLettered || d.Result == Redelivered {
		return d.Err
	}
	return nil
}

// Redeliver leaves the message to the source.
func (d *Delivery) Redeliver(err error) { d.Result, d.Err = Redelivered, err }

// maxEarly is how many messages of each stream of a subscription that starts are
// Early: more than any source delivers before the first of them is acknowledged,
// such as 10,000 records of a topic.
const maxEarly = 16_384

// errCursorUnread answers a message with a cursor before Inbox.Cursor was called.
var errCursorUnread = errors.New("the position of the stream is not known: a delivery has failed, or its cursor was not read")

// inbox is the connectors.Inbox of one run of a subscription.
type inbox struct {
	subscription *subscription
	process      Subscribed

	started struct {
		sync.Mutex
		received map[string]int // messages, by stream, up to maxEarly
	}

	mu      sync.Mutex        // held while messages with a cursor are delivered
	cursors map[string][]byte // known positions, by stream
}

var _ connectors.Inbox = (*inbox)(nil)

// Cursor implements connectors.Inbox.
func (b *inbox) Cursor(ctx context.Context, stream string) ([]byte, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	cursor, err := b.process.Cursor(ctx, stream)
	if err != nil {
		delete(b.cursors, stream)
		return nil, fmt.Errorf("read the cursor: %w", err)
	}
	b.cursors[stream] = cursor
	return cursor, nil
}

// Deliver implements connectors.Inbox.
func (b *inbox) Deliver(ctx context.Context, m *connectors.Message) error {
	return b.DeliverBatch(ctx, []*connectors.Message{m})[0]
}

// DeliverBatch implements connectors.Inbox.
func (b *inbox) DeliverBatch(ctx context.Context, ms []*connectors.Message) []error {
	ds := make([]*Delivery, len(ms))
	inOrder := false
	for i, m := range ms {
		ds[i] = &Delivery{Message: m, Early: b.isEarly(m)}
		inOrder = inOrder || m.Cursor != nil
	}
	if inOrder {
		b.mu.Lock()
		defer b.mu.Unlock()
		b.continueFrom(ds)
	}
	b.process.Receive(context.WithoutCancel(ctx), ds)
	errs := make([]error, len(ds))
	for i, d := range ds {
		errs[i] = d.answer()
		if d.Cursor != nil {
			b.moved(d)
		}
	}
	b.subscription.delivered(ds)
	return errs
}

// isEarly counts a message, and reports whether it is Early.
func (b *inbox) isEarly(m *connectors.Message) bool {
	b.started.Lock()
	defer b.started.Unlock()
	n := b.started.received[m.Stream]
	if n < maxEarly {
		if b.started.received == nil {
			b.started.received = map[string]int{}
		}
		b.started.received[m.Stream] = n + 1
	}
	return m.Delivery > 1 || n < maxEarly
}

// continueFrom sets the cursors that the messages continue from.
func (b *inbox) continueFrom(ds []*Delivery) {
	last := map[string][]byte{}
	for _, d := range ds {
		if d.Cursor == nil {
			continue
		}
		from, known := last[d.Stream]
		if !known {
			from, known = b.cursors[d.Stream]
		}
		if !known {
			d.Redeliver(errCursorUnread)
			continue
		}
		d.From, last[d.Stream] = from, d.Cursor
	}
}

// moved remembers the position after a message. A failure makes the position
// unknown, because its commit may have happened.
func (b *inbox) moved(d *Delivery) {
	if d.answer() != nil {
		delete(b.cursors, d.Stream)
	} else if _, known := b.cursors[d.Stream]; known {
		b.cursors[d.Stream] = d.Cursor
	}
}
