package authn

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/golang-jwt/jwt/v5"
)

// Limits for parsing and verifying tokens.
const (
	maxToken  = 16 << 10
	minSecret = 32 // bytes: RFC 7518, section 3.2
)

var (
	asymmetric = []string{"RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA"}
	symmetric  = []string{"HS256", "HS384", "HS512"}
)

type token struct {
	parser   *jwt.Parser
	keys     keySource
	audience []string
	claims   map[string][]string
}

// keySource returns the keys that may have signed a token.
type keySource interface {
	keys(r *http.Request, t *jwt.Token) (any, error)
}

func newJWT(s *settings) Authenticator {
	a := &token{audience: s.texts("audience"), claims: claims(s)}
	if s.has("jwks") == s.has("key") {
		s.problem("jwks: set exactly one of jwks and key")
	}
	methods := asymmetric
	if s.has("jwks") {
		a.keys = newKeySet(s)
	} else if fixed := fixedKeys(s); len(fixed) > 0 {
		a.keys = fixed
		if _, secret := fixed[0].([]byte); secret {
			methods = symmetric
		}
	}
	options := []jwt.ParserOption{
		jwt.WithValidMethods(methods), jwt.WithExpirationRequired(), jwt.WithIssuedAt(),
		jwt.WithLeeway(s.duration("leeway", 30*time.Second)), jwt.WithJSONNumber(),
	}
	if s.has("issuer") {
		options = append(options, jwt.WithIssuer(s.text("issuer")))
	}
	a.parser = jwt.NewParser(options...)
	return a
}

func claims(s *settings) map[string][]string {
	if !s.has("claims") {
		return nil
	}
	m, ok := s.values["claims"].(map[string]any)
	if !ok {
		s.problem("claims: must be a map")
		return nil
	}
	out := map[string][]string{}
	for name, v := range m {
		list, ok := v.([]any)
		if !ok {
			list = []any{v}
		}
		for _, e := range list {
			text, ok := scalar(e)
			if !ok {
				s.problem("claims: %s must be a string, a number, true or false, or a list of them", name)
				continue
			}
			out[name] = append(out[name], text)
		}
		if len(list) == 0 {
			s.problem("claims: %s is an empty list", name)
		}
	}
	return out
}

func (a *token) Authenticate(r *http.Request, _ []byte) (string, error) {
	text := bearerToken(r)
	if text == "" || len(text) > maxToken {
		return "", ErrDenied
	}
	got := jwt.MapClaims{}
	parsed, err := a.parser.ParseWithClaims(text, got, func(t *jwt.Token) (any, error) {
		// RFC 7515, section 4.1.11: unsupported critical headers must be
		// rejected.
		if _, critical := t.Header["crit"]; critical {
			return nil, ErrDenied
		}
		return a.keys.keys(r, t)
	})
	if err != nil || !parsed.Valid {
		return "", ErrDenied
	}
	if len(a.audience) > 0 {
		audience, err := got.GetAudience()
		if err != nil || !slices.ContainsFunc(a.audience, func(want string) bool { return slices.Contains(audience, want) }) {
			return "", ErrDenied
		}
	}
	for name, allowed := range a.claims {
		if !holds(name, got[name], allowed) {
			return "", ErrDenied
		}
	}
	for _, name := range []string{"sub", "client_id", "azp"} {
		if who, ok := got[name].(string); ok && who != "" {
			return who, nil
		}
	}
	return "", ErrDenied
}

func (a *token) Consumes() []string { return []string{"Authorization"} }
func (a *token) NeedsBody() bool    { return false }

func holds(name string, claim any, allowed []string) bool {
	switch v := claim.(type) {
	case []any:
		return slices.ContainsFunc(v, func(e any) bool {
			text, ok := scalar(e)
			return ok && slices.Contains(allowed, text)
		})
	case string:
		if name == "scope" || name == "scp" {
			words := strings.Fields(v)
			return slices.ContainsFunc(allowed, func(want string) bool { return slices.Contains(words, want) })
		}
	}
	text, ok := scalar(claim)
	return ok && slices.Contains(allowed, text)
}

func scalar(v any) (string, bool) {
	switch v := v.(type) {
	case string:
		return v, true
	case json.Number:
		return v.String(), true
	case bool, int, int64, float64:
		return fmt.Sprint(v), true
	}
	return "", false
}

// fixed holds configured keys, all of one kind: []byte, *rsa.PublicKey,
// *ecdsa.PublicKey or ed25519.PublicKey. Keys only verify tokens of their kind,
// so a public key cannot be used as a shared secret.
type fixed []any

func fixedKeys(s *settings) fixed {
	var out fixed
	secrets := 0
	for i, text := range s.texts("key") {
		if !strings.Contains(text, "-----BEGIN") {
			if len(text) < minSecret {
				s.problem("key: number %d must be PEM or a secret of at least %d bytes", i+1, minSecret)
				continue
			}
			secrets++
			out = append(out, []byte(text))
			continue
		}
		key, err := publicKey(text)
		if err != nil {
			s.problem("key: number %d %v", i+1, err)
			continue
		}
		out = append(out, key)
	}
	if secrets > 0 && secrets < len(out) {
		s.problem("key: contains shared secrets and public keys; use one kind")
	}
	return out
}

func (f fixed) keys(_ *http.Request, t *jwt.Token) (any, error) {
	set := jwt.VerificationKeySet{}
	for _, k := range f {
		if fits(t.Method, k) {
			set.Keys = append(set.Keys, k)
		}
	}
	if len(set.Keys) == 0 {
		return nil, ErrDenied
	}
	return set, nil
}

func fits(m jwt.SigningMethod, key any) bool {
	switch m.(type) {
	case *jwt.SigningMethodHMAC:
		_, ok := key.([]byte)
		return ok
	case *jwt.SigningMethodRSA, *jwt.SigningMethodRSAPSS:
		k, ok := key.(*rsa.PublicKey)
		return ok && k.Size() >= 256
	case *jwt.SigningMethodECDSA:
		k, ok := key.(*ecdsa.PublicKey)
		return ok && m.(*jwt.SigningMethodECDSA).CurveBits == k.Curve.Params().BitSize
	case *jwt.SigningMethodEd25519:
		_, ok := key.(ed25519.PublicKey)
		return ok
	}
	return false
}

func publicKey(text string) (any, error) {
	block, rest := pem.Decode([]byte(text))
	if block == nil {
		return nil, fmt.Errorf("is not valid PEM")
	}
	if len(strings.TrimSpace(string(rest))) > 0 {
		return nil, fmt.Errorf("must contain one PEM block; use a list for several keys")
	}
	var key any
	var err error
	switch block.Type {
	case "PUBLIC KEY":
		key, err = x509.ParsePKIXPublicKey(block.Bytes)
	case "RSA PUBLIC KEY":
		key, err = x509.ParsePKCS1PublicKey(block.Bytes)
	case "CERTIFICATE":
		var c *x509.Certificate
		if c, err = x509.ParseCertificate(block.Bytes); err == nil {
			key = c.PublicKey
		}
	default:
		return nil, fmt.Errorf("is a PEM block %q; use a public key or a certificate", block.Type)
	}
	if err != nil {
		return nil, fmt.Errorf("is not a valid public key")
	}
	switch k := key.(type) {
	case *rsa.PublicKey:
		if k.Size() < 256 {
			return nil, fmt.Errorf("is an RSA key with fewer than 2048 bits")
		}
	case *ecdsa.PublicKey, ed25519.PublicKey:
	default:
		return nil, fmt.Errorf("is not an RSA, ECDSA or Ed25519 key")
	}
	return key, nil
}
