package session

import (
	"context"
	"time"

	"valence/internal/fault"
)

// MaxRetryDelay is the longest pause before a message is delivered again, unless
// the runtime asks for a longer one.
const MaxRetryDelay = 30 * time.Second

// RetryDelay returns the pause after a failed delivery. Attempts count from 1.
func RetryDelay(err error, attempt int) time.Duration {
	delay := min(100*time.Millisecond<<min(max(attempt-1, 0), 10), MaxRetryDelay)
	if f := fault.AsFailure(err); f != nil {
		delay = max(delay, f.RetryAfter)
	}
	return delay
}

// Pause waits, or returns when ctx ends.
func Pause(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}
