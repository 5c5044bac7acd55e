// Package smtp is the connector for sending mail.
//
// Each call opens a connection to the server and sends one message. The
// Message-ID follows from the idempotency key, so that the recipients can
// recognize a repeated message.
package smtp

import (
	"crypto/tls"
	"net"
	"net/url"
	"strconv"

	"valence/connectors"
	"valence/connectors/tlsconfig"
	"valence/internal/access"
	"valence/internal/spec"
)

// Failure codes besides those of package fault. A reply of the server is a code
// of its own, such as 550.
const (
	codeAuth    = "auth"     // the server rejects the credentials
	codeBadCall = "bad_call" // a message that cannot be composed
)

// Ports without `port:`.
const (
	submissionPort  = 587
	submissionsPort = 465
	plainPort       = 25
)

type settings struct {
	Host, User, Password string
	Port                 int
	Mode                 tlsconfig.Mode
}

// Connector declares the connector.
func Connector(string) *connectors.Connector {
	return &connectors.Connector{
		Name: "smtp",
		Doc:  "Sends mail through a mail server. The `Message-ID` follows from the idempotency key: all attempts of a call have the same.",
		Settings: append([]spec.Field{
			spec.String("host", func(s *settings) *string { return &s.Host }, "Host name or address of the mail server.").Eg("mail.example").Required(),
			spec.Int("port", func(s *settings) *int { return &s.Port }, "Port of the server. The default follows from `tls`: 587, 465 for `implicit`, 25 for `none`.").Min(1).Max(65535),
			spec.String("user", func(s *settings) *string { return &s.User }, "User name. Without one the connector does not log in."),
			spec.String("password", func(s *settings) *string { return &s.Password }, "Password of the user.").Secret(),
		}, tlsconfig.ModeFields(func(s *settings) *tlsconfig.Mode { return &s.Mode })...),
		NewSettings: func() any { return &settings{} },
		Operations:  []connectors.Operation{sendOperation},
		Check:       check,
		Open: func(v any, policy *access.Policy) (connectors.Connection, error) {
			return open(v.(*settings), policy)
		},
	}
}

// check returns the problems that no single field can find.
func check(v any) []string {
	s := v.(*settings)
	if (s.User == "") != (s.Password == "") {
		return []string{"user and password must be set together"}
	}
	return nil
}

// connection holds the settings of a server.
type connection struct {
	settings
	address string
	dial    access.DialFunc
	tls     *tls.Config // nil: no TLS
}

func open(s *settings, policy *access.Policy) (*connection, error) {
	c := &connection{settings: *s, dial: policy.Dialer(net.Dialer{})}
	if c.Port == 0 {
		switch s.Mode.TLS {
		case tlsconfig.Implicit:
			c.Port = submissionsPort
		case tlsconfig.None:
			c.Port = plainPort
		default:
			c.Port = submissionPort
		}
	}
	c.address = net.JoinHostPort(s.Host, strconv.Itoa(c.Port))
	if err := policy.CheckURL(&url.URL{Scheme: "smtp", Host: c.address}); err != nil {
		return nil, err
	}
	var err error
	c.tls, err = s.Mode.Config(s.Host, policy)
	return c, err
}

// Close implements connectors.Connection.
func (c *connection) Close() error { return nil }
