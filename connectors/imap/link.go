package imap

import (
	"context"
	"crypto/tls"
	"net"
	"time"

	"github.com/emersion/go-imap/v2"
	"github.com/emersion/go-imap/v2/imapclient"

	"valence/connectors/tlsconfig"
)

// logoutTimeout bounds the farewell to a server.
const logoutTimeout = 2 * time.Second

// link is one connection to the server. One command runs at a time.
type link struct {
	client *imapclient.Client
	conn   net.Conn
	turn   chan struct{} // holds a value while nobody uses the link
	// changed receives a value after the server has reported a new number of
	// messages in the selected folder.
	changed chan struct{}
}

// connect opens a link and logs in.
func (c *connection) connect(ctx context.Context) (*link, error) {
	conn, err := c.dial(ctx, "tcp", c.address)
	if err != nil {
		return nil, c.connectFailure(ctx, err)
	}
	stop := context.AfterFunc(ctx, func() { conn.Close() })
	defer stop()
	l := &link{conn: conn, turn: make(chan struct{}, 1), changed: make(chan struct{}, 1)}
	l.turn <- struct{}{}
	options := &imapclient.Options{TLSConfig: c.tls, UnilateralDataHandler: &imapclient.UnilateralDataHandler{Mailbox: l.notice}}
	switch c.Mode.TLS {
	case tlsconfig.Implicit:
		l.client = imapclient.New(tls.Client(conn, c.tls), options)
	case tlsconfig.None:
		l.client = imapclient.New(conn, options)
	default:
		if l.client, err = imapclient.NewStartTLS(conn, options); err != nil {
			conn.Close()
			return nil, c.connectFailure(ctx, err)
		}
	}
	err = l.client.WaitGreeting()
	if err == nil {
		err = l.client.Login(c.User, c.Password).Wait()
	}
	if err != nil {
		conn.Close()
		return nil, c.connectFailure(ctx, err)
	}
	return l, nil
}

// notice records that the selected folder has new messages.
func (l *link) notice(data *imapclient.UnilateralDataMailbox) {
	if data.NumMessages != nil {
		select {
		case l.changed <- struct{}{}:
		default:
		}
	}
}

func (l *link) alive() bool {
	select {
	case <-l.client.Closed():
		return false
	default:
		return true
	}
}

func (l *link) close() {
	timer := time.AfterFunc(logoutTimeout, func() { l.conn.Close() })
	defer timer.Stop()
	_ = l.client.Logout().Wait() // a courtesy; the connection closes in any case
	l.client.Close()
	l.conn.Close()
}

// use runs commands when it is this caller's turn. The end of ctx closes the
// link, because a command cannot be stopped in another way.
func (l *link) use(ctx context.Context, commands func() error) error {
	select {
	case <-l.turn:
	case <-ctx.Done():
		return ctx.Err()
	}
	defer func() { l.turn <- struct{}{} }()
	stop := context.AfterFunc(ctx, func() { l.conn.Close() })
	defer stop()
	return commands()
}

// open selects a folder.
func (l *link) open(folder string, readOnly bool) (*imap.SelectData, error) {
	return l.client.Select(folder, &imap.SelectOptions{ReadOnly: readOnly}).Wait()
}

// call runs the commands of a call with its folder selected.
func (c *connection) call(ctx context.Context, what, folder string, readOnly bool, commands func(*link) error) error {
	return c.Do(ctx, func(l *link) error {
		err := l.use(ctx, func() error {
			if _, err := l.open(folder, readOnly); err != nil {
				return err
			}
			return commands(l)
		})
		if err != nil {
			return failed(ctx, what, err)
		}
		return nil
	})
}
