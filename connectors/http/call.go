package http

import (
	"bytes"
	"context"
	"errors"
	"io"
	nethttp "net/http"
	"net/http/httptrace"
	"net/url"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"valence/connectors"
	"valence/internal/document"
	"valence/internal/fault"
)

// request is one request as it is about to be sent, and its successors.
type request struct {
	method  string
	url     *url.URL
	headers nethttp.Header
	body    []byte
	away    bool // to another origin than the connection's
}

// String names a request in messages: without its query, which may hold a key.
func (r *request) String() string {
	return r.method + " " + r.url.Scheme + "://" + r.url.Host + cut(r.url.EscapedPath(), 500)
}

// Call sends one request, follows redirects and reads the answer. See the
// package comment for the failures.
func (c *connection) Call(ctx context.Context, call *connectors.Call) (*connectors.Result, error) {
	w, _ := call.With.(*with)
	if w == nil {
		w = &with{}
	}
	r, f := c.prepare(call, w)
	if f != nil {
		return nil, f
	}
	token := ""
	if w.Pages != nil {
		if f := w.turn(r, call.Page); f != nil {
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
		if resp.StatusCode == nethttp.StatusUnauthorized && c.tokens != nil && !refreshed && !r.away && !call.Accept.Has(resp.StatusCode) {
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
				if f := w.page(result, call.Page, r); f != nil {
					return nil, f
				}
			}
			return result, err
		}
		if !redirects(resp.StatusCode) {
			return nil, c.refused(ctx, resp, r)
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

// prepare makes the first request of a call.
func (c *connection) prepare(call *connectors.Call, w *with) (*request, *fault.Failure) {
	method := methodOf(call.Operation)
	body := call.Body
	if method == "" {
		method = w.Method
		if why := badMethod(method); why != "" {
			return nil, badCall("%s", why)
		}
		if (safe(method) || method == nethttp.MethodDelete) && !w.sends() {
			body = nil
		}
	}
	if c.authParam != "" {
		for _, kv := range w.Query {
			if kv.Name == c.authParam {
				return nil, badCall("query %s stands beside the connection's auth: only one of them can be sent", quote(kv.Name))
			}
		}
	}
	u, f := c.base.join(w.Path, w.Query, c.authQuery)
	if f != nil {
		return nil, f
	}
	r := &request{method: method, url: u, headers: clone(c.headers, len(w.Headers)+4)}
	var contentType string
	if r.body, contentType, f = encode(body, w); f != nil {
		return nil, f
	}
	if contentType != "" {
		r.headers["Content-Type"] = []string{contentType}
	}
	if method == nethttp.MethodHead {
		delete(r.headers, "Accept-Encoding")
	}
	if call.CorrelationID != "" && badHeader("Correlation-Id", call.CorrelationID) == "" {
		r.headers["Correlation-Id"] = []string{call.CorrelationID}
	}
	if call.Traceparent != "" && badHeader("Traceparent", call.Traceparent) == "" {
		r.headers["Traceparent"] = []string{call.Traceparent}
	}
	if call.IdempotencyKey != "" && !safe(method) {
		if why := badHeader(keyHeader, call.IdempotencyKey); why != "" {
			return nil, badCall("%s", why)
		}
		r.headers[keyHeader] = []string{call.IdempotencyKey}
	}
	return r, c.addHeaders(r.headers, w.Headers)
}

func badMethod(method string) string {
	if method == "" {
		return "method is missing"
	}
	for i := 0; i < len(method); i++ {
		if c := method[i]; !tokenByte[c] || 'a' <= c && c <= 'z' {
			return "method " + quote(method) + " is no method: methods are written in capitals"
		}
	}
	if method == nethttp.MethodConnect || method == nethttp.MethodTrace {
		return "method " + method + " is not sent: it would make a tunnel, or echo credentials"
	}
	return ""
}

// watch learns how far a request came.
type watch struct {
	trace               httptrace.ClientTrace
	connected, answered atomic.Bool
}

func (w *watch) phase() phase {
	return phase{connected: w.connected.Load(), answered: w.answered.Load()}
}

// send sends one request and waits for the header of the answer.
func (c *connection) send(ctx context.Context, r *request) (*nethttp.Response, *fault.Failure) {
	w := &watch{}
	w.trace.GotConn = func(httptrace.GotConnInfo) { w.connected.Store(true) }
	w.trace.GotFirstResponseByte = func() { w.answered.Store(true) }
	req := c.template.WithContext(httptrace.WithClientTrace(ctx, &w.trace))
	req.Method, req.URL, req.Header, req.Host = r.method, r.url, r.headers, r.url.Host
	if len(r.body) > 0 {
		body := r.body
		req.ContentLength = int64(len(body))
		req.Body = io.NopCloser(bytes.NewReader(body))
		// Without it not even a request that never left could be sent again.
		req.GetBody = func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(body)), nil }
	}
	transport := c.transport
	if r.away {
		transport = c.elsewhere
	}
	resp, err := transport.RoundTrip(req)
	if err != nil {
		var guarded *guardError
		if errors.As(err, &guarded) {
			return nil, failed(fault.CodeRedirect, false, err, "%s: %v", r, guarded)
		}
		return nil, classify(ctx, err, w.phase(), r.String())
	}
	return resp, nil
}

// result reads an accepted answer.
func (c *connection) result(ctx context.Context, resp *nethttp.Response, r *request, w *with) (*connectors.Result, error) {
	defer resp.Body.Close()
	result := &connectors.Result{Doc: document.Empty, Status: resp.StatusCode, Headers: resp.Header}
	if r.method == nethttp.MethodHead || resp.StatusCode == nethttp.StatusSwitchingProtocols {
		return result, nil
	}
	body, err := readBody(resp, c.maxResponse)
	if err != nil {
		f := unreadable(ctx, err, r.String(), c.maxResponse)
		f.Status = resp.StatusCode
		return nil, f
	}
	doc, f := decode(body, resp.Header.Get("Content-Type"), w.Response, r.String())
	if f != nil {
		f.Status, f.Body = resp.StatusCode, head(body)
		return nil, f
	}
	result.Doc = doc
	return result, nil
}

// refused is the failure of an answer whose status the call does not accept.
func (c *connection) refused(ctx context.Context, resp *nethttp.Response, r *request) *fault.Failure {
	defer resp.Body.Close()
	status := strconv.Itoa(resp.StatusCode)
	if text := nethttp.StatusText(resp.StatusCode); text != "" {
		status += " " + text
	}
	f := failed(fault.CodeStatus, retryableStatus(resp.StatusCode), nil, "%s answered %s", r, status)
	f.Status = resp.StatusCode
	f.RetryAfter = retryAfter(resp.Header, time.Now())
	f.Body = errorBody(resp)
	return f
}

// errorBody reads the beginning of what a server says went wrong: whatever
// comes, as far as it comes.
func errorBody(resp *nethttp.Response) []byte {
	b, err := readBody(&nethttp.Response{Header: resp.Header, Body: resp.Body, ContentLength: -1}, maxErrorBody)
	var encoding *encodingError
	if errors.As(err, &encoding) {
		b, _ = readAll(resp.Body, -1, maxErrorBody)
	}
	return head(b)
}

func head(b []byte) []byte {
	if len(b) > maxErrorBody {
		return b[:maxErrorBody]
	}
	return b
}

// discard reads a short rest, so that the connection can be used again.
func discard(resp *nethttp.Response) {
	_, _ = io.CopyN(io.Discard, resp.Body, 4<<10)
	resp.Body.Close()
}

// redirects reports whether a status asks to go elsewhere.
func redirects(status int) bool {
	switch status {
	case nethttp.StatusMovedPermanently, nethttp.StatusFound, nethttp.StatusSeeOther,
		nethttp.StatusTemporaryRedirect, nethttp.StatusPermanentRedirect:
		return true
	}
	return false
}

// follow gives the request that a redirect asks for, or why it is not made.
func (c *connection) follow(resp *nethttp.Response, r *request, hops int) (*request, *fault.Failure) {
	status := resp.StatusCode
	refuse := func(format string, args ...any) (*request, *fault.Failure) {
		f := failed(fault.CodeRedirect, false, nil, format, args...)
		f.Message = r.String() + " answered " + strconv.Itoa(status) + ": " + f.Message
		return nil, f
	}
	if hops > c.redirects.Max {
		return refuse("more than %d redirects", c.redirects.Max)
	}
	location := resp.Header.Get("Location")
	if location == "" {
		return refuse("a redirect without Location")
	}
	to, err := r.url.Parse(location)
	if err != nil || to.Host == "" || to.User != nil || to.Opaque != "" || to.Scheme != "http" && to.Scheme != "https" {
		return refuse("a redirect to %s, which is no address of a web service", quote(location))
	}
	to.Fragment, to.RawFragment = "", ""
	next := &request{method: r.method, url: to, headers: r.headers, body: r.body}
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
			return refuse("it does not say whether %s is to be sent again", r.method)
		}
	}
	if r.url.Scheme == "https" && to.Scheme == "http" {
		return refuse("a redirect from https to http")
	}
	if next.away = origin(to) != origin(&url.URL{Scheme: c.base.scheme, Host: c.base.host}); next.away {
		if !safe(next.method) {
			return refuse("a redirect of %s to another host", r.method)
		}
		next.body = nil
		next.headers = clone(c.foreign, 2)
		for _, h := range []string{"Correlation-Id", "Traceparent"} {
			if v, ok := r.headers[h]; ok {
				next.headers[h] = v
			}
		}
	} else if r.away {
		// Back at home after another host: it is not known who wrote this
		// address, so it is not signed with our name.
		return refuse("a redirect that comes back from another host")
	}
	return next, nil
}

// origin is what a credential is good for: scheme, host and port (RFC 6454).
func origin(u *url.URL) string {
	port := u.Port()
	if port == "" {
		port = map[string]string{"http": "80", "https": "443"}[u.Scheme]
	}
	return u.Scheme + "://" + strings.ToLower(u.Hostname()) + ":" + port
}
