// Package store is the contract between an atom and its durable store. It has
// no dependencies besides the standard library. Package sqlite implements it.
package store

import (
	"context"
	"errors"
	"time"
)

// State is the state of a live execution in the store. Whether it is running at
// this moment is known to the atom only.
type State string

// States of a live execution.
const (
	Accepted State = "accepted" // ready to run
	Waiting  State = "waiting"  // until Due or a signal
	Held     State = "held"     // until it is released
)

// Status is how an execution ended.
type Status string

// Statuses of an ended execution.
const (
	Completed             Status = "completed"
	CompletedWithWarnings Status = "completed_with_warnings"
	Failed                Status = "failed"
	Expired               Status = "expired"
	Superseded            Status = "superseded"
	Cancelled             Status = "cancelled"
	Rejected              Status = "rejected" // the process refused the message, and the caller was told
)

// Statuses are all statuses of an ended execution.
var Statuses = []Status{Completed, CompletedWithWarnings, Failed, Expired, Superseded, Cancelled, Rejected}

// Errors that callers branch on.
var (
	// ErrUnavailable is returned if the change was not stored, or may not have
	// been, and if a read took too long. Callers answer 503.
	ErrUnavailable = errors.New("the store is unavailable")
	// ErrDamaged is returned, with ErrUnavailable, once the store is known to
	// be malformed. It lasts until the program restarts.
	ErrDamaged = errors.New("the store is damaged")
	// ErrFull is returned if the disk is nearly full. Acceptance stops first.
	ErrFull = errors.New("the disk is nearly full")
	// ErrEnded is returned if the execution already has an outcome: the first
	// commit wins.
	ErrEnded = errors.New("the execution has already ended")
	// ErrDocumentLost is returned if a stored document is missing or damaged.
	ErrDocumentLost = errors.New("a document is missing or damaged")
	// ErrUnknown is returned if there is no such execution.
	ErrUnknown = errors.New("there is no such execution")
)

// Message is a message as it is committed: accepted, handed off, or detached
// after an early reply.
type Message struct {
	Seq      int64 // a reserved number, or 0: assigned by the store
	Process  string
	Plan     string // content hash of the plan
	Env      string // content hash of the environment values
	Received time.Time
	Due      time.Time         // zero: now
	Expires  time.Time         // start deadline; zero: none
	Origin   string            // "" or unique: a second message with the same origin changes nothing
	Remember time.Time         // until when Origin is remembered; zero: for at least a week, and while the execution lives
	Meta     []byte            // in the atom's encoding, at most MaxMeta
	Track    map[string]string // searchable values
	DocType  string            // media type of Doc
	Doc      []byte            // the document; over 64 KiB it is stored as a file
	Data     []byte            // the data view, if it is not Doc itself
	Dedupe   *Dedupe
	Coalesce *Coalesce
	Lane     *Lane   // nil: unordered
	Entries  []Entry // journal from before it was accepted (early reply)
}

// Dedupe accepts a message only if its key has not been seen.
type Dedupe struct {
	Key    string
	Until  time.Time
	Holder []byte // identifies the message and its sender, in the atom's encoding; repeats receive it
}

// Receipt acknowledges an accepted message.
type Receipt struct {
	Seq         int64
	Received    time.Time // when the first message was received, for a duplicate
	Duplicate   bool      // the dedupe key or the origin was seen before: nothing was stored
	Holder      []byte    // Dedupe.Holder of the first message, for a duplicate by its dedupe key
	WaitsInLane bool      // it is not the head of its lane
	Ended       bool      // Arrival.Outcome was stored as well
}

// Record is a live execution as the store holds it.
type Record struct {
	Message
	State       State
	Reason      string // why it was suspended
	Epoch       int64  // lease of the atom that runs it, see Leases; 0: a single atom runs all
	Attempt     int    // runs that ended in a suspension
	Crashes     int    // unclean stops of the atom while it was running, since it last committed journal entries or was suspended
	Elsewhere   bool   // in Get, Tail and List: another member of the group runs it at this moment
	WaitsInLane bool   // in OnAccepted: it is not the head of its lane
	DocumentErr error  // why its document could not be read, such as ErrDocumentLost; nil: it was read
}

// Entry is one line of an execution's journal.
type Entry struct {
	Path string // structural step path with iteration indices, such as "3.steps.0[17]"
	Kind string // defined by the atom: call, attempt, handoff, reply, …
	At   time.Time
	Body []byte // in the atom's encoding; over 64 KiB it is stored as a file
}

// Finished is an execution that ran in memory and is to be recorded.
type Finished struct {
	Record
	Outcome
	FileBytes int64 // size of the stored files that a failure refers to; not part of Size
}

// Size returns the approximate number of bytes that the execution occupies.
func (f *Finished) Size() int {
	size := 400 + len(f.Doc) + len(f.Data) + len(f.Meta) + len(f.Trace)
	for i := range f.Entries {
		size += 64 + len(f.Entries[i].Body)
	}
	return size
}

// Execution is an execution as it is listed and shown, live or ended.
type Execution struct {
	Record
	Outcome *Outcome // nil if it is live
	Journal []Entry  // set by Get only
}

// Queue accepts messages and returns executions that are ready.
//
// Ready, Due and Lanes.Heads return only after OnAccepted and OnReady have
// received everything from the commits that the read may have seen. So a
// receiver of the announcements knows every execution that a read returns.
type Queue interface {
	// Accept stores a message and returns when it is on disk. It returns
	// ErrUnavailable if it may not be stored, ErrFull if the disk is nearly
	// full, and ErrLaneFull if its lane is.
	Accept(ctx context.Context, a *Message) (Receipt, error)
	// Ready returns up to limit live executions of a process with a Seq greater
	// than after, in order of Seq. They were never suspended and have no Due
	// and no Lane. Like Due and Heads it returns only those that the atom runs. Executions that the atom is already running are included.
	Ready(ctx context.Context, process string, after int64, limit int) ([]*Record, error)
	// Due returns up to limit live executions of a process whose Due is not
	// after until, in order of Due. It also returns the first Due after until,
	// or zero if there is none.
	Due(ctx context.Context, process string, until time.Time, limit int) ([]*Record, time.Time, error)
}

// Journal stores the journals of live executions.
type Journal interface {
	// Apply commits a change and returns when it is on disk. It returns
	// ErrEnded, changing nothing, if the execution already has an outcome, and
	// ErrFenced if it has an Epoch and the lease of that has ended. If it has a
	// Disposition and an Epoch, it returns ErrCancelled after a Change with Cancel,
	// unless Cancelled is set.
	Apply(ctx context.Context, c *Change) error
	// Started records that an execution is running, without waiting for the
	// disk. After an unclean stop, the execution's Crashes is incremented. A
	// change that suspends or ends it clears the record.
	Started(seq int64)
	// Entries returns the journal of an execution in the order it was written.
	Entries(ctx context.Context, seq int64) ([]Entry, error)
}

// JournalPosition is a place in the journal of an execution. The zero value is the
// beginning. Only the store that returned a position interprets it.
type JournalPosition struct {
	Entries int   // before it
	Row     int64 // the last row that was read, in a store with rows
	Trims   int   // how often entries had been deleted
}

// NoEntries is the position after all entries.
var NoEntries = JournalPosition{Entries: -1}

// Tail is the end of the journal of an execution.
type Tail struct {
	*Execution      // Journal has the entries after the position
	Whole      bool // Journal is the whole journal: entries were deleted, the execution has ended, or the position is the beginning
	Next       JournalPosition
}

// History returns executions, live and ended.
type History interface {
	// Record stores an execution that ran in memory, without waiting. A crash
	// loses at most a second of them. A failed execution is stored like a live
	// one that failed, unless it is resolved already.
	Record(f *Finished)
	// Get returns an execution of any member with its journal, or ErrUnknown if
	// there is none.
	Get(ctx context.Context, seq int64, received time.Time) (*Execution, error)
	// Tail returns an execution without documents, with the entries of its
	// journal after a position. While the execution lives, the cost depends on
	// these entries and not on the journal before them. Of an ended one the whole
	// journal may be returned. Bodies over 64 KiB are left out.
	Tail(ctx context.Context, seq int64, received time.Time, after JournalPosition) (*Tail, error)
	// List returns a page of executions, newest first, without documents and
	// journals, and the cursor of the next page. Cursors are opaque; "" starts
	// and ends the list.
	List(ctx context.Context, f Filter, cursor string, limit int) ([]*Execution, string, error)
}

// Claimed describes the message that has a dedupe key.
type Claimed struct {
	Holder []byte // its Dedupe.Holder; nil if it was accepted by an older version
	Reply  []byte // nil while its execution runs
}

// Reservations claims dedupe keys for executions that run in memory.
type Reservations interface {
	// Reserve returns a sequence number that is never assigned again. It returns
	// 0 if none is left until the store works again, and does not wait.
	Reserve() int64
	// Claim claims a key for an execution that is about to start. It returns nil
	// if the key was free, and otherwise who has it. A crash of the atom frees
	// its claims.
	Claim(ctx context.Context, process string, key *Dedupe, seq int64) (*Claimed, error)
	// Settle ends a claim: repeats then receive reply; nil frees the key.
	Settle(ctx context.Context, process, key string, seq int64, reply []byte) error
}

// Origins finds executions by their Origin.
type Origins interface {
	// Origin returns the receipt of the execution with this origin, with
	// Duplicate set, or ErrUnknown if there is none. The store remembers an
	// origin until Message.Remember; without it for at least a week, and while
	// its execution lives.
	Origin(ctx context.Context, origin string) (Receipt, error)
}

// Contents stores plans and environment values by hash, as long as an execution
// refers to them.
type Contents interface {
	// PutContent stores a content, unless it exists.
	PutContent(ctx context.Context, hash string, content []byte) error
	// Content returns a content, or ErrUnknown if there is none.
	Content(ctx context.Context, hash string) ([]byte, error)
}

// Backlog reports the number and age of live executions.
type Backlog interface {
	// Counts returns the number of live executions by process and state.
	Counts(ctx context.Context) (map[string]map[State]int64, error)
	// Oldest returns when the oldest live execution of a process was received
	// that is accepted or held, or zero if there is none. Waiting ones are as old
	// as their process makes them.
	Oldest(ctx context.Context, process string) (time.Time, error)
	// Err returns nil while the store accepts work, or the reason why not.
	Err() error
}

// Store is everything an atom needs to run durably. Package storetest contains
// the conformance suite for stores, and an in-memory store.
type Store interface {
	Queue
	Sources
	Leases
	Members
	Journal
	History
	Reservations
	Origins
	Contents
	Backlog
	Replies
	Notifier
	Waits
	Expiries
	Failures
	Lanes
	Holds
	Echoes
	States
	// OnAccepted sets the function that receives every accepted message, also
	// hand-offs and replacements of failed executions, in order of commit and,
	// unless its Seq was reserved, of Seq, before the callers waiting for the
	// commit return. The function must not block. For those that are not the
	// head of their lane WaitsInLane is set, and OnReady reports when they
	// become the head. The slice is valid during the call only; the records are
	// immutable. OnAccepted must be called before Run.
	OnAccepted(func([]*Record))
	// Run commits, archives and purges until ctx ends. All methods except
	// OnAccepted and OnReady need it to be running.
	Run(ctx context.Context) error
	// Close releases the store. Run must have returned.
	Close() error
}
