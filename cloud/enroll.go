package cloud

import (
	"bytes"
	"context"
	"crypto/ecdh"
	"crypto/ed25519"
	"time"

	"valence/internal/wire"
)

// Lifetimes of install tokens.
const (
	DefaultInstallTTL = time.Hour
	MaxInstallTTL     = 30 * 24 * time.Hour
)

// CreateInstallToken creates a token that lets one atom enroll, once. The atom
// is attached to the environment, given by id or name, if there is one.
func (s *Fleet) CreateInstallToken(ctx context.Context, p Principal, environment string, lives time.Duration) (InstallToken, error) {
	if err := p.Allow("installtoken.create"); err != nil {
		return InstallToken{}, err
	}
	if lives == 0 {
		lives = DefaultInstallTTL
	}
	if lives < time.Minute || lives > MaxInstallTTL {
		return InstallToken{}, invalid("durationMinutes", "must be 1 to %d", int(MaxInstallTTL/time.Minute))
	}
	c, err := s.begin(ctx)
	if err != nil {
		return InstallToken{}, err
	}
	defer c.end()
	t := InstallToken{ID: newID(), Account: p.Account, CreatedBy: p.User, Created: time.Now().UTC()}
	t.Expires = t.Created.Add(lives)
	detail := "without an environment"
	if environment != "" {
		e, err := s.environmentFor(p, "installtoken.create", environment)
		if err != nil {
			return InstallToken{}, err
		}
		t.Environment, detail = e.ID, "for "+e.Name
	} else if err := p.allowAccountWide("installtoken.create"); err != nil {
		return InstallToken{}, err
	}
	t.Token, t.Hash = newSecret("vi_")
	c.put(&t)
	for _, old := range s.state.installTokens { // delete long expired ones
		if time.Since(old.Expires) > s.o.Retention {
			c.drop(old)
		}
	}
	c.audit(p, "installtoken.create", t.ID, detail)
	return t, s.commit(ctx, c)
}

// InstallToken returns an install token without its secret; it shows whether
// and by which atom it was used. Long expired ones are deleted.
func (s *Fleet) InstallToken(_ context.Context, p Principal, id string) (InstallToken, error) {
	if err := p.Allow("installtoken.create"); err != nil {
		return InstallToken{}, err
	}
	s.mu.RLock()
	defer s.mu.RUnlock()
	t := owned(s.state.installTokens, id, p.Account, func(t *InstallToken) string { return t.Account })
	if t == nil || !p.sees(t.Environment) {
		return InstallToken{}, notFound("install token", id)
	}
	return *t, nil
}

// RefusedError is the refusal of an atom's request.
type RefusedError struct {
	Code string
	Text string
}

func (e *RefusedError) Error() string { return e.Text }

// Unwrap returns ErrUnauthenticated.
func (e *RefusedError) Unwrap() error { return ErrUnauthenticated }

// Enroll registers an atom and attaches it. Repeating an enrollment whose
// response was lost returns the same response. Any other use of a used token is
// refused and logged.
func (s *AtomAPI) Enroll(ctx context.Context, e wire.EnrollRequest, from string) (*wire.EnrollResponse, error) {
	unknown := &RefusedError{wire.CodeUnknownToken, "unknown install token: create one with valence cloud install-token"}
	hash := string(hashOf(e.Token))
	if known, err := s.hasInstallToken(ctx, hash); err != nil {
		return nil, err
	} else if !known { // a guessed token must not take the write lock
		return nil, unknown
	}
	c, err := s.begin(ctx)
	if err != nil {
		return nil, err
	}
	defer c.end()
	t := s.state.installByHash[hash]
	if t == nil {
		return nil, unknown
	}
	p := Principal{Account: t.Account, User: "install token " + t.ID, From: from}
	if t.Used {
		if a := s.state.atoms[t.AtomID]; a != nil && !a.Revoked && bytes.Equal(a.Key, e.Key) {
			return s.enrollment(a), nil
		}
		s.recordRefusal(ctx, p, wire.CodeUsedToken, t.ID)
		return nil, &RefusedError{wire.CodeUsedToken, "this install token has already been used: create another one with valence cloud install-token"}
	}
	if !time.Now().Before(t.Expires) {
		s.recordRefusal(ctx, p, wire.CodeExpiredToken, t.ID)
		return nil, &RefusedError{wire.CodeExpiredToken, "this install token has expired: create another one with valence cloud install-token"}
	}
	if err := s.checkEnrollment(t.Account, &e); err != nil {
		return nil, err
	}
	if err := s.checkAtomQuota(t.Account); err != nil {
		return nil, err
	}
	a := &Atom{
		ID: newID(), Account: t.Account, Name: e.Name, Key: e.Key, SealKey: e.SealKey, Version: sanitize(e.Version, maxWord), Host: sanitize(e.Host, maxWord),
		Enrolled: time.Now().UTC(), Revision: s.nextRevision(),
	}
	used := *t
	used.Used, used.AtomID = true, a.ID
	c.put(&used)
	detail := "without an environment"
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
	return s.enrollment(s.state.atoms[a.ID]), nil
}

func (s *AtomAPI) hasInstallToken(ctx context.Context, hash string) (bool, error) {
	if err := s.cluster.Refresh(ctx); err != nil {
		return false, err
	}
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.state.installByHash[hash] != nil, nil
}

func (s *AtomAPI) checkEnrollment(account string, e *wire.EnrollRequest) error {
	if len(e.Key) != ed25519.PublicKeySize {
		return invalid("key", "must be an Ed25519 public key")
	}
	if _, err := ecdh.X25519().NewPublicKey(e.SealKey); err != nil {
		return invalid("seal_key", "must be an X25519 public key")
	}
	if !ed25519.Verify(e.Key, e.SealKey, e.SealSignature) {
		return invalid("seal_signature", "does not match seal_key and key")
	}
	return s.checkAtomName(account, e.Name, "")
}

func (s *AtomAPI) enrollment(a *Atom) *wire.EnrollResponse {
	r := &wire.EnrollResponse{Atom: a.ID, Account: a.Account}
	if e := s.state.environmentOf(a.ID); e != nil {
		r.Environment = e.Name
	}
	return r
}
