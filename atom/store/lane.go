package store

import (
	"context"
	"errors"
	"time"
)

// ErrLaneFull is returned if the lane already holds its limit of executions.
var ErrLaneFull = errors.New("too many messages of this key are waiting")

// Lane is the queue of an ordering key. Only its head may run. An execution
// joins the lane in the commit that accepts it, in commit order, and holds its
// position through suspensions and restarts until it ends.
type Lane struct {
	Scope string // a process, or "/" and a name shared by several processes
	Key   string
	Block bool  // a failed head blocks the lane until it is resolved
	Limit int   // maximum number of executions waiting for the head; 0: unlimited. Not stored
	Pos   int64 // set by the store
}

// LanePosition is the position of an execution in its lane.
type LanePosition struct {
	Head    int64     // Seq of the head, which may be the execution itself
	Since   time.Time // when the head failed and blocked the lane; zero: not blocked
	Process string    // of the head
	Ahead   int64     // number of executions before it
}

// BlockedLane is a lane whose head failed.
type BlockedLane struct {
	Lane
	Process string // of the head
	Head    int64  // Seq of the head
	Since   time.Time
	Waiting int64 // number of executions waiting for the head
}

// Lanes orders executions with a Lane. When a head ends, the same commit
// removes it, and OnReady reports the next one.
type Lanes interface {
	// Heads returns live executions of a process that are the head of their
	// lane, were never suspended and have no Due, in order of Seq. It skips
	// those for which inHand returns true.
	Heads(ctx context.Context, process string, limit int, inHand func(seq int64) bool) ([]*Record, error)
	// Blocked returns a page of blocked lanes, longest blocked first, and the
	// cursor of the next page. Cursors are opaque; "" starts and ends the list.
	Blocked(ctx context.Context, cursor string, limit int) ([]BlockedLane, string, error)
	// Unblock removes the failed head of a blocked lane and returns its Seq.
	// With all, the executions that wait in the lane now do not block it when
	// they fail. Unblock returns ErrUnknown if no lane with this key is blocked
	// by an execution of this process.
	Unblock(ctx context.Context, process, key string, all bool) (int64, error)
	// Position returns the position of a live execution, or nil if it is in no
	// lane.
	Position(ctx context.Context, seq int64, l *Lane) (*LanePosition, error)
}
