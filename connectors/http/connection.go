package http

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"fmt"
	"net"
	nethttp "net/http"
	"net/netip"
	"net/url"
	"os"
	"strings"
	"syscall"
	"time"

	"valence/connectors"
)

var _ connectors.Connection = (*connection)(nil)

// Limits that no setting changes.
const (
	dialTimeout      = 10 * time.Second // of one connection; the call's own time may be over before
	handshakeTimeout = 10 * time.Second
	maxIdlePerHost   = 1024 // idle_timeout brings unused ones down
	maxHeaderBytes   = 256 << 10
	pingAfter        = 30 * time.Second // HTTP/2: silence after which a connection is asked whether it lives
	pingTimeout      = 10 * time.Second
)

// connection is an open connection: it holds what every call has in common.
type connection struct {
	base        base
	headers     nethttp.Header // of every call; its values are shared and never changed
	foreign     nethttp.Header // of a request to another origin
	template    *nethttp.Request
	authHeader  string // the header that auth fills in, "" if none
	authorized  bool
	authQuery   string // the parameter that auth adds, encoded
	authParam   string // its name
	tokens      *tokens
	redirects   redirectSettings
	maxResponse int64

	transport *nethttp.Transport
	elsewhere *nethttp.Transport // for redirects to another origin: without our certificate
}

type proxyFunc func(*nethttp.Request) (*url.URL, error)

// open makes a connection without touching the network.
func open(s *settings, version string, proxy proxyFunc) (*connection, error) {
	if wrong := check(s); len(wrong) > 0 {
		return nil, errors.New(strings.Join(wrong, "; "))
	}
	b, why := parseBase(s.URL)
	if why != "" {
		return nil, errors.New(why)
	}
	tlsConfig, err := s.TLS.config()
	if err != nil {
		return nil, err
	}
	c := &connection{
		base: b, redirects: s.Redirects, maxResponse: s.MaxResponse,
		transport: newTransport(s, tlsConfig, proxy),
		template:  &nethttp.Request{Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1},
	}
	agent := "valence/" + version
	if why := badHeader("User-Agent", agent); why != "" {
		agent = "valence"
	}
	c.foreign = nethttp.Header{"User-Agent": {agent}, "Accept-Encoding": {"gzip"}}
	c.headers = c.foreign.Clone()
	if why := setHeaders(c.headers, s.Headers); why != "" {
		return nil, fmt.Errorf("headers: %s", why)
	}
	if err := c.authenticate(&s.Auth); err != nil {
		return nil, err
	}
	c.elsewhere = newTransport(s, &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: tlsConfig.RootCAs}, proxy)
	c.elsewhere.DialContext = (&net.Dialer{Timeout: dialTimeout, Control: guard(b.loopback())}).DialContext
	c.elsewhere.MaxIdleConnsPerHost = 16
	return c, nil
}

// authenticate prepares what auth adds to every request.
func (c *connection) authenticate(a *authSettings) error {
	value := ""
	switch a.Scheme {
	case "", schemeNone:
		return nil
	case schemeBasic:
		if strings.Contains(a.User, ":") {
			return errors.New("auth: user holds a colon, which basic authentication cannot carry")
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
	if why := badHeader(c.authHeader, value); why != "" {
		return fmt.Errorf("auth: %s", why)
	}
	c.authorized = true
	c.headers[headerKey(c.authHeader)] = []string{value}
	return nil
}

func newTransport(s *settings, t *tls.Config, proxy proxyFunc) *nethttp.Transport {
	return &nethttp.Transport{
		Proxy: proxy,
		OnProxyConnectResponse: func(_ context.Context, _ *url.URL, _ *nethttp.Request, r *nethttp.Response) error {
			if r.StatusCode != nethttp.StatusOK {
				return &proxyRefusal{r.Status}
			}
			return nil
		},
		DialContext:            (&net.Dialer{Timeout: dialTimeout}).DialContext,
		TLSClientConfig:        t,
		TLSHandshakeTimeout:    handshakeTimeout,
		DisableCompression:     true, // unpacked here, within max_response
		MaxIdleConnsPerHost:    maxIdlePerHost,
		IdleConnTimeout:        s.IdleTimeout,
		MaxResponseHeaderBytes: maxHeaderBytes,
		ForceAttemptHTTP2:      true,
		HTTP2:                  &nethttp.HTTP2Config{SendPingTimeout: pingAfter, PingTimeout: pingTimeout},
	}
}

// Close ends a token request under way and lets idle connections go.
func (c *connection) Close() error {
	if c.tokens != nil {
		c.tokens.close()
	}
	c.transport.CloseIdleConnections()
	c.elsewhere.CloseIdleConnections()
	return nil
}

// loopback reports whether the connection itself is to this machine.
func (b *base) loopback() bool {
	host := b.host
	if h, _, err := net.SplitHostPort(host); err == nil {
		host = h
	}
	host = strings.Trim(host, "[]")
	ip, err := netip.ParseAddr(host)
	return strings.EqualFold(host, "localhost") || err == nil && ip.IsLoopback()
}

// guard keeps redirects of another system from reaching what only this
// machine can: its loopback interface, and link-local addresses such as those
// where clouds serve credentials.
func guard(loopback bool) func(network, address string, _ syscall.RawConn) error {
	return func(_, address string, _ syscall.RawConn) error {
		at, err := netip.ParseAddrPort(address)
		if err != nil {
			return err
		}
		ip := at.Addr().Unmap()
		if ip.IsLinkLocalUnicast() || ip.IsUnspecified() || ip.IsMulticast() || ip.IsLoopback() && !loopback {
			return &guardError{ip}
		}
		return nil
	}
}

// guardError is a redirect to an address that redirects do not lead to.
type guardError struct{ ip netip.Addr }

func (e *guardError) Error() string {
	return "a redirect to " + e.ip.String() + ", which belongs to this machine alone, is not followed"
}

// config reads the certificates.
func (t *tlsSettings) config() (*tls.Config, error) {
	c := &tls.Config{MinVersion: tls.VersionTLS12, ServerName: t.ServerName}
	if t.CA != "" {
		text, err := pemOf(t.CA)
		if err != nil {
			return nil, fmt.Errorf("tls: ca: %w", err)
		}
		c.RootCAs = x509.NewCertPool()
		if !c.RootCAs.AppendCertsFromPEM(text) {
			return nil, errors.New("tls: ca: no certificate in it (PEM is expected)")
		}
	}
	if t.Cert != "" {
		cert, err := pemOf(t.Cert)
		if err != nil {
			return nil, fmt.Errorf("tls: cert: %w", err)
		}
		key, err := pemOf(t.Key)
		if err != nil {
			return nil, fmt.Errorf("tls: key: %w", err)
		}
		pair, err := tls.X509KeyPair(cert, key)
		if err != nil {
			return nil, fmt.Errorf("tls: cert and key: %w", err)
		}
		c.Certificates = []tls.Certificate{pair}
	}
	return c, nil
}

// pemOf gives PEM text: the setting itself, or the file that it names.
func pemOf(s string) ([]byte, error) {
	if strings.Contains(s, "-----BEGIN ") {
		return []byte(s), nil
	}
	if strings.ContainsAny(s, "\n\r\x00") {
		return nil, errors.New("neither PEM nor the path of a file")
	}
	b, err := os.ReadFile(s)
	if err != nil {
		var path *os.PathError
		if errors.As(err, &path) {
			return nil, fmt.Errorf("neither PEM nor a file that can be read: %w", path.Err)
		}
		return nil, err
	}
	return b, nil
}

// clone gives the headers of the connection for one request to change.
func clone(h nethttp.Header, more int) nethttp.Header {
	out := make(nethttp.Header, len(h)+more)
	for k, v := range h {
		out[k] = v
	}
	return out
}
