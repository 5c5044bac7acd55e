// Package authn authenticates callers: API keys, passwords, tokens, signatures
// and client certificates.
package authn

import (
	"cmp"
	"errors"
	"fmt"
	"net/http"
	"sort"
	"strings"
	"time"

	"valence/internal/access"
)

// Authenticator verifies the credentials of a request. It is safe for
// concurrent use.
type Authenticator interface {
	// Authenticate returns the caller's name, which is stable per caller and
	// empty only for the scheme none. body is the request's body as received;
	// it is read only if NeedsBody reports true. Every failed check returns
	// ErrDenied, so that callers cannot learn which part was wrong.
	Authenticate(r *http.Request, body []byte) (principal string, err error)
	// Consumes returns the headers that carry credentials and must be hidden
	// from processes.
	Consumes() []string
	// NeedsBody reports whether the credentials cover the body.
	NeedsBody() bool
}

// QueryConsumer is implemented by authenticators that read credentials from the
// query.
type QueryConsumer interface {
	// ConsumesQuery returns the query parameter that must be hidden from
	// processes, or "".
	ConsumesQuery() string
}

// ErrDenied is the error of every failed check.
var ErrDenied = errors.New("authentication failed")

// Scheme describes an authentication scheme and its settings.
type Scheme struct {
	Name     string
	Doc      string
	Settings []Setting
	build    func(*settings) Authenticator
}

// Setting describes one key of a scheme's settings.
type Setting struct {
	Name     string
	Doc      string
	List     bool          // a string or a list of strings
	Map      bool          // a mapping
	Duration bool          // a duration such as 5m, of at most Most
	Most     time.Duration // 0: 24 hours
	Secret   bool          // belongs in ${secret.…}
	Required bool
	Enum     []string
}

// maxDuration is the maximum of durations without one of their own.
const maxDuration = 24 * time.Hour

// Longest returns the maximum of a duration.
func (s *Setting) Longest() time.Duration { return cmp.Or(s.Most, maxDuration) }

// Schemes returns all schemes in alphabetical order.
func Schemes() []Scheme {
	const rotates = "Of a list, any is accepted, for rotation."
	return []Scheme{
		{"api_key", "A key in a header or in the query.", []Setting{
			{Name: "header", Doc: "Name of the header with the key."},
			{Name: "query", Doc: "Name of the query parameter with the key."},
			{Name: "key", Doc: "The key. " + rotates, List: true, Secret: true, Required: true},
		}, newAPIKey},
		{"basic", "User name and password as Basic authentication (RFC 7617).", []Setting{
			{Name: "user", Doc: "The user name.", Required: true},
			{Name: "password", Doc: "The password. " + rotates, List: true, Secret: true, Required: true},
		}, newBasic},
		{"bearer", "A fixed token in Authorization: Bearer.", []Setting{
			{Name: "token", Doc: "The token. " + rotates, List: true, Secret: true, Required: true},
		}, newBearer},
		{"hmac", "A signature over the body, as webhook senders create it.", []Setting{
			{Name: "preset", Doc: "The sender whose signature format is expected.", Enum: presetNames()},
			{Name: "secret", Doc: "The shared secret. " + rotates, List: true, Secret: true, Required: true},
			{Name: "tolerance", Doc: "Maximum difference between the signed time and now; 5m by default.", Duration: true},
			{Name: "header", Doc: "Without a preset: name of the header with the signature, alone or as algorithm=signature. If it contains several, separated by commas or spaces, one of them must match."},
			{Name: "algorithm", Doc: "Without a preset: the hash algorithm; sha256 by default.", Enum: []string{"sha1", "sha256", "sha384", "sha512"}},
			{Name: "encoding", Doc: "Without a preset: encoding of the signature; hex by default.", Enum: []string{"hex", "base64"}},
			{Name: "prefix", Doc: "Without a preset: text before each signature, such as `v1=`. Others are ignored. By default the algorithm and `=`, which may be missing."},
			{Name: "timestamp", Doc: "Without a preset: name of the header with the Unix time, which the signature then covers."},
			{Name: "id", Doc: "Without a preset: name of the header with the id of the message, which the signature then covers."},
			{Name: "signed", Doc: "Without a preset: the text that is signed, such as `v0:{timestamp}:{body}`. By default `{body}`, after `{timestamp}.` and `{id}.` if they are set."},
		}, newHMAC},
		{"jwt", "A signed token (RFC 7519) in Authorization: Bearer. It must expire and identify the caller by sub, client_id or azp.", []Setting{
			{Name: "jwks", Doc: "URL of the issuer's key set. It is fetched when first needed and cached."},
			{Name: "key", Doc: "Instead of jwks: the issuer's public key or certificate as PEM, or a shared secret of at least 32 bytes. " + rotates, List: true, Secret: true},
			{Name: "issuer", Doc: "Required value of iss."},
			{Name: "audience", Doc: "Required value of aud; of a list, any is accepted.", List: true},
			{Name: "claims", Doc: "Required claims, each with a value or a list of accepted values. Claims that are lists, and the words of scope and scp, must contain the value.", Map: true},
			{Name: "leeway", Doc: "Maximum clock difference; 30s by default.", Duration: true},
		}, newJWT},
		{"mtls", "A client certificate.", []Setting{
			{Name: "ca", Doc: "PEM certificates of the authorities that sign client certificates.", Required: true},
			{Name: "subject", Doc: "Required common name or full distinguished name (RFC 2253); of a list, any is accepted. Without it, every client of the authorities is accepted.", List: true},
		}, newMTLS},
		{"none", "No authentication: anyone may call.", nil, func(*settings) Authenticator { return none{} }},
		{"wss", "A UsernameToken in the WS-Security header of a SOAP envelope. For listeners with `input: soap` only.", []Setting{
			{Name: "user", Doc: "The user name.", Required: true},
			{Name: "password", Doc: "The password. " + rotates, List: true, Secret: true, Required: true},
			{Name: "type", Doc: "How callers send the password: as `text`, or as a `digest` with a nonce and the time; text by default.", Enum: []string{"text", "digest"}},
			{Name: "timestamp", Doc: "Maximum age of a digest and of a timestamp in the header; 5m by default. A digest is accepted once within it.", Duration: true, Most: maxTokenAge},
		}, newWSS},
	}
}

// New returns the authenticator of a scheme. values contains strings, lists and
// mappings as YAML decodes them. The error lists all problems by key and never
// contains a value, which may be secret. New does not touch the network; keys
// are fetched only from hosts that the policy allows.
func New(scheme string, values map[string]any, policy *access.Policy) (Authenticator, error) {
	for _, s := range Schemes() {
		if s.Name != scheme {
			continue
		}
		in := &settings{values: values, policy: policy}
		in.check(s)
		a := s.build(in)
		if in.refused != nil {
			return nil, fmt.Errorf("auth scheme %s: %w", scheme, in.refused)
		}
		if len(in.problems) > 0 {
			sort.Strings(in.problems)
			return nil, fmt.Errorf("auth scheme %s: %s", scheme, strings.Join(in.problems, "; "))
		}
		return a, nil
	}
	return nil, fmt.Errorf("unknown auth scheme %q: use none, api_key, basic, bearer, jwt, hmac, mtls or wss", scheme)
}

type none struct{}

func (none) Authenticate(*http.Request, []byte) (string, error) { return "", nil }
func (none) Consumes() []string                                 { return nil }
func (none) NeedsBody() bool                                    { return false }
