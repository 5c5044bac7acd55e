package amqp1

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"errors"
	"net"
	"net/url"
	"strings"
	"time"

	"github.com/Azure/go-amqp"

	"valence/connectors"
	"valence/connectors/session"
	"valence/internal/access"
	"valence/internal/fault"
)

// idleTimeout is how long the broker may be silent.
const idleTimeout = 30 * time.Second

const handshakeTimeout = 10 * time.Second

// closeTimeout bounds the end of a link and of an acknowledgement.
const closeTimeout = 2 * time.Second

// connection is an open connection.
type connection struct {
	settings
	target
	agent string
	tls   *tls.Config // nil without TLS
	dial  access.DialFunc

	calls *session.Session[*client]
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
	if err := policy.CheckURL(&url.URL{Scheme: "amqp", Host: t.address()}); err != nil {
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
	c.calls = c.session("")
	return c, nil
}

// session returns a session whose container has a name, or a random one if it is
// empty.
func (c *connection) session(container string) *session.Session[*client] {
	return session.New(session.Options[*client]{
		Dial: func(ctx context.Context) (*client, error) {
			if container == "" {
				return c.connect(ctx, c.agent+"-"+rand.Text())
			}
			return c.connect(ctx, container)
		}, Alive: (*client).alive, Close: (*client).close,
	})
}

// Close closes the connection after the running calls.
func (c *connection) Close() error { return c.calls.Close() }

// connect opens a session with the broker.
func (c *connection) connect(ctx context.Context, container string) (*client, error) {
	conn, err := c.dial(ctx, "tcp", c.address())
	var refusal *access.Refusal
	switch {
	case errors.As(err, &refusal):
		return nil, connectors.Failf(codeBadCall, false, err, "cannot connect: %s", refusal.Msg)
	case err != nil:
		return nil, connectors.Retry(fault.CodeConnect, "cannot connect: "+err.Error(), 0, err)
	}
	stop := context.AfterFunc(ctx, func() { conn.Close() })
	x, err := c.greet(ctx, conn, container)
	if !stop() || err != nil { // closed by AfterFunc, or not usable
		conn.Close()
	}
	switch {
	case ctx.Err() != nil:
		return nil, connectors.Retry(fault.CodeConnect, "cannot connect: the broker does not respond", 0, ctx.Err())
	case err != nil:
		return nil, err
	}
	return x, nil
}

// greet logs in on a new network connection.
func (c *connection) greet(ctx context.Context, conn net.Conn, container string) (*client, error) {
	if c.tls != nil {
		secured := tls.Client(conn, c.tls)
		shaking, cancel := context.WithTimeout(ctx, handshakeTimeout) // a broker without TLS may wait for more
		defer cancel()
		if err := secured.HandshakeContext(shaking); err != nil {
			return nil, connectors.Retry(fault.CodeConnect, "cannot connect: "+err.Error(), 0, err)
		}
		conn = secured
	}
	options := &amqp.ConnOptions{ContainerID: container, HostName: c.host, IdleTimeout: idleTimeout, SASLType: amqp.SASLTypeAnonymous(), Properties: map[string]any{"product": c.agent}}
	switch {
	case c.SASL.Mechanism == mechanismExternal:
		options.SASLType = amqp.SASLTypeExternal("")
	case c.SASL.User != "":
		options.SASLType = amqp.SASLTypePlain(c.SASL.User, c.SASL.Password)
	}
	opened, err := amqp.NewConn(ctx, conn, options)
	if err != nil {
		return nil, loginFailure(err)
	}
	s, err := opened.NewSession(ctx, nil)
	if err != nil {
		return nil, errors.Join(loginFailure(err), opened.Close())
	}
	return newClient(opened, s), nil
}
