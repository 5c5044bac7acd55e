package sftp

import (
	"context"
	"errors"
	"io"
	"net"
	"sync/atomic"
	"time"

	"github.com/pkg/sftp"
	"golang.org/x/crypto/ssh"

	"valence/connectors"
	"valence/internal/access"
	"valence/internal/fault"
)

// server is an SSH server and how to log in.
type server struct {
	address, user string
	dial          access.DialFunc
	login         []ssh.AuthMethod
	hostKeys      hostKeys
	period        time.Duration // of signs of life
}

// connect opens a session with the server.
func (s *server) connect(ctx context.Context) (*client, error) {
	algorithms, check, err := s.hostKeys(s.address)
	if err != nil {
		return nil, connectors.Failf("bad_call", false, err, "cannot connect: %v", err)
	}
	conn, err := s.dial(ctx, "tcp", s.address)
	var refusal *access.Refusal
	switch {
	case errors.As(err, &refusal):
		return nil, connectors.Failf("bad_call", false, err, "cannot connect: %s", refusal.Msg)
	case err != nil:
		return nil, connectors.Retry(fault.CodeConnect, "cannot connect: "+err.Error(), 0, err)
	}
	stop := context.AfterFunc(ctx, func() { conn.Close() })
	trusted := false
	opened, err := handshake(conn, s.address, &ssh.ClientConfig{
		User: s.user, Auth: s.login, HostKeyAlgorithms: algorithms, ClientVersion: "SSH-2.0-valence",
		HostKeyCallback: func(name string, remote net.Addr, key ssh.PublicKey) error {
			err := check(name, remote, key)
			trusted = err == nil
			return err
		},
	})
	if !stop() || err != nil { // closed by AfterFunc, or not usable
		conn.Close()
	}
	switch {
	case ctx.Err() != nil:
		return nil, connectors.Retry(fault.CodeConnect, "cannot connect: the server does not respond", 0, ctx.Err())
	case err != nil:
		return nil, refused(err, trusted)
	}
	go opened.watch(s.period)
	return opened, nil
}

func handshake(conn net.Conn, address string, config *ssh.ClientConfig) (*client, error) {
	c, channels, requests, err := ssh.NewClientConn(conn, address, config)
	if err != nil {
		return nil, err
	}
	shell := ssh.NewClient(c, channels, requests)
	files, err := sftp.NewClient(shell)
	if err != nil {
		shell.Close()
		return nil, noSubsystem{err}
	}
	_, replaces := files.HasExtension("posix-rename@openssh.com")
	_, flushes := files.HasExtension("fsync@openssh.com")
	return &client{shell: shell, files: files, replaces: replaces, flushes: flushes}, nil
}

// noSubsystem is the error of a server that accepts the user but has no files
// for him.
type noSubsystem struct{ error }

// Unwrap returns the cause.
func (e noSubsystem) Unwrap() error { return e.error }

// refused returns the failure of opening a session with a server, whose key is
// trusted or not. Nothing was sent, so that a later attempt is worthwhile.
func refused(err error, trusted bool) *fault.Failure {
	var unknown *hostKeyError
	var broken net.Error
	switch {
	case errors.As(err, &unknown):
		return connectors.Retry(CodeAuth, unknown.Error(), 0, err)
	case errors.As(err, new(noSubsystem)):
		return connectors.Retry(CodeAuth, "the server does not offer SFTP to the user: "+err.Error(), 0, err)
	case !trusted, errors.Is(err, io.EOF), errors.As(err, &broken):
		return connectors.Retry(fault.CodeConnect, "cannot connect: "+err.Error(), 0, err)
	}
	return connectors.Retry(CodeAuth, "the server refused the login, check user, password and key: "+err.Error(), 0, err)
}

// client is a session with a server.
type client struct {
	shell    *ssh.Client
	files    *sftp.Client
	replaces bool // whether the server replaces files when it renames
	flushes  bool // whether the server flushes files
	lost     atomic.Bool
}

func (c *client) alive() bool { return !c.lost.Load() }

func (c *client) close() {
	c.lost.Store(true)
	_ = c.shell.Close() // may be lost already; first, because files waits for the server
	_ = c.files.Close()
}

// heartbeat is how often the server must answer a sign of life.
const heartbeat = 15 * time.Second

// watch closes the session if the server is silent for two periods, and returns
// when it is closed. Calls that wait for an answer then fail.
func (c *client) watch(period time.Duration) {
	ended := make(chan struct{})
	go func() {
		_ = c.shell.Wait() // the reason reaches the calls
		c.lost.Store(true)
		close(ended)
	}()
	tick := time.NewTicker(period)
	defer tick.Stop()
	for {
		select {
		case <-ended:
			return
		case <-tick.C:
		}
		timeout := time.AfterFunc(2*period, c.close)
		_, _, err := c.shell.SendRequest("keepalive@openssh.com", true, nil)
		timeout.Stop()
		if err != nil {
			c.close()
		}
	}
}

// failed returns the failure if the session was lost, and err otherwise.
func (c *client) failed(err error) error {
	if err == nil {
		return nil
	}
	if c.lost.Load() || errors.Is(err, sftp.ErrSSHFxConnectionLost) || errors.Is(err, sftp.ErrSSHFxNoConnection) || errors.Is(err, io.EOF) || errors.Is(err, net.ErrClosed) {
		c.lost.Store(true)
		return connectors.Failf(fault.CodeAborted, true, err, "the connection was lost: %v", err)
	}
	return err
}
