// Package imap is the connector for mailboxes.
//
// A subscription reads a folder in the order of its UIDs. Its cursor is the UID
// of the last accepted message, so nothing has to be remembered per message, and
// a folder that the server numbered anew is a new stream.
package imap

import (
	"crypto/tls"
	"net"
	"net/url"
	"strconv"

	"valence/connectors"
	"valence/connectors/session"
	"valence/connectors/tlsconfig"
	"valence/internal/access"
	"valence/internal/spec"
)

// Failure codes besides those of package fault.
const (
	codeAuth     = "auth"      // the server rejects the credentials
	codeBadCall  = "bad_call"  // settings of a call that cannot be sent
	codeMissing  = "not_found" // a folder that does not exist
	codeRejected = "rejected"  // the server refuses a command for another reason
)

// Ports without `port:`.
const (
	imapPort  = 143
	imapsPort = 993
)

const inbox = "INBOX"

type settings struct {
	Host, User, Password string
	Port                 int
	MaxSize              int64
	Mode                 tlsconfig.Mode
}

// Connector declares the connector.
func Connector(string) *connectors.Connector {
	return &connectors.Connector{
		Name: "imap",
		Doc:  "Receives mail from a mailbox, and lists, moves and flags its messages.",
		Settings: append([]spec.Field{
			spec.String("host", func(s *settings) *string { return &s.Host }, "Host name or address of the mail server.").Eg("mail.example").Required(),
			spec.Int("port", func(s *settings) *int { return &s.Port }, "Port of the server. The default follows from `tls`: 993 for `implicit`, otherwise 143.").Min(1).Max(65535),
			spec.String("user", func(s *settings) *string { return &s.User }, "User name.").Eg("invoices@example.com").Required(),
			spec.String("password", func(s *settings) *string { return &s.Password }, "Password of the user.").Eg("${secret.MAIL_PASSWORD}").Secret().Required(),
			spec.Size("max_size", func(s *settings) *int64 { return &s.MaxSize }, "Maximum size of a message. A larger one is refused; the failed execution has its headers. Attachments of more than 1 MiB are stored outside the document.").Or(32 << 20).Min(1).Max(4 << 30),
		}, tlsconfig.ModeFields(func(s *settings) *tlsconfig.Mode { return &s.Mode })...),
		NewSettings:  func() any { return &settings{} },
		Operations:   []connectors.Operation{listOperation, moveOperation, flagOperation},
		Subscription: subscription(),
		Open: func(v any, policy *access.Policy) (connectors.Connection, error) {
			return open(v.(*settings), policy)
		},
	}
}

var _ connectors.Listener = (*connection)(nil)

// connection is a mailbox on a server. Calls share one session and take turns;
// each subscription has a session of its own, with its folder selected.
type connection struct {
	settings
	*session.Session[*link]
	address string
	dial    access.DialFunc
	tls     *tls.Config // nil: no TLS
}

func open(s *settings, policy *access.Policy) (*connection, error) {
	c := &connection{settings: *s, dial: policy.Dialer(net.Dialer{})}
	if c.Port == 0 {
		c.Port = imapPort
		if s.Mode.TLS == tlsconfig.Implicit {
			c.Port = imapsPort
		}
	}
	c.address = net.JoinHostPort(s.Host, strconv.Itoa(c.Port))
	if err := policy.CheckURL(&url.URL{Scheme: "imap", Host: c.address}); err != nil {
		return nil, err
	}
	var err error
	if c.tls, err = s.Mode.Config(s.Host, policy); err != nil {
		return nil, err
	}
	c.Session = c.newSession()
	return c, nil
}

func (c *connection) newSession() *session.Session[*link] {
	return session.New(session.Options[*link]{Dial: c.connect, Alive: (*link).alive, Close: (*link).close})
}
