package connectors

import (
	"context"
	"errors"

	"valence/internal/document"
	"valence/internal/fault"
	"valence/internal/spec"
)

// Subscription is what a connector's connections can listen to:
// `subscribe: { connection: NAME, … }`.
type Subscription struct {
	Doc    string
	Sample string       // as an author would write it
	With   []spec.Field // the keys beside `connection:`; bound to what NewWith makes
	// NewWith makes the value that With decodes into.
	NewWith func() any
	// Check finds what single fields cannot. Values may still hold
	// expressions. It may be nil.
	Check func(with any) []string
	// Props says what a message's props hold, for the reference.
	Props string
}

// Listener is a Connection whose connector has a Subscription.
type Listener interface {
	// Listen delivers messages until ctx ends, then gives nil, or until it
	// cannot go on, then it gives why: it is called again after a while. It
	// takes no new message once ctx has ended, and does not return while one
	// is being delivered. Several subscriptions may listen at once.
	Listen(ctx context.Context, with any, deliver Deliver) error
}

// Deliver takes a message on. It returns nil once the message is on disk, was
// there already, or is not wanted: only then, and at once, the source is told
// that it is done. After an error the message is still the source's: never to
// come again where Refused says so (it goes where such messages go), and to be
// delivered again later otherwise. It may be called from several goroutines.
type Deliver func(ctx context.Context, m *Message) error

// Message is one message of a source.
type Message struct {
	Doc *document.Document
	// Props is what the process reads of the message as `props`; nil: nothing.
	Props *document.Object
	// Origin names the message among all that the source will ever deliver:
	// one that is delivered again with it, within a week, is not run again.
	// "" where the source cannot tell.
	Origin        string
	CorrelationID string // "" where the source has none
}

// Refused reports whether an error of Deliver means that the message will
// never be taken: it is not what the process asks for.
func Refused(err error) bool {
	var f *fault.Failure
	return errors.As(err, &f) && !f.Retryable
}
