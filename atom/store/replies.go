package store

import (
	"context"
	"time"
)

// DeferredReply is a reply that the sender of a message may collect. It
// outlives the move of its execution to the history.
type DeferredReply struct {
	// Until is when the reply is deleted. Zero is for early replies: the reply
	// lives as long as the execution.
	Until time.Time
	// Body is the reply in the atom's encoding; over 64 KiB it is stored as a
	// file. A change with a nil Body only sets Until of the stored reply.
	Body []byte
}

// ClaimResult ends the claim of an execution on its dedupe key. Repeats then
// receive Reply; a nil Reply frees the key.
type ClaimResult struct {
	Key   string
	Reply []byte
}

// Replies returns replies stored by Change.Reply.
type Replies interface {
	// DeferredReply returns the reply of an execution, or ErrUnknown if there
	// is none or it has been deleted.
	DeferredReply(ctx context.Context, seq int64) (*DeferredReply, error)
	// CountDeferredReplies returns the number of stored replies.
	CountDeferredReplies(ctx context.Context) (int64, error)
}
