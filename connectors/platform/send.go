package platform

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptrace"
	"strconv"
	"sync/atomic"
	"time"

	"valence/connectors"
	"valence/internal/fault"
)

const (
	maxErrorBody  = 64 << 10
	maxRetryAfter = 24 * time.Hour
)

// send makes one request and reads its answer. Wait asks the control plane to
// hold the request that long.
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
		f := failed(fault.CodeTooLarge, false, nil, "%s: the answer is over max_response, %d bytes", what, c.maxResponse)
		f.Status = resp.StatusCode
		return 0, nil, f
	case !call.Accept.Has(resp.StatusCode):
		return 0, nil, refused(resp, answer, what)
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

// printable reports whether a text may stand in a header.
func printable(s string) bool {
	for i := range len(s) {
		if s[i] < ' ' || s[i] > '~' {
			return false
		}
	}
	return s != ""
}

// refused is the failure of an answer whose status the call does not accept.
func refused(resp *http.Response, answer []byte, what string) *fault.Failure {
	text := strconv.Itoa(resp.StatusCode) + " " + http.StatusText(resp.StatusCode)
	var said struct {
		Message string `json:"message"`
	}
	if json.Unmarshal(answer, &said) == nil && said.Message != "" {
		text += ": " + said.Message
	}
	f := failed(fault.CodeStatus, retryable(resp.StatusCode), nil, "%s answered %s", what, text)
	f.Status = resp.StatusCode
	f.RetryAfter = retryAfter(resp.Header.Get("Retry-After"), time.Now())
	f.Body = answer[:min(len(answer), maxErrorBody)]
	return f
}

// retryable reports whether the same request may succeed later.
func retryable(status int) bool {
	switch status {
	case http.StatusRequestTimeout, http.StatusTooEarly, http.StatusTooManyRequests, http.StatusInternalServerError,
		http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout:
		return true
	}
	return false
}

// retryAfter reads seconds or a date (RFC 9110, 10.2.3); a day is the most.
func retryAfter(text string, now time.Time) time.Duration {
	if n, err := strconv.ParseUint(text, 10, 32); err == nil {
		return min(time.Duration(n)*time.Second, maxRetryAfter)
	}
	at, err := http.ParseTime(text)
	if err != nil {
		return 0
	}
	return max(0, min(at.Sub(now), maxRetryAfter))
}

func failed(code string, retryable bool, cause error, format string, args ...any) *fault.Failure {
	return &fault.Failure{Code: code, Message: fmt.Sprintf(format, args...), Origin: fault.FromConnector, Retryable: retryable, Cause: cause}
}

// classify names the failure of a request that got no answer, or half of one.
func classify(ctx context.Context, err error, connected bool, what string) *fault.Failure {
	if ctx.Err() != nil {
		return interrupted(ctx, what)
	}
	if !connected {
		return failed(fault.CodeConnect, true, err, "%s: no connection: %v", what, err)
	}
	return failed(fault.CodeAborted, true, err, "%s: the connection broke before the answer was whole: %v", what, err)
}

// interrupted is the failure of a call whose context ended.
func interrupted(ctx context.Context, what string) *fault.Failure {
	if errors.Is(ctx.Err(), context.DeadlineExceeded) {
		return failed(fault.CodeTimeout, true, ctx.Err(), "%s: no answer in time", what)
	}
	return &fault.Failure{Code: fault.CodeCancelled, Message: what + ": cancelled", Origin: fault.FromAtom, Cause: context.Cause(ctx)}
}
