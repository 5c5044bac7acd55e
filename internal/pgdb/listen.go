package pgdb

import (
	"context"
	"crypto/rand"
	"errors"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
)

// ErrNoNotifications is returned for a connection that accepts LISTEN but
// receives no notifications.
var ErrNoNotifications = errors.New("the database's notifications do not arrive: connect without a connection pooler, or use session pooling")

// pingTime limits the check whether a connection is alive.
const pingTime = 4 * time.Second

// Listener receives the notifications of a channel on a connection of its own.
type Listener struct{ conn *Conn }

// Listen connects and listens to a channel.
func (s *Server) Listen(ctx context.Context, channel string) (*Listener, error) {
	limit, cancel := context.WithTimeout(ctx, ConnectTime)
	defer cancel()
	conn, err := s.Connect(limit)
	if err != nil {
		return nil, err
	}
	l := &Listener{conn}
	if _, err := conn.Exec(limit, "LISTEN "+Identifier(channel)); err != nil {
		l.Close()
		return nil, err
	}
	return l, nil
}

// Next returns the next notification. At a time it returns false if the
// connection is still alive.
func (l *Listener) Next(ctx context.Context, until time.Time) (payload string, ok bool, err error) {
	if left := time.Until(until); left > 0 {
		limit, cancel := context.WithTimeout(ctx, left)
		n, err := l.conn.WaitForNotification(limit)
		cancel()
		if err == nil {
			return n.Payload, true, nil
		}
		if !pgconn.Timeout(err) || ctx.Err() != nil {
			return "", false, err
		}
	}
	limit, cancel := context.WithTimeout(ctx, pingTime)
	defer cancel()
	return "", false, l.conn.Ping(limit)
}

// Check verifies that notifications of a channel arrive that another connection
// sends. It returns ErrNoNotifications if they do not. Earlier ones are lost.
func (l *Listener) Check(ctx context.Context, channel string, on *Pool) error {
	hello := "hello " + rand.Text()
	limit, cancel := context.WithTimeout(ctx, ConnectTime)
	defer cancel()
	if _, err := on.Exec(limit, "SELECT pg_notify($1, $2)", channel, hello); err != nil {
		return err
	}
	for until := time.Now().Add(ConnectTime / 2); ; {
		text, ok, err := l.Next(limit, until)
		switch {
		case err != nil:
			return err
		case !ok:
			return ErrNoNotifications
		case text == hello:
			return nil
		}
	}
}

// Close closes the connection.
func (l *Listener) Close() {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	_ = l.conn.Close(ctx) // nothing can be lost
}
