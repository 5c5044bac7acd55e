package agent

import (
	"errors"
	"math/rand/v2"
	"time"

	"valence/atom/agent/cloudclient"
)

// backoff computes delays after failures: exponential with full jitter, so that
// atoms do not return in step.
type backoff struct {
	initial, max time.Duration
	next         time.Duration
}

func (b *backoff) reset() { b.next = 0 }

// after returns the delay after another failure. It adds Retry-After, limited
// to max because it may come from a proxy.
func (b *backoff) after(err error) time.Duration {
	b.next = min(max(2*b.next, b.initial), b.max)
	wait := time.Duration(rand.Int64N(int64(b.next) + 1))
	if r := (*cloudclient.ResponseError)(nil); errors.As(err, &r) {
		wait += min(r.RetryAfter, b.max)
	}
	return wait
}
