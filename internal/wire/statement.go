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

// Statement is what a publisher says of a package, and signs. An atom that is
// configured with publishers' keys runs nothing without one, so that a
// control plane that was taken over cannot run code of its own.
type Statement struct {
	Project     string `json:"project"`
	Environment string `json:"environment"` // name
	Serial      int64  `json:"serial"`      // grows with each statement for a project and environment; a lower one is an old one again
	Package     string `json:"package"`     // SHA-256 of the archive
	// Fields are what the environment may set: env.NAME, secret.NAME,
	// connection.NAME.SETTING; a * at the end stands for the rest of a name.
	Fields []string `json:"fields,omitempty"`
	// Hosts are those that a URL in such a field may lead to, with the port
	// where it is not the scheme's own; *.example.com stands for those below it.
	Hosts []string `json:"hosts,omitempty"`
}

// ErrStatement is a statement that is not one of a publisher's.
var ErrStatement = errors.New("no publisher that this atom trusts has signed it")

const statementPrefix = "valence-statement-1\n"

// Sign gives the statement's text and the signature of it.
func (s *Statement) Sign(key ed25519.PrivateKey) (text, signature []byte, err error) {
	if err := s.check(); err != nil {
		return nil, nil, err
	}
	if text, err = json.Marshal(s); err != nil {
		return nil, nil, err
	}
	return text, ed25519.Sign(key, append([]byte(statementPrefix), text...)), nil
}

// ReadStatement checks that one of the keys has signed a text, and reads it.
func ReadStatement(text, signature []byte, keys []ed25519.PublicKey) (*Statement, error) {
	message := append([]byte(statementPrefix), text...)
	for _, key := range keys {
		if len(key) == ed25519.PublicKeySize && ed25519.Verify(key, message, signature) {
			return ParseStatement(text)
		}
	}
	return nil, ErrStatement
}

// ParseStatement reads a statement without asking who signed it.
func ParseStatement(text []byte) (*Statement, error) {
	d := json.NewDecoder(bytes.NewReader(text))
	d.DisallowUnknownFields()
	s := &Statement{}
	if err := d.Decode(s); err != nil {
		return nil, fmt.Errorf("read the publisher's statement: %w", err)
	}
	if _, err := d.Token(); err != io.EOF {
		return nil, errors.New("read the publisher's statement: there is something behind it")
	}
	return s, s.check()
}

func (s *Statement) check() error {
	switch {
	case s.Project == "" || s.Environment == "":
		return errors.New("a publisher's statement names a project and an environment")
	case s.Serial <= 0:
		return errors.New("a publisher's statement has a serial of 1 or more")
	case !IsPackageID(s.Package):
		return errors.New("a publisher's statement names a package by its SHA-256")
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

// AllowsHost reports whether a URL that the environment sets may lead to a
// host, given as in a URL.
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

// keyPrefix starts a public key of a publisher as people write it.
const keyPrefix = "ed25519:"

// FormatKey gives a publisher's public key as people write it.
func FormatKey(key ed25519.PublicKey) string {
	return keyPrefix + base64.StdEncoding.EncodeToString(key)
}

// ParseKey reads what FormatKey gave.
func ParseKey(text string) (ed25519.PublicKey, error) {
	rest, ok := strings.CutPrefix(strings.TrimSpace(text), keyPrefix)
	key, err := base64.StdEncoding.DecodeString(rest)
	if !ok || err != nil || len(key) != ed25519.PublicKeySize {
		return nil, errors.New("a publisher's key is ed25519: and 44 characters of base64")
	}
	return key, nil
}
