package store

import (
	"context"
	"errors"
	"time"
)

// Expiry errors that callers branch on.
var (
	// ErrExpired is returned if the start deadline of the execution has passed.
	ErrExpired = errors.New("the start deadline has passed")
	// ErrBegun is returned if the execution has begun or has no start deadline.
	ErrBegun = errors.New("the execution has begun or has no start deadline")
)

// Overdue is an execution whose start deadline has passed.
type Overdue struct {
	Seq      int64
	Process  string
	Received time.Time
}

// Expiries tracks the start deadlines of executions accepted with Expires,
// until a Change with Begin or NotBegun is committed. The store's own clock
// decides. While that clock distrusts the machine's, because it jumped, nothing
// expires.
type Expiries interface {
	// Overdue returns executions that have not begun by their deadline,
	// earliest first, and the time of the next deadline, or zero if there is
	// none.
	Overdue(ctx context.Context, limit int) ([]Overdue, time.Time, error)
}
