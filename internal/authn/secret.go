package authn

import (
	"crypto/pbkdf2"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"net/http"
	"net/textproto"
	"strings"
)

// secrets holds the digests of accepted secrets, so that they can be
// compared in constant time.
type secrets []secret

type secret struct {
	digest [sha256.Size]byte
	name   string // distinguishes callers with different secrets without revealing the secret
}

func newSecrets(kind string, values []string) secrets {
	out := make(secrets, 0, len(values))
	for _, v := range values {
		s := secret{digest: sha256.Sum256([]byte(v))}
		// Slow on purpose: operators see the name and must not be able to guess
		// the secret from it.
		if key, err := pbkdf2.Key(sha256.New, v, []byte("valence principal "+kind), 4096, 8); err == nil {
			s.name = kind + "-" + hex.EncodeToString(key)
		}
		out = append(out, s)
	}
	return out
}

// match compares with every secret, in constant time.
func (ss secrets) match(presented string) (name string, ok bool) {
	digest := sha256.Sum256([]byte(presented))
	found := -1
	for i := range ss {
		found = subtle.ConstantTimeSelect(subtle.ConstantTimeCompare(digest[:], ss[i].digest[:]), i, found)
	}
	if found < 0 || presented == "" {
		return "", false
	}
	return ss[found].name, true
}

// single returns the value of a header that occurs once. A repeated header is
// rejected, because a proxy may have checked the other value.
func single(r *http.Request, canonical string) (string, bool) {
	values := r.Header[canonical]
	if len(values) != 1 {
		return "", false
	}
	return values[0], true
}

type apiKey struct {
	header, query string
	keys          secrets
}

func newAPIKey(s *settings) Authenticator {
	a := &apiKey{query: s.text("query"), keys: newSecrets("key", s.texts("key"))}
	if s.has("header") == s.has("query") {
		s.problem("header: set exactly one of header and query")
	}
	if h := s.text("header"); h != "" {
		a.header = headerName(s, "header", h)
	}
	return a
}

func (a *apiKey) Authenticate(r *http.Request, _ []byte) (string, error) {
	presented := ""
	if a.header != "" {
		presented, _ = single(r, a.header)
	} else if values := r.URL.Query()[a.query]; len(values) == 1 {
		presented = values[0]
	}
	if name, ok := a.keys.match(presented); ok {
		return name, nil
	}
	return "", ErrDenied
}

func (a *apiKey) Consumes() []string {
	if a.header == "" {
		return nil
	}
	return []string{a.header}
}

func (a *apiKey) ConsumesQuery() string { return a.query }
func (a *apiKey) NeedsBody() bool       { return false }

type basic struct {
	user      string
	users     secrets
	passwords secrets
}

func newBasic(s *settings) Authenticator {
	user := s.text("user")
	if strings.Contains(user, ":") {
		s.problem("user: must not contain a colon")
	}
	return &basic{user: user, users: newSecrets("user", []string{user}), passwords: newSecrets("password", s.texts("password"))}
}

func (a *basic) Authenticate(r *http.Request, _ []byte) (string, error) {
	if _, once := single(r, "Authorization"); !once {
		return "", ErrDenied
	}
	user, password, ok := r.BasicAuth()
	_, known := a.users.match(user)
	_, right := a.passwords.match(password)
	if !ok || !known || !right {
		return "", ErrDenied
	}
	return a.user, nil
}

func (a *basic) Consumes() []string { return []string{"Authorization"} }
func (a *basic) NeedsBody() bool    { return false }

type bearer struct{ tokens secrets }

func newBearer(s *settings) Authenticator { return &bearer{newSecrets("token", s.texts("token"))} }

func (a *bearer) Authenticate(r *http.Request, _ []byte) (string, error) {
	if name, ok := a.tokens.match(bearerToken(r)); ok {
		return name, nil
	}
	return "", ErrDenied
}

func (a *bearer) Consumes() []string { return []string{"Authorization"} }
func (a *bearer) NeedsBody() bool    { return false }

func bearerToken(r *http.Request) string {
	value, _ := single(r, "Authorization")
	const scheme = "Bearer "
	if len(value) <= len(scheme) || !strings.EqualFold(value[:len(scheme)], scheme) {
		return ""
	}
	return strings.TrimSpace(value[len(scheme):])
}

func headerName(s *settings, key, name string) string {
	for _, c := range []byte(name) {
		if c != '-' && c != '_' && (c < '0' || c > '9') && (c < 'A' || c > 'Z') && (c < 'a' || c > 'z') {
			s.problem("%s: is not a valid header name", key)
			break
		}
	}
	return textproto.CanonicalMIMEHeaderKey(name)
}
