package cloud

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"regexp"
	"sort"
	"strings"
	"time"
)

// Accounts holds accounts, API tokens and the sessions of browsers, and
// authenticates callers.
type Accounts struct {
	*core
	limits rateLimits
}

// DefaultAccount exists from the first start. Its admins create the others.
const DefaultAccount = "default"

var accountName = regexp.MustCompile(`^[a-z0-9][a-z0-9-]{0,62}$`)

// newID returns a random UUID.
func newID() string {
	var b [16]byte
	rand.Read(b[:]) // never fails: crypto/rand
	return uuid(b, 4)
}

// uuid formats 16 bytes as a UUID of a version.
func uuid(b [16]byte, version byte) string {
	b[6], b[8] = b[6]&0x0f|version<<4, b[8]&0x3f|0x80
	h := hex.EncodeToString(b[:])
	return strings.Join([]string{h[:8], h[8:12], h[12:16], h[16:20], h[20:]}, "-")
}

// newSecret returns a token of 256 random bits and its hash. SHA-256 is enough
// for a value that cannot be guessed.
func newSecret(prefix string) (text string, hash []byte) {
	var b [32]byte
	rand.Read(b[:]) // never fails: crypto/rand
	text = prefix + base64.RawURLEncoding.EncodeToString(b[:])
	return text, hashOf(text)
}

func hashOf(text string) []byte {
	sum := sha256.Sum256([]byte(text))
	return sum[:]
}

// Bootstrap creates the default account and returns its first token, or "" if
// there already is an account.
func (s *Accounts) Bootstrap(ctx context.Context) (token string, err error) {
	c, err := s.begin(ctx)
	if err != nil {
		return "", err
	}
	defer c.end()
	if len(s.state.accounts) > 0 {
		return "", nil
	}
	return s.createWithAdmin(ctx, c, DefaultAccount, Principal{Account: DefaultAccount, User: "first start"})
}

// createWithAdmin creates an account and returns its admin's token.
func (s *Accounts) createWithAdmin(ctx context.Context, c *change, name string, by Principal) (token string, err error) {
	secret, hash := newSecret("vt_")
	now := time.Now().UTC()
	c.put(&Account{ID: name, Created: now})
	c.put(&Token{ID: newID(), Account: name, Name: "admin", Role: Admin, Hash: hash, Created: now, By: by.User})
	c.audit(by, "account.create", name, "")
	if by.Account != name { // both accounts see it
		by.Account = name
		c.audit(by, "account.create", name, "")
	}
	return secret, s.commit(ctx, c)
}

// RenewAdmin creates another admin token of the default account, for an
// operator with the data folder but without the token.
func (s *Accounts) RenewAdmin(ctx context.Context) (token string, err error) {
	c, err := s.begin(ctx)
	if err != nil {
		return "", err
	}
	defer c.end()
	secret, hash := newSecret("vt_")
	c.put(&Token{ID: newID(), Account: DefaultAccount, Name: "admin", Role: Admin, Hash: hash, Created: time.Now().UTC(), By: "data folder"})
	c.audit(Principal{Account: DefaultAccount, User: "data folder"}, "token.create", "admin", "the token file was missing")
	return secret, s.commit(ctx, c)
}

// Create creates an account and returns the token of its first admin. Only
// admins of the default account may.
func (s *Accounts) Create(ctx context.Context, p Principal, name string) (token string, err error) {
	if err := p.allowAccountWide("account.create"); err != nil {
		return "", err
	}
	if p.Account != DefaultAccount {
		return "", &Error{ErrForbidden, "only admins of the account " + DefaultAccount + " can create accounts"}
	}
	if !accountName.MatchString(name) {
		return "", invalid("name", "must be 1 to 63 lower-case letters, digits and dashes, and not start with a dash")
	}
	c, err := s.begin(ctx)
	if err != nil {
		return "", err
	}
	defer c.end()
	if s.state.accounts[name] != nil {
		return "", conflict("an account named %s already exists: choose another name", name)
	}
	return s.createWithAdmin(ctx, c, name, p)
}

// List returns all accounts for admins of the default account, otherwise the
// caller's own.
func (s *Accounts) List(_ context.Context, p Principal) ([]Account, error) {
	if err := p.Allow("account.read"); err != nil {
		return nil, err
	}
	return list(s.core, s.state.accounts, func(a *Account) bool {
		return a.ID == p.Account || p.Account == DefaultAccount && len(p.Environments) == 0
	},
		func(a, b Account) bool { return a.ID < b.ID }), nil
}

// list returns sorted copies of the wanted values of a map.
func list[T any](s *core, m map[string]*T, want func(*T) bool, less func(a, b T) bool) []T {
	s.mu.RLock()
	all := []T{}
	for _, v := range m {
		if want(v) {
			all = append(all, *v)
		}
	}
	s.mu.RUnlock()
	sort.Slice(all, func(i, j int) bool { return less(all[i], all[j]) })
	return all
}

// Authenticate returns the principal of a token. The user may be empty;
// otherwise it must match the token's. An unknown token and another account's
// token return the same error. Authenticate returns ErrUnavailable if a shared
// database does not answer, because the token may have been deleted meanwhile.
func (s *Accounts) Authenticate(ctx context.Context, account, user, token string) (Principal, error) {
	if err := s.cluster.Refresh(ctx); err != nil {
		return Principal{}, err
	}
	return s.Recognize(account, user, token)
}

// Recognize is Authenticate without asking a shared database, for responses
// that reveal nothing of an account.
func (s *Accounts) Recognize(account, user, token string) (Principal, error) {
	hash := hashOf(token)
	s.mu.RLock()
	t := s.state.tokenByHash[string(hash)]
	s.mu.RUnlock()
	if t == nil || account != "" && t.Account != account || user != "" && user != t.Name || !t.Expires.IsZero() && !time.Now().Before(t.Expires) {
		return Principal{}, ErrUnauthenticated
	}
	return Principal{Account: t.Account, User: t.Name, TokenID: t.ID, Role: t.Role, Environments: t.Environments}, nil
}

// CreateToken creates an API token. Its Secret is returned only here.
func (s *Accounts) CreateToken(ctx context.Context, p Principal, t Token) (Token, error) {
	if err := p.allowAccountWide("token.create"); err != nil {
		return Token{}, err
	}
	switch {
	case t.Role.rank() < 0:
		return Token{}, invalid("role", "must be one of %v", Roles())
	case !validName(t.Name) || strings.Contains(t.Name, ":"):
		return Token{}, invalid("name", "must be 1 to 200 characters without a colon or control characters")
	case !t.Expires.IsZero() && !t.Expires.After(time.Now()):
		return Token{}, invalid("expires", "must be in the future")
	}
	c, err := s.begin(ctx)
	if err != nil {
		return Token{}, err
	}
	defer c.end()
	for i, name := range t.Environments {
		e := s.state.environment(p.Account, name)
		if e == nil {
			return Token{}, invalid("environments", "there is no environment %q", name)
		}
		t.Environments[i] = e.ID
	}
	t.ID, t.Account, t.Created, t.By = newID(), p.Account, time.Now().UTC(), p.User
	t.Secret, t.Hash = newSecret("vt_")
	c.put(&t)
	c.audit(p, "token.create", t.ID, fmt.Sprintf("%s, %s", t.Name, t.Role))
	return t, s.commit(ctx, c)
}

// Tokens returns the account's tokens without their secrets.
func (s *Accounts) Tokens(_ context.Context, p Principal) ([]Token, error) {
	if err := p.allowAccountWide("token.read"); err != nil {
		return nil, err
	}
	return list(s.core, s.state.tokens, func(t *Token) bool { return t.Account == p.Account },
		func(a, b Token) bool { return a.Created.Before(b.Created) }), nil
}

// DeleteToken deletes a token, named by id or by a unique name, and its
// sessions.
func (s *Accounts) DeleteToken(ctx context.Context, p Principal, id string) error {
	if err := p.allowAccountWide("token.delete"); err != nil {
		return err
	}
	c, err := s.begin(ctx)
	if err != nil {
		return err
	}
	defer c.end()
	t := owned(s.state.tokens, id, p.Account, func(t *Token) string { return t.Account })
	if t == nil {
		for _, x := range s.state.tokens {
			if x.Account == p.Account && x.Name == id {
				if t != nil {
					return conflict("several tokens are named %s: use the id of one", id)
				}
				t = x
			}
		}
	}
	if t == nil {
		return notFound("token", id)
	}
	c.drop(t)
	for _, x := range s.state.sessions {
		if x.TokenID == t.ID {
			c.drop(x)
		}
	}
	c.audit(p, "token.delete", t.ID, t.Name)
	return s.commit(ctx, c)
}
