package amqp1

import (
	"context"
	"errors"
	"io"
	"net"

	"github.com/Azure/go-amqp"

	"valence/connectors"
	"valence/internal/fault"
)

// loginFailure returns the failure of opening a session. Nothing was sent, so that
// a later attempt is worth while. The library has no type for a refused login: it
// is an error of neither the network nor the protocol.
func loginFailure(err error) *fault.Failure {
	var network net.Error
	var answer *amqp.Error
	var lost *amqp.ConnError
	switch {
	case errors.As(err, &answer) && answer.Condition == amqp.ErrCondUnauthorizedAccess:
		return connectors.Retry(codeAuth, "the broker refused the login, check user and password: "+answer.Description, 0, err)
	case errors.As(err, &network), errors.As(err, &answer), errors.As(err, &lost), errors.Is(err, io.EOF), errors.Is(err, net.ErrClosed), errors.Is(err, context.DeadlineExceeded), errors.Is(err, context.Canceled):
		return connectors.Retry(fault.CodeConnect, "cannot connect: "+err.Error(), 0, err)
	}
	return connectors.Retry(codeAuth, "the broker refused the login, check user and password: "+err.Error(), 0, err)
}

// failed returns the failure of something that the broker answers. lost is the
// code if the connection was lost: connect if nothing was sent.
func failed(ctx context.Context, what string, err error, lost string) *fault.Failure {
	if f := connectors.Interrupted(ctx, what); f != nil {
		return f
	}
	var known *fault.Failure
	var answer *amqp.Error
	switch {
	case errors.As(err, &known):
		return known
	case !errors.As(err, &answer):
		return connectors.Failf(lost, true, err, "%s: the connection was lost: %v", what, err)
	}
	text := string(answer.Condition)
	if answer.Description != "" {
		text = answer.Description + " (" + text + ")"
	}
	code, retryable := codeRejected, true
	switch answer.Condition {
	case amqp.ErrCondNotFound, amqp.ErrCondResourceDeleted:
		code, retryable = codeMissing, false
	case amqp.ErrCondUnauthorizedAccess:
		code, retryable = codeAuth, false
	case amqp.ErrCondMessageSizeExceeded:
		code, retryable = fault.CodeTooLarge, false
	case amqp.ErrCondNotAllowed, amqp.ErrCondNotImplemented, amqp.ErrCondPreconditionFailed, amqp.ErrCondInvalidField, amqp.ErrCondDecodeError:
		code, retryable = codeBadCall, false
	case amqp.ErrCondConnectionForced, amqp.ErrCondDetachForced:
		code = lost
	}
	return connectors.Failf(code, retryable, err, "%s: %s", what, text)
}
