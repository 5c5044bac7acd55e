package atom

import (
	"context"
	"errors"
	"time"
)

// Errors of expiry that a caller of the store branches on.
var (
	// ErrExpired: the execution may not begin any more.
	ErrExpired = errors.New("its time to begin is over")
	// ErrBegun: the execution has begun, or never had a time to begin by.
	ErrBegun = errors.New("the execution has begun")
)

// Overdue is an execution whose time to begin is over.
type Overdue struct {
	Seq      int64
	Process  string
	Received time.Time
}

// Expiries watches executions that were accepted with Expires until they
// begin: until a Change with Begins, or with Unbegun, is committed. What is
// over is decided by the store's own clock. While that does not trust the
// machine's, because it jumped, nothing is.
type Expiries interface {
	// Overdue gives executions whose Expires is over and that have not begun,
	// the earliest first, and when to look again; zero if there is nothing to
	// look for.
	Overdue(ctx context.Context, limit int) ([]Overdue, time.Time, error)
}
