// Package sftp is the connector for files on SSH servers.
//
// One session serves the calls and subscriptions of a connection. The server
// must prove that it owns a known host key before anything is sent to it.
package sftp

import (
	"context"
	"errors"
	"net"
	"net/url"
	"strconv"
	"strings"
	"time"

	"valence/connectors"
	"valence/connectors/folder"
	"valence/connectors/session"
	"valence/internal/access"
	"valence/internal/spec"
)

// CodeAuth is the failure code if one side does not accept the other.
const CodeAuth = "auth"

type settings struct {
	Host                string
	Port                int
	User, Password, Key string
	HostKey             []string
	KnownHosts          string
	Root                string
	MaxSize             int64
}

// Connector declares the connector.
func Connector(string) *connectors.Connector {
	return &connectors.Connector{
		Name: "sftp",
		Doc: "Watches, reads, writes, lists, moves and deletes files on an SSH server (SFTP). The server is recognized by its host key. The connection is " +
			"opened on first use and again after a loss.",
		Settings:     settingsFields,
		NewSettings:  func() any { return &settings{} },
		Operations:   folder.Operations("replace", "fail"),
		Subscription: folder.Subscription(10 * time.Second),
		Check:        func(v any) []string { return v.(*settings).check() },
		Open: func(v any, policy *access.Policy) (connectors.Connection, error) {
			return open(v.(*settings), policy)
		},
	}
}

var settingsFields = []spec.Field{
	spec.String("host", func(s *settings) *string { return &s.Host }, "Name or address of the server.").Eg("files.example").Required(),
	spec.Int("port", func(s *settings) *int { return &s.Port }, "Port of the server.").Or(22).Min(1).Max(65535),
	spec.String("user", func(s *settings) *string { return &s.User }, "User name.").Eg("orders").Required(),
	spec.String("password", func(s *settings) *string { return &s.Password }, "Password. Set this or `key`, or both if the server asks for both.").Secret(),
	spec.String("key", func(s *settings) *string { return &s.Key }, "Private key: PEM without a passphrase, or the path of such a file, relative to the folder of the project.").Local(),
	spec.Strings("host_key", func(s *settings) *[]string { return &s.HostKey }, "Public key of the server, as `ssh-keyscan` prints it without the host name; several while the server changes its key. Set either this or `known_hosts`.").Eg("ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAI…"),
	spec.String("known_hosts", func(s *settings) *string { return &s.KnownHosts }, "File with the public keys of servers, in the format of OpenSSH. A relative path starts from the folder of the project.").Local(),
	spec.String("root", func(s *settings) *string { return &s.Root }, "Folder on the server from which all paths start. By default that is the folder in which the server starts a session.").Eg("/upload"),
	spec.Size("max_size", func(s *settings) *int64 { return &s.MaxSize }, "Maximum size of a file to read.").Or(64 << 20).Min(1).Max(5 << 40),
}

// check returns the problems that no single field can find. Values may still be
// expressions.
func (s *settings) check() (wrong []string) {
	if spec.Literal(s.Host) && strings.ContainsAny(s.Host, "/@ ") {
		wrong = append(wrong, "host must be a name or an address, such as files.example; write the port and the user as settings of their own")
	}
	if s.Password == "" && s.Key == "" {
		wrong = append(wrong, "set `password:` or `key:`, with which the user logs in")
	}
	if (len(s.HostKey) == 0) == (s.KnownHosts == "") {
		wrong = append(wrong, "set either `host_key:` or `known_hosts:`, by which the server is recognized; `ssh-keyscan HOST` prints the keys of a server, which its operator must confirm")
	}
	for _, line := range s.HostKey {
		if spec.Literal(line) {
			if _, err := parseHostKey(line); err != nil {
				wrong = append(wrong, err.Error())
			}
		}
	}
	return wrong
}

// connection is an open connection.
type connection struct {
	folder.Common
	server
	root    string
	session *session.Session[*client]
}

var (
	_ connectors.Listener = (*connection)(nil)
	_ folder.System       = (*connection)(nil)
)

// open returns a connection without touching the network.
func open(s *settings, policy *access.Policy) (*connection, error) {
	if wrong := s.check(); len(wrong) > 0 {
		return nil, errors.New(strings.Join(wrong, "; "))
	}
	address := net.JoinHostPort(s.Host, strconv.Itoa(s.Port))
	if err := policy.CheckURL(&url.URL{Scheme: "sftp", Host: address}); err != nil {
		return nil, err
	}
	c := &connection{Common: folder.Common{MaxSize: s.MaxSize}, root: s.Root, server: server{address: address, user: s.User, period: heartbeat, dial: policy.Dialer(net.Dialer{})}}
	var err error
	if c.hostKeys, err = s.hostKeys(policy); err != nil {
		return nil, err
	}
	if c.login, err = s.login(policy); err != nil {
		return nil, err
	}
	c.session = session.New(session.Options[*client]{Dial: c.connect, Alive: (*client).alive, Close: (*client).close})
	return c, nil
}

// Close closes the connection after the running calls and subscriptions.
func (c *connection) Close() error { return c.session.Close() }

// Use implements folder.System.
func (c *connection) Use(ctx context.Context, f func(folder.FS) error) error {
	return c.session.Do(ctx, func(opened *client) error { return f(&tree{opened, c.root}) })
}

// Listen implements connectors.Listener. It delivers the files of a folder.
func (c *connection) Listen(ctx context.Context, s any, host *connectors.Host) error {
	return c.session.Listen(ctx, host, func(ctx context.Context, opened *client) error {
		return folder.Watch(ctx, &c.Common, &tree{opened, c.root}, *s.(*folder.Settings), host)
	})
}
