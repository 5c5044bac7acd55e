package atom

import "context"

// Holds keeps what executions are held for: what a Park names in For.
type Holds interface {
	// Release makes executions that are held for something ready again, in the
	// order of Seq: at most limit of those with a Seq over after. It gives the
	// last of them and how many there were.
	Release(ctx context.Context, what string, after int64, limit int) (last int64, n int, err error)
	// HeldFor counts them by what they are held for.
	HeldFor(ctx context.Context) (map[string]int64, error)
}
