package store

import "context"

// Holds tracks held executions by cause, as named in Suspension.For.
type Holds interface {
	// Release makes up to limit executions held for a cause ready again, in
	// order of Seq, starting after the given Seq. It returns the last Seq and
	// how many it released.
	Release(ctx context.Context, cause string, after int64, limit int) (last int64, n int, err error)
	// HeldFor returns the number of held executions by cause.
	HeldFor(ctx context.Context) (map[string]int64, error)
}
