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
	"valence/internal/document"
	"valence/internal/egress"
	"valence/internal/fault"
	"valence/internal/spec"
)

// checkTime bounds how long the caller of a process waits for the check of the
// URL that it named.
const checkTime = 3 * time.Second

// Callbacks declares the connector that delivers replies to the URLs that
// callers named: posts signed as Standard Webhooks has it. It is not for
// authors: what it calls is decided by whoever calls a process, so it dials
// only addresses that were checked, follows no redirect, and uses no proxy.
func Callbacks(version string) *connectors.Connector { return callbacks(version, net.DefaultResolver) }

func callbacks(version string, r egress.Resolver) *connectors.Connector {
	post := connectors.Operation{Name: "post", Doc: "Posts the document.", With: callbackFields, NewWith: func() any { return &callbackWith{} }, SendsBody: true}
	return &connectors.Connector{
		Name: "callback", Doc: "Delivers replies to callers.", Operations: []connectors.Operation{post},
		Open: func(rules any) (connectors.Connection, error) {
			return openCallbacks(rules.(connectors.CallbackRules), version, r)
		},
	}
}

type callbackWith struct{ URL, Process, Execution, Status string }

var callbackFields = []spec.Field{
	spec.String("url", func(w *callbackWith) *string { return &w.URL }, "Where to.").Required(),
	spec.String("process", func(w *callbackWith) *string { return &w.Process }, "Whose rules hold.").Required(),
	spec.String("execution", func(w *callbackWith) *string { return &w.Execution }, "What was executed.").Required(),
	spec.String("status", func(w *callbackWith) *string { return &w.Status }, "The status of the reply.").Required(),
}

// callbackConnection posts to whom the rules allow.
type callbackConnection struct {
	rules     connectors.CallbackRules
	keys      map[string][][]byte
	agent     string
	resolver  egress.Resolver
	transport *nethttp.Transport
}

var _ connectors.CallbackChecker = (*callbackConnection)(nil)

// checkedAddresses is how the addresses that were checked reach the dialler.
type checkedAddresses struct{}

func openCallbacks(rules connectors.CallbackRules, version string, r egress.Resolver) (*callbackConnection, error) {
	c := &callbackConnection{rules: rules, keys: map[string][][]byte{}, agent: "valence/" + version, resolver: r}
	if badHeader("User-Agent", c.agent) != "" {
		c.agent = "valence"
	}
	for process, rule := range rules {
		for _, s := range rule.Secrets {
			key, err := base64.StdEncoding.DecodeString(strings.TrimPrefix(s, "whsec_"))
			if err != nil || len(key) < 24 || len(key) > 64 {
				return nil, fmt.Errorf("the secret of the callbacks of %s is not base64 of 24 to 64 bytes", process)
			}
			c.keys[process] = append(c.keys[process], key)
		}
	}
	c.transport = &nethttp.Transport{
		DialContext:            dialChecked,
		TLSClientConfig:        &tls.Config{MinVersion: tls.VersionTLS12},
		TLSHandshakeTimeout:    handshakeTimeout,
		DisableCompression:     true,
		DisableKeepAlives:      true, // a kept connection would outlive the check of its address
		MaxResponseHeaderBytes: maxHeaderBytes,
	}
	return c, nil
}

// dialChecked dials the addresses that were checked and no others: whatever
// the name means by now.
func dialChecked(ctx context.Context, network, _ string) (net.Conn, error) {
	list, _ := ctx.Value(checkedAddresses{}).([]netip.AddrPort)
	err := errors.New("no address was checked")
	for _, at := range list {
		var conn net.Conn
		if conn, err = (&net.Dialer{Timeout: dialTimeout}).DialContext(ctx, network, at.String()); err == nil {
			return conn, nil
		}
	}
	return nil, err
}

// CheckCallback is connectors.CallbackChecker's. A name that cannot be
// resolved now is let through: it is looked at again with each delivery.
func (c *callbackConnection) CheckCallback(ctx context.Context, process, raw string) error {
	ctx, cancel := context.WithTimeout(ctx, checkTime)
	defer cancel()
	_, _, err := c.target(ctx, process, raw)
	var dns *net.DNSError
	switch {
	case err == nil || errors.Is(err, egress.ErrRefused):
		return err
	case errors.As(err, &dns) && dns.IsNotFound:
		return fmt.Errorf("its host is not known: %w", egress.ErrRefused)
	}
	return nil
}

func (c *callbackConnection) target(ctx context.Context, process, raw string) (*url.URL, []netip.AddrPort, error) {
	rule, ok := c.rules[process]
	if !ok {
		return nil, nil, fmt.Errorf("the process %s calls nobody back: %w", process, egress.ErrRefused)
	}
	u, err := rule.Allow.Target(raw)
	if err != nil {
		return nil, nil, err
	}
	at, err := rule.Allow.Resolve(ctx, c.resolver, u)
	return u, at, err
}

// Call posts once.
func (c *callbackConnection) Call(ctx context.Context, in *connectors.Call) (*connectors.Result, error) {
	w := in.With.(*callbackWith)
	u, at, err := c.target(ctx, w.Process, w.URL)
	if err != nil {
		if errors.Is(err, egress.ErrRefused) {
			return nil, failed(codeRefused, false, err, "the callback to %s is not made: %v", w.URL, err)
		}
		return nil, failed(fault.CodeConnect, true, err, "the callback to %s is not made: %v", w.URL, err)
	}
	body := in.Body.Body()
	req, err := nethttp.NewRequestWithContext(context.WithValue(ctx, checkedAddresses{}, at), nethttp.MethodPost, u.String(), strings.NewReader(string(body)))
	if err != nil {
		return nil, badCall("%v", err)
	}
	req.GetBody = nil // once is once: the runtime repeats
	c.head(req.Header, in, w, body, time.Now())
	resp, err := c.transport.RoundTrip(req) // not a client: it follows nothing and keeps no cookies
	if err != nil {
		return nil, unsent(ctx, err, w.URL)
	}
	defer resp.Body.Close()
	if resp.StatusCode >= 200 && resp.StatusCode < 300 {
		return &connectors.Result{Doc: document.Empty, Status: resp.StatusCode, Headers: resp.Header}, nil
	}
	f := failed(fault.CodeStatus, resp.StatusCode != nethttp.StatusGone, nil, "the callback to %s was answered %d", w.URL, resp.StatusCode)
	if redirects(resp.StatusCode) {
		f = failed(fault.CodeRedirect, true, nil, "the callback to %s was answered %d: redirects of callbacks are not followed", w.URL, resp.StatusCode)
	}
	f.Status, f.RetryAfter, f.Body = resp.StatusCode, retryAfter(resp.Header, time.Now()), errorBody(resp)
	return nil, f
}

// codeRefused is the failure of a callback that the rules do not allow any more.
const codeRefused = "refused"

func unsent(ctx context.Context, err error, to string) *fault.Failure {
	if ctx.Err() != nil {
		return failed(fault.CodeTimeout, true, err, "the callback to %s was not answered in time", to)
	}
	return failed(fault.CodeConnect, true, err, "the callback to %s could not be delivered: %v", to, err)
}

// head sets the headers, among them those of Standard Webhooks: the id is the
// same with every attempt, the time and the signature are this one's.
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
		if value != "" && badHeader(name, value) == "" {
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

// Close lets go of what is open.
func (c *callbackConnection) Close() error {
	c.transport.CloseIdleConnections()
	return nil
}
