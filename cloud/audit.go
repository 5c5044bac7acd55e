package cloud

import (
	"context"
	"slices"
	"sync"
	"time"
)

// Audit is the log of changes and refusals.
type Audit struct{ *core }

// List returns entries of the account, newest first. A next of 0 is the end.
func (s *Audit) List(ctx context.Context, p Principal, cursor int64, limit int) (entries []AuditEntry, next int64, err error) {
	if err := p.allowAccountWide("audit.read"); err != nil {
		return nil, 0, err
	}
	limit = min(max(limit, 1), 1000)
	entries, err = s.store.Audit(ctx, p.Account, cursor, limit+1)
	if len(entries) > limit {
		entries = entries[:limit]
		next = entries[limit-1].ID
	}
	return slices.Clip(entries), next, err
}

// RecordDenied logs that a token's role did not allow an action, at most once a
// minute for the same token and action.
func (s *Audit) RecordDenied(ctx context.Context, p Principal, a Action) {
	if p.Account == "" || !s.refused.admit(p.Account+" "+p.TokenID+" "+string(a)) {
		return
	}
	if err := s.appendAudit(context.WithoutCancel(ctx), p, "denied", string(a), "role "+string(p.Role)); err != nil {
		s.log.Error("cannot write the audit log", "error", err)
	}
}

// appendAudit stores an entry of the audit log outside a change.
func (s *core) appendAudit(ctx context.Context, p Principal, action Action, object, detail string) error {
	return s.store.Write(ctx, &Change{Audit: []AuditEntry{newAuditEntry(p, action, object, detail)}})
}

// recordRefusal counts a refused request and logs it in the account's audit
// log, at most once a minute for the same object and code.
func (s *core) recordRefusal(ctx context.Context, p Principal, code, object string) {
	s.o.Metrics.Refused(code)
	if p.Account == "" || !s.refused.admit(p.Account+" "+code+" "+object) {
		return
	}
	s.log.Warn("refused", "account", p.Account, "reason", code, "object", object, "who", p.User, "from", p.From)
	if err := s.appendAudit(context.WithoutCancel(ctx), p, "refused", object, code); err != nil {
		s.log.Error("cannot write the audit log", "error", err)
	}
}

// atomTitle returns the name of an atom and of its environment for the audit
// log. The caller holds writing or mu.
func (s *core) atomTitle(a *Atom) string {
	if e := s.state.environments[s.state.environmentID(a.ID)]; e != nil {
		return a.Name + " in " + e.Name
	}
	return a.Name
}

// environmentName returns the name of an environment, or its id if it is
// deleted. The caller holds writing or mu.
func (s *core) environmentName(id string) string {
	if e := s.state.environments[id]; e != nil {
		return e.Name
	}
	return id
}

func newAuditEntry(p Principal, action Action, object, detail string) AuditEntry {
	return AuditEntry{Account: p.Account, Who: p.User, Action: string(action), Object: object, Detail: detail, From: p.From, At: time.Now().UTC()}
}

// refusals limits how often the same refusal is logged, so that retries do not
// fill the audit log.
type refusals struct {
	mu   sync.Mutex
	last map[string]time.Time
}

const (
	refusalEvery = time.Minute
	maxRefusals  = 10_000
)

func (r *refusals) admit(key string) bool {
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
