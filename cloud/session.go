package cloud

import (
	"context"
	"slices"
	"time"
)

// Session lets a browser act as an API token without holding it. Only the hash
// of its secret is stored. It ends at sign-out, after SessionLifetime, and with
// its token.
type Session struct {
	ID      string    `json:"id"`
	Account string    `json:"account"`
	TokenID string    `json:"token"`
	Hash    []byte    `json:"hash"`
	Created time.Time `json:"created"`
	Expires time.Time `json:"expires"`
}

// SessionLifetime is the longest a session lasts.
const SessionLifetime = 12 * time.Hour

// maxSessions is the number of sessions per token. A further one ends the
// oldest.
const maxSessions = 20

// SignIn starts a session for an authenticated caller and returns its secret,
// which is not stored.
func (s *Accounts) SignIn(ctx context.Context, p Principal) (secret string, err error) {
	c, err := s.begin(ctx)
	if err != nil {
		return "", err
	}
	defer c.end()
	if t := s.state.tokens[p.TokenID]; t == nil || t.Account != p.Account {
		return "", ErrUnauthenticated
	}
	now := time.Now().UTC()
	var mine []*Session
	for _, x := range s.state.sessions {
		switch {
		case !now.Before(x.Expires):
			c.drop(x)
		case x.TokenID == p.TokenID:
			mine = append(mine, x)
		}
	}
	slices.SortFunc(mine, func(a, b *Session) int { return a.Created.Compare(b.Created) })
	for len(mine) >= maxSessions {
		c.drop(mine[0])
		mine = mine[1:]
	}
	secret, hash := newSecret("vs_")
	x := &Session{ID: newID(), Account: p.Account, TokenID: p.TokenID, Hash: hash, Created: now, Expires: now.Add(SessionLifetime)}
	c.put(x)
	c.audit(p, "session.create", x.ID, "")
	return secret, s.commit(ctx, c)
}

// Session returns the principal of a session, with the current permissions of
// its token. It returns ErrUnauthenticated if the session or token has ended,
// and ErrUnavailable as Authenticate does.
func (s *Accounts) Session(ctx context.Context, secret string) (Principal, error) {
	if secret == "" {
		return Principal{}, ErrUnauthenticated
	}
	if err := s.cluster.Refresh(ctx); err != nil {
		return Principal{}, err
	}
	s.mu.RLock()
	defer s.mu.RUnlock()
	x := s.state.sessionByHash[string(hashOf(secret))]
	if x == nil || !time.Now().Before(x.Expires) {
		return Principal{}, ErrUnauthenticated
	}
	t := s.state.tokens[x.TokenID]
	if t == nil || t.Account != x.Account || !t.Expires.IsZero() && !time.Now().Before(t.Expires) {
		return Principal{}, ErrUnauthenticated
	}
	return Principal{Account: t.Account, User: t.Name, TokenID: t.ID, Role: t.Role, Environments: t.Environments}, nil
}

// SignOut ends a session. It is not an error if the session has already ended.
func (s *Accounts) SignOut(ctx context.Context, p Principal, secret string) error {
	c, err := s.begin(ctx)
	if err != nil {
		return err
	}
	defer c.end()
	x := s.state.sessionByHash[string(hashOf(secret))]
	if x == nil || x.Account != p.Account {
		return nil
	}
	c.drop(x)
	c.audit(p, "session.delete", x.ID, "")
	return s.commit(ctx, c)
}
