package mqtt

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"net/url"
	"strings"
	"sync"

	"github.com/eclipse/paho.golang/paho"

	"valence/connectors"
	"valence/connectors/session"
	"valence/internal/access"
	"valence/internal/fault"
)

const (
	keepAlive   = 15 // seconds: a broker that is silent for longer counts as lost
	maxReplies  = 100
	maxInFlight = 16 // messages of a subscription that are not acknowledged
)

// connection is an open connection.
type connection struct {
	settings
	target
	tls  *tls.Config // nil without TLS
	dial access.DialFunc

	calls *session.Session[*link]

	mu        sync.Mutex
	listening map[string]bool // by client id
}

// open returns a connection without touching the network.
func open(s *settings, policy *access.Policy) (*connection, error) {
	if wrong := s.check(); len(wrong) > 0 {
		return nil, errors.New(strings.Join(wrong, "; "))
	}
	t, err := parseURL(s.URL)
	if err != nil {
		return nil, err
	}
	if err := policy.CheckURL(&url.URL{Scheme: "mqtt", Host: t.address()}); err != nil {
		return nil, err
	}
	c := &connection{settings: *s, target: t, dial: policy.Dialer(net.Dialer{}), listening: map[string]bool{}}
	if c.ResponseTopic == "" {
		c.ResponseTopic = "replies/" + c.ClientID
	}
	if t.secure {
		if c.tls, err = s.TLS.Config(policy); err != nil {
			return nil, err
		}
		if c.tls.ServerName == "" {
			c.tls.ServerName = t.host
		}
	}
	c.calls = c.session(&paho.Connect{ClientID: c.ClientID, CleanStart: true, Properties: &paho.ConnectProperties{ReceiveMaximum: paho.Uint16(maxReplies), RequestProblemInfo: true}})
	return c, nil
}

// session returns a session that connects as hello says.
func (c *connection) session(hello *paho.Connect) *session.Session[*link] {
	return session.New(session.Options[*link]{
		Dial: func(ctx context.Context) (*link, error) { return c.connect(ctx, hello) }, Alive: (*link).alive, Close: (*link).close,
	})
}

// Close closes the connection after the running calls.
func (c *connection) Close() error { return c.calls.Close() }

// connect opens a link.
func (c *connection) connect(ctx context.Context, hello *paho.Connect) (*link, error) {
	conn, err := c.dial(ctx, "tcp", c.address())
	var refusal *access.Refusal
	switch {
	case errors.As(err, &refusal):
		return nil, connectors.Failf(codeBadCall, false, err, "cannot connect: %s", refusal.Msg)
	case err != nil:
		return nil, connectors.Retry(fault.CodeConnect, "cannot connect: "+err.Error(), 0, err)
	}
	stop := context.AfterFunc(ctx, func() { conn.Close() })
	l, err := c.greet(ctx, conn, hello)
	if !stop() || err != nil { // closed by AfterFunc, or not usable
		conn.Close()
	}
	switch {
	case ctx.Err() != nil:
		return nil, connectors.Retry(fault.CodeConnect, "cannot connect: the broker does not respond", 0, ctx.Err())
	case err != nil:
		return nil, err
	}
	return l, nil
}

// greet logs in on a new connection.
func (c *connection) greet(ctx context.Context, conn net.Conn, hello *paho.Connect) (*link, error) {
	if c.tls != nil {
		secured := tls.Client(conn, c.tls)
		if err := secured.HandshakeContext(ctx); err != nil {
			return nil, connectors.Retry(fault.CodeConnect, "cannot connect: "+err.Error(), 0, err)
		}
		conn = secured
	}
	request := *hello
	request.KeepAlive = keepAlive
	request.Username, request.UsernameFlag = c.User, c.User != ""
	request.Password, request.PasswordFlag = []byte(c.Password), c.Password != ""
	if c.Will != nil {
		request.WillMessage = &paho.WillMessage{Topic: c.Will.Topic, Payload: []byte(c.Will.Payload), QoS: byte(c.Will.QoS), Retain: c.Will.Retain}
	}
	var in *inbox
	if !hello.CleanStart { // the broker may send messages at once
		in = newInbox()
	}
	l, conn := newLink(conn, in)
	if c.Version == version311 {
		t, err := loginThree(ctx, conn, l, &request)
		if err != nil {
			return nil, err
		}
		l.client = t
		return l, nil
	}
	f := newFive(conn, l)
	l.client = f
	if err := f.login(ctx, &request); err != nil {
		l.end(err)
		return nil, err
	}
	return l, nil
}
