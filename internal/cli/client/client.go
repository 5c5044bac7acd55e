// Package client calls the HTTP APIs of atoms and control planes for commands.
// Its errors are ready to be printed.
package client

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"strings"
	"time"

	"valence/atom/agent/cloudclient"
	"valence/internal/clierror"
)

// maxResponse is the largest response that is read.
const maxResponse = 512 << 20

// client makes HTTP requests to one server.
type client struct {
	base      string // URL without a trailing slash
	server    string // "atom" or "control plane", for messages
	start     string // hint if nothing answers
	authorize func(*http.Request)
	explain   func(error) error // explains a failed connection; nil, or a nil result: unknown
	http      *http.Client
}

// request is one request to an API.
type request struct {
	method, path string
	body         []byte // sent as JSON unless header says otherwise
	header       http.Header
}

// response is the response to a request, whatever its status.
type response struct {
	status int
	header http.Header
	body   []byte
}

// SetTimeout limits the time of each request; 0 removes the limit.
func (c *client) SetTimeout(d time.Duration) { c.http.Timeout = d }

// do sends a request and reads the response.
func (c *client) do(ctx context.Context, in request) (*response, error) {
	r, err := http.NewRequestWithContext(ctx, in.method, c.base+in.path, bytes.NewReader(in.body))
	if err != nil {
		return nil, err
	}
	r.Header.Set("Accept", "application/json")
	if in.body != nil {
		r.Header.Set("Content-Type", "application/json")
	}
	for name, values := range in.header {
		r.Header[name] = values
	}
	c.authorize(r)
	resp, err := c.http.Do(r)
	if err != nil {
		return nil, c.unreachable(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxResponse))
	if err != nil {
		return nil, clierror.Failed("run the command again", "the response of %s ended early: %v", c.base, err)
	}
	return &response{resp.StatusCode, resp.Header, body}, nil
}

func (c *client) unreachable(err error) error {
	if c.explain != nil {
		if explained := c.explain(err); explained != nil {
			return explained
		}
	}
	if cause := (*url.Error)(nil); errors.As(err, &cause) {
		err = cause.Err
	}
	return clierror.Failed(c.start, "no %s answers at %s: %v", c.server, c.base, err)
}

// bearer returns a function that authorizes requests with a token.
func bearer(token string) func(*http.Request) {
	return func(r *http.Request) { r.Header.Set("Authorization", "Bearer "+token) }
}

// encode returns v as JSON, nil for nil.
func encode(v any) ([]byte, error) {
	if v == nil {
		return nil, nil
	}
	return json.Marshal(v)
}

// transport returns a transport that trusts the certificates in a file, or the
// system's if file is empty, and reports refusals of proxies.
func transport(caFile string) (*http.Transport, error) {
	t := http.DefaultTransport.(*http.Transport).Clone()
	t.OnProxyConnectResponse = cloudclient.CheckProxyResponse
	if caFile == "" {
		return t, nil
	}
	roots, err := Certificates(caFile)
	if err != nil {
		return nil, err
	}
	t.TLSClientConfig = &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12}
	return t, nil
}

// Certificates reads a file of PEM certificates.
func Certificates(file string) (*x509.CertPool, error) {
	const hint = "name a file with PEM certificates"
	pem, err := os.ReadFile(file)
	if err != nil {
		return nil, clierror.Failed(hint, "%v", err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(pem) {
		return nil, clierror.Failed(hint, "%s contains no certificate", file)
	}
	return pool, nil
}

// problem is a problem document (RFC 9457).
type problem struct {
	Status int    `json:"status"`
	Title  string `json:"title"`
	Detail string `json:"detail"`
	Errors []struct {
		Pointer string `json:"pointer"`
		Detail  string `json:"detail"`
	} `json:"errors"`
}

// message returns the detail with one line per error below it.
func (p *problem) message() string {
	text := strings.TrimSuffix(p.Detail, ".")
	if text == "" {
		text = fmt.Sprintf("the atom answered %d %s", p.Status, p.Title)
	}
	text = lower(text)
	for _, e := range p.Errors {
		at := e.Pointer
		if at == "" {
			at = "(document)"
		}
		text += fmt.Sprintf("\n    %s: %s", at, e.Detail)
	}
	return text
}

// lower returns s with a lower-case first letter, unless s starts with an
// abbreviation.
func lower(s string) string {
	if s == "" || len(s) > 1 && s[1] >= 'A' && s[1] <= 'Z' {
		return s
	}
	return strings.ToLower(s[:1]) + s[1:]
}
