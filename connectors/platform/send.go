package platform

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptrace"
	"strconv"
	"sync/atomic"
	"time"

	"valence/connectors"
	"valence/internal/access"
	"valence/internal/fault"
)

const (
	maxErrorBody = 64 << 10

	codeCall    = "bad_call" // the call cannot be made
	codeRefused = "refused"  // the policy does not allow the host
)

// send sends one request and reads the response. wait asks the control plane to
// hold the request open for that long.
func (c *connection) send(ctx context.Context, call *connectors.Call, method, path string, body []byte, wait time.Duration) (int, []byte, *fault.Failure) {
	what := method + " " + c.base + path
	var connected atomic.Bool
	trace := &httptrace.ClientTrace{GotConn: func(httptrace.GotConnInfo) { connected.Store(true) }}
	var reader io.Reader
	if body != nil {
		reader = bytes.NewReader(body)
	}
	req, err := http.NewRequestWithContext(httptrace.WithClientTrace(ctx, trace), method, c.base+path, reader)
	if err != nil {
		return 0, nil, badCall("%s: %v", what, err)
	}
	c.head(req, call, wait)
	resp, err := c.transport.RoundTrip(req)
	if err != nil {
		return 0, nil, classify(ctx, err, connected.Load(), what)
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(io.LimitReader(resp.Body, c.maxResponse+1))
	switch {
	case err != nil:
		f := classify(ctx, err, true, what)
		f.Status = resp.StatusCode
		return 0, nil, f
	case int64(len(answer)) > c.maxResponse:
		f := connectors.Failf(fault.CodeTooLarge, false, nil, "%s: the response exceeds max_response (%d bytes)", what, c.maxResponse)
		f.Status = resp.StatusCode
		return 0, nil, f
	case !call.Accept.Has(resp.StatusCode):
		return 0, nil, statusFailure(resp, answer, what)
	}
	return resp.StatusCode, answer, nil
}

func (c *connection) head(req *http.Request, call *connectors.Call, wait time.Duration) {
	req.Header.Set("Authorization", c.credential)
	req.Header.Set("User-Agent", c.agent)
	req.Header.Set("Accept", "application/json")
	if req.Body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	if seconds := int(wait.Round(time.Second) / time.Second); seconds > 0 {
		req.Header.Set("Prefer", "wait="+strconv.Itoa(min(seconds, 30)))
	}
	if printable(call.CorrelationID) {
		req.Header.Set("Correlation-Id", call.CorrelationID)
	}
	if printable(call.Traceparent) {
		req.Header.Set("Traceparent", call.Traceparent)
	}
}

// printable reports whether s can be sent in a header.
func printable(s string) bool {
	for i := range len(s) {
		if s[i] < ' ' || s[i] > '~' {
			return false
		}
	}
	return s != ""
}

// statusFailure returns the failure for a status that the call does not accept.
func statusFailure(resp *http.Response, answer []byte, what string) *fault.Failure {
	text := strconv.Itoa(resp.StatusCode) + " " + http.StatusText(resp.StatusCode)
	var said struct {
		Message string `json:"message"`
	}
	if json.Unmarshal(answer, &said) == nil && said.Message != "" {
		text += ": " + said.Message
	}
	f := connectors.Failf(fault.CodeStatus, retryable(resp.StatusCode), nil, "%s returned %s", what, text)
	f.Status = resp.StatusCode
	f.RetryAfter = connectors.RetryAfter(resp.Header.Get("Retry-After"), time.Now())
	f.Body = answer[:min(len(answer), maxErrorBody)]
	return f
}

// retryable reports whether a repeated request may succeed.
func retryable(status int) bool {
	switch status {
	case http.StatusRequestTimeout, http.StatusTooEarly, http.StatusTooManyRequests, http.StatusInternalServerError,
		http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout:
		return true
	}
	return false
}

// classify returns the failure of a request without a complete response.
func classify(ctx context.Context, err error, connected bool, what string) *fault.Failure {
	if ctx.Err() != nil {
		return connectors.Interrupted(ctx, what)
	}
	var refusal *access.Refusal
	if errors.As(err, &refusal) {
		return connectors.Failf(codeRefused, false, err, "%s: %v", what, refusal)
	}
	if !connected {
		return connectors.Failf(fault.CodeConnect, true, err, "%s: no connection: %v", what, err)
	}
	return connectors.Failf(fault.CodeAborted, true, err, "%s: the connection broke before the response was complete: %v", what, err)
}

func badCall(format string, args ...any) *fault.Failure {
	return connectors.Failf(codeCall, false, nil, format, args...)
}

func unreadable(status int, answer []byte, what string) *fault.Failure {
	f := connectors.Failf(fault.CodeAnswer, false, nil, "the control plane returned status %s and %s", strconv.Itoa(status), what)
	f.Status, f.Body = status, answer[:min(len(answer), maxErrorBody)]
	return f
}
