package tlsconfig

import (
	"crypto/tls"

	"valence/internal/access"
	"valence/internal/spec"
)

// Values of Mode.TLS, for protocols that can begin TLS on a plain connection.
const (
	Required = "required" // the connection begins in plain text and must change to TLS
	Implicit = "implicit" // TLS from the first byte
	None     = "none"
)

// Mode says whether a connection uses TLS, and whom it trusts.
type Mode struct{ TLS, CA string }

// ModeFields declares the settings of a mode within T.
func ModeFields[T any](mode func(*T) *Mode) []spec.Field {
	return []spec.Field{
		spec.Enum("tls", func(t *T) *string { return &mode(t).TLS },
			"`required` changes to TLS before it sends anything else and fails if the server does not offer it, `implicit` uses TLS from the first byte, and `none` sends everything, also the password, in plain text.",
			Required, Implicit, None).Or(Required),
		spec.String("ca", func(t *T) *string { return &mode(t).CA }, "CA certificates to trust instead of the system's: PEM or the path of a PEM file, relative to the folder of the project.").Local(),
	}
}

// Config returns the TLS configuration for a server. It is nil without TLS.
func (m *Mode) Config(host string, policy *access.Policy) (*tls.Config, error) {
	if m.TLS == None {
		return nil, nil
	}
	s := Settings{CA: m.CA, ServerName: host}
	return s.Config(policy)
}
