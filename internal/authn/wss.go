package authn

import (
	"crypto/sha1"
	"crypto/subtle"
	"encoding/base64"
	"encoding/xml"
	"net/http"
	"strings"
	"time"

	"valence/internal/convert"
)

// TokenAuthenticator is implemented by authenticators that read credentials from
// the header of an envelope.
type TokenAuthenticator interface {
	// AuthenticateToken returns the caller's name, as Authenticate does, or a
	// *BusyError. security is the header block of WS-Security; nil if there is
	// none.
	AuthenticateToken(security *convert.Element) (principal string, err error)
}

// The namespaces of WS-Security and the types of passwords (OASIS Web Services
// Security UsernameToken Profile 1.1.1).
const (
	wsse           = "http://docs.oasis-open.org/wss/2004/01/oasis-200401-wss-wssecurity-secext-1.0.xsd"
	wsu            = "http://docs.oasis-open.org/wss/2004/01/oasis-200401-wss-wssecurity-utility-1.0.xsd"
	passwordText   = "http://docs.oasis-open.org/wss/2004/01/oasis-200401-wss-username-token-profile-1.0#PasswordText"
	passwordDigest = "http://docs.oasis-open.org/wss/2004/01/oasis-200401-wss-username-token-profile-1.0#PasswordDigest"
)

// clockSkew is how far the clock of a caller may be ahead.
const clockSkew = time.Minute

// maxTokenAge bounds `timestamp:`: nonces are remembered that long.
const maxTokenAge = time.Hour

// maxNonce bounds the size of a nonce.
const maxNonce = 256

type wss struct {
	user      string
	users     secrets
	passwords secrets
	plain     []string // for digests
	digest    bool     // required in place of text
	timestamp time.Duration
	now       func() time.Time
	nonces    *nonces
}

func newWSS(s *settings) Authenticator {
	user, passwords := s.text("user"), s.texts("password")
	return &wss{
		user: user, users: newSecrets("user", []string{user}), passwords: newSecrets("password", passwords), plain: passwords,
		digest: s.text("type") == "digest", timestamp: s.durationUpTo("timestamp", 5*time.Minute, maxTokenAge), now: time.Now, nonces: newNonces(maxNonces),
	}
}

// Inherit makes an authenticator reject the digests that an earlier one has
// accepted.
func Inherit(a, earlier Authenticator) {
	now, ok := a.(*wss)
	before, ok2 := earlier.(*wss)
	if ok && ok2 {
		now.nonces = before.nonces
	}
}

// Authenticate rejects every request, because credentials are in the envelope.
func (a *wss) Authenticate(*http.Request, []byte) (string, error) { return "", ErrDenied }
func (a *wss) Consumes() []string                                 { return nil }
func (a *wss) NeedsBody() bool                                    { return true }

// AuthenticateToken verifies a UsernameToken, and the timestamp if there is one.
func (a *wss) AuthenticateToken(security *convert.Element) (string, error) {
	if security == nil || !a.fresh(security) {
		return "", ErrDenied
	}
	token := onlyChild(security, wsse, "UsernameToken")
	if token == nil {
		return "", ErrDenied
	}
	user, password := onlyChild(token, wsse, "Username"), onlyChild(token, wsse, "Password")
	if user == nil || password == nil {
		return "", ErrDenied
	}
	_, known := a.users.match(strings.TrimSpace(user.Text))
	right, err := false, error(nil)
	switch kind := password.Attr("Type"); {
	case kind == passwordDigest && a.digest:
		right, err = a.checkDigest(token, password, known)
	case (kind == passwordText || kind == "") && !a.digest:
		_, right = a.passwords.match(password.Text)
	}
	switch {
	case !known || !right:
		return "", ErrDenied
	case err != nil:
		return "", err
	}
	return a.user, nil
}

// checkDigest verifies Base64(SHA-1(nonce + created + password)), the time of the
// token, and that its nonce is new. Only nonces of valid tokens are remembered. The
// error is that of a valid token whose nonce cannot be accepted.
func (a *wss) checkDigest(token, password *convert.Element, known bool) (right bool, err error) {
	nonce, created := onlyChild(token, wsse, "Nonce"), onlyChild(token, wsu, "Created")
	if nonce == nil || created == nil {
		return false, nil
	}
	at, ok := instant(created.Text)
	raw, bad := base64.StdEncoding.DecodeString(strings.TrimSpace(nonce.Text))
	sent, bad2 := base64.StdEncoding.DecodeString(strings.TrimSpace(password.Text))
	if !ok || bad != nil || bad2 != nil || len(raw) == 0 || len(raw) > maxNonce || !a.recent(at) {
		return false, nil
	}
	matches := 0
	for _, p := range a.plain {
		h := sha1.New()
		h.Write(raw)
		h.Write([]byte(strings.TrimSpace(created.Text)))
		h.Write([]byte(p))
		matches |= subtle.ConstantTimeCompare(h.Sum(nil), sent)
	}
	if matches != 1 || !known {
		return false, nil
	}
	return true, a.nonces.add(raw, a.now(), at.Add(a.timestamp+clockSkew))
}

// fresh reports whether a wsu:Timestamp is valid now. The header may have none.
func (a *wss) fresh(security *convert.Element) bool {
	stamps := 0
	for _, c := range security.Children {
		if c.Name != (xml.Name{Space: wsu, Local: "Timestamp"}) {
			continue
		}
		stamps++
		created, expires := onlyChild(c, wsu, "Created"), onlyChild(c, wsu, "Expires")
		if created == nil {
			return false
		}
		at, ok := instant(created.Text)
		if !ok || !a.recent(at) {
			return false
		}
		if expires == nil {
			continue
		}
		if until, ok := instant(expires.Text); !ok || !a.now().Before(until) {
			return false
		}
	}
	return stamps <= 1
}

// recent reports whether a time is within the window.
func (a *wss) recent(t time.Time) bool {
	age := a.now().Sub(t)
	return age <= a.timestamp && age >= -clockSkew
}

func instant(text string) (time.Time, bool) {
	t, err := time.Parse(time.RFC3339Nano, strings.TrimSpace(text))
	return t, err == nil
}

// onlyChild returns the child with a name; nil if there is none or more than
// one.
func onlyChild(e *convert.Element, space, local string) (found *convert.Element) {
	for _, c := range e.Children {
		if c.Name.Space != space || c.Name.Local != local {
			continue
		}
		if found != nil {
			return nil
		}
		found = c
	}
	return found
}
