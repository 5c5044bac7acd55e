package imap

import (
	"context"
	"errors"
	"strings"

	"github.com/emersion/go-imap/v2"

	"valence/connectors"
	"valence/internal/access"
	"valence/internal/fault"
)

// badCall returns the failure of a call that cannot be sent.
func badCall(format string, args ...any) *fault.Failure {
	return connectors.Failf(codeBadCall, false, nil, format, args...)
}

// connectFailure returns the failure of an attempt to connect.
func (c *connection) connectFailure(ctx context.Context, err error) *fault.Failure {
	what := "cannot connect to " + c.address
	var refusal *access.Refusal
	if errors.As(err, &refusal) {
		return connectors.Failf(fault.CodeRefused, false, err, "%s: %v", what, refusal)
	}
	if ctx.Err() != nil {
		return connectors.Failf(fault.CodeConnect, true, ctx.Err(), "%s: the server does not answer", what)
	}
	var answer *imap.Error
	if errors.As(err, &answer) {
		if answer.Code == imap.ResponseCodeAuthenticationFailed || answer.Code == imap.ResponseCodeAuthorizationFailed || answer.Code == imap.ResponseCodeExpired {
			return connectors.Failf(codeAuth, false, err, "%s: the server rejects the credentials: %s", what, answer.Text)
		}
		return connectors.Failf(fault.CodeConnect, true, err, "%s: the server answers %s", what, answer.Text)
	}
	if strings.Contains(err.Error(), "STARTTLS") {
		return connectors.Failf(fault.CodeConnect, true, err, "%s: the server does not offer TLS on this port; use `tls: implicit` with port %d, or `tls: none` if the network is trusted", what, imapsPort)
	}
	return connectors.Failf(fault.CodeConnect, true, err, "%s: %v", what, err)
}

// failed returns the failure of a call.
func failed(ctx context.Context, what string, err error) *fault.Failure {
	if f := connectors.Interrupted(ctx, what); f != nil {
		return f
	}
	var known *fault.Failure
	var answer *imap.Error
	switch {
	case errors.As(err, &known):
		return known
	case errors.As(err, &answer) && missing(answer):
		return connectors.Failf(codeMissing, false, err, "%s: %s", what, answer.Text)
	case answer != nil:
		retryable := answer.Code == imap.ResponseCodeInUse || answer.Code == imap.ResponseCodeUnavailable || answer.Code == imap.ResponseCodeServerBug
		return connectors.Failf(codeRejected, retryable, err, "%s: the server answers %s", what, answer.Text)
	}
	return connectors.Failf(fault.CodeAborted, true, err, "%s: the connection was lost: %v", what, err)
}

// missing reports whether the server says that a folder does not exist.
func missing(answer *imap.Error) bool {
	return answer.Code == imap.ResponseCodeNonExistent || answer.Code == imap.ResponseCodeTryCreate ||
		strings.Contains(strings.ToLower(answer.Text), "doesn't exist")
}
