package cloud

import (
	"context"
	"math/rand/v2"
	"sync"
	"time"

	"golang.org/x/time/rate"
)

// rates limits what an account asks for.
type rates struct {
	limit float64
	burst int
	mu    sync.Mutex
	all   map[string]*rate.Limiter
}

// Rate lets a call of an account through, or tells after how long to send it
// again; that has a random part, so that those who are refused together do
// not come back together.
func (s *Service) Rate(account string) (wait time.Duration, ok bool) {
	r := &s.rates
	r.mu.Lock()
	l := r.all[account]
	if l == nil {
		if r.all == nil {
			r.all = map[string]*rate.Limiter{}
		}
		limit, burst := r.limit, r.burst
		if limit == 0 {
			limit = 100
		}
		if burst == 0 {
			burst = int(2 * limit)
		}
		l = rate.NewLimiter(rate.Limit(limit), burst)
		r.all[account] = l
	}
	r.mu.Unlock()
	if l.Allow() {
		return 0, true
	}
	return time.Second + rand.N(2*time.Second), false
}

// refusals remembers what was put into the audit log lately, so that somebody
// who keeps trying does not fill it.
type refusals struct {
	mu   sync.Mutex
	last map[string]time.Time
}

const (
	refusalEvery = time.Minute
	maxRefusals  = 10_000
)

func (r *refusals) fresh(key string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	now := time.Now()
	if at, ok := r.last[key]; ok && now.Sub(at) < refusalEvery {
		return false
	}
	if r.last == nil || len(r.last) >= maxRefusals {
		r.last = map[string]time.Time{}
	}
	r.last[key] = now
	return true
}

// Denied has the audit log tell that somebody asked for what the token does not
// allow, the same once a minute.
func (s *Service) Denied(ctx context.Context, p Principal, a Action) {
	if p.Account == "" || !s.refused.fresh(p.Account+" "+p.TokenID+" "+string(a)) {
		return
	}
	if err := s.note(context.WithoutCancel(ctx), p, "denied", string(a), "role "+string(p.Role)); err != nil {
		s.log.Error("the audit log cannot be written", "error", err)
	}
}

// report counts something that was refused, and has it in the account's audit
// log, the same thing once a minute.
func (s *Service) report(ctx context.Context, p Principal, code, object string) {
	s.o.Metrics.Refused(code)
	if p.Account == "" || !s.refused.fresh(p.Account+" "+code+" "+object) {
		return
	}
	s.log.Warn("refused", "account", p.Account, "reason", code, "object", object, "who", p.User, "from", p.From)
	if err := s.note(context.WithoutCancel(ctx), p, "refused", object, code); err != nil {
		s.log.Error("the audit log cannot be written", "error", err)
	}
}
