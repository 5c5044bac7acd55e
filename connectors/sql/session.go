package sql

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"net"
	"sync"
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
	socket net.Conn
	stop   func() // ends the watch over ctx
}

// dialingKey is the context's key of a *dialing.
type dialingKey struct{}

// recorded returns a dialer that records its sockets in the *dialing of the
// context. Their reads and writes fail once that has ended.
func recorded(dial access.DialFunc) access.DialFunc {
	return func(ctx context.Context, network, address string) (net.Conn, error) {
		conn, err := dial(ctx, network, address)
		if d, ok := ctx.Value(dialingKey{}).(*dialing); ok && err == nil {
			d.socket, d.stop = conn, cut(d.ctx, conn)
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
	if _, ok := conn.(driver.Validator); err != nil || d.socket == nil || c.sockets == nil || !ok {
		return conn, err
	}
	c.sockets.Range(func(other, _ any) bool {
		if v, ok := other.(driver.Validator); ok && !v.IsValid() { // closed
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
	var socket net.Conn
	_ = conn.Raw(func(driverConn any) error { // only a closed connection fails, which the next use reports
		if s, ok := c.sockets.Load(driverConn); ok {
			socket = s.(net.Conn)
		}
		return nil
	})
	if socket == nil {
		return func() {}
	}
	return cut(ctx, socket)
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
