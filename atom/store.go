package atom

import (
	"context"
	"errors"
	"time"
)

// State is where a live execution stands in the store. Whether it runs at
// this moment is known to the atom alone and never written.
type State string

// The states of a live execution.
const (
	Accepted State = "accepted" // to be run as soon as a worker is free
	Waiting  State = "waiting"  // until Due
	Held     State = "held"     // until something outside changes
)

// Status is how an execution ended.
type Status string

// The statuses of an ended execution.
const (
	Completed             Status = "completed"
	CompletedWithWarnings Status = "completed_with_warnings"
	Failed                Status = "failed"
	Expired               Status = "expired"
	Superseded            Status = "superseded"
	Cancelled             Status = "cancelled"
)

// Errors that a caller of the store branches on.
var (
	// ErrUnavailable: it was not stored, or it is not known whether it was;
	// the store refuses work until it has recovered. Callers are told 503.
	ErrUnavailable = errors.New("the store cannot take anything now")
	// ErrFull: the disk is nearly full. Acceptance stops first.
	ErrFull = errors.New("the disk is nearly full")
	// ErrEnded: the execution has an outcome already; the first commit won.
	ErrEnded = errors.New("the execution has ended already")
	// ErrUnknown: there is no such execution.
	ErrUnknown = errors.New("there is no such execution")
)

// Acceptance is what is committed when a message is accepted, handed off, or
// goes on after an early reply.
type Acceptance struct {
	Seq      int64 // 0: given by the store; otherwise one that Reserve gave
	Process  string
	Plan     string // content hash of the plan it runs on
	Env      string // content hash of the environment values it runs with
	Received time.Time
	Due      time.Time // zero: at once
	Expires  time.Time // by when it is to begin; zero: whenever
	Origin   string    // "" or unique: a second acceptance with it changes nothing
	Meta     []byte    // the atom's own, at most 64 KiB
	Track    map[string]string
	DocType  string // media type of Doc
	Doc      []byte // the message; over 64 KiB it is kept as a file
	Data     []byte // its data view, where that is not Doc itself
	Dedupe   *Dedupe
	Coalesce *Coalesce
	Lane     *Lane   // nil: in no order
	Entries  []Entry // what it did before it was accepted (early reply)
}

// Dedupe makes an acceptance conditional on a key that was not seen.
type Dedupe struct {
	Key   string
	Until time.Time
}

// Receipt is what became of an acceptance.
type Receipt struct {
	Seq       int64
	Received  time.Time // of the first acceptance, for a duplicate
	Duplicate bool      // the dedupe key or the origin was seen: nothing was stored
	Behind    bool      // it waits for its turn in its lane
}

// Record is a live execution as the store keeps it.
type Record struct {
	Acceptance
	State   State
	Why     string // what it was parked for
	Attempt int    // runs that ended in a park
	Unclean int    // unclean stops of the atom while it was running, since it was last parked or forgot
	Behind  bool   // as it is told to OnAccepted: it waits for its turn in its lane
}

// Entry is one line of an execution's journal.
type Entry struct {
	Path string // structural step path with iteration indices, such as "3.steps.0[17]"
	Kind string // the atom's own: call, attempt, handoff, reply, …
	At   time.Time
	Body []byte // the atom's own; over 64 KiB it is kept as a file
}

// Change is everything that one commit does to a live execution. With Outcome
// it ends, with Due or State it is parked, with neither it goes on.
type Change struct {
	Seq      int64
	Entries  []Entry       // added to the journal
	Handoffs []*Acceptance // created with it, or not at all
	Park     *Park
	Outcome  *Outcome
	Reply    *KeptReply // what the sender may collect
	Settled  *Settled   // what repeats of it are answered
	Signal   *Signal    // given with it; where nobody waits nothing is changed, and it fails with ErrNobody
	Waits    []Wait     // that it waits for from now on; those that are known already stay as they are
	Memory   *Memory    // for executions to come; with a version that is not current nothing is changed, and it fails with ErrConflict
	Forget   []Forget   // entries that go from the journal as it was before; Unclean is 0 then
	Marks    []Mark     // versions of other systems' records that it made
	Writes   []Write    // calls that it is about to make
	Begins   bool       // it runs for the first time; if its Expires is over nothing is changed, and it fails with ErrExpired
	Unbegun  bool       // only if it has not begun before its Expires; otherwise nothing is changed, and it fails with ErrBegun
	GaveUp   []int64    // places of waits that it gives up; if one was signalled nothing is changed, and it fails with ErrSignalled
}

// Park sets a live execution aside without memory or goroutine.
type Park struct {
	State State
	Due   time.Time // when it is to run again; zero with Held or Signal: until told
	Why   string    // for whoever looks at it
	For   []string  // with Held: what Release lets it go on by
	// Signal is set where a path waits for one. Signals is how many the run
	// knows of: if more have come the execution is ready again at once.
	Signal  bool
	Signals int
}

// Outcome is how an execution ended.
type Outcome struct {
	Status      Status
	Started     time.Time
	Ended       time.Time
	Fingerprint string // groups failures; "" unless failed
	Error       []byte // JSON, as it is shown; nil without a failure
	Trace       []byte // the atom's own: steps with times and documents
	// DropDocuments asks that neither the message nor the journal is kept once
	// the execution has moved to history.
	DropDocuments bool
	// Keep is how long the record is kept in history; zero: the store's default.
	Keep time.Duration
	// Documents is how long the message, the journal and the documents of the
	// trace are kept there, where that is shorter than the record; zero: as long.
	// After it the execution is shown as with DropDocuments.
	Documents time.Duration
	// Resolved tells, of a failed or expired execution, how it was dealt with;
	// nil: nobody has yet.
	Resolved []byte
}

// Finished is an execution that ran in memory, to be recorded.
type Finished struct {
	Record
	Outcome
}

// Execution is one as it is listed and shown, live or ended.
type Execution struct {
	Record
	Outcome *Outcome // nil while it lives
	Journal []Entry  // only from Get
}

// Filter selects executions. Zero fields select all.
type Filter struct {
	Process  string
	Statuses []string // states and statuses
	Since    time.Time
	Until    time.Time
	Track    map[string]string
	Seq      int64  // this one alone; 0: any
	Text     string // found in track values or error; the atom finds ids before it asks a store
	// Fingerprint selects the failures of one cause.
	Fingerprint string
	// Unresolved selects failed and expired executions that nobody has dealt with.
	Unresolved bool
}

// Queue takes executions in and gives out what is ready.
type Queue interface {
	// Accept stores an execution and returns once it is on disk. It fails
	// with ErrUnavailable or ErrFull if it is not known to be.
	Accept(ctx context.Context, a *Acceptance) (Receipt, error)
	// Ready gives live executions of a process that were never parked, have no
	// Due and no Lane, with a Seq over after, in order of Seq. Those that the
	// atom has in hand are given too.
	Ready(ctx context.Context, process string, after int64, limit int) ([]*Record, error)
	// Due gives live executions of a process whose Due is not after until,
	// in order of Due; and the next Due after that, zero if there is none.
	Due(ctx context.Context, process string, until time.Time, limit int) ([]*Record, time.Time, error)
}

// Journal keeps what a live execution did.
type Journal interface {
	// Apply commits a change and returns once it is on disk. It fails with
	// ErrEnded if the execution has an outcome, changing nothing.
	Apply(ctx context.Context, c *Change) error
	// Started notes that an execution runs from now on, without waiting for
	// the disk: after an unclean stop, that is held against it in Unclean.
	// Apply with a Park or an Outcome ends it.
	Started(seq int64)
	// Entries gives an execution's journal in the order of writing.
	Entries(ctx context.Context, seq int64) ([]Entry, error)
}

// History answers for what ran, live and ended.
type History interface {
	// Record keeps an execution that ran in memory, without waiting: at most
	// a second of them is lost in a crash. A failed one is kept with the live ones.
	Record(f *Finished)
	// Get gives one execution with its journal; ErrUnknown if there is none.
	Get(ctx context.Context, seq int64, received time.Time) (*Execution, error)
	// List gives executions newest first, from an opaque cursor ("" at first),
	// without documents and journals, and the cursor of the next page, "" at the end.
	List(ctx context.Context, f Filter, cursor string, limit int) ([]*Execution, string, error)
}

// Reservations claims dedupe keys for executions that run in memory.
type Reservations interface {
	// Reserve gives a sequence number that is never given again.
	Reserve() int64
	// Claim takes a key for an execution that is starting. If another has it,
	// claimed is false, and reply is what that one settled with, nil while it
	// runs. A claim that an atom left behind by crashing is free.
	Claim(ctx context.Context, process, key string, seq int64, until time.Time) (claimed bool, reply []byte, err error)
	// Settle ends a claim: with the reply that repeats get, or with nil to free the key.
	Settle(ctx context.Context, process, key string, seq int64, reply []byte) error
}

// Origins finds what was accepted with an Origin.
type Origins interface {
	// Origin gives the receipt of the execution that has the origin, with
	// Duplicate set; ErrUnknown if none has. An origin is known for a week at
	// least, and for as long as its execution lives.
	Origin(ctx context.Context, origin string) (Receipt, error)
}

// Contents keeps plans and environment values by their hash, as long as an
// execution needs them.
type Contents interface {
	PutContent(ctx context.Context, hash string, content []byte) error
	Content(ctx context.Context, hash string) ([]byte, error)
}

// Backlog tells what waits.
type Backlog interface {
	// Counts gives the number of live executions by process and state.
	Counts(ctx context.Context) (map[string]map[State]int64, error)
	// Oldest gives when the oldest live execution of a process was received, zero if there is none.
	Oldest(ctx context.Context, process string) (time.Time, error)
	// Err is nil while the store takes work, otherwise why it does not.
	Err() error
}

// Store is what an atom needs to run durably. Package atomtest holds the
// suite that every store passes, and an in-memory one.
type Store interface {
	Queue
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
	// OnAccepted names the function that is told of every accepted execution
	// and hand-off, in the order of commit and of Seq, before whoever waits
	// for the commit is woken. It must not block. Acceptances with a Seq of
	// their own or a Due are not told. Those behind others in a lane are told
	// as Behind, and when their turn comes to OnReady. The slice is the
	// store's and valid during the call; the records are not changed any more. It
	// must be set before Run.
	OnAccepted(func([]*Record))
	// Run does the store's background work until ctx ends: commits, moving to
	// history, purging. Everything but OnAccepted and OnReady needs it running.
	Run(ctx context.Context) error
	Close() error
}
