package cloud

import (
	"math/rand/v2"
	"sync"
	"time"

	"golang.org/x/time/rate"
)

// rateLimits limits the API calls of each account.
type rateLimits struct {
	limit    float64
	burst    int
	mu       sync.Mutex
	limiters map[string]*rate.Limiter
}

// Admit reports whether an account may make another call now, and otherwise
// after how long to retry. The delay is random, so that refused clients do not
// all return at once.
func (s *Accounts) Admit(account string) (wait time.Duration, ok bool) {
	r := &s.limits
	r.mu.Lock()
	l := r.limiters[account]
	if l == nil {
		if r.limiters == nil {
			r.limiters = map[string]*rate.Limiter{}
		}
		limit, burst := r.limit, r.burst
		if limit == 0 {
			limit = 100
		}
		if burst == 0 {
			burst = int(2 * limit)
		}
		l = rate.NewLimiter(rate.Limit(limit), burst)
		r.limiters[account] = l
	}
	r.mu.Unlock()
	if l.Allow() {
		return 0, true
	}
	return time.Second + rand.N(2*time.Second), false
}
