package http

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	nethttp "net/http"
	"strconv"
	"time"

	"valence/internal/fault"
)

const (
	codeAuth = "auth" // no access token could be had

	maxErrorBody  = 64 << 10
	maxRetryAfter = 24 * time.Hour
)

// failed makes a failure of the other system.
func failed(code string, retryable bool, cause error, format string, args ...any) *fault.Failure {
	return &fault.Failure{Code: code, Message: fmt.Sprintf(format, args...), Origin: fault.FromConnector, Retryable: retryable, Cause: cause}
}

// phase is how far a request came before it failed.
type phase struct {
	connected bool // a connection was there to send it on
	answered  bool // something came back
}

// classify names the failure of a request that got no answer, or half of one.
func classify(ctx context.Context, err error, at phase, what string) *fault.Failure {
	if f := interrupted(ctx, what); f != nil {
		return f
	}
	var refused *proxyRefusal
	switch {
	case errors.As(err, &refused):
		return failed(fault.CodeConnect, true, err, "%s: %v", what, refused)
	case !at.connected || handshake(err):
		return failed(fault.CodeConnect, true, err, "%s: no connection: %v", what, err)
	case broken(err) || !at.answered:
		return failed(fault.CodeAborted, true, err, "%s: the connection broke before the answer was whole: %v", what, err)
	}
	// A header that breaks off looks the same as one that is nonsense.
	return failed(fault.CodeAnswer, true, err, "%s: the answer is not HTTP: %v", what, err)
}

// interrupted is the failure of a call whose context ended, nil if it has not.
func interrupted(ctx context.Context, what string) *fault.Failure {
	switch err := ctx.Err(); {
	case err == nil:
		return nil
	case errors.Is(err, context.DeadlineExceeded):
		return failed(fault.CodeTimeout, true, err, "%s: no answer in time", what)
	default:
		return &fault.Failure{Code: fault.CodeCancelled, Message: what + ": cancelled", Origin: fault.FromAtom, Cause: context.Cause(ctx)}
	}
}

// handshake reports whether TLS failed: with TLS 1.3 a server refuses a
// client's certificate only after the client has begun to send.
func handshake(err error) bool {
	var cert *tls.CertificateVerificationError
	var record tls.RecordHeaderError
	var alert tls.AlertError
	var op *net.OpError
	return errors.As(err, &cert) || errors.As(err, &record) || errors.As(err, &alert) ||
		errors.Is(err, nethttp.ErrSchemeMismatch) || errors.As(err, &op) && op.Op == "remote error"
}

// broken reports whether a connection ended, rather than spoke nonsense.
func broken(err error) bool {
	var op *net.OpError
	return errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, net.ErrClosed) || errors.As(err, &op)
}

// proxyRefusal is the answer of a proxy that makes no connection for us.
type proxyRefusal struct{ status string }

func (p *proxyRefusal) Error() string { return "the proxy answered " + p.status }

// retryableStatus reports whether the same request may succeed later.
func retryableStatus(status int) bool {
	switch status {
	case nethttp.StatusRequestTimeout, nethttp.StatusTooEarly, nethttp.StatusTooManyRequests:
		return true
	case nethttp.StatusNotImplemented, nethttp.StatusHTTPVersionNotSupported, nethttp.StatusVariantAlsoNegotiates,
		nethttp.StatusLoopDetected, nethttp.StatusNotExtended, nethttp.StatusNetworkAuthenticationRequired:
		return false
	}
	return status >= 500 && status < 600
}

// retryAfter reads Retry-After: seconds or a date (RFC 9110, 10.2.3). What is
// neither, and what lies in the past, is zero; a day is the most.
func retryAfter(h nethttp.Header, now time.Time) time.Duration {
	text := h.Get("Retry-After")
	if text == "" {
		return 0
	}
	if n, err := strconv.ParseUint(text, 10, 64); err == nil {
		return time.Duration(min(n, uint64(maxRetryAfter/time.Second))) * time.Second
	} else if errors.Is(err, strconv.ErrRange) {
		return maxRetryAfter
	}
	at, err := nethttp.ParseTime(text)
	if err != nil {
		return 0
	}
	return max(0, min(at.Sub(now), maxRetryAfter))
}
