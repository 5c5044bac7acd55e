package cloud

import (
	"bytes"
	"context"
	"crypto/ecdh"
	"crypto/ed25519"
	"time"

	"valence/internal/wire"
)

// How long an install token lives.
const (
	DefaultInstall = time.Hour
	MaxInstall     = 30 * 24 * time.Hour
)

// CreateInstallToken makes a token that lets one atom enrol, once. An
// environment, by id or name, is where the atom is attached then.
func (s *Service) CreateInstallToken(ctx context.Context, p Principal, environment string, lives time.Duration) (InstallToken, error) {
	if err := p.Allow("installtoken.create"); err != nil {
		return InstallToken{}, err
	}
	if lives == 0 {
		lives = DefaultInstall
	}
	if lives < time.Minute || lives > MaxInstall {
		return InstallToken{}, invalid("durationMinutes", "is from 1 to %d", int(MaxInstall/time.Minute))
	}
	c, err := s.begin(ctx)
	if err != nil {
		return InstallToken{}, err
	}
	defer c.end()
	t := InstallToken{ID: newID(), Account: p.Account, CreatedBy: p.User, Created: time.Now().UTC()}
	t.Expires = t.Created.Add(lives)
	detail := "for no environment"
	if environment != "" {
		e, err := s.environmentFor(p, "installtoken.create", environment)
		if err != nil {
			return InstallToken{}, err
		}
		t.Environment, detail = e.ID, "for "+e.Name
	} else if err := p.unlimited("installtoken.create"); err != nil {
		return InstallToken{}, err
	}
	t.Token, t.Hash = newSecret("vi_")
	c.put(&t)
	for _, old := range s.state.installs { // those that are long over go
		if time.Since(old.Expires) > s.o.Retention {
			c.drop(old)
		}
	}
	c.audit(p, "installtoken.create", t.ID, detail)
	return t, s.commit(ctx, c)
}

// InstallToken gives one that is not long over, without what it is proved by:
// whether it was used, and by which atom.
func (s *Service) InstallToken(_ context.Context, p Principal, id string) (InstallToken, error) {
	if err := p.Allow("installtoken.create"); err != nil {
		return InstallToken{}, err
	}
	s.mu.RLock()
	defer s.mu.RUnlock()
	t := owned(s.state.installs, id, p.Account, func(t *InstallToken) string { return t.Account })
	if t == nil || !p.in(t.Environment) {
		return InstallToken{}, missing("install token", id)
	}
	return *t, nil
}

// Why an enrolment or a request of an atom is refused, as wire.Refusal names it.
const (
	CodeUnknownToken = "unknown_token"
	CodeUsedToken    = "used_token"
	CodeExpiredToken = "expired_token"
)

// RefusedError is a request of an atom that is not answered.
type RefusedError struct {
	Code string
	Text string
}

func (e *RefusedError) Error() string { return e.Text }

// Unwrap says that the atom has not proved who it is.
func (e *RefusedError) Unwrap() error { return ErrUnauthenticated }

// Enrol makes an atom known, and attaches it. The same enrolment again, whose
// answer was lost, gives the same answer; any other use of a token that was
// used is refused, and its account sees that.
func (s *Service) Enrol(ctx context.Context, e wire.Enrol, from string) (*wire.Enrolled, error) {
	unknown := &RefusedError{CodeUnknownToken, "there is no such install token: make one with valence cloud install-token"}
	hash := string(hashOf(e.Token))
	if known, err := s.hasInstall(ctx, hash); err != nil {
		return nil, err
	} else if !known { // whoever guesses keeps nobody from a turn
		return nil, unknown
	}
	c, err := s.begin(ctx)
	if err != nil {
		return nil, err
	}
	defer c.end()
	t := s.state.installBy[hash]
	if t == nil {
		return nil, unknown
	}
	p := Principal{Account: t.Account, User: "install token " + t.ID, From: from}
	if t.Used {
		if a := s.state.atoms[t.AtomID]; a != nil && !a.Revoked && bytes.Equal(a.Key, e.Key) {
			return s.enrolled(a), nil
		}
		s.report(ctx, p, CodeUsedToken, t.ID)
		return nil, &RefusedError{CodeUsedToken, "this install token was used before: make another one with valence cloud install-token"}
	}
	if !time.Now().Before(t.Expires) {
		s.report(ctx, p, CodeExpiredToken, t.ID)
		return nil, &RefusedError{CodeExpiredToken, "this install token has expired: make another one with valence cloud install-token"}
	}
	if err := s.checkEnrol(t.Account, &e); err != nil {
		return nil, err
	}
	a := &Atom{
		ID: newID(), Account: t.Account, Name: e.Name, Key: e.Key, SealKey: e.SealKey, Version: legible(e.Version, maxWord), Host: legible(e.Host, maxWord),
		Enrolled: time.Now().UTC(), Revision: s.revision(),
	}
	used := *t
	used.Used, used.AtomID = true, a.ID
	c.put(&used)
	detail := "in no environment"
	if at := s.state.environments[t.Environment]; at != nil {
		s.attach(c, a, at)
		detail = "in " + at.Name
	} else {
		c.put(a)
	}
	c.audit(p, "atom.enrol", a.ID, a.Name+" "+detail)
	if err := s.commit(ctx, c); err != nil {
		return nil, err
	}
	return s.enrolled(s.state.atoms[a.ID]), nil
}

func (s *Service) hasInstall(ctx context.Context, hash string) (bool, error) {
	if err := s.Confirm(ctx); err != nil {
		return false, err
	}
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.state.installBy[hash] != nil, nil
}

func (s *Service) checkEnrol(account string, e *wire.Enrol) error {
	if len(e.Key) != ed25519.PublicKeySize {
		return invalid("key", "is no Ed25519 public key")
	}
	if _, err := ecdh.X25519().NewPublicKey(e.SealKey); err != nil {
		return invalid("seal_key", "is no X25519 public key")
	}
	if !ed25519.Verify(e.Key, e.SealKey, e.SealSignature) {
		return invalid("seal_signature", "the key to seal secrets for is not signed by the atom's key")
	}
	return s.checkAtomName(account, e.Name, "")
}

func (s *Service) enrolled(a *Atom) *wire.Enrolled {
	r := &wire.Enrolled{Atom: a.ID, Account: a.Account}
	if e := s.state.environmentOf(a.ID); e != nil {
		r.Environment = e.Name
	}
	return r
}
