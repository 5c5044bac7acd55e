package processes

import "time"

// Endless is the longest duration that bounds are computed for.
const Endless = 100 * 365 * 24 * time.Hour

// Retry is a retry policy.
type Retry struct {
	MaxAttempts int // including the first
	Backoff     time.Duration
	MaxBackoff  time.Duration
	Jitter      bool
	RetryOn     []string // nil means every error the connector calls retryable
}

// DefaultRetry returns the policy that applies when none is configured. The
// caller must not modify it.
func DefaultRetry(durable bool) *Retry {
	if durable {
		return &durableRetry
	}
	return &promptRetry
}

var (
	durableRetry = Retry{MaxAttempts: 6, Backoff: 10 * time.Second, MaxBackoff: 10 * time.Minute, Jitter: true}
	promptRetry  = Retry{MaxAttempts: 1}
)

// RetryOf returns the policy of a call: its own, else the process's, else the
// project's, else the default. Policies never multiply.
func RetryOf(own *Retry, p *Process, project *Defaults, durable bool) *Retry {
	for _, r := range []*Retry{own, p.Delivery.Retry, project.Retry} {
		if r != nil {
			return r
		}
	}
	return DefaultRetry(durable)
}

// Longest returns the duration of all attempts and the waits between them if each
// attempt times out. It is at most Endless.
func (r *Retry) Longest(timeout time.Duration) time.Duration {
	longest, wait := timeout, r.Backoff
	for range r.MaxAttempts - 1 {
		longest += wait + timeout
		if longest > Endless {
			return Endless
		}
		if wait *= 2; r.MaxBackoff > 0 && wait > r.MaxBackoff {
			wait = r.MaxBackoff
		}
	}
	return longest
}
