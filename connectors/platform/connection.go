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
	"os"
	"strings"

	"valence/connectors"
)

var _ connectors.Connection = (*connection)(nil)

const apiPath = "/api/rest/v1"

// connection is an open connection to one account.
type connection struct {
	base        string // with the account, without a slash at its end
	credential  string
	agent       string
	maxResponse int64
	transport   *http.Transport
}

// literal reports whether a setting is there and known before the run.
func literal(s string) bool { return s != "" && !strings.Contains(s, "${") }

// check finds what single fields cannot. Values may still hold expressions.
func check(v any) []string {
	s := v.(*settings)
	var wrong []string
	if literal(s.URL) {
		if _, err := parseURL(s.URL); err != nil {
			wrong = append(wrong, err.Error())
		}
	}
	if literal(s.User) && strings.Contains(s.User, ":") {
		wrong = append(wrong, "user holds a colon, which basic authentication cannot carry")
	}
	if literal(s.Account) && url.PathEscape(s.Account) != s.Account {
		wrong = append(wrong, "account is no id of an account: letters, digits and hyphens")
	}
	return wrong
}

// parseURL gives where the API is.
func parseURL(s string) (string, error) {
	u, err := url.Parse(s)
	if err != nil || u.Host == "" || u.User != nil || u.RawQuery != "" || u.Fragment != "" || u.Scheme != "http" && u.Scheme != "https" {
		return "", errors.New("url is not the address of a control plane, such as https://cloud.example")
	}
	if u.Scheme == "http" && !loopback(u.Hostname()) {
		return "", errors.New("url must be https: the API token would go unprotected")
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

// open makes a connection without touching the network.
func open(s *settings, version string) (*connection, error) {
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
	config := &tls.Config{MinVersion: tls.VersionTLS12}
	if s.CA != "" {
		if config.RootCAs, err = authorities(s.CA); err != nil {
			return nil, err
		}
	}
	user := "BOOMI_TOKEN." + strings.TrimPrefix(s.User, "BOOMI_TOKEN.")
	return &connection{
		base:        base + "/" + s.Account,
		credential:  "Basic " + base64.StdEncoding.EncodeToString([]byte(user+":"+s.Token)),
		agent:       "valence/" + version,
		maxResponse: s.MaxResponse,
		transport: &http.Transport{
			Proxy:               http.ProxyFromEnvironment,
			DialContext:         (&net.Dialer{Timeout: s.ConnectTimeout}).DialContext,
			TLSClientConfig:     config,
			TLSHandshakeTimeout: s.ConnectTimeout,
			IdleConnTimeout:     s.IdleTimeout,
			MaxIdleConnsPerHost: 256,
			ForceAttemptHTTP2:   true,
		},
	}, nil
}

// authorities reads certificates: PEM, or the path of a file.
func authorities(s string) (*x509.CertPool, error) {
	text := []byte(s)
	if !strings.Contains(s, "-----BEGIN ") {
		var err error
		if text, err = os.ReadFile(s); err != nil {
			return nil, fmt.Errorf("ca: neither PEM nor a file that can be read: %w", err)
		}
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(text) {
		return nil, errors.New("ca: no certificate in it (PEM is expected)")
	}
	return pool, nil
}

// Close lets idle connections go.
func (c *connection) Close() error {
	c.transport.CloseIdleConnections()
	return nil
}
