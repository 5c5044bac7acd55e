// Package authn checks who calls: API keys, passwords, tokens, signatures
// and client certificates.
package authn

import (
	"errors"
	"fmt"
	"net/http"
	"sort"
	"strings"
)

// Authenticator checks the proof that a request carries. Any number of
// goroutines may use it at once.
type Authenticator interface {
	// Authenticate gives the caller's name: the same for the same caller, ""
	// only where nobody is asked. body is the request's body as received; it
	// is looked at only where NeedsBody is true. Every failed check is
	// ErrDenied and nothing else, so that no caller learns which part was wrong.
	Authenticate(r *http.Request, body []byte) (principal string, err error)
	// Consumes names the headers that carry the proof and must not be shown
	// to processes.
	Consumes() []string
	// NeedsBody tells whether the proof covers the body.
	NeedsBody() bool
}

// QueryConsumer is implemented by authenticators whose proof travels in the query.
type QueryConsumer interface {
	// ConsumesQuery names the parameter that must not be shown to processes, "" if there is none.
	ConsumesQuery() string
}

// ErrDenied is every failed check.
var ErrDenied = errors.New("authentication failed")

// Scheme describes one way of authentication: what New takes for it.
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
	List     bool // takes one text or a list of them
	Map      bool // takes a mapping
	Duration bool // takes a text such as 5m
	Secret   bool // belongs in ${secret.…}
	Required bool
	Enum     []string
}

// Schemes gives every scheme that New knows, by name.
func Schemes() []Scheme {
	const rotates = "A list rotates: any of them is accepted."
	return []Scheme{
		{"api_key", "A key in a header or in the query.", []Setting{
			{Name: "header", Doc: "Name of the header that carries the key."},
			{Name: "query", Doc: "Name of the query parameter that carries the key."},
			{Name: "key", Doc: "The key. " + rotates, List: true, Secret: true, Required: true},
		}, newAPIKey},
		{"basic", "User name and password (RFC 7617).", []Setting{
			{Name: "user", Doc: "The user name.", Required: true},
			{Name: "password", Doc: "The password. " + rotates, List: true, Secret: true, Required: true},
		}, newBasic},
		{"bearer", "A fixed token as Authorization: Bearer.", []Setting{
			{Name: "token", Doc: "The token. " + rotates, List: true, Secret: true, Required: true},
		}, newBearer},
		{"hmac", "A signature over the body, as senders of webhooks make it.", []Setting{
			{Name: "preset", Doc: "The sender whose form of signature is expected.", Enum: presetNames()},
			{Name: "secret", Doc: "The shared secret. " + rotates, List: true, Secret: true, Required: true},
			{Name: "tolerance", Doc: "How far the signed time may be from now; 5m if not set.", Duration: true},
			{Name: "header", Doc: "Without a preset: name of the header that carries the signature, alone or as algorithm=signature."},
			{Name: "algorithm", Doc: "Without a preset: the hash; sha256 if not set.", Enum: []string{"sha1", "sha256", "sha384", "sha512"}},
			{Name: "encoding", Doc: "Without a preset: how the signature is written; hex if not set.", Enum: []string{"hex", "base64"}},
			{Name: "timestamp", Doc: "Without a preset: name of the header that carries the Unix time; time, a dot and the body are signed then, otherwise the body alone."},
		}, newHMAC},
		{"jwt", "A signed token (RFC 7519) as Authorization: Bearer. It must expire and name who it is for by sub, client_id or azp.", []Setting{
			{Name: "jwks", Doc: "URL of the issuer's key set; fetched when first needed and kept."},
			{Name: "key", Doc: "In place of jwks: the issuer's public key or certificate as PEM, or a shared secret of at least 32 bytes. " + rotates, List: true, Secret: true},
			{Name: "issuer", Doc: "What iss must be."},
			{Name: "audience", Doc: "What aud must hold; of a list, any.", List: true},
			{Name: "claims", Doc: "Claims that must have a value, or one of a list. A claim that is a list, and the words of scope and scp, must hold it.", Map: true},
			{Name: "leeway", Doc: "How far clocks may differ; 30s if not set.", Duration: true},
		}, newJWT},
		{"mtls", "A client certificate.", []Setting{
			{Name: "ca", Doc: "PEM certificates of the authorities that sign clients.", Required: true},
			{Name: "subject", Doc: "Common name, or whole distinguished name (RFC 2253), that a client must have; of a list, any. Without it every client of the authority is let in.", List: true},
		}, newMTLS},
		{"none", "Anybody may call.", nil, func(*settings) Authenticator { return none{} }},
	}
}

// New makes the authenticator of a scheme. Settings hold text, lists and
// mappings as YAML gives them; what is wrong with them is told all at once, by
// key, and without any value that might be secret. New touches no network.
func New(scheme string, values map[string]any) (Authenticator, error) {
	for _, s := range Schemes() {
		if s.Name != scheme {
			continue
		}
		in := &settings{values: values}
		in.check(s)
		a := s.build(in)
		if len(in.problems) > 0 {
			sort.Strings(in.problems)
			return nil, fmt.Errorf("auth scheme %s: %s", scheme, strings.Join(in.problems, "; "))
		}
		return a, nil
	}
	return nil, fmt.Errorf("there is no auth scheme %q: it is one of none, api_key, basic, bearer, jwt, hmac, mtls", scheme)
}

type none struct{}

func (none) Authenticate(*http.Request, []byte) (string, error) { return "", nil }
func (none) Consumes() []string                                 { return nil }
func (none) NeedsBody() bool                                    { return false }
