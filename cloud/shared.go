package cloud

import (
	"context"
	"errors"
	"time"
)

// Shared is a store that several control planes use at once.
type Shared interface {
	Store
	Turns
	Talk
	Runs
	Beats
}

// Turns has control planes change what is configured one after the other. A
// change of objects has a position, one higher than that of the change before.
type Turns interface {
	// Begin waits for the turn, a few seconds at most.
	Begin(ctx context.Context) (Turn, error)
	// Position gives that of the newest change.
	Position(ctx context.Context) (int64, error)
	// Since calls each for the objects that were changed after a position, in
	// the order of their last change, and gives the position of the newest. After
	// 0 these are all objects. An object without a body was deleted. It fails
	// with ErrBehind where that is too long ago.
	Since(ctx context.Context, after int64, each func(Object) error) (int64, error)
}

// ErrBehind says that what was changed after a position is not known any more:
// everything has to be read.
var ErrBehind = errors.New("what was changed since is not known any more")

// Turn is the turn to change what is configured, which one control plane has
// at a time. Write ends it; a turn that took too long has ended, and Write
// fails.
type Turn interface {
	sink
	// Position gives that of the newest change: after Write, this one's.
	Position() int64
	// MessageID gives an id that is higher than those given before.
	MessageID(ctx context.Context) (int64, error)
	// Waiting gives the messages that an atom has not acknowledged.
	Waiting(ctx context.Context, atom string) ([]int64, error)
	// End gives the turn back; what was not written is forgotten. It may be
	// called after Write.
	End()
}

// Talk is how control planes hear of each other. What changes and who is to
// hear of it is committed in one transaction: the store tells of changes,
// messages, acknowledgements and records by itself.
type Talk interface {
	// Follow calls each for what is told, one after the other, in the order of
	// commits, until ctx ends, the connection is lost or each fails. The first
	// event is Listening: of what was told before, nothing is known.
	Follow(ctx context.Context, each func(Event) error) error
	// Tell tells all control planes, also this one.
	Tell(ctx context.Context, e Event) error
	// LeaveLog keeps the answer to a question for a log until the control plane
	// that asked has taken it, a few minutes at most, and tells of it.
	LeaveLog(ctx context.Context, question int64, text []byte) error
	TakeLog(ctx context.Context, question int64) ([]byte, error)
}

// Event is something that is told.
type Event struct {
	What     string   `json:"w"`
	Plane    string   `json:"p,omitempty"` // who tells it
	Own      bool     `json:"-"`           // it was this one
	Atom     string   `json:"a,omitempty"`
	Messages []int64  `json:"m,omitempty"`
	Requests []string `json:"r,omitempty"`
	Run      string   `json:"i,omitempty"` // of the atom
	Number   int64    `json:"n,omitempty"`
}

// What is told.
const (
	Listening    = "listening"    // the connection is there
	Ticked       = "ticked"       // it still is; every few seconds
	Changed      = "changed"      // objects
	Queued       = "queued"       // Messages wait for Atom
	Acknowledged = "acknowledged" // Messages do not wait any more
	Recorded     = "recorded"     // Requests have records, or newer ones
	HeardOf      = "heard"        // Plane has stored the batch Number of beats
	LogLeft      = "log"          // the answer to the question Number is there
	WhoServes    = "who"          // does somebody serve Run of Atom? Number is the question
	IServe       = "me"           // somebody does
	Displaced    = "displaced"    // of Atom, only Run is served from now on
)

// Runs remembers which run of an atom is served, so that of two atoms with one
// identity one is, whichever control planes they ask.
type Runs interface {
	// Serve makes a run the one that is served if there was none, or another
	// given one, and gives the one that is served then. It writes nothing where
	// that is so already.
	Serve(ctx context.Context, atom, run, instead string) (string, error)
}

// Beats is what control planes know of atoms by their polls.
type Beats interface {
	// PutBeats stores what is known in one batch, and tells of it.
	PutBeats(ctx context.Context, all []Beat) error
	// Beats gives those of one batch of a control plane, or all for the plane "".
	Beats(ctx context.Context, plane string, batch int64) ([]Beat, error)
}

// Beat is what an atom said with its last poll.
type Beat struct {
	Atom      string
	Silent    time.Duration // since then
	Applied   int64
	Heartbeat []byte // JSON; for PutBeats nil where it is what it was
}

// Door is where atoms ask, cloud/gate: it knows which runs live.
type Door interface {
	// Lives reports whether a run of an atom is served here and is there.
	Lives(atom, run string) bool
	// Displace lets go of every other run of an atom.
	Displace(atom, run string)
}
