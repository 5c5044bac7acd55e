package pgdb

import (
	"context"
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

// Close closes the connection.
func (l *Listener) Close() {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	_ = l.conn.Close(ctx) // nothing can be lost
}
