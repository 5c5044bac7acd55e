package sql

import (
	"context"
	"errors"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/stdlib"

	"valence/connectors"
	"valence/connectors/session"
	"valence/internal/convert"
	"valence/internal/document"
)

// maxNotifications is how many notifications wait in memory, and at most are in
// one commit.
const maxNotifications = 256

// checkEvery is how often an idle connection is checked.
const checkEvery = 30 * time.Second

// listenNotify delivers the notifications of a channel until ctx ends or the
// connection is lost. The first message is about the time before.
func (c *connection) listenNotify(ctx context.Context, l *listen, host *connectors.Host) error {
	opened, err := c.connector.Connect(ctx)
	if err != nil {
		return err
	}
	defer opened.Close()
	driver, ok := opened.(*stdlib.Conn)
	if !ok {
		return badCall("`notify:` needs `driver: postgres`; use `sql:` with a cursor")
	}
	conn := driver.Conn()
	name, err := c.dialect.names([]string{l.Notify})
	if err != nil {
		return badCall("%v", err)
	}
	if err := c.within(ctx, func(ctx context.Context) error { _, err := conn.Exec(ctx, "listen "+name[0]); return err }); err != nil {
		return err
	}
	host.Up()
	received, ended := make(chan *pgconn.Notification, maxNotifications), make(chan error, 1)
	reading, cancel := context.WithCancel(ctx)
	go func() {
		ended <- c.receive(reading, conn, received)
		close(received)
	}()
	defer func() { // no use of the connection after its end
		cancel()
		for range received {
		}
	}()
	deliver(ctx, host, []*connectors.Message{gapMessage(l.Notify)})
	for n := range received {
		messages := []*connectors.Message{notification(n)}
		for len(received) > 0 && len(messages) < maxNotifications {
			messages = append(messages, notification(<-received))
		}
		host.Lag(int64(len(received)))
		deliver(ctx, host, messages)
	}
	return <-ended
}

// within calls f with a context that ends when a poll has no more time.
func (c *connection) within(ctx context.Context, f func(ctx context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, c.pollTimeout)
	defer cancel()
	return f(ctx)
}

// receive sends the notifications of a connection to a channel until ctx ends or
// the connection is lost.
func (c *connection) receive(ctx context.Context, conn *pgx.Conn, received chan<- *pgconn.Notification) error {
	for {
		waiting, cancel := context.WithTimeout(ctx, min(checkEvery, c.pollTimeout))
		n, err := conn.WaitForNotification(waiting)
		cancel()
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case err == nil:
			select {
			case received <- n:
			case <-ctx.Done():
				return ctx.Err()
			}
		case errors.Is(err, context.DeadlineExceeded) && !conn.IsClosed():
			if err := c.within(ctx, conn.Ping); err != nil {
				return err
			}
		default:
			return err
		}
	}
}

// deliver delivers messages again until they are accepted or ctx ends.
func deliver(ctx context.Context, host *connectors.Host, messages []*connectors.Message) {
	for attempt := 1; len(messages) > 0 && ctx.Err() == nil; attempt++ {
		n, err := accepted(ctx, host, messages)
		if messages = messages[n:]; err != nil {
			session.Pause(ctx, session.RetryDelay(err, attempt))
		}
	}
}

func propsOf(channel string, gap bool) *document.Object {
	o := &document.Object{}
	o.Set("channel", channel)
	o.Set("gap", gap)
	return o
}

// gapMessage is the message for notifications that may have been lost.
func gapMessage(channel string) *connectors.Message {
	return &connectors.Message{Doc: document.FromValue(nil), Props: propsOf(channel, true)}
}

// notification returns a notification as a message.
func notification(n *pgconn.Notification) *connectors.Message {
	m := &connectors.Message{Doc: document.FromText(n.Payload), Props: propsOf(n.Channel, false)}
	switch {
	case n.Payload == "":
		m.Doc = document.Empty
	case convert.CheckJSON([]byte(n.Payload)) == nil:
		m.Doc = document.FromJSON([]byte(n.Payload))
	}
	return m
}
