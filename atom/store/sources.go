package store

import (
	"context"
	"errors"
	"fmt"
)

// ErrCursorMoved is returned if the cursor of a source is not the one that an
// arrival continues from.
var ErrCursorMoved = errors.New("the cursor of the source has changed")

// ErrKeyReused is returned if the dedupe key of an arrival belongs to a message
// that it does not repeat.
var ErrKeyReused = errors.New("the dedupe key belongs to another message")

// MaxMeta is the largest Message.Meta.
const MaxMeta = 64 << 10

// Cursor moves the position of a subscription in a source that is read in order.
type Cursor struct {
	Source   string // identifies the subscription and the stream
	From, To []byte // From must be the current one; nil: there is none yet
}

// Arrival is one message of a source and the position after it. AcceptAll sets
// Receipt and Err.
type Arrival struct {
	Message *Message // nil: the process dropped it, and only the cursor moves
	Cursor  *Cursor  // nil: the source has none
	// Outcome is how the execution ended that has run already, without effects;
	// nil: it is to be run. The message has no Seq, Due, Expires, Lane and Coalesce
	// then. A store may leave it to be run again: Receipt.Ended says so.
	Outcome *Outcome
	// Repeats reports whether the message repeats the first one of its dedupe
	// key, which has the holder. Nil means that every message with the key does.
	Repeats func(holder []byte) bool
	Receipt Receipt
	Err     error // nil: it is stored
}

// Conflict returns ErrKeyReused if a receipt says that the dedupe key of the
// message belongs to one that it does not repeat.
func (a *Arrival) Conflict(r Receipt) error {
	if r.Duplicate && len(r.Holder) > 0 && a.Repeats != nil && !a.Repeats(r.Holder) {
		return ErrKeyReused
	}
	return nil
}

// Check rejects an arrival whose Outcome cannot be stored.
func (a *Arrival) Check() error {
	o, m := a.Outcome, a.Message
	switch {
	case o == nil:
	case o.Status != Completed && o.Status != CompletedWithWarnings:
		return fmt.Errorf("an execution that is stored with its message cannot end as %s", o.Status)
	case m == nil || m.Seq != 0 || !m.Due.IsZero() || !m.Expires.IsZero() || m.Lane != nil || m.Coalesce != nil || len(m.Entries) > 0:
		return errors.New("an execution that is stored with its message must not wait for anything")
	}
	return nil
}

// Sources accepts the messages of subscriptions.
type Sources interface {
	// AcceptAll stores messages in one commit, in their order, with the cursors
	// after them, and returns when they are on disk. Arrival.Err is ErrLaneFull,
	// ErrCursorMoved or ErrKeyReused for those that are not stored; later arrivals
	// with the same source then fail too, and after ErrLaneFull without a source
	// those without one. A message that is stored with its Outcome is not
	// announced, and nothing else is to be done for it. After an error of AcceptAll none is known to be stored.
	AcceptAll(ctx context.Context, arrivals []*Arrival) error
	// Outcomes reports whether AcceptAll stores outcomes. After a stop that was
	// not clean it is cautious: a message that comes again may have caused it, and
	// should be stored before it runs.
	Outcomes() (stored, cautious bool)
	// Cursor returns the current position in a source; nil if there is none.
	Cursor(ctx context.Context, source string) ([]byte, error)
}

// Source returns the source of the arrival; "" without a cursor.
func (a *Arrival) Source() string {
	if a.Cursor == nil {
		return ""
	}
	return a.Cursor.Source
}
