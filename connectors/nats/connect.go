package nats

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"valence/connectors"
	"valence/connectors/session"
	"valence/connectors/tlsconfig"
	"valence/internal/access"
)

const (
	dialTimeout  = 10 * time.Second // per server
	flushTimeout = 10 * time.Second // the call's own timeout may be shorter
	pingInterval = 15 * time.Second // the connection is lost after two pings without an answer
	defaultPort  = "4222"
)

var (
	_ connectors.Listener = (*connection)(nil)
	_ connectors.Replier  = (*connection)(nil)
)

// connection is an open connection to one server or cluster.
type connection struct {
	*session.Session[*link]
	servers string
	options []nats.Option
	dial    access.DialFunc
}

func open(s *settings, version string, policy *access.Policy) (*connection, error) {
	servers, err := parseURLs(s.URL)
	if err != nil {
		return nil, err
	}
	c := &connection{dial: policy.Dialer(net.Dialer{Timeout: dialTimeout})}
	texts := make([]string, len(servers))
	secure := s.TLS != tlsconfig.Settings{}
	for i, u := range servers {
		if err := policy.CheckURL(&url.URL{Scheme: u.Scheme, Host: u.Host}); err != nil {
			return nil, err
		}
		texts[i], secure = u.String(), secure || u.Scheme == "tls"
	}
	c.servers = strings.Join(texts, ",")
	t, err := s.TLS.Config(policy)
	if err != nil {
		return nil, err
	}
	c.options = []nats.Option{
		nats.Name("valence/" + version), nats.Timeout(dialTimeout), nats.PingInterval(pingInterval), nats.MaxPingsOutstanding(2),
		// The session reconnects. Nothing is buffered meanwhile, because a
		// message that was not sent is a failure of its call.
		nats.NoReconnect(), nats.ReconnectBufSize(-1),
		// Only the hosts in the settings are dialed, by their names.
		nats.SkipHostLookup(), nats.IgnoreDiscoveredServers(),
		func(o *nats.Options) error { o.TLSConfig, o.Secure = t, secure; return nil },
	}
	if s.Creds != "" {
		if withUser(servers) {
			return nil, errors.New("url contains a user, which is not allowed with creds")
		}
		creds, err := tlsconfig.PEM(s.Creds, policy)
		if err != nil {
			return nil, fmt.Errorf("creds: %w", err)
		}
		if text := string(creds); !strings.Contains(text, "-----BEGIN NATS USER JWT-----") || !strings.Contains(text, "-----BEGIN USER NKEY SEED-----") {
			return nil, errors.New("creds: no JWT and seed of a user found")
		}
		c.options = append(c.options, nats.UserCredentialBytes(creds))
	}
	c.Session = session.New(session.Options[*link]{
		Dial: c.connect, Alive: func(l *link) bool { return l.nc.IsConnected() }, Close: func(l *link) { l.nc.Close() },
	})
	return c, nil
}

// parseURLs parses URLs with commas between them. Its errors contain no
// credentials.
func parseURLs(list string) ([]*url.URL, error) {
	var servers []*url.URL
	for text := range strings.SplitSeq(list, ",") {
		u, err := url.Parse(strings.TrimSpace(text))
		switch {
		case err != nil || u.Hostname() == "":
			return nil, errors.New("url is not a URL such as nats://broker.example:4222")
		case u.Scheme != "nats" && u.Scheme != "tls":
			return nil, fmt.Errorf("url begins with %s://; use nats:// or tls://", u.Scheme)
		case strings.Trim(u.Path, "/") != "" || u.RawQuery != "" || u.Fragment != "":
			return nil, errors.New("url contains more than a host and a port")
		}
		if u.Path = ""; u.Port() == "" {
			u.Host = net.JoinHostPort(u.Hostname(), defaultPort)
		}
		servers = append(servers, u)
	}
	return servers, nil
}

func withUser(servers []*url.URL) bool {
	for _, u := range servers {
		if u.User != nil {
			return true
		}
	}
	return false
}

// link is one connection to a server. It is not used again after it is lost.
type link struct {
	nc   *nats.Conn
	js   jetstream.JetStream
	lost chan struct{} // closed when the connection is lost

	mu      sync.Mutex
	waiting map[*waiter]struct{}
}

// waiter is a call that waits for a response.
type waiter struct {
	subject string
	cancel  context.CancelCauseFunc
}

// connect opens a link.
func (c *connection) connect(ctx context.Context) (*link, error) {
	l := &link{lost: make(chan struct{}), waiting: map[*waiter]struct{}{}}
	d := &dialer{ctx: ctx, dial: c.dial}
	var closed sync.Once
	options := append(c.options[:len(c.options):len(c.options)], nats.SetCustomDialer(d),
		nats.ClosedHandler(func(*nats.Conn) { closed.Do(func() { close(l.lost) }) }),
		nats.ErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) { l.denied(err) }))
	nc, err := nats.Connect(c.servers, options...)
	d.connected()
	if err != nil {
		if errors.Is(err, nats.ErrNoServers) && d.failure != nil {
			err = d.failure
		}
		return nil, connectFailure(ctx, err)
	}
	l.nc = nc
	if l.js, err = jetstream.New(nc); err != nil {
		nc.Close()
		return nil, connectFailure(ctx, err)
	}
	return l, nil
}

// dialer dials within the policy. Until connected is called, the end of ctx
// closes its connections.
type dialer struct {
	ctx     context.Context
	dial    access.DialFunc
	stops   []func() bool
	failure error
}

var _ nats.CustomDialer = (*dialer)(nil)

// Dial implements nats.CustomDialer.
func (d *dialer) Dial(network, address string) (net.Conn, error) {
	c, err := d.dial(d.ctx, network, address)
	if err != nil {
		d.failure = err
		return nil, err
	}
	d.stops = append(d.stops, context.AfterFunc(d.ctx, func() { c.Close() }))
	return c, nil
}

func (d *dialer) connected() {
	for _, stop := range d.stops {
		stop()
	}
}

// wait returns a context for a call that sends to subject and waits for a
// response. It ends when the server refuses the message, which it reports apart
// from the response.
func (l *link) wait(ctx context.Context, subject string) (context.Context, func()) {
	ctx, cancel := context.WithCancelCause(ctx)
	w := &waiter{subject, cancel}
	l.mu.Lock()
	l.waiting[w] = struct{}{}
	l.mu.Unlock()
	return ctx, func() {
		l.mu.Lock()
		delete(l.waiting, w)
		l.mu.Unlock()
		cancel(nil)
	}
}

// denied ends the calls that a permission error of the server concerns.
func (l *link) denied(err error) {
	if !errors.Is(err, nats.ErrPermissionViolation) {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	for w := range l.waiting {
		if concerns(err, w.subject) || strings.Contains(err.Error(), `Subscription to "_INBOX.`) {
			w.cancel(err)
		}
	}
}

// concerns reports whether a permission error is about a subject.
func concerns(err error, subject string) bool {
	return errors.Is(err, nats.ErrPermissionViolation) && strings.Contains(err.Error(), ` to "`+subject+`"`)
}

// flush waits until the server has received everything that was sent. It
// returns an error if the server refused the use of a subject.
func (l *link) flush(ctx context.Context, subject string) error {
	ctx, cancel := context.WithTimeout(ctx, flushTimeout)
	defer cancel()
	if err := l.nc.FlushWithContext(ctx); err != nil {
		return err
	}
	if err := l.nc.LastError(); concerns(err, subject) {
		return err
	}
	return nil
}
