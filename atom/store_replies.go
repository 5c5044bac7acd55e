package atom

import (
	"context"
	"time"
)

// KeptReply is what the sender of a message may collect. It is written with
// the commit that made it, and outlives the execution's move to history.
type KeptReply struct {
	// Until is when it is deleted. Zero: while the execution lives, a reply
	// that was given early and whose execution has not ended.
	Until time.Time
	// Body is the atom's own; over 64 KiB it is kept as a file. A change with
	// a nil Body sets Until of the reply that is kept already.
	Body []byte
}

// Settled ends the claim of an execution on its dedupe key, in the commit of a
// change: repeats get Reply from then on, or the key is free where it is nil.
type Settled struct {
	Key   string
	Reply []byte
}

// Replies gives what Change.Reply has kept.
type Replies interface {
	// KeptReply gives what is kept of an execution; ErrUnknown if there is
	// nothing, or not any more.
	KeptReply(ctx context.Context, seq int64) (*KeptReply, error)
	// RepliesKept counts them.
	RepliesKept(ctx context.Context) (int64, error)
}
