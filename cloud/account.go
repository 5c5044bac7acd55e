package cloud

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"regexp"
	"slices"
	"sort"
	"strings"
	"time"
)

// DefaultAccount is there from the first start. Its admins make the others.
const DefaultAccount = "default"

var accountName = regexp.MustCompile(`^[a-z0-9][a-z0-9-]{0,62}$`)

// newID gives a random id in the form that clients know.
func newID() string {
	var b [16]byte
	rand.Read(b[:]) // never fails: crypto/rand
	return uuid(b, 4)
}

// uuid writes 16 bytes as a UUID of a version.
func uuid(b [16]byte, version byte) string {
	b[6], b[8] = b[6]&0x0f|version<<4, b[8]&0x3f|0x80
	h := hex.EncodeToString(b[:])
	return strings.Join([]string{h[:8], h[8:12], h[12:16], h[16:20], h[20:]}, "-")
}

// newSecret gives a token of 256 random bits, and its hash. Nothing slower than
// SHA-256 is needed to keep what cannot be guessed.
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

// Bootstrap makes the account and its first token where there is no account
// yet. It gives the token, or "" where there was something already.
func (s *Service) Bootstrap(ctx context.Context) (token string, err error) {
	c, err := s.begin(ctx)
	if err != nil {
		return "", err
	}
	defer c.end()
	if len(s.state.accounts) > 0 {
		return "", nil
	}
	return s.open(ctx, c, DefaultAccount, Principal{Account: DefaultAccount, User: "first start"})
}

// open makes an account with an admin's token.
func (s *Service) open(ctx context.Context, c *change, name string, by Principal) (token string, err error) {
	secret, hash := newSecret("vt_")
	now := time.Now().UTC()
	c.put(&Account{ID: name, Created: now})
	c.put(&Token{ID: newID(), Account: name, Name: "admin", Role: Admin, Hash: hash, Created: now, By: by.User})
	c.audit(by, "account.create", name, "")
	if by.Account != name { // both sides see it
		by.Account = name
		c.audit(by, "account.create", name, "")
	}
	return secret, s.commit(ctx, c)
}

// RenewAdmin makes another admin's token of the default account, for an
// operator who has the data folder and has lost the first.
func (s *Service) RenewAdmin(ctx context.Context) (token string, err error) {
	c, err := s.begin(ctx)
	if err != nil {
		return "", err
	}
	defer c.end()
	secret, hash := newSecret("vt_")
	c.put(&Token{ID: newID(), Account: DefaultAccount, Name: "admin", Role: Admin, Hash: hash, Created: time.Now().UTC(), By: "data folder"})
	c.audit(Principal{Account: DefaultAccount, User: "data folder"}, "token.create", "admin", "the file with the token was gone")
	return secret, s.commit(ctx, c)
}

// CreateAccount makes an account and gives the token of its first admin. Only
// admins of the default account may.
func (s *Service) CreateAccount(ctx context.Context, p Principal, name string) (token string, err error) {
	if err := p.unlimited("account.create"); err != nil {
		return "", err
	}
	if p.Account != DefaultAccount {
		return "", &Error{ErrForbidden, "accounts are made by admins of the account " + DefaultAccount}
	}
	if !accountName.MatchString(name) {
		return "", invalid("name", "an account is named by up to 63 small letters, digits and dashes")
	}
	c, err := s.begin(ctx)
	if err != nil {
		return "", err
	}
	defer c.end()
	if s.state.accounts[name] != nil {
		return "", conflict("there is an account %s already: choose another name", name)
	}
	return s.open(ctx, c, name, p)
}

// Accounts lists the accounts: all for admins of the default one, else one's own.
func (s *Service) Accounts(_ context.Context, p Principal) ([]Account, error) {
	if err := p.Allow("account.read"); err != nil {
		return nil, err
	}
	return list(s, s.state.accounts, func(a *Account) bool {
		return a.ID == p.Account || p.Account == DefaultAccount && len(p.Environments) == 0
	},
		func(a, b Account) bool { return a.ID < b.ID }), nil
}

// list copies what is wanted of a map, in order.
func list[T any](s *Service, m map[string]*T, want func(*T) bool, less func(a, b T) bool) []T {
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

// Authenticate finds out who brings a token. The user may be "", or must be
// the one that the token stands for. An account that is not the token's gives
// the same error as a token that there is not. It fails with ErrUnavailable
// where several control planes share a database that does not answer: a token
// may have been ended meanwhile.
func (s *Service) Authenticate(ctx context.Context, account, user, token string) (Principal, error) {
	if err := s.Confirm(ctx); err != nil {
		return Principal{}, err
	}
	return s.Recognize(account, user, token)
}

// Recognize is Authenticate by what is in memory: for what must be answered
// while a shared database is away, and tells nothing of any account.
func (s *Service) Recognize(account, user, token string) (Principal, error) {
	hash := hashOf(token)
	s.mu.RLock()
	t := s.state.byHash[string(hash)]
	s.mu.RUnlock()
	if t == nil || account != "" && t.Account != account || user != "" && user != t.Name || !t.Expires.IsZero() && !time.Now().Before(t.Expires) {
		return Principal{}, ErrUnauthenticated
	}
	return Principal{Account: t.Account, User: t.Name, TokenID: t.ID, Role: t.Role, Environments: t.Environments}, nil
}

// CreateToken makes an API token. Its Secret is given this once.
func (s *Service) CreateToken(ctx context.Context, p Principal, t Token) (Token, error) {
	if err := p.unlimited("token.create"); err != nil {
		return Token{}, err
	}
	switch {
	case t.Role.rank() < 0:
		return Token{}, invalid("role", "is one of %v", Roles())
	case !goodName(t.Name) || strings.Contains(t.Name, ":"):
		return Token{}, invalid("name", "is 1 to 200 characters without a colon or control characters")
	case !t.Expires.IsZero() && !t.Expires.After(time.Now()):
		return Token{}, invalid("expires", "is in the past")
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

// Tokens lists the account's tokens, without their secrets.
func (s *Service) Tokens(_ context.Context, p Principal) ([]Token, error) {
	if err := p.unlimited("token.read"); err != nil {
		return nil, err
	}
	return list(s, s.state.tokens, func(t *Token) bool { return t.Account == p.Account },
		func(a, b Token) bool { return a.Created.Before(b.Created) }), nil
}

// DeleteToken ends a token, by id or by a name that is unique.
func (s *Service) DeleteToken(ctx context.Context, p Principal, id string) error {
	if err := p.unlimited("token.delete"); err != nil {
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
					return conflict("several tokens are named %s: name one by its id", id)
				}
				t = x
			}
		}
	}
	if t == nil {
		return missing("token", id)
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

// environment finds an account's environment by id or name.
func (st *state) environment(account, name string) *Environment {
	if e := st.environments[name]; e != nil && e.Account == account {
		return e
	}
	for _, e := range st.environments {
		if e.Account == account && strings.EqualFold(e.Name, name) {
			return e
		}
	}
	return nil
}

// AuditLog gives what was done in the account, newest first; next goes on, 0
// is the end.
func (s *Service) AuditLog(ctx context.Context, p Principal, cursor int64, limit int) (entries []AuditEntry, next int64, err error) {
	if err := p.unlimited("audit.read"); err != nil {
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

// Backup copies everything but the key of the secrets into a folder of the
// control plane's machine.
func (s *Service) Backup(ctx context.Context, p Principal, folder string) error {
	if err := p.unlimited("backup.create"); err != nil {
		return err
	}
	if p.Account != DefaultAccount {
		return &Error{ErrForbidden, "backups are made by admins of the account " + DefaultAccount}
	}
	switch err := s.store.Backup(ctx, folder); {
	case errors.Is(err, fs.ErrExist):
		return conflict("%s exists already: name a folder that does not exist yet", folder)
	case err != nil:
		return err
	}
	return s.note(ctx, p, "backup.create", folder, "")
}

// note writes a line of the audit log by itself.
func (s *Service) note(ctx context.Context, p Principal, action Action, object, detail string) error {
	return s.store.Write(ctx, &Change{Audit: []AuditEntry{entry(p, action, object, detail)}})
}
