package http

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"crypto/tls"
	"encoding/base64"
	"errors"
	"fmt"
	"net"
	nethttp "net/http"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
	"time"

	"valence/connectors"
	"valence/connectors/httpclient"
	"valence/internal/access"
	"valence/internal/document"
	"valence/internal/egress"
	"valence/internal/fault"
	"valence/internal/spec"
)

// checkTime limits how long a caller waits for the check of its callback URL.
const checkTime = 3 * time.Second

// Callbacks declares the connector that delivers replies to URLs of callers,
// signed as in Standard Webhooks. Processes cannot use it. Because callers
// choose the URLs, it dials only checked addresses, follows no redirects and
// uses no proxy.
func Callbacks(version string) *connectors.Connector { return callbacks(version, net.DefaultResolver) }

func callbacks(version string, r egress.Resolver) *connectors.Connector {
	post := connectors.Define(connectors.Operation{Name: "post", Doc: "Posts the reply to the caller's URL.", With: callbackFields, SendsBody: true},
		func(ctx context.Context, c *callbackConnection, w *callbackWith, call *connectors.Call) (*connectors.Result, error) {
			return c.post(ctx, w, call)
		})
	return &connectors.Connector{
		Name: "callback", Doc: "Delivers reply callbacks.", Operations: []connectors.Operation{post},
		Open: func(rules any, _ *access.Policy) (connectors.Connection, error) { // each rule has one
			return openCallbacks(rules.(connectors.CallbackRules), version, r)
		},
	}
}

type callbackWith struct{ URL, Process, Execution, Status string }

var callbackFields = []spec.Field{
	spec.String("url", func(w *callbackWith) *string { return &w.URL }, "URL to post to.").Required(),
	spec.String("process", func(w *callbackWith) *string { return &w.Process }, "Process whose `callbacks:` apply.").Required(),
	spec.String("execution", func(w *callbackWith) *string { return &w.Execution }, "Id of the execution.").Required(),
	spec.String("status", func(w *callbackWith) *string { return &w.Status }, "Status of the reply.").Required(),
}

// callbackConnection posts replies to URLs that the rules allow.
type callbackConnection struct {
	rules     connectors.CallbackRules
	keys      map[string][][]byte
	agent     string
	resolver  egress.Resolver
	transport *nethttp.Transport
}

var _ connectors.CallbackChecker = (*callbackConnection)(nil)

// checkedAddresses is the context key for the addresses that may be dialed.
type checkedAddresses struct{}

func openCallbacks(rules connectors.CallbackRules, version string, r egress.Resolver) (*callbackConnection, error) {
	c := &callbackConnection{rules: rules, keys: map[string][][]byte{}, agent: "valence/" + version, resolver: r}
	if headerProblem("User-Agent", c.agent) != "" {
		c.agent = "valence"
	}
	for process, rule := range rules {
		for _, s := range rule.Secrets {
			key, err := base64.StdEncoding.DecodeString(strings.TrimPrefix(s, "whsec_"))
			if err != nil || len(key) < 24 || len(key) > 64 {
				return nil, fmt.Errorf("the callback secret of %s must be Base64 of 24 to 64 bytes", process)
			}
			c.keys[process] = append(c.keys[process], key)
		}
	}
	c.transport = &nethttp.Transport{
		DialContext:            dialChecked,
		TLSClientConfig:        &tls.Config{MinVersion: tls.VersionTLS12},
		TLSHandshakeTimeout:    httpclient.HandshakeTimeout,
		DisableCompression:     true,
		DisableKeepAlives:      true, // an idle connection would outlive the check of its address
		MaxResponseHeaderBytes: httpclient.MaxHeaderBytes,
	}
	return c, nil
}

// dialChecked dials the addresses from the context, regardless of what the name
// resolves to by now.
func dialChecked(ctx context.Context, network, _ string) (net.Conn, error) {
	list, _ := ctx.Value(checkedAddresses{}).([]netip.AddrPort)
	err := errors.New("no checked address")
	for _, at := range list {
		var conn net.Conn
		if conn, err = (&net.Dialer{Timeout: httpclient.DialTimeout}).DialContext(ctx, network, at.String()); err == nil {
			return conn, nil
		}
	}
	return nil, err
}

// CheckCallback implements connectors.CallbackChecker. It accepts names that
// cannot be resolved now, because each delivery checks again.
func (c *callbackConnection) CheckCallback(ctx context.Context, process, raw string) error {
	ctx, cancel := context.WithTimeout(ctx, checkTime)
	defer cancel()
	_, _, err := c.target(ctx, process, raw)
	var dns *net.DNSError
	var refusal *access.Refusal
	switch {
	case errors.As(err, &refusal): // its text is for operators
		return fmt.Errorf("its host is not allowed: %w", egress.ErrRefused)
	case err == nil || errors.Is(err, egress.ErrRefused):
		return err
	case errors.As(err, &dns) && dns.IsNotFound:
		return fmt.Errorf("unknown host: %w", egress.ErrRefused)
	}
	return nil
}

func (c *callbackConnection) target(ctx context.Context, process, raw string) (*url.URL, []netip.AddrPort, error) {
	rule, ok := c.rules[process]
	if !ok {
		return nil, nil, fmt.Errorf("the process %s has no callbacks: %w", process, egress.ErrRefused)
	}
	u, err := rule.Allow.Target(raw)
	if err != nil {
		return nil, nil, err
	}
	at, err := rule.Allow.Resolve(ctx, c.resolver, u)
	if err == nil {
		err = rule.Policy.CheckAddresses(u, at)
	}
	return u, at, err
}

// post makes one attempt to deliver a reply.
func (c *callbackConnection) post(ctx context.Context, w *callbackWith, in *connectors.Call) (*connectors.Result, error) {
	u, at, err := c.target(ctx, w.Process, w.URL)
	if err != nil {
		if errors.Is(err, egress.ErrRefused) {
			return nil, connectors.Failf(codeRefused, false, err, "cannot send the callback to %s: %v", w.URL, err)
		}
		return nil, connectors.Failf(fault.CodeConnect, true, err, "cannot send the callback to %s: %v", w.URL, err)
	}
	body := in.Body.Body()
	req, err := nethttp.NewRequestWithContext(context.WithValue(ctx, checkedAddresses{}, at), nethttp.MethodPost, u.String(), strings.NewReader(string(body)))
	if err != nil {
		return nil, badCall("%v", err)
	}
	req.GetBody = nil // one attempt; the runtime retries
	c.head(req.Header, in, w, body, time.Now())
	resp, err := c.transport.RoundTrip(req) // not a client, which would follow redirects and store cookies
	if err != nil {
		return nil, deliveryFailure(ctx, err, w.URL)
	}
	defer resp.Body.Close()
	if resp.StatusCode >= 200 && resp.StatusCode < 300 {
		return &connectors.Result{Doc: document.Empty, Status: resp.StatusCode, Headers: resp.Header}, nil
	}
	f := connectors.Failf(fault.CodeStatus, resp.StatusCode != nethttp.StatusGone, nil, "the callback to %s returned %d", w.URL, resp.StatusCode)
	if redirects(resp.StatusCode) {
		f = connectors.Failf(fault.CodeRedirect, true, nil, "the callback to %s returned %d: callbacks do not follow redirects", w.URL, resp.StatusCode)
	}
	f.Status, f.RetryAfter, f.Body = resp.StatusCode, connectors.RetryAfter(resp.Header.Get("Retry-After"), time.Now()), errorBody(resp)
	return nil, f
}

// codeRefused is the failure of a callback that the rules no longer allow.
const codeRefused = "refused"

func deliveryFailure(ctx context.Context, err error, to string) *fault.Failure {
	if ctx.Err() != nil {
		return connectors.Failf(fault.CodeTimeout, true, err, "the callback to %s timed out", to)
	}
	return connectors.Failf(fault.CodeConnect, true, err, "cannot deliver the callback to %s: %v", to, err)
}

// head sets the headers, including those of Standard Webhooks. The id is equal
// on every attempt; time and signature are not.
func (c *callbackConnection) head(h nethttp.Header, in *connectors.Call, w *callbackWith, body []byte, now time.Time) {
	at := strconv.FormatInt(now.Unix(), 10)
	var signatures []string
	for _, key := range c.keys[w.Process] {
		m := hmac.New(sha256.New, key)
		m.Write([]byte(w.Execution + "." + at + "."))
		m.Write(body)
		signatures = append(signatures, "v1,"+base64.StdEncoding.EncodeToString(m.Sum(nil)))
	}
	set := func(name, value string) {
		if value != "" && headerProblem(name, value) == "" {
			h.Set(name, value)
		}
	}
	set("Webhook-Id", w.Execution)
	set("Webhook-Timestamp", at)
	set("Webhook-Signature", strings.Join(signatures, " "))
	set("Content-Type", in.Body.MediaType())
	set("User-Agent", c.agent)
	set("X-Execution-Id", w.Execution)
	set("X-Reply-Status", w.Status)
	set("Correlation-Id", in.CorrelationID)
	set("Traceparent", in.Traceparent)
	set(keyHeader, in.IdempotencyKey)
}

// Close closes idle connections.
func (c *callbackConnection) Close() error {
	c.transport.CloseIdleConnections()
	return nil
}
