// Package cloudclient identifies an atom to its control plane and sends signed
// requests to it.
package cloudclient

import (
	"bytes"
	"context"
	"crypto/ecdh"
	"crypto/ed25519"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"sync"
	"time"

	"valence/internal/wire"
)

// Limits of responses, in bytes.
const (
	maxResponse      = 64 << 20 // of a poll
	maxErrorResponse = 64 << 10
)

// ResponseError is an unsuccessful response.
type ResponseError struct {
	Status int
	wire.ErrorResponse
	RetryAfter time.Duration // 0: unspecified
}

// Error includes the control plane's message.
func (r *ResponseError) Error() string {
	text := r.ErrorResponse.Error
	if text == "" {
		text = http.StatusText(r.Status)
	}
	return fmt.Sprintf("the control plane rejected the request: %s (%d)", text, r.Status)
}

// FromControlPlane reports whether the control plane itself sent the response.
// Proxies and other intermediaries send no code.
func (r *ResponseError) FromControlPlane() bool { return r.Code != "" }

// ErrorCode returns the code of a ResponseError in err, or "".
func ErrorCode(err error) string {
	if r := (*ResponseError)(nil); errors.As(err, &r) {
		return r.Code
	}
	return ""
}

// conn is one connection to the control plane. A load balancer may connect each
// one to a different instance with its own epoch, but one connection always
// reaches the same instance.
type conn struct {
	http  *http.Client
	epoch string // guarded by Client.mu; "" until known
}

// The connections by kind of request, so that a held poll delays nothing else.
const (
	connPoll = iota
	connReports
	connOther
	connCount
)

func connFor(path string) int {
	switch path {
	case wire.PathPoll:
		return connPoll
	case wire.PathReports:
		return connReports
	}
	return connOther
}

// Client signs and sends the requests of one atom. It is safe for concurrent
// use.
type Client struct {
	identity *Identity
	conns    [connCount]conn
	key      ed25519.PrivateKey

	mu      sync.Mutex
	epoch   string // the newest seen
	counter uint64
	ceiling uint64             // counters below it are reserved
	reserve func(uint64) error // stores a ceiling, so that a restart continues above it
}

func New(id *Identity) (*Client, error) {
	c := &Client{identity: id, key: id.signingKey()}
	for i := range c.conns {
		var err error
		if c.conns[i].http, err = newHTTPClient(id.CA); err != nil {
			return nil, err
		}
	}
	return c, nil
}

// Close closes idle connections.
func (c *Client) Close() {
	for i := range c.conns {
		c.conns[i].http.CloseIdleConnections()
	}
}

// newHTTPClient returns a client with a single connection. It uses the proxies
// of the environment and trusts the system's certificates or ca (PEM). It
// follows no redirects.
func newHTTPClient(ca string) (*http.Client, error) {
	config := &tls.Config{MinVersion: tls.VersionTLS12}
	if ca != "" {
		config.RootCAs = x509.NewCertPool()
		if !config.RootCAs.AppendCertsFromPEM([]byte(ca)) {
			return nil, errors.New("the CA file contains no PEM certificates")
		}
	}
	dialer := &net.Dialer{Timeout: 15 * time.Second, KeepAlive: 30 * time.Second}
	return &http.Client{
		Transport: &http.Transport{
			// HTTP/1.1 only: a request without a response closes its connection, so a silently
			// broken one is not reused.
			Proxy: http.ProxyFromEnvironment, OnProxyConnectResponse: CheckProxyResponse, DialContext: dialer.DialContext, TLSClientConfig: config,
			TLSHandshakeTimeout: 15 * time.Second, IdleConnTimeout: 2 * time.Minute, MaxConnsPerHost: 1, MaxResponseHeaderBytes: 64 << 10,
		},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}, nil
}

// ProxyError is a proxy's refusal to connect.
type ProxyError struct {
	Host   string // of the proxy, with port
	Status int
}

func (e *ProxyError) Error() string {
	return fmt.Sprintf("the proxy %s refused the connection: %d %s", e.Host, e.Status, http.StatusText(e.Status))
}

// CheckProxyResponse is an http.Transport.OnProxyConnectResponse that returns a
// ProxyError.
func CheckProxyResponse(_ context.Context, proxy *url.URL, _ *http.Request, resp *http.Response) error {
	if resp.StatusCode == http.StatusOK {
		return nil
	}
	return &ProxyError{Host: proxy.Host, Status: resp.StatusCode}
}

// CounterBlock is how many request counters are reserved at once.
const CounterBlock = 1 << 20

// StartCounter makes c use the request counters above from. Those below ceiling
// are reserved already; reserve stores a higher ceiling before it is used, so
// that no counter is used twice, even after a crash. Call it before Call.
func (c *Client) StartCounter(from, ceiling uint64, reserve func(ceiling uint64) error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.counter, c.ceiling, c.reserve = from, ceiling, reserve
}

// maxRetries limits the repetitions of a request with a corrected epoch or
// counter.
const maxRetries = 3

// nextCounter returns the epoch of a connection and an unused counter.
func (c *Client) nextCounter(on *conn) (string, uint64, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.counter++
	if c.counter >= c.ceiling {
		ceiling := c.counter + CounterBlock
		if err := c.reserve(ceiling); err != nil {
			return "", 0, err
		}
		c.ceiling = ceiling
	}
	if on.epoch == "" {
		return c.epoch, c.counter, nil
	}
	return on.epoch, c.counter, nil
}

// correct applies the epoch or counter in an error response and reports whether
// to repeat the request immediately. If a balancer distributes requests in
// turn, the new epoch belongs to the instance that does not get the next
// request; the second repetition therefore leaves the epoch as it is.
func (c *Client) correct(r *ResponseError, on *conn, epoch string, counter uint64, again int) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch r.Code {
	case wire.CodeWrongEpoch:
		if r.Epoch == "" || r.Epoch == epoch {
			return false
		}
		if again == 1 {
			return true
		}
		c.epoch, on.epoch = r.Epoch, r.Epoch
		return true
	case wire.CodeReplayed: // the data folder was restored from a backup
		if c.counter < counter+1<<32 {
			c.counter += 1 << 33
		}
		return true
	}
	return false
}

// Call sends a signed request and decodes the JSON response into out, which may
// be nil. A truncated, oversized or non-JSON response is an error without
// effect; it may come from an intermediary.
func (c *Client) Call(ctx context.Context, path string, in, out any) error {
	body, err := json.Marshal(in)
	if err != nil {
		return err
	}
	text, err := c.do(ctx, http.MethodPost, path, "", body, maxResponse)
	if err != nil {
		return err
	}
	if out == nil {
		out = &struct{}{}
	}
	if err := json.Unmarshal(text, out); err != nil {
		return fmt.Errorf("cannot parse the response of the control plane: %w", err)
	}
	return nil
}

// Fetch returns the body at path, which must have the given media type.
func (c *Client) Fetch(ctx context.Context, path, mediaType string, limit int64) ([]byte, error) {
	return c.do(ctx, http.MethodGet, path, mediaType, nil, limit)
}

func (c *Client) do(ctx context.Context, method, path, mediaType string, body []byte, limit int64) ([]byte, error) {
	on := &c.conns[connFor(path)]
	for again := 0; ; again++ {
		epoch, counter, err := c.nextCounter(on)
		if err != nil {
			return nil, fmt.Errorf("store the request counter: %w", err)
		}
		r, err := newRequest(ctx, method, c.identity.URL+path, body)
		if err != nil {
			return nil, err
		}
		wire.Sign(r, body, c.identity.Atom, epoch, counter, c.key)
		text, err := send(on.http, r, mediaType, limit)
		if refused := (*ResponseError)(nil); errors.As(err, &refused) && again < maxRetries && c.correct(refused, on, epoch, counter, again) {
			continue
		}
		return text, err
	}
}

func newRequest(ctx context.Context, method, url string, body []byte) (*http.Request, error) {
	r, err := http.NewRequestWithContext(ctx, method, url, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	if method == http.MethodPost {
		r.Header.Set("Content-Type", "application/json")
	}
	r.Header.Set("User-Agent", "valence-atom")
	return r, nil
}

// send returns the complete body of a successful response. With a mediaType,
// responses of other types are errors.
func send(h *http.Client, r *http.Request, mediaType string, limit int64) ([]byte, error) {
	resp, err := h.Do(r)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	if resp.StatusCode/100 == 2 {
		text, err := io.ReadAll(io.LimitReader(resp.Body, limit+1))
		switch {
		case err != nil:
			return nil, fmt.Errorf("the response of the control plane ended early: %w", err)
		case int64(len(text)) > limit:
			return nil, fmt.Errorf("the response of the control plane exceeds %d bytes", limit)
		case mediaType != "" && resp.Header.Get("Content-Type") != mediaType:
			return nil, fmt.Errorf("something other than the control plane responded: %q", resp.Header.Get("Content-Type"))
		}
		return text, nil
	}
	text, err := io.ReadAll(io.LimitReader(resp.Body, maxErrorResponse))
	refused := &ResponseError{Status: resp.StatusCode, RetryAfter: retryAfter(resp.Header)}
	switch {
	case resp.StatusCode/100 == 3:
		refused.ErrorResponse.Error = "it redirects to " + resp.Header.Get("Location") + ", and an atom does not follow redirects"
	case err == nil && json.Unmarshal(text, &refused.ErrorResponse) != nil:
		refused.ErrorResponse = wire.ErrorResponse{} // probably from a proxy
	}
	return nil, refused
}

// retryAfter returns the wait in a Retry-After header. Dates count from the
// response's own Date, independent of the local clock.
func retryAfter(h http.Header) time.Duration {
	text := h.Get("Retry-After")
	if n, err := strconv.Atoi(text); err == nil && n > 0 {
		return min(time.Duration(n)*time.Second, time.Hour)
	}
	if at, err := http.ParseTime(text); err == nil {
		now, err := http.ParseTime(h.Get("Date"))
		if err != nil {
			now = time.Now()
		}
		return min(max(at.Sub(now), 0), time.Hour)
	}
	return 0
}

// Enroll registers the atom with an install token and sets its ID, account and
// environment. It stores nothing.
func (id *Identity) Enroll(ctx context.Context, token, version, host string) error {
	client, err := newHTTPClient(id.CA)
	if err != nil {
		return err
	}
	defer client.CloseIdleConnections()
	seal, err := ecdh.X25519().NewPrivateKey(id.SealKey)
	if err != nil {
		return err
	}
	public := seal.PublicKey().Bytes()
	body, err := json.Marshal(wire.EnrollRequest{
		Token: token, Name: id.Name, Key: id.signingKey().Public().(ed25519.PublicKey), SealKey: public,
		SealSignature: ed25519.Sign(id.signingKey(), public), Version: version, Host: host,
	})
	if err != nil {
		return err
	}
	r, err := newRequest(ctx, http.MethodPost, id.URL+wire.PathEnroll, body)
	if err != nil {
		return err
	}
	text, err := send(client, r, "", maxErrorResponse)
	if err != nil {
		return err
	}
	var e wire.EnrollResponse
	if err := json.Unmarshal(text, &e); err != nil || e.Atom == "" {
		return fmt.Errorf("%s is not a control plane", id.URL)
	}
	id.Atom, id.Account, id.Environment = e.Atom, e.Account, e.Environment
	return nil
}
