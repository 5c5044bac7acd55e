// Package amqp1 is the connector for brokers of AMQP 1.0, such as ActiveMQ,
// Artemis, Azure Service Bus, IBM MQ and Solace.
//
// A send is done when the broker has accepted the message. A message of a
// subscription is accepted after it is on disk, and recognized by its message id
// if it comes again.
package amqp1

import (
	"errors"
	"net"
	"net/url"
	"strings"

	"valence/connectors"
	"valence/connectors/tlsconfig"
	"valence/internal/access"
	"valence/internal/spec"
)

// Failure codes besides those of package fault.
const (
	codeAuth     = "auth"      // the broker refuses the login or the address
	codeBadCall  = "bad_call"  // a setting that the broker does not allow
	codeMissing  = "not_found" // an address that does not exist
	codeRejected = "rejected"  // the broker did not store the message
)

type settings struct {
	URL, ReplyAddress string
	SASL              login
	TLS               tlsconfig.Settings
}

type login struct{ Mechanism, User, Password string }

const (
	mechanismPlain     = "plain"
	mechanismAnonymous = "anonymous"
	mechanismExternal  = "external"
	kindQueue          = "queue"
	kindTopic          = "topic"
)

// Connector declares the connector.
func Connector(version string) *connectors.Connector {
	return &connectors.Connector{
		Name: "amqp1",
		Doc: "Sends messages to a broker of AMQP 1.0, such as ActiveMQ, Artemis, Azure Service Bus, IBM MQ or Solace, sends requests and receives messages. The application property " +
			"`traceparent` carries the trace, the message id is the idempotency key, and the content type is that of the document.",
		Settings:     settingsFields,
		NewSettings:  func() any { return &settings{} },
		Operations:   []connectors.Operation{sendOperation, requestOperation},
		Subscription: subscription(),
		Check:        func(v any) []string { return v.(*settings).check() },
		Open: func(v any, policy *access.Policy) (connectors.Connection, error) {
			return open(v.(*settings), version, policy)
		},
	}
}

var settingsFields = []spec.Field{
	spec.String("url", func(s *settings) *string { return &s.URL },
		"`amqp://host:port`, or `amqps://…` for TLS. The port is 5672 or 5671 unless the URL names it.").Eg("amqps://broker.example").Required(),
	spec.Object("sasl", func(s *settings) *login { return &s.SASL }, "Login.",
		spec.Enum("mechanism", func(l *login) *string { return &l.Mechanism }, "Mechanism: `external` is the client certificate of `tls`. By default `plain` with a user, and otherwise `anonymous`.", mechanismPlain, mechanismAnonymous, mechanismExternal),
		spec.String("user", func(l *login) *string { return &l.User }, "User name."),
		spec.String("password", func(l *login) *string { return &l.Password }, "Password.").Secret()),
	spec.String("reply_address", func(s *settings) *string { return &s.ReplyAddress },
		"Queue on which `request` receives replies, for brokers without dynamic addresses. Several atoms may share it, because each selects its own replies. By default the broker creates a temporary queue.").Eg("replies"),
	spec.Object("tls", func(s *settings) *tlsconfig.Settings { return &s.TLS }, "TLS settings. The minimum version is TLS 1.2.", tlsconfig.Fields...),
}

// check returns the problems that no single field can find. Values may still be
// expressions.
func (s *settings) check() []string {
	wrong := s.TLS.Check()
	if spec.Literal(s.URL) {
		t, err := parseURL(s.URL)
		switch {
		case err != nil:
			wrong = append(wrong, err.Error())
		case !t.secure && s.TLS != (tlsconfig.Settings{}):
			wrong = append(wrong, "tls: applies only to an amqps:// url")
		}
	}
	switch l := s.SASL; {
	case l.Mechanism == mechanismPlain && l.User == "":
		wrong = append(wrong, "sasl: plain needs user and password")
	case l.User != "" && (l.Mechanism == mechanismAnonymous || l.Mechanism == mechanismExternal):
		wrong = append(wrong, "sasl: "+l.Mechanism+" has no user")
	case l.Mechanism == mechanismExternal && s.TLS.Cert == "":
		wrong = append(wrong, "sasl: external needs a certificate in tls")
	}
	return wrong
}

// target is the broker of a URL.
type target struct {
	host, port string
	secure     bool
}

func (t target) address() string { return net.JoinHostPort(t.host, t.port) }

func parseURL(s string) (target, error) {
	u, err := url.Parse(s)
	if err != nil || u.Scheme != "amqp" && u.Scheme != "amqps" || u.Hostname() == "" {
		return target{}, errors.New("url must be the URL of a broker, such as amqps://broker.example:5671")
	}
	if u.User != nil {
		return target{}, errors.New("url must not contain the user: write it in sasl")
	}
	if strings.Trim(u.Path, "/") != "" || u.RawQuery != "" || u.Fragment != "" {
		return target{}, errors.New("url contains more than a host and a port")
	}
	t := target{host: u.Hostname(), port: u.Port(), secure: u.Scheme == "amqps"}
	switch {
	case t.port != "":
	case t.secure:
		t.port = "5671"
	default:
		t.port = "5672"
	}
	return t, nil
}
