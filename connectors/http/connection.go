package http

import (
	"context"
	"crypto/tls"
	"encoding/base64"
	"errors"
	"fmt"
	"net"
	nethttp "net/http"
	"net/netip"
	"net/url"
	"strings"
	"syscall"

	"valence/connectors"
	"valence/connectors/httpclient"
	"valence/internal/access"
	"valence/internal/egress"
)

var _ connectors.Connection = (*connection)(nil)

// connection is an open connection. It holds the state that all calls share.
type connection struct {
	base           base
	headers        nethttp.Header // of every call; its values are shared and must not be modified
	foreignHeaders nethttp.Header // of requests to another origin
	template       *nethttp.Request
	authHeader     string // the header that auth sets; may be empty
	authorized     bool
	authQuery      string // the parameter that auth adds, encoded
	authParam      string // its name
	tokens         *tokens
	redirects      redirectSettings
	maxResponse    int64

	transport        *nethttp.Transport
	foreignTransport *nethttp.Transport // for redirects to another origin: without the client certificate
}

// open returns a connection without touching the network.
func open(s *settings, version string, proxy httpclient.Proxy, policy *access.Policy) (*connection, error) {
	if wrong := check(s); len(wrong) > 0 {
		return nil, errors.New(strings.Join(wrong, "; "))
	}
	b, why := parseBase(s.URL)
	if why != "" {
		return nil, errors.New(why)
	}
	if err := policy.CheckURL(&url.URL{Scheme: b.scheme, Host: b.host}); err != nil {
		return nil, err
	}
	tlsConfig, err := s.TLS.Config(policy)
	if err != nil {
		return nil, err
	}
	c := &connection{
		base: b, redirects: s.Redirects, maxResponse: s.MaxResponse,
		transport: httpclient.Transport(s.IdleTimeout, tlsConfig, proxy),
		template:  &nethttp.Request{Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1},
	}
	agent := "valence/" + version
	if why := headerProblem("User-Agent", agent); why != "" {
		agent = "valence"
	}
	c.foreignHeaders = nethttp.Header{"User-Agent": {agent}, "Accept-Encoding": {"gzip"}}
	c.headers = c.foreignHeaders.Clone()
	if why := setHeaders(c.headers, s.Headers); why != "" {
		return nil, fmt.Errorf("headers: %s", why)
	}
	if err := c.authenticate(&s.Auth); err != nil {
		return nil, err
	}
	if c.tokens != nil {
		if err := policy.CheckURL(c.tokens.url); err != nil {
			return nil, err
		}
	}
	policy.Guard(c.transport, net.Dialer{Timeout: httpclient.DialTimeout})
	c.foreignTransport = httpclient.Transport(s.IdleTimeout, &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: tlsConfig.RootCAs}, proxy)
	policy.Guard(c.foreignTransport, net.Dialer{Timeout: httpclient.DialTimeout, ControlContext: guard(b.loopback(), s.Redirects.Private)})
	c.foreignTransport.MaxIdleConnsPerHost = 16
	return c, nil
}

// authenticate prepares the credentials that every request carries.
func (c *connection) authenticate(a *authSettings) error {
	value := ""
	switch a.Scheme {
	case "", schemeNone:
		return nil
	case schemeBasic:
		if strings.Contains(a.User, ":") {
			return errors.New("auth: user contains a colon, which basic authentication does not allow")
		}
		value = "Basic " + base64.StdEncoding.EncodeToString([]byte(a.User+":"+a.Password))
	case schemeBearer:
		value = "Bearer " + a.Token
	case schemeAPIKey:
		if a.Query != "" {
			c.authParam = a.Query
			c.authQuery = url.QueryEscape(a.Query) + "=" + url.QueryEscape(a.Key)
			return nil
		}
		c.authHeader, value = a.Header, a.Key
	case schemeOAuth2:
		var err error
		c.tokens, err = newTokens(a, c)
		c.authHeader, c.authorized = "Authorization", true
		return err
	}
	if c.authHeader == "" {
		c.authHeader = "Authorization"
	}
	if why := headerProblem(c.authHeader, value); why != "" {
		return fmt.Errorf("auth: %s", why)
	}
	c.authorized = true
	c.headers[headerKey(c.authHeader)] = []string{value}
	return nil
}

// Close cancels a running token request and closes idle connections.
func (c *connection) Close() error {
	if c.tokens != nil {
		c.tokens.close()
	}
	c.transport.CloseIdleConnections()
	c.foreignTransport.CloseIdleConnections()
	return nil
}

// loopback reports whether the connection's host is this machine.
func (b *base) loopback() bool {
	host := b.host
	if h, _, err := net.SplitHostPort(host); err == nil {
		host = h
	}
	host = strings.Trim(host, "[]")
	ip, err := netip.ParseAddr(host)
	return strings.EqualFold(host, "localhost") || err == nil && ip.IsLoopback()
}

// guard returns a dialer control that rejects redirects to addresses only this
// machine can reach: loopback, and link-local addresses such as the metadata
// services of clouds. Unless private is set, it also rejects redirects from
// public servers to addresses that are not public (CWE-918).
func guard(loopback, private bool) func(ctx context.Context, network, address string, _ syscall.RawConn) error {
	return func(ctx context.Context, _, address string, _ syscall.RawConn) error {
		at, err := netip.ParseAddrPort(address)
		if err != nil {
			return err
		}
		ip := at.Addr().Unmap()
		if ip.IsLinkLocalUnicast() || ip.IsUnspecified() || ip.IsMulticast() || ip.IsLoopback() && !loopback {
			return &guardError{ip, "an address that only this machine can reach"}
		}
		if ctx.Value(fromPublic{}) != nil && !private && !egress.Public(ip) {
			return &guardError{ip, "a private address, by a public server (redirects: { private: true } allows it)"}
		}
		return nil
	}
}

// guardError reports a redirect to a forbidden address.
type guardError struct {
	ip  netip.Addr
	why string
}

func (e *guardError) Error() string {
	return "redirect to " + e.ip.String() + ", " + e.why
}

// clone returns a copy of h with room for more headers. The values are shared.
func clone(h nethttp.Header, more int) nethttp.Header {
	out := make(nethttp.Header, len(h)+more)
	for k, v := range h {
		out[k] = v
	}
	return out
}
