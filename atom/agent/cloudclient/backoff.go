package cloudclient

import (
	"errors"
	"math/rand/v2"
	"time"
)

// Backoff computes delays after failures: exponential with full jitter, so that
// atoms do not return in step.
type Backoff struct {
	Initial, Max time.Duration
	next         time.Duration
}

// Reset ends a series of failures.
func (b *Backoff) Reset() { b.next = 0 }

// Failing reports whether After was called since Reset.
func (b *Backoff) Failing() bool { return b.next != 0 }

// After returns the delay after another failure. It adds Retry-After, limited
// to Max because it may come from a proxy.
func (b *Backoff) After(err error) time.Duration {
	b.next = min(max(2*b.next, b.Initial), b.Max)
	wait := time.Duration(rand.Int64N(int64(b.next) + 1))
	if r := (*ResponseError)(nil); errors.As(err, &r) {
		wait += min(r.RetryAfter, b.Max)
	}
	return wait
}
