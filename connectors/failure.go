package connectors

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"time"

	"valence/internal/fault"
)

// Retry returns a failure that another attempt may resolve, no sooner than
// after.
func Retry(code, msg string, after time.Duration, cause error) *fault.Failure {
	return &fault.Failure{Code: code, Message: msg, Source: fault.FromConnector, Retryable: true, RetryAfter: after, Cause: cause}
}

// Failf returns a failure of the other system.
func Failf(code string, retryable bool, cause error, format string, args ...any) *fault.Failure {
	return &fault.Failure{Code: code, Message: fmt.Sprintf(format, args...), Source: fault.FromConnector, Retryable: retryable, Cause: cause}
}

// Interrupted returns the failure of a call whose context has ended, or nil if
// it has not. what describes the call.
func Interrupted(ctx context.Context, what string) *fault.Failure {
	switch err := ctx.Err(); {
	case err == nil:
		return nil
	case errors.Is(err, context.DeadlineExceeded):
		return Failf(fault.CodeTimeout, true, err, "%s: timed out", what)
	default:
		return &fault.Failure{Code: fault.CodeCancelled, Message: what + ": cancelled", Source: fault.FromAtom, Cause: context.Cause(ctx)}
	}
}

// RetryableStatus reports whether a repeated request may succeed after a response
// with this HTTP status.
func RetryableStatus(status int) bool {
	switch status {
	case http.StatusRequestTimeout, http.StatusTooEarly, http.StatusTooManyRequests:
		return true
	case http.StatusNotImplemented, http.StatusHTTPVersionNotSupported, http.StatusVariantAlsoNegotiates,
		http.StatusLoopDetected, http.StatusNotExtended, http.StatusNetworkAuthenticationRequired:
		return false
	}
	return status >= 500 && status < 600
}

const maxRetryAfter = 24 * time.Hour

// RetryAfter parses the value of a Retry-After header: seconds or a date (RFC
// 9110, 10.2.3). It returns 0 for invalid values and dates in the past, and at
// most a day.
func RetryAfter(text string, now time.Time) time.Duration {
	if text == "" {
		return 0
	}
	if n, err := strconv.ParseUint(text, 10, 64); err == nil {
		return time.Duration(min(n, uint64(maxRetryAfter/time.Second))) * time.Second
	} else if errors.Is(err, strconv.ErrRange) {
		return maxRetryAfter
	}
	at, err := http.ParseTime(text)
	if err != nil {
		return 0
	}
	return max(0, min(at.Sub(now), maxRetryAfter))
}
