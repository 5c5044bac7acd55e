package atom

import (
	"context"
	"errors"
	"time"
)

// ErrLaneFull: as many executions wait in the lane as it takes.
var ErrLaneFull = errors.New("as many messages of this key are waiting as its sequence allows")

// Lane is a key's queue: of what is in it, the first alone may run. A place is
// taken in the commit that accepts, in the order of commits, and is kept
// through parks and restarts until the execution ends.
type Lane struct {
	Scope string // a process, or "/" and the name that several processes share
	Key   string
	Block bool  // one that fails keeps its place: those behind it wait until somebody deals with it
	Limit int   // refused with ErrLaneFull if so many wait behind the first; 0: any number. Not stored
	Pos   int64 // given by the store
}

// Place is where an execution stands in its lane.
type Place struct {
	Head    int64     // Seq of the first, of this execution or another
	Since   time.Time // since when the lane is blocked by its first, which failed; zero: it is not
	Process string    // of the first
	Ahead   int64     // how many are before it
}

// BlockedLane is a lane whose first execution failed.
type BlockedLane struct {
	Lane
	Process string // of the first
	Head    int64  // its Seq
	Since   time.Time
	Waiting int64 // behind it
}

// Lanes keeps the order of executions with a Lane. When the first of one ends
// its place is given up in the same commit, and the next is told to OnReady.
type Lanes interface {
	// Heads gives live executions of a process that are first in their lane,
	// were never parked and have no Due, in order of Seq, without those in hand.
	Heads(ctx context.Context, process string, limit int, inHand func(seq int64) bool) ([]*Record, error)
	// Blocked gives the blocked lanes, the one that is longest first, from an
	// opaque cursor, and the cursor of the next page.
	Blocked(ctx context.Context, cursor string, limit int) ([]BlockedLane, string, error)
	// Unblock takes the failed first one of a blocked lane out of it, and gives
	// its Seq. With all, those that wait in it now do not block it either when
	// they fail. It fails with ErrUnknown if no lane with this key is blocked by
	// an execution of this process.
	Unblock(ctx context.Context, process, key string, all bool) (int64, error)
	// Place tells where a live execution stands; nil if it is in no lane.
	Place(ctx context.Context, seq int64, l *Lane) (*Place, error)
}
