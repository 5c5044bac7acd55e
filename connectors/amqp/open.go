package amqp

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/url"
	"strings"
	"time"

	amqp091 "github.com/rabbitmq/amqp091-go"

	"valence/connectors"
	"valence/connectors/session"
	"valence/connectors/tlsconfig"
	"valence/internal/access"
	"valence/internal/fault"
	"valence/internal/spec"
)

// maxFrame is the largest frame, as brokers have it by default.
const maxFrame = 128 << 10

// maxShort is the length of a short string of the protocol.
const maxShort = 255

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
	return append(wrong, s.Declare.check()...)
}

// target is the broker of a URL.
type target struct {
	host, port, vhost string
	secure            bool
}

func parseURL(s string) (target, error) {
	u, err := url.Parse(s)
	if err != nil || u.Scheme != "amqp" && u.Scheme != "amqps" || u.Hostname() == "" {
		return target{}, errors.New("url must be the URL of a broker, such as amqps://rabbit.example:5671/vhost")
	}
	if u.User != nil {
		return target{}, errors.New("url must not contain the user: write user and password as settings of their own")
	}
	path := strings.TrimPrefix(u.EscapedPath(), "/")
	if u.RawQuery != "" || u.Fragment != "" || strings.Contains(path, "/") {
		return target{}, errors.New("url must end with the virtual host; write a slash in its name as %2F")
	}
	t := target{host: u.Hostname(), port: u.Port(), vhost: "/", secure: u.Scheme == "amqps"}
	if path != "" {
		if t.vhost, err = url.PathUnescape(path); err != nil || len(t.vhost) > maxShort {
			return target{}, errors.New("the virtual host in url is not valid")
		}
	}
	switch {
	case t.port != "":
	case t.secure:
		t.port = "5671"
	default:
		t.port = "5672"
	}
	return t, nil
}

// connection is an open connection.
type connection struct {
	settings
	target
	agent string
	tls   *tls.Config // nil without TLS
	dial  access.DialFunc

	calls     *session.Session[*client]
	consumers *session.Session[*client]
}

// open returns a connection without touching the network.
func open(s *settings, version string, policy *access.Policy) (*connection, error) {
	if wrong := s.check(); len(wrong) > 0 {
		return nil, errors.New(strings.Join(wrong, "; "))
	}
	t, err := parseURL(s.URL)
	if err != nil {
		return nil, err
	}
	if err := policy.CheckURL(&url.URL{Scheme: "amqp", Host: net.JoinHostPort(t.host, t.port)}); err != nil {
		return nil, err
	}
	c := &connection{settings: *s, target: t, agent: "valence/" + version, dial: policy.Dialer(net.Dialer{})}
	if t.secure {
		if c.tls, err = s.TLS.Config(policy); err != nil {
			return nil, err
		}
		if c.tls.ServerName == "" {
			c.tls.ServerName = t.host
		}
	}
	o := session.Options[*client]{Dial: c.connect, Alive: (*client).alive, Close: (*client).close}
	c.calls, c.consumers = session.New(o), session.New(o)
	return c, nil
}

// Close closes the connection after the running calls and subscriptions.
func (c *connection) Close() error {
	return errors.Join(c.calls.Close(), c.consumers.Close())
}

// connect opens a session with the broker and creates the declared topology.
func (c *connection) connect(ctx context.Context) (*client, error) {
	conn, err := c.dial(ctx, "tcp", net.JoinHostPort(c.host, c.port))
	var refusal *access.Refusal
	switch {
	case errors.As(err, &refusal):
		return nil, connectors.Failf(CodeBadCall, false, err, "cannot connect: %s", refusal.Msg)
	case err != nil:
		return nil, connectors.Retry(fault.CodeConnect, "cannot connect: "+err.Error(), 0, err)
	}
	stop := context.AfterFunc(ctx, func() { conn.Close() })
	opened, err := c.open(ctx, conn)
	if !stop() || err != nil { // closed by AfterFunc, or not usable
		conn.Close()
	}
	switch {
	case ctx.Err() != nil:
		return nil, connectors.Retry(fault.CodeConnect, "cannot connect: the broker does not respond", 0, ctx.Err())
	case err != nil:
		return nil, err
	}
	return newClient(opened), nil
}

func (c *connection) open(ctx context.Context, conn net.Conn) (*amqp091.Connection, error) {
	if deadline, ok := ctx.Deadline(); ok {
		if err := conn.SetDeadline(deadline); err != nil {
			return nil, connectors.Retry(fault.CodeConnect, "cannot connect: "+err.Error(), 0, err)
		}
	}
	if c.tls != nil {
		secured := tls.Client(conn, c.tls)
		if err := secured.HandshakeContext(ctx); err != nil {
			return nil, connectors.Retry(fault.CodeConnect, "cannot connect: "+err.Error(), 0, err)
		}
		conn = secured
	}
	properties := amqp091.NewConnectionProperties()
	properties.SetClientConnectionName(c.agent)
	opened, err := amqp091.Open(conn, amqp091.Config{
		SASL:  []amqp091.Authentication{&amqp091.PlainAuth{Username: c.User, Password: c.Password}},
		Vhost: c.vhost, Heartbeat: c.Heartbeat, FrameSize: maxFrame, Locale: "en_US", Properties: properties,
	})
	if err != nil {
		return nil, refusedLogin(err)
	}
	return opened, c.Declare.create(opened)
}

// refusedLogin returns the failure of opening a session. Brokers and networks
// that break the connection are not told apart from wrong passwords, and nothing
// was sent, so that a later attempt is worth while.
func refusedLogin(err error) *fault.Failure {
	var e *amqp091.Error
	switch {
	case !errors.As(err, &e):
		return connectors.Retry(fault.CodeConnect, "cannot connect: "+err.Error(), 0, err)
	case errors.Is(err, amqp091.ErrCredentials) || e.Code == amqp091.AccessRefused:
		return connectors.Retry(CodeAuth, "the broker refused the login, check user and password: "+e.Reason, 0, err)
	case errors.Is(err, amqp091.ErrVhost) || e.Code == amqp091.NotAllowed:
		return connectors.Retry(CodeAuth, "the broker refused access to the virtual host: "+e.Reason, 0, err)
	}
	return connectors.Retry(fault.CodeConnect, fmt.Sprintf("cannot connect: %s (%d)", e.Reason, e.Code), 0, err)
}

// closeTimeout bounds the end of a session and of a channel.
const closeTimeout = 2 * time.Second
