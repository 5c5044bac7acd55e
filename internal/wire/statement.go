package wire

import (
	"bytes"
	"crypto/ed25519"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
)

// Statement is a publisher's signed statement about a package. An atom
// configured with publisher keys runs no package without one, so that a
// compromised control plane cannot run its own code.
type Statement struct {
	Project     string `json:"project"`
	Environment string `json:"environment"` // name
	Serial      int64  `json:"serial"`      // increases with each statement for a project and environment; a lower one is outdated
	Package     string `json:"package"`     // SHA-256 of the archive
	// Fields are the fields that the environment may set: env.NAME, secret.NAME and
	// connection.NAME.SETTING. A trailing * matches the rest of a name.
	Fields []string `json:"fields,omitempty"`
	// Hosts are the hosts that URLs in these fields may contain, with the port unless it is the
	// default of the scheme. *.example.com matches all subdomains.
	Hosts []string `json:"hosts,omitempty"`
}

// ErrUntrusted is returned if none of the trusted publishers has signed a
// statement.
var ErrUntrusted = errors.New("not signed by a publisher that this atom trusts")

const statementPrefix = "valence-statement-1\n"

// Sign returns the statement's text and its signature.
func (s *Statement) Sign(key ed25519.PrivateKey) (text, signature []byte, err error) {
	if err := s.check(); err != nil {
		return nil, nil, err
	}
	if text, err = json.Marshal(s); err != nil {
		return nil, nil, err
	}
	return text, ed25519.Sign(key, append([]byte(statementPrefix), text...)), nil
}

// ReadStatement parses a statement after checking that one of the keys has
// signed it.
func ReadStatement(text, signature []byte, keys []ed25519.PublicKey) (*Statement, error) {
	message := append([]byte(statementPrefix), text...)
	for _, key := range keys {
		if len(key) == ed25519.PublicKeySize && ed25519.Verify(key, message, signature) {
			return ParseStatement(text)
		}
	}
	return nil, ErrUntrusted
}

// ParseStatement parses a statement without checking its signature.
func ParseStatement(text []byte) (*Statement, error) {
	d := json.NewDecoder(bytes.NewReader(text))
	d.DisallowUnknownFields()
	s := &Statement{}
	if err := d.Decode(s); err != nil {
		return nil, fmt.Errorf("read the publisher's statement: %w", err)
	}
	if _, err := d.Token(); err != io.EOF {
		return nil, errors.New("read the publisher's statement: trailing data")
	}
	return s, s.check()
}

func (s *Statement) check() error {
	switch {
	case s.Project == "" || s.Environment == "":
		return errors.New("a publisher's statement must name a project and an environment")
	case s.Serial <= 0:
		return errors.New("the serial of a publisher's statement must be 1 or more")
	case !IsPackageID(s.Package):
		return errors.New("a publisher's statement must identify a package by its SHA-256")
	}
	return nil
}

// AllowsField reports whether the environment may set a field.
func (s *Statement) AllowsField(name string) bool {
	for _, f := range s.Fields {
		if f == name {
			return true
		}
		if start, any := strings.CutSuffix(f, "*"); any && strings.HasPrefix(name, start) {
			return true
		}
	}
	return false
}

// AllowsHost reports whether URLs set by the environment may contain a host,
// given as in a URL.
func (s *Statement) AllowsHost(host string) bool {
	host = strings.ToLower(host)
	for _, h := range s.Hosts {
		h = strings.ToLower(h)
		if h == host {
			return true
		}
		if below, any := strings.CutPrefix(h, "*."); any && strings.HasSuffix(host, "."+below) {
			return true
		}
	}
	return false
}

// keyPrefix starts the text form of a publisher's public key.
const keyPrefix = "ed25519:"

// FormatKey returns the text form of a publisher's public key.
func FormatKey(key ed25519.PublicKey) string {
	return keyPrefix + base64.StdEncoding.EncodeToString(key)
}

// ParseKey parses the text form of a publisher's public key.
func ParseKey(text string) (ed25519.PublicKey, error) {
	rest, ok := strings.CutPrefix(strings.TrimSpace(text), keyPrefix)
	key, err := base64.StdEncoding.DecodeString(rest)
	if !ok || err != nil || len(key) != ed25519.PublicKeySize {
		return nil, errors.New("a publisher's key is ed25519: followed by 44 base64 characters")
	}
	return key, nil
}
