package http

import (
	"context"
	"errors"
	"io"
	"net"
	nethttp "net/http"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"valence/connectors"
	"valence/connectors/httpclient"
	"valence/internal/access"
	"valence/internal/document"
	"valence/internal/egress"
	"valence/internal/fault"
)

// request is one HTTP request of a call: the first one, or one after a
// redirect.
type request struct {
	method  string
	url     *url.URL
	base    *base // of the connection
	headers nethttp.Header
	body    payload
	foreign bool // to an origin other than the connection's
	// Set by send: the server has a public address.
	public atomic.Bool
	// fromPublic says that a server with a public address redirected here.
	fromPublic bool
}

// fromPublic is the context key for request.fromPublic.
type fromPublic struct{}

// String describes the request in messages. It omits the query and the URL of
// the connection, which may contain a key.
func (r *request) String() string {
	path := strings.TrimPrefix(r.url.EscapedPath(), r.base.path)
	if path == "" {
		path = "/"
	}
	if r.foreign {
		path = r.url.Scheme + "://" + r.url.Host + path
	}
	return r.method + " " + truncate(path, 500)
}

// maxErrorBody is the size up to which the body of an error is read.
const maxErrorBody = 64 << 10

// call sends one request, follows redirects and reads the response. The package
// comment lists the failures.
func (c *connection) call(ctx context.Context, method string, w *with, call *connectors.Call) (*connectors.Result, error) {
	r, f := c.prepare(ctx, method, w, call)
	if f != nil {
		return nil, f
	}
	token := ""
	if w.Pages != nil {
		if f := w.applyPage(r, call.Page, c.authParam); f != nil {
			return nil, f
		}
	}
	if c.tokens != nil {
		if token, f = c.tokens.get(ctx, ""); f != nil {
			return nil, f
		}
		r.headers["Authorization"] = []string{"Bearer " + token}
	}
	refreshed := false
	for hops := 0; ; {
		resp, f := c.send(ctx, r)
		if f != nil {
			return nil, f
		}
		if resp.StatusCode == nethttp.StatusUnauthorized && c.tokens != nil && !refreshed && !r.foreign && !call.Accept.Has(resp.StatusCode) {
			discard(resp)
			refreshed = true
			if token, f = c.tokens.get(ctx, token); f != nil {
				return nil, f
			}
			r.headers["Authorization"] = []string{"Bearer " + token}
			continue
		}
		if call.Accept.Has(resp.StatusCode) {
			result, err := c.result(ctx, resp, r, w)
			if err == nil && w.Pages != nil {
				if f := w.extractPage(result, call.Page, r); f != nil {
					return nil, f
				}
			}
			return result, err
		}
		if !redirects(resp.StatusCode) {
			return nil, c.statusFailure(ctx, resp, r)
		}
		hops++
		next, f := c.follow(resp, r, hops)
		if f != nil {
			f.Status, f.Body = resp.StatusCode, errorBody(resp)
			resp.Body.Close()
			return nil, f
		}
		discard(resp)
		r = next
	}
}

// prepare returns the first request of a call.
func (c *connection) prepare(ctx context.Context, method string, w *with, call *connectors.Call) (*request, *fault.Failure) {
	body := call.Body
	if method == "" {
		method = w.Method
		if why := methodProblem(method); why != "" {
			return nil, badCall("%s", why)
		}
		if (safe(method) || method == nethttp.MethodDelete) && !w.sends() {
			body = nil
		}
	}
	if c.authParam != "" {
		for _, kv := range w.Query {
			if kv.Name == c.authParam {
				return nil, badCall("query %s conflicts with the connection's auth: only one of them can be sent", quote(kv.Name))
			}
		}
	}
	u, f := c.base.join(w.Path, w.Query, c.authQuery)
	if f != nil {
		return nil, f
	}
	r := &request{method: method, url: u, base: &c.base, headers: clone(c.headers, len(w.Headers)+4)}
	var contentType string
	if r.body, contentType, f = encode(ctx, body, w, call.Namespaces); f != nil {
		return nil, f
	}
	if contentType != "" {
		r.headers["Content-Type"] = []string{contentType}
	}
	if method == nethttp.MethodHead {
		delete(r.headers, "Accept-Encoding")
	}
	if call.CorrelationID != "" && headerProblem("Correlation-Id", call.CorrelationID) == "" {
		r.headers["Correlation-Id"] = []string{call.CorrelationID}
	}
	if call.Traceparent != "" && headerProblem("Traceparent", call.Traceparent) == "" {
		r.headers["Traceparent"] = []string{call.Traceparent}
	}
	if call.IdempotencyKey != "" && !safe(method) {
		if why := headerProblem(keyHeader, call.IdempotencyKey); why != "" {
			return nil, badCall("%s", why)
		}
		r.headers[keyHeader] = []string{call.IdempotencyKey}
	}
	return r, c.addHeaders(r.headers, w.Headers)
}

func methodProblem(method string) string {
	if method == "" {
		return "method is missing"
	}
	for i := 0; i < len(method); i++ {
		if c := method[i]; !tokenByte[c] || 'a' <= c && c <= 'z' {
			return "method " + quote(method) + " is not a method: methods are written in capitals"
		}
	}
	if method == nethttp.MethodConnect || method == nethttp.MethodTrace {
		return "method " + method + " is not allowed: it would open a tunnel or echo credentials"
	}
	return ""
}

// send sends one request and waits for the header of the response.
func (c *connection) send(ctx context.Context, r *request) (*nethttp.Response, *fault.Failure) {
	w := &httpclient.Progress{}
	if r.fromPublic {
		ctx = context.WithValue(ctx, fromPublic{}, true)
	}
	req := c.template.WithContext(w.Trace(ctx, func(conn net.Conn) {
		at, err := netip.ParseAddrPort(conn.RemoteAddr().String())
		r.public.Store(err == nil && egress.Public(at.Addr()))
	}))
	req.Method, req.URL, req.Header, req.Host = r.method, r.url, r.headers, r.url.Host
	var sent atomic.Pointer[bodyReader]
	if len(r.body) > 0 {
		open := func() (io.ReadCloser, error) {
			body := r.body.open()
			sent.Store(body)
			return body, nil
		}
		req.ContentLength = r.body.size()
		req.Body, _ = open()
		// Without GetBody, a request that never left could not be sent again.
		req.GetBody = open
	}
	transport := c.transport
	if r.foreign {
		transport = c.foreignTransport
	}
	resp, err := transport.RoundTrip(req)
	if err != nil {
		var guarded *guardError
		if errors.As(err, &guarded) {
			return nil, connectors.Failf(fault.CodeRedirect, false, err, "%s: %v", r, guarded)
		}
		var refusal *access.Refusal
		if errors.As(err, &refusal) {
			return nil, connectors.Failf(codeRefused, false, err, "%s: %v", r, refusal)
		}
		if body := sent.Load(); body != nil {
			if f := body.failure(); f != nil {
				return nil, f
			}
		}
		return nil, w.Failure(ctx, err, r.String())
	}
	return resp, nil
}

// result reads an accepted response.
func (c *connection) result(ctx context.Context, resp *nethttp.Response, r *request, w *with) (*connectors.Result, error) {
	defer resp.Body.Close()
	result := &connectors.Result{Doc: document.Empty, Status: resp.StatusCode, Headers: resp.Header}
	if r.method == nethttp.MethodHead || resp.StatusCode == nethttp.StatusSwitchingProtocols {
		return result, nil
	}
	doc, f := c.read(ctx, resp, r, w)
	if f != nil {
		f.Status = resp.StatusCode
		return nil, f
	}
	result.Doc = doc
	return result, nil
}

// statusFailure returns the failure for a status that the call does not accept.
func (c *connection) statusFailure(ctx context.Context, resp *nethttp.Response, r *request) *fault.Failure {
	defer resp.Body.Close()
	status := strconv.Itoa(resp.StatusCode)
	if text := nethttp.StatusText(resp.StatusCode); text != "" {
		status += " " + text
	}
	f := connectors.Failf(fault.CodeStatus, connectors.RetryableStatus(resp.StatusCode), nil, "%s returned %s", r, status)
	f.Status = resp.StatusCode
	f.RetryAfter = connectors.RetryAfter(resp.Header.Get("Retry-After"), time.Now())
	f.Body = errorBody(resp)
	return f
}

// errorBody reads the beginning of an error response, as far as it arrives.
func errorBody(resp *nethttp.Response) []byte {
	b, err := httpclient.ReadBody(nil, &nethttp.Response{Header: resp.Header, Body: resp.Body, ContentLength: -1}, maxErrorBody)
	var encoding *httpclient.EncodingError
	if errors.As(err, &encoding) {
		b, _ = httpclient.ReadAll(nil, resp.Body, -1, maxErrorBody)
	}
	return head(b)
}

func head(b []byte) []byte {
	if len(b) > maxErrorBody {
		return b[:maxErrorBody]
	}
	return b
}

// discard reads a short rest of the body, so that the connection can be reused.
func discard(resp *nethttp.Response) {
	_, _ = io.CopyN(io.Discard, resp.Body, 4<<10)
	resp.Body.Close()
}

// redirects reports whether status is a redirect.
func redirects(status int) bool {
	switch status {
	case nethttp.StatusMovedPermanently, nethttp.StatusFound, nethttp.StatusSeeOther,
		nethttp.StatusTemporaryRedirect, nethttp.StatusPermanentRedirect:
		return true
	}
	return false
}

// follow returns the request that a redirect asks for, or the reason not to
// follow it.
func (c *connection) follow(resp *nethttp.Response, r *request, hops int) (*request, *fault.Failure) {
	status := resp.StatusCode
	refuse := func(format string, args ...any) (*request, *fault.Failure) {
		f := connectors.Failf(fault.CodeRedirect, false, nil, format, args...)
		f.Message = r.String() + " returned " + strconv.Itoa(status) + ": " + f.Message
		return nil, f
	}
	if hops > c.redirects.Max {
		return refuse("more than %d redirects", c.redirects.Max)
	}
	location := resp.Header.Get("Location")
	if location == "" {
		return refuse("redirect without Location")
	}
	to, err := resolve(r.url, location)
	if err != nil || to.Host == "" || to.User != nil || to.Opaque != "" || to.Scheme != "http" && to.Scheme != "https" {
		return refuse("redirect to %s, which is not an HTTP URL", quote(location))
	}
	next := &request{method: r.method, url: to, base: r.base, headers: r.headers, body: r.body, fromPublic: r.public.Load()}
	if !safe(r.method) {
		switch {
		case !c.redirects.Sends:
			return refuse("redirects of %s are not followed (redirects: { sends: true } allows it)", r.method)
		case status == nethttp.StatusSeeOther:
			next.method, next.body = nethttp.MethodGet, nil
			next.headers = clone(r.headers, 0)
			delete(next.headers, "Content-Type")
			delete(next.headers, keyHeader)
		case status != nethttp.StatusTemporaryRedirect && status != nethttp.StatusPermanentRedirect:
			return refuse("the status does not say whether to repeat %s", r.method)
		}
	}
	if r.url.Scheme == "https" && to.Scheme == "http" {
		return refuse("redirect from https to http")
	}
	if next.foreign = origin(to) != origin(&url.URL{Scheme: c.base.scheme, Host: c.base.host}); next.foreign {
		if !safe(next.method) {
			return refuse("redirect of %s to another host", r.method)
		}
		next.body = nil
		next.headers = clone(c.foreignHeaders, 2)
		for _, h := range []string{"Correlation-Id", "Traceparent"} {
			if v, ok := r.headers[h]; ok {
				next.headers[h] = v
			}
		}
	} else if r.foreign {
		// The URL was chosen by another host, so the request must not carry our
		// credentials.
		return refuse("redirect back from another host")
	}
	return next, nil
}

// origin returns the scope of a credential: scheme, host and port (RFC 6454).
func origin(u *url.URL) string {
	port := u.Port()
	if port == "" {
		port = map[string]string{"http": "80", "https": "443"}[u.Scheme]
	}
	return u.Scheme + "://" + strings.ToLower(u.Hostname()) + ":" + port
}
