package servers

import (
	"crypto/tls"
	"errors"
	"io"
	"net"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/emersion/go-sasl"
	"github.com/emersion/go-smtp"
)

// The user of a mail server.
const (
	MailUser     = "shop"
	MailPassword = "not-in-any-message"
)

// Mail is a message that a mail server has accepted.
type Mail struct {
	From    string
	To      []string
	Content []byte
}

// SMTP is a mail server that stores the messages it accepts. It rejects
// recipients whose address begins with nobody@ for good, with busy@ for now, and
// with closing@ as a server that stops.
type SMTP struct {
	Port int

	server *smtp.Server
	accept func(Mail)
	mu     sync.Mutex
	mails  []Mail
}

// SMTPOptions change a mail server.
type SMTPOptions struct {
	Port     int         // 0: any free one
	Accept   func(Mail)  // called for each accepted message; may be nil
	TLS      *tls.Config // nil: not offered
	Implicit bool        // TLS from the first byte
	MaxBytes int64       // of a message; 0 is no limit
}

// StartSMTP starts a mail server. Close stops it.
func StartSMTP(o SMTPOptions) (*SMTP, error) {
	l, err := net.Listen("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(o.Port)))
	if err != nil {
		return nil, err
	}
	s := &SMTP{accept: o.Accept, Port: l.Addr().(*net.TCPAddr).Port}
	s.server = smtp.NewServer(smtp.BackendFunc(func(*smtp.Conn) (smtp.Session, error) { return &smtpSession{server: s}, nil }))
	s.server.Domain, s.server.AllowInsecureAuth, s.server.MaxMessageBytes = "localhost", true, o.MaxBytes
	s.server.ReadTimeout, s.server.WriteTimeout = time.Minute, time.Minute
	if o.Implicit {
		l = tls.NewListener(l, o.TLS)
	} else {
		s.server.TLSConfig = o.TLS
	}
	go func() { _ = s.server.Serve(l) }() // until Close
	return s, nil
}

// Close stops the server.
func (s *SMTP) Close() { s.server.Close() }

// Mails returns the accepted messages.
func (s *SMTP) Mails() []Mail {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.mails)
}

type smtpSession struct {
	server *SMTP
	mail   Mail
}

func (s *smtpSession) AuthMechanisms() []string { return []string{sasl.Plain} }

func (s *smtpSession) Auth(string) (sasl.Server, error) {
	return sasl.NewPlainServer(func(_, user, password string) error {
		if user != MailUser || password != MailPassword {
			return &smtp.SMTPError{Code: 535, EnhancedCode: smtp.EnhancedCode{5, 7, 8}, Message: "Authentication credentials invalid"}
		}
		return nil
	}), nil
}

func (s *smtpSession) Reset() { s.mail = Mail{} }

func (s *smtpSession) Logout() error { return nil }

func (s *smtpSession) Mail(from string, _ *smtp.MailOptions) error {
	s.mail.From = from
	return nil
}

func (s *smtpSession) Rcpt(to string, _ *smtp.RcptOptions) error {
	switch {
	case strings.HasPrefix(to, "nobody@"):
		return &smtp.SMTPError{Code: 550, EnhancedCode: smtp.EnhancedCode{5, 1, 1}, Message: "No such user"}
	case strings.HasPrefix(to, "closing@"):
		return &smtp.SMTPError{Code: 421, EnhancedCode: smtp.EnhancedCode{4, 3, 2}, Message: "Closing the connection"}
	case strings.HasPrefix(to, "busy@"):
		return &smtp.SMTPError{Code: 450, EnhancedCode: smtp.EnhancedCode{4, 2, 1}, Message: "Try again later"}
	}
	s.mail.To = append(s.mail.To, to)
	return nil
}

func (s *smtpSession) Data(r io.Reader) error {
	content, err := io.ReadAll(r)
	if err != nil {
		return err
	}
	if len(s.mail.To) == 0 {
		return errors.New("no recipients")
	}
	mail := Mail{s.mail.From, s.mail.To, content}
	s.server.mu.Lock()
	s.server.mails = append(s.server.mails, mail)
	s.server.mu.Unlock()
	if s.server.accept != nil {
		s.server.accept(mail)
	}
	return nil
}
