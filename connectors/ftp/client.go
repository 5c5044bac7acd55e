package ftp

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/textproto"
	"path"
	"sync"
	"time"

	"github.com/jlaffaye/ftp"

	"valence/connectors"
	"valence/connectors/tlsconfig"
	"valence/internal/access"
	"valence/internal/fault"
)

// server is an FTP server and how to log in.
type server struct {
	address, user, password string
	root                    string
	zone                    *time.Location
	mode                    string // of TLS
	tls                     *tls.Config
	silence                 time.Duration // after which the connection counts as lost
	dial                    access.DialFunc
}

// silence is how long the server may take to answer or to move data.
const silence = time.Minute

// client is a connection to a server. It does one thing at a time.
type client struct {
	*ftp.ServerConn
	base string // the absolute path of the root

	mu    sync.Mutex
	conns []net.Conn
	ended bool
}

// connect logs in to the server.
func (s *server) connect(ctx context.Context) (*client, error) {
	c := &client{}
	stop := context.AfterFunc(ctx, c.close)
	err := s.login(ctx, c)
	if !stop() || err != nil {
		c.close()
	}
	if failure := connectors.Interrupted(ctx, "connect"); failure != nil {
		return nil, failure
	}
	if err != nil {
		return nil, s.refused(err)
	}
	return c, nil
}

func (s *server) login(ctx context.Context, c *client) (err error) {
	options := []ftp.DialOption{ftp.DialWithDialFunc(c.dialer(ctx, s)), ftp.DialWithLocation(s.zone)}
	switch s.mode {
	case tlsconfig.Required:
		options = append(options, ftp.DialWithExplicitTLS(s.tls))
	case tlsconfig.Implicit:
		options = append(options, ftp.DialWithTLS(s.tls))
	}
	if c.ServerConn, err = ftp.Dial(s.address, options...); err != nil {
		if answer := (*textproto.Error)(nil); errors.As(err, &answer) && s.mode == tlsconfig.Required && answer.Code >= 500 {
			return noTLS{err}
		}
		return err
	}
	if err := c.Login(s.user, s.password); err != nil {
		return denied{err}
	}
	if c.base, err = c.CurrentDir(); err != nil {
		return err
	}
	if path.IsAbs(s.root) {
		c.base = s.root
	} else {
		c.base = path.Join(c.base, s.root)
	}
	return nil
}

// dialer returns a function that opens the control connection first and data
// connections afterwards.
func (c *client) dialer(ctx context.Context, s *server) func(network, address string) (net.Conn, error) {
	control := true
	return func(network, address string) (net.Conn, error) {
		dialing := ctx
		if !control {
			timeout, cancel := context.WithTimeout(context.Background(), s.silence)
			defer cancel()
			dialing = timeout
		}
		conn, err := s.dial(dialing, network, address)
		if err != nil {
			return nil, err
		}
		conn = &watched{Conn: conn, silence: s.silence, client: c}
		if !c.add(conn) {
			return nil, net.ErrClosed
		}
		if s.mode == tlsconfig.Implicit && control || s.tls != nil && !control {
			conn = tls.Client(conn, s.tls)
		}
		control = false
		return conn, nil
	}
}

// add adds an open connection. It reports false if the client is closed.
func (c *client) add(conn net.Conn) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.ended {
		conn.Close()
		return false
	}
	c.conns = append(c.conns, conn)
	return true
}

// close closes all connections, so that running commands fail.
func (c *client) close() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.ended = true
	for _, conn := range c.conns {
		conn.Close()
	}
	c.conns = nil
}

// forget removes a closed connection.
func (c *client) forget(conn net.Conn) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for i, open := range c.conns {
		if open == conn {
			c.conns = append(c.conns[:i], c.conns[i+1:]...)
			return
		}
	}
}

// watched is a connection that fails if the other side is silent.
type watched struct {
	net.Conn
	silence time.Duration
	client  *client
	once    sync.Once
}

// Read implements net.Conn.
func (w *watched) Read(b []byte) (int, error) {
	if err := w.SetReadDeadline(time.Now().Add(w.silence)); err != nil {
		return 0, err
	}
	return w.Conn.Read(b)
}

// Write implements net.Conn.
func (w *watched) Write(b []byte) (int, error) {
	if err := w.SetWriteDeadline(time.Now().Add(w.silence)); err != nil {
		return 0, err
	}
	return w.Conn.Write(b)
}

// Close implements net.Conn.
func (w *watched) Close() error {
	err := w.Conn.Close()
	w.once.Do(func() { go w.client.forget(w) }) // close holds the lock
	return err
}

// denied is the error of a login, which may also be that of a lost connection.
type denied struct{ error }

// Unwrap returns the cause.
func (d denied) Unwrap() error { return d.error }

// noTLS is the error of a server that refuses to change to TLS.
type noTLS struct{ error }

// refused returns the failure of opening a connection. Nothing was sent, so that
// a later attempt is worthwhile.
func (s *server) refused(err error) *fault.Failure {
	var refusal *access.Refusal
	var answer *textproto.Error
	var broken net.Error
	temporary := errors.As(err, &answer) && answer.Code < 500 && answer.Code != ftp.StatusInvalidCredentials
	switch {
	case errors.As(err, &refusal):
		return connectors.Failf("bad_call", false, err, "cannot connect: %s", refusal.Msg)
	case errors.As(err, new(noTLS)):
		return connectors.Retry(fault.CodeConnect, "the server does not offer TLS; use `tls: implicit` with port 990, or `tls: none` if the network is trusted: "+err.Error(), 0, err)
	case errors.As(err, new(denied)) && !temporary && !errors.As(err, &broken) && !errors.As(err, new(*tls.CertificateVerificationError)) && !errors.Is(err, io.EOF):
		return connectors.Retry(CodeAuth, "the server refused the login, check user, password and tls: "+err.Error(), 0, err)
	}
	return connectors.Retry(fault.CodeConnect, "cannot connect: "+err.Error(), 0, err)
}
