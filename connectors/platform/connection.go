package platform

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strings"

	"valence/connectors"
	"valence/internal/access"
	"valence/internal/spec"
)

var _ connectors.Connection = (*connection)(nil)

const apiPath = "/api/rest/v1"

// connection is an open connection to one account.
type connection struct {
	base        string // including the account, without a trailing slash
	credential  string
	agent       string
	maxResponse int64
	transport   *http.Transport
}

// check reports problems that no single field can find. Values may still be
// expressions.
func check(v any) []string {
	s := v.(*settings)
	var wrong []string
	if spec.Literal(s.URL) {
		if _, err := parseURL(s.URL); err != nil {
			wrong = append(wrong, err.Error())
		}
	}
	if spec.Literal(s.User) && strings.Contains(s.User, ":") {
		wrong = append(wrong, "user contains a colon, which basic authentication does not allow")
	}
	if spec.Literal(s.Account) && url.PathEscape(s.Account) != s.Account {
		wrong = append(wrong, "account is not valid: use letters, digits and hyphens")
	}
	return wrong
}

// parseURL returns the base URL of the API.
func parseURL(s string) (string, error) {
	u, err := url.Parse(s)
	if err != nil || u.Host == "" || u.User != nil || u.RawQuery != "" || u.Fragment != "" || u.Scheme != "http" && u.Scheme != "https" {
		return "", errors.New("url must be the URL of a control plane, such as https://cloud.example")
	}
	if u.Scheme == "http" && !loopback(u.Hostname()) {
		return "", errors.New("url must use https to protect the API token")
	}
	path := strings.TrimRight(u.EscapedPath(), "/")
	if path == "" {
		path = apiPath
	}
	return u.Scheme + "://" + u.Host + path, nil
}

func loopback(host string) bool {
	ip, err := netip.ParseAddr(host)
	return strings.EqualFold(host, "localhost") || err == nil && ip.IsLoopback()
}

// open returns a connection without touching the network.
func open(s *settings, version string, policy *access.Policy) (*connection, error) {
	if wrong := check(s); len(wrong) > 0 {
		return nil, errors.New(strings.Join(wrong, "; "))
	}
	base, err := parseURL(s.URL)
	if err != nil {
		return nil, err
	}
	if s.Token == "" || s.User == "" || s.Account == "" {
		return nil, errors.New("account, user and token must not be empty")
	}
	at, err := url.Parse(base)
	if err == nil {
		err = policy.CheckURL(at)
	}
	if err != nil {
		return nil, err
	}
	config := &tls.Config{MinVersion: tls.VersionTLS12}
	if s.CA != "" {
		if config.RootCAs, err = authorities(s.CA, policy); err != nil {
			return nil, err
		}
	}
	transport := &http.Transport{
		Proxy:               http.ProxyFromEnvironment,
		TLSClientConfig:     config,
		TLSHandshakeTimeout: s.ConnectTimeout,
		IdleConnTimeout:     s.IdleTimeout,
		MaxIdleConnsPerHost: 256,
		ForceAttemptHTTP2:   true,
	}
	policy.Guard(transport, net.Dialer{Timeout: s.ConnectTimeout})
	user := "BOOMI_TOKEN." + strings.TrimPrefix(s.User, "BOOMI_TOKEN.")
	return &connection{
		base:        base + "/" + s.Account,
		credential:  "Basic " + base64.StdEncoding.EncodeToString([]byte(user+":"+s.Token)),
		agent:       "valence/" + version,
		maxResponse: s.MaxResponse,
		transport:   transport,
	}, nil
}

// authorities loads certificates from PEM text or a file.
func authorities(s string, policy *access.Policy) (*x509.CertPool, error) {
	text := []byte(s)
	if !strings.Contains(s, "-----BEGIN ") {
		var err error
		if text, err = policy.ReadFile(s); err != nil {
			return nil, fmt.Errorf("ca: neither PEM nor a readable file: %w", err)
		}
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(text) {
		return nil, errors.New("ca: no PEM certificate found")
	}
	return pool, nil
}

// Close closes idle connections.
func (c *connection) Close() error {
	c.transport.CloseIdleConnections()
	return nil
}
