package cloud

import (
	"context"
	"slices"
	"time"
)

// Session lets a browser act as an API token for a while, without holding the
// token. Only the hash of its secret is kept. It ends when somebody signs out,
// when it is SessionLives old, and with its token.
type Session struct {
	ID      string    `json:"id"`
	Account string    `json:"account"`
	TokenID string    `json:"token"`
	Hash    []byte    `json:"hash"`
	Created time.Time `json:"created"`
	Expires time.Time `json:"expires"`
}

// SessionLives is how long a session lasts at most.
const SessionLives = 12 * time.Hour

// maxSessions is how many one token may have; a further one ends the oldest.
const maxSessions = 20

// SignIn begins a session of who has proved to have a token, and gives its
// secret, this once.
func (s *Service) SignIn(ctx context.Context, p Principal) (secret string, err error) {
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
	x := &Session{ID: newID(), Account: p.Account, TokenID: p.TokenID, Hash: hash, Created: now, Expires: now.Add(SessionLives)}
	c.put(x)
	c.audit(p, "session.create", x.ID, "")
	return secret, s.commit(ctx, c)
}

// Session tells who acts in a session: whatever the token may do now. It fails
// with ErrUnauthenticated where the session, or its token, is over, and with
// ErrUnavailable where that cannot be known, as Authenticate does.
func (s *Service) Session(ctx context.Context, secret string) (Principal, error) {
	if secret == "" {
		return Principal{}, ErrUnauthenticated
	}
	if err := s.Confirm(ctx); err != nil {
		return Principal{}, err
	}
	s.mu.RLock()
	defer s.mu.RUnlock()
	x := s.state.bySession[string(hashOf(secret))]
	if x == nil || !time.Now().Before(x.Expires) {
		return Principal{}, ErrUnauthenticated
	}
	t := s.state.tokens[x.TokenID]
	if t == nil || t.Account != x.Account || !t.Expires.IsZero() && !time.Now().Before(t.Expires) {
		return Principal{}, ErrUnauthenticated
	}
	return Principal{Account: t.Account, User: t.Name, TokenID: t.ID, Role: t.Role, Environments: t.Environments}, nil
}

// SignOut ends a session. One that is over already is no error.
func (s *Service) SignOut(ctx context.Context, p Principal, secret string) error {
	c, err := s.begin(ctx)
	if err != nil {
		return err
	}
	defer c.end()
	x := s.state.bySession[string(hashOf(secret))]
	if x == nil || x.Account != p.Account {
		return nil
	}
	c.drop(x)
	c.audit(p, "session.delete", x.ID, "")
	return s.commit(ctx, c)
}
