package cloud

import (
	"context"
	"errors"
	"time"
)

// SharedStore is a store that several control planes use at once.
type SharedStore interface {
	Store
	WriteLock
	Bus
	Instances
	PeerHeartbeats
}

// WriteLock serializes the changes of objects among control planes. Each has a
// position, one higher than that of the change before.
type WriteLock interface {
	// Begin waits for the lock, a few seconds at most.
	Begin(ctx context.Context) (WriteTx, error)
	// Position returns the position of the newest change.
	Position(ctx context.Context) (int64, error)
	// ChangesSince calls each for the objects changed after a position, in the
	// order of their last change, and returns the newest position. The position
	// 0 selects all objects. An object without a body was deleted. It returns
	// ErrPositionExpired if the changes are no longer known.
	ChangesSince(ctx context.Context, after int64, each func(Object) error) (int64, error)
}

// ErrPositionExpired is returned when the changes after a position are no
// longer known, so everything must be reloaded.
var ErrPositionExpired = errors.New("the changes since this position are no longer known")

// WriteTx is a transaction that holds the write lock. Write commits and
// releases it. If the transaction took too long it has lost the lock, and Write
// fails.
type WriteTx interface {
	changeWriter
	// Position returns the position of the newest change; after Write, that of
	// this one.
	Position() int64
	// MessageID returns an id higher than all earlier ones.
	MessageID(ctx context.Context) (int64, error)
	// Undelivered returns the ids of an atom's unacknowledged instructions.
	Undelivered(ctx context.Context, atom string) ([]int64, error)
	// End releases the lock and discards what was not written. It may be called
	// after Write.
	End()
}

// Bus carries events between control planes. The store publishes changes,
// instructions, acknowledgements and records itself, in the transaction that makes
// them.
type Bus interface {
	// Subscribe calls each for every event, one at a time and in commit order,
	// until ctx ends, the connection is lost or each fails. The first event is
	// EventSubscribed: earlier events are lost.
	Subscribe(ctx context.Context, each func(Event) error) error
	// Publish sends an event to all control planes, including this one.
	Publish(ctx context.Context, e Event) error
	// PutLog stores the reply to a log request for a few minutes, until
	// TakeLog, and announces it.
	PutLog(ctx context.Context, question int64, text []byte) error
	TakeLog(ctx context.Context, question int64) ([]byte, error)
}

// Event is a notification between control planes.
type Event struct {
	Kind         string   `json:"w"`
	Plane        string   `json:"p,omitempty"` // sender
	Own          bool     `json:"-"`           // sent by this control plane
	Atom         string   `json:"a,omitempty"`
	Instructions []int64  `json:"m,omitempty"`
	Requests     []string `json:"r,omitempty"`
	Instance     string   `json:"i,omitempty"` // of the atom
	Number       int64    `json:"n,omitempty"`
}

// The kinds of events.
const (
	EventSubscribed   = "listening"    // the subscription is active
	EventTick         = "ticked"       // the connection is still alive; every few seconds
	EventChanged      = "changed"      // objects changed
	EventQueued       = "queued"       // Instructions were enqueued for Atom
	EventAcknowledged = "acknowledged" // Instructions were acknowledged or withdrawn
	EventRecorded     = "recorded"     // Requests have new records
	EventHeartbeats   = "heard"        // Plane stored batch Number of heartbeats
	EventLog          = "log"          // the reply to log request Number is stored
	EventWhoServes    = "who"          // asks who serves Instance of Atom; Number identifies the question
	EventServing      = "me"           // answers question Number: the instance is served
	EventEvicted      = "displaced"    // Atom is served only as Instance from now on
)

// Instances stores which instance of an atom is served. Of two atoms with one
// identity only one is served, whichever control planes they poll.
type Instances interface {
	// ServeInstance makes an instance the served one if there was none, or if it
	// was the one to replace. It returns the served instance, and writes nothing
	// if that does not change.
	ServeInstance(ctx context.Context, atom, instance, replaces string) (string, error)
}

// PeerHeartbeats exchanges heartbeats between control planes.
type PeerHeartbeats interface {
	// PutHeartbeats stores heartbeats as one batch and announces it.
	PutHeartbeats(ctx context.Context, all []PeerHeartbeat) error
	// ReadHeartbeats returns one batch of a control plane, or all heartbeats if
	// plane is empty.
	ReadHeartbeats(ctx context.Context, plane string, batch int64) ([]PeerHeartbeat, error)
}

// PeerHeartbeat is the last heartbeat of an atom.
type PeerHeartbeat struct {
	Atom      string
	Age       time.Duration // since the heartbeat
	Applied   int64
	Heartbeat []byte // JSON; nil in PutHeartbeats: unchanged
}

// Presence reports which instances of atoms are served here. Package cloud/gate
// implements it.
type Presence interface {
	// Serves reports whether an instance of an atom is served here and alive.
	Serves(atom, instance string) bool
	// Evict ends the service of every other instance of an atom.
	Evict(atom, instance string)
}
