// Package tlsconfig declares the `tls:` settings of connections and loads their
// certificates.
package tlsconfig

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"os"
	"strings"

	"valence/internal/access"
	"valence/internal/spec"
)

// Settings are the TLS settings of a connection.
type Settings struct{ CA, Cert, Key, ServerName string }

// Fields are the keys of `tls:`.
var Fields = []spec.Field{
	spec.String("ca", func(t *Settings) *string { return &t.CA }, "CA certificates to trust instead of the system's: PEM or the path of a PEM file, relative to the folder of the project.").Local(),
	spec.String("cert", func(t *Settings) *string { return &t.Cert }, "Client certificate (mTLS): PEM or the path of a PEM file, relative to the folder of the project.").Local(),
	spec.String("key", func(t *Settings) *string { return &t.Key }, "Private key of the client certificate: PEM or the path of a PEM file, relative to the folder of the project.").Local(),
	spec.String("server_name", func(t *Settings) *string { return &t.ServerName }, "Expected name in the server certificate. Defaults to the host of `url`."),
}

// Check returns the problems that no single field can find.
func (t *Settings) Check() []string {
	if (t.Cert == "") != (t.Key == "") {
		return []string{"tls: cert and key must be set together"}
	}
	return nil
}

// Config returns the TLS configuration with the certificates loaded.
func (t *Settings) Config(policy *access.Policy) (*tls.Config, error) {
	c := &tls.Config{MinVersion: tls.VersionTLS12, ServerName: t.ServerName}
	if t.CA != "" {
		text, err := PEM(t.CA, policy)
		if err != nil {
			return nil, fmt.Errorf("tls: ca: %w", err)
		}
		c.RootCAs = x509.NewCertPool()
		if !c.RootCAs.AppendCertsFromPEM(text) {
			return nil, errors.New("tls: ca: no PEM certificate found")
		}
	}
	if t.Cert != "" {
		cert, err := PEM(t.Cert, policy)
		if err != nil {
			return nil, fmt.Errorf("tls: cert: %w", err)
		}
		key, err := PEM(t.Key, policy)
		if err != nil {
			return nil, fmt.Errorf("tls: key: %w", err)
		}
		pair, err := tls.X509KeyPair(cert, key)
		if err != nil {
			return nil, fmt.Errorf("tls: cert and key: %w", err)
		}
		c.Certificates = []tls.Certificate{pair}
	}
	return c, nil
}

// PEM returns a setting if it is PEM text, and otherwise the content of the
// file that it names.
func PEM(s string, policy *access.Policy) ([]byte, error) {
	if strings.Contains(s, "-----BEGIN ") {
		return []byte(s), nil
	}
	if strings.ContainsAny(s, "\n\r\x00") {
		return nil, errors.New("neither PEM nor a file path")
	}
	b, err := policy.ReadFile(s)
	if err != nil {
		var path *os.PathError
		if errors.As(err, &path) {
			return nil, fmt.Errorf("neither PEM nor a readable file: %w", path.Err)
		}
		return nil, err
	}
	return b, nil
}
