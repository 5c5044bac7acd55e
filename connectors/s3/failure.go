package s3

import (
	"context"
	"errors"
	"net/http"

	"github.com/minio/minio-go/v7"

	"valence/connectors"
	"valence/connectors/httpclient"
	"valence/internal/access"
	"valence/internal/fault"
)

// request makes one request to the store and returns its failure.
func request(ctx context.Context, what string, f func(context.Context) error) error {
	var progress httpclient.Progress
	err := f(progress.Trace(ctx, nil))
	var known *fault.Failure
	var refusal *access.Refusal
	var answer minio.ErrorResponse
	switch {
	case err == nil:
		return nil
	case errors.As(err, &known):
		return known
	case errors.As(err, &refusal):
		return connectors.Failf(CodeBadCall, false, err, "%s: %s", what, refusal.Msg)
	case errors.As(err, &answer) && answer.StatusCode == 0:
		return connectors.Failf(CodeBadCall, false, err, "%s: %s", what, answer.Message) // found before it was sent
	case errors.As(err, &answer):
		return refused(what, answer)
	}
	return progress.Failure(ctx, err, what)
}

// refused returns the failure for an answer of the store.
func refused(what string, e minio.ErrorResponse) *fault.Failure {
	code, retryable := CodeBadCall, false
	switch {
	case e.StatusCode == http.StatusNotFound:
		code = CodeMissing
	case e.Code == "InvalidAccessKeyId", e.Code == "SignatureDoesNotMatch", e.Code == "RequestTimeTooSkewed", e.Code == "ExpiredToken":
		code, retryable = CodeAuth, true // as the login of other systems
	case e.StatusCode == http.StatusForbidden, e.StatusCode == http.StatusUnauthorized:
		code = CodeAuth
	case e.Code == "SlowDown", connectors.RetryableStatus(e.StatusCode):
		code, retryable = fault.CodeUnavailable, true
	}
	return connectors.Failf(code, retryable, e, "%s: %s (%s)", what, e.Message, e.Code)
}

// status returns the HTTP status of an answer of the store, or 0.
func status(err error) int {
	var answer minio.ErrorResponse
	if errors.As(err, &answer) {
		return answer.StatusCode
	}
	return 0
}
