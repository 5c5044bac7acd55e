package connectors

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"valence/internal/document"
	"valence/internal/fault"
	"valence/internal/spec"
)

// Subscription declares the messages that a connector's connections can listen
// for: `subscribe: { connection: NAME, … }`.
type Subscription struct {
	Doc    string
	Sample string       // a typical subscription in YAML
	With   []spec.Field // the keys besides `connection:`, bound to the value of NewWith
	// NewWith returns a pointer to the value that With decodes into.
	NewWith func() any
	// Check returns the problems that no single field can find. Values may
	// still be expressions. Check may be nil.
	Check func(with any) []string
	// AtMostOnce reports whether messages of a subscription with these settings
	// may be lost. Values may still be expressions. It may be nil: none are.
	AtMostOnce func(with any) bool
	// Exclusive reports whether two atoms that listen with these settings would
	// receive the same messages. In a group of atoms one of them listens. It may
	// be nil: the source shares its messages among all.
	Exclusive func(with any) bool
	// Props describes the contents of a message's props, for the reference.
	Props string
	// Replies says that the connections are Repliers, so that the process may
	// `reply`.
	Replies bool
}

// Listener is a Connection whose connector has a Subscription.
type Listener interface {
	// Listen delivers messages to host until ctx ends, and then returns nil. If
	// it cannot continue it returns the reason and is called again after a
	// pause. It starts no delivery after ctx has ended and returns only after
	// the last delivery. It calls host.Up whenever it has reached the source:
	// once after it connected, or after each poll that worked. Several
	// subscriptions may listen at once.
	Listen(ctx context.Context, with any, host *Host) error
}

// Host is the runtime as one subscription sees it. Its methods are safe for
// concurrent use.
type Host struct {
	Log *slog.Logger // names the process and the connection
	Inbox
	Status
}

// Inbox accepts the messages of a subscription.
type Inbox interface {
	// Deliver hands a message to the runtime. It returns nil once the message
	// is on disk, was accepted before, is not wanted, or was refused and kept
	// as a failed execution; the listener then acknowledges it at once. After
	// an error the message still belongs to the source. If Refused reports
	// true, it goes to the message's DeadLetter and must not be delivered
	// again; otherwise it is redelivered later. The end of ctx does not abandon
	// a commit that has begun.
	Deliver(ctx context.Context, m *Message) error
	// DeliverBatch delivers messages in one commit, in their order, and returns
	// one error for each, as Deliver does. After the first message of a stream
	// that must be redelivered, no later message of the stream is accepted.
	DeliverBatch(ctx context.Context, ms []*Message) []error
	// Cursor returns the Cursor of the last accepted message of a stream, from
	// which to continue; nil if there is none. Listen must call it before it
	// delivers the first message with a Cursor, and again after a delivery
	// failed, because the message may have been accepted all the same.
	Cursor(ctx context.Context, stream string) ([]byte, error)
}

// Status reports the state of a subscription to operators.
type Status interface {
	// Up reports that the source has been reached.
	Up()
	// Down reports that the source cannot be reached, while Listen goes on
	// trying. An error that Listen returns needs no Down.
	Down(err error)
	// Warn logs and shows something that operators must know although the
	// subscription continues, such as messages that the source has lost. The
	// last warning is shown until the atom stops.
	Warn(text string)
	// Lag reports how many messages wait at the source.
	Lag(messages int64)
}

// Message is one message of a source.
type Message struct {
	Doc *document.Document
	// Props is the message's `props` in the process; nil if it has none.
	Props *document.Object
	// Invalid is why Doc is not in the format that it should have; the message
	// is then refused. Doc holds the content as it was received.
	Invalid error

	// Origin identifies the message among all messages the source ever
	// delivers. Within Remember, a message with the same origin is not run
	// again. It is empty if the source has no identifiers or a cursor.
	Origin string
	// Remember is how long a redelivery of the message is possible. Each
	// remembered message occupies a row in the store, so a shorter time is
	// cheaper. It is 0 if the source has a cursor, or no identifiers.
	Remember time.Duration
	// Cursor is the position after this message in a source that is read in
	// order. It is committed with the message and returned by Inbox.Cursor,
	// also after a crash, so that no message is run twice. Messages of a stream
	// are delivered one after the other or in a batch.
	Cursor []byte
	// Stream is the part of the source that Cursor belongs to, such as a topic
	// and partition. A stream never has two meanings: a mailbox that was made
	// anew is another stream.
	Stream string

	// ReplyTo is the address for a `reply`, in the form that Replier reads; empty if
	// the sender expects no reply.
	ReplyTo       string
	CorrelationID string // may be empty
	Traceparent   string // W3C trace context; may be empty or invalid
	// Time is when the source received the message; zero if it is not known.
	Time time.Time
	// Delivery counts the deliveries of this message, starting at 1; 0 if the
	// source does not count them.
	Delivery int
	// DeadLetter describes the place to which the listener moves the message if it is
	// refused, such as `queue orders-dead`. If it is empty the runtime stores
	// refused messages as failed executions. It must be empty with a Cursor.
	DeadLetter string
}

// Refused reports whether err, returned by Deliver, means that the process
// will never accept the message.
func Refused(err error) bool {
	var f *fault.Failure
	return errors.As(err, &f) && !f.Retryable
}
