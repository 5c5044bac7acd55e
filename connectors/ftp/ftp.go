// Package ftp is the connector for files on FTP servers.
//
// The protocol has one transfer per connection at a time. Each call and each
// subscription uses a connection of its own; a few of them stay open between
// calls.
package ftp

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"net/url"
	"strconv"
	"strings"
	"time"

	"valence/connectors"
	"valence/connectors/folder"
	"valence/connectors/tlsconfig"
	"valence/internal/access"
	"valence/internal/spec"
)

// CodeAuth is the failure code if one side does not accept the other.
const CodeAuth = "auth"

type settings struct {
	Host           string
	Port           int
	User, Password string
	Mode           tlsconfig.Mode
	Root, Timezone string
	MaxSize        int64
}

// Connector declares the connector.
func Connector(string) *connectors.Connector {
	return &connectors.Connector{
		Name: "ftp",
		Doc: "Watches, reads, writes, lists, moves and deletes files on an FTP server, with TLS unless `tls: none` is set. Use `sftp` if the server offers that too: FTP " +
			"servers may replace a file although `if_exists: fail` is set, if another program creates it at the same moment.",
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

var settingsFields = append([]spec.Field{
	spec.String("host", func(s *settings) *string { return &s.Host }, "Name or address of the server.").Eg("files.example").Required(),
	spec.Int("port", func(s *settings) *int { return &s.Port }, "Port of the server. The default follows from `tls`: 990 for `implicit`, otherwise 21.").Min(1).Max(65535),
	spec.String("user", func(s *settings) *string { return &s.User }, "User name.").Eg("orders").Required(),
	spec.String("password", func(s *settings) *string { return &s.Password }, "Password.").Secret().Required(),
	spec.String("root", func(s *settings) *string { return &s.Root }, "Folder on the server from which all paths start. By default that is the folder in which the server starts a session.").Eg("/upload"),
	spec.String("timezone", func(s *settings) *string { return &s.Timezone }, "Time zone of the times that the server lists, unless it uses the command MLSD, whose times are in UTC.").Or("UTC"),
	spec.Size("max_size", func(s *settings) *int64 { return &s.MaxSize }, "Maximum size of a file to read.").Or(64 << 20).Min(1).Max(5 << 40),
}, tlsconfig.ModeFields(func(s *settings) *tlsconfig.Mode { return &s.Mode })...)

// check returns the problems that no single field can find. Values may still be
// expressions.
func (s *settings) check() (wrong []string) {
	if spec.Literal(s.Host) && strings.ContainsAny(s.Host, "/@ ") {
		wrong = append(wrong, "host must be a name or an address, such as files.example; write the port and the user as settings of their own")
	}
	if spec.Literal(s.Timezone) {
		if _, err := time.LoadLocation(s.Timezone); err != nil {
			wrong = append(wrong, "timezone must be the name of a time zone, such as Europe/Lisbon")
		}
	}
	return wrong
}

// connection is an open connection.
type connection struct {
	folder.Common
	server
	idle chan *tree // that no call uses
}

var (
	_ connectors.Listener = (*connection)(nil)
	_ folder.System       = (*connection)(nil)
)

// maxIdle is the number of connections that stay open between calls.
const maxIdle = 4

// open returns a connection without touching the network.
func open(s *settings, policy *access.Policy) (*connection, error) {
	if wrong := s.check(); len(wrong) > 0 {
		return nil, errors.New(strings.Join(wrong, "; "))
	}
	port := s.Port
	if port == 0 {
		port = map[bool]int{true: 990, false: 21}[s.Mode.TLS == tlsconfig.Implicit]
	}
	zone, err := time.LoadLocation(s.Timezone)
	if err != nil {
		return nil, err
	}
	c := &connection{Common: folder.Common{MaxSize: s.MaxSize}, idle: make(chan *tree, maxIdle), server: server{
		address: net.JoinHostPort(s.Host, strconv.Itoa(port)), user: s.User, password: s.Password, root: s.Root, zone: zone, mode: s.Mode.TLS, silence: silence, dial: policy.Dialer(net.Dialer{}),
	}}
	if err := policy.CheckURL(&url.URL{Scheme: "ftp", Host: c.address}); err != nil {
		return nil, err
	}
	if c.tls, err = s.Mode.Config(s.Host, policy); err != nil {
		return nil, err
	}
	if c.tls != nil { // servers want to see the session of the control connection again
		c.tls.ClientSessionCache = tls.NewLRUClientSessionCache(2 * maxIdle)
	}
	return c, nil
}

// Close closes the connections that no call uses.
func (c *connection) Close() error {
	for {
		select {
		case t := <-c.idle:
			t.drop()
		default:
			return nil
		}
	}
}

// Use implements folder.System.
func (c *connection) Use(ctx context.Context, f func(folder.FS) error) error {
	t := &tree{server: &c.server}
	select {
	case t = <-c.idle:
	default:
	}
	err := f(t)
	if err != nil {
		t.drop() // it may be in the middle of a transfer
		return err
	}
	select {
	case c.idle <- t:
	default:
		t.drop()
	}
	return nil
}

// Listen implements connectors.Listener. It delivers the files of a folder.
func (c *connection) Listen(ctx context.Context, s any, host *connectors.Host) error {
	t := &tree{server: &c.server}
	defer t.drop()
	return folder.Watch(ctx, &c.Common, t, *s.(*folder.Settings), host)
}
