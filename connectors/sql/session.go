package sql

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"valence/internal/access"
)

// sessionConnector runs the statements of `session:` on each new connection.
// Its errors are of type *connectError.
type sessionConnector struct {
	driver.Connector
	statements []string
	timeout    time.Duration
	sockets    *sync.Map
}

// connectError is why there is no connection. Nothing was sent.
type connectError struct{ cause error }

func (e *connectError) Error() string { return e.cause.Error() }
func (e *connectError) Unwrap() error { return e.cause }

// Connect implements driver.Connector.
func (c *sessionConnector) Connect(ctx context.Context) (driver.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, c.timeout)
	defer cancel()
	conn, err := c.dialed(ctx)
	if err != nil {
		return nil, &connectError{err}
	}
	for _, statement := range c.statements {
		err := runOn(ctx, conn, statement)
		if err != nil {
			_ = conn.Close()
			return nil, &connectError{fmt.Errorf("session: %w", err)}
		}
	}
	return conn, nil
}

// dialing is a connection that is being opened.
type dialing struct {
	ctx    context.Context
	socket *socket
	stop   func() // ends the watch over ctx
}

// socket is a network connection that reports whether it was closed. Any
// goroutine may ask, which a driver's own Validator does not allow.
type socket struct {
	net.Conn
	closed atomic.Bool
}

// Close implements net.Conn.
func (s *socket) Close() error {
	s.closed.Store(true)
	return s.Conn.Close()
}

// SyscallConn implements syscall.Conn: the MySQL driver checks with it whether an
// idle connection is still open.
func (s *socket) SyscallConn() (syscall.RawConn, error) {
	c, ok := s.Conn.(syscall.Conn)
	if !ok {
		return nil, fmt.Errorf("%T is not a system socket", s.Conn)
	}
	return c.SyscallConn()
}

// dialingKey is the context's key of a *dialing.
type dialingKey struct{}

// recorded returns a dialer that records its sockets in the *dialing of the
// context. Their reads and writes fail once that has ended.
func recorded(dial access.DialFunc) access.DialFunc {
	return func(ctx context.Context, network, address string) (net.Conn, error) {
		conn, err := dial(ctx, network, address)
		if d, ok := ctx.Value(dialingKey{}).(*dialing); ok && err == nil {
			d.socket, d.stop = &socket{Conn: conn}, cut(d.ctx, conn)
			return d.socket, nil
		}
		return conn, err
	}
}

// dialed opens a connection and records its socket, because some drivers ignore
// contexts.
func (c *sessionConnector) dialed(ctx context.Context) (driver.Conn, error) {
	d := &dialing{ctx: ctx}
	conn, err := c.Connector.Connect(context.WithValue(ctx, dialingKey{}, d))
	if d.stop != nil {
		d.stop()
	}
	if err != nil || d.socket == nil || c.sockets == nil {
		return conn, err
	}
	c.sockets.Range(func(other, s any) bool {
		if s.(*socket).closed.Load() {
			c.sockets.Delete(other)
		}
		return true
	})
	c.sockets.Store(conn, d.socket)
	return conn, nil
}

// runOn runs a statement without arguments on a connection.
func runOn(ctx context.Context, conn driver.Conn, statement string) error {
	if execer, ok := conn.(driver.ExecerContext); ok {
		_, err := execer.ExecContext(ctx, statement, nil)
		if !errors.Is(err, driver.ErrSkip) {
			return err
		}
	}
	preparer, ok := conn.(driver.ConnPrepareContext)
	if !ok {
		return fmt.Errorf("%T cannot run session statements", conn)
	}
	stmt, err := preparer.PrepareContext(ctx, statement)
	if err != nil {
		return err
	}
	execer, ok := stmt.(driver.StmtExecContext)
	if !ok {
		return errors.Join(fmt.Errorf("%T cannot run session statements", stmt), stmt.Close())
	}
	_, err = execer.ExecContext(ctx, nil)
	return errors.Join(err, stmt.Close())
}

// cutting makes the driver's reads and writes fail once ctx has ended: the MySQL
// driver would wait for the answer to a commit for ever. The result ends that.
func (c *connection) cutting(ctx context.Context, conn *sql.Conn) func() {
	if c.sockets == nil {
		return func() {}
	}
	var found net.Conn
	_ = conn.Raw(func(driverConn any) error { // only a closed connection fails, which the next use reports
		if s, ok := c.sockets.Load(driverConn); ok {
			found = s.(*socket)
		}
		return nil
	})
	if found == nil {
		return func() {}
	}
	return cut(ctx, found)
}

// cut makes reads and writes of a socket fail once ctx has ended, until stop is
// called.
func cut(ctx context.Context, socket net.Conn) (stop func()) {
	done := make(chan struct{})
	end := context.AfterFunc(ctx, func() {
		defer close(done)
		_ = socket.SetDeadline(time.Unix(1, 0))
	})
	return func() {
		if !end() {
			<-done
			_ = socket.SetDeadline(time.Time{})
		}
	}
}
