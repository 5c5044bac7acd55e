package smtp

import (
	"context"
	"errors"
	"net/textproto"
	"strconv"
	"strings"

	gomail "github.com/wneessen/go-mail"

	"valence/connectors"
	"valence/internal/access"
	"valence/internal/fault"
)

// badCall returns the failure of a message that cannot be composed.
func badCall(format string, args ...any) *fault.Failure {
	return connectors.Failf(codeBadCall, false, nil, format, args...)
}

// temporary reports whether a reply asks for another attempt (RFC 5321, 4.2.1).
func temporary(code int) bool { return code >= 400 && code < 500 }

// codeOf returns the failure code of a reply: itself, but 421 says that the
// server is not available (RFC 5321, 3.8).
func codeOf(reply int) string {
	if reply == 421 {
		return fault.CodeUnavailable
	}
	return strconv.Itoa(reply)
}

// connectFailure returns the failure of a call that has not begun to send.
func (c *connection) connectFailure(ctx context.Context, err error) *fault.Failure {
	what := "cannot connect to " + c.address
	var refusal *access.Refusal
	if errors.As(err, &refusal) {
		return connectors.Failf(fault.CodeRefused, false, err, "%s: %v", what, refusal)
	}
	if f := connectors.Interrupted(ctx, what); f != nil {
		return f
	}
	var reply *textproto.Error
	switch text := err.Error(); {
	case errors.As(err, &reply) && strings.HasPrefix(text, "SMTP AUTH failed"):
		return connectors.Failf(codeAuth, temporary(reply.Code), err, "%s: the server rejects the credentials: %v", what, reply)
	case strings.Contains(text, "does not support SMTP AUTH"):
		return connectors.Failf(codeAuth, false, err, "%s: the server offers no login; remove user and password, or check the port", what)
	case strings.Contains(text, "does not support STARTTLS"):
		return connectors.Failf(fault.CodeConnect, true, err, "%s: the server does not offer TLS on this port; use `tls: implicit` with port %d, or `tls: none` if the network is trusted", what, submissionsPort)
	case reply != nil:
		return connectors.Failf(codeOf(reply.Code), temporary(reply.Code), err, "%s: the server answers %v", what, reply)
	}
	return connectors.Failf(fault.CodeConnect, true, err, "%s: %v", what, err)
}

// sendFailure returns the failure of a message that the server has not accepted.
func (c *connection) sendFailure(ctx context.Context, err error) *fault.Failure {
	what := "cannot send to " + c.address
	if f := connectors.Interrupted(ctx, what); f != nil {
		return f
	}
	var known *fault.Failure // of a stored file
	if errors.As(err, &known) {
		return known
	}
	var reply *textproto.Error
	var sent *gomail.SendError
	if errors.As(err, &sent) {
		text, _, _ := strings.Cut(sent.Error(), ", affected message ID")
		if code := sent.ErrorCode(); code != 0 {
			return connectors.Failf(codeOf(code), temporary(code), err, "%s: %s", what, text)
		}
		return connectors.Failf(fault.CodeAborted, true, err, "%s: the connection was lost: %s", what, text)
	}
	if errors.As(err, &reply) {
		return connectors.Failf(codeOf(reply.Code), temporary(reply.Code), err, "%s: %v", what, err)
	}
	return connectors.Failf(fault.CodeAborted, true, err, "%s: the connection was lost: %v", what, err)
}
