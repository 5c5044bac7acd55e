package amqp

import (
	"errors"

	amqp091 "github.com/rabbitmq/amqp091-go"

	"valence/connectors"
	"valence/internal/fault"
)

// failed returns the failure of something that the broker answers, and that
// changed nothing if it fails.
func failed(what string, err error) *fault.Failure {
	var f *fault.Failure
	if errors.As(err, &f) {
		return f
	}
	var e *amqp091.Error
	if errors.As(err, &e) && e.Server {
		if code := permanent(e); code != "" {
			return connectors.Failf(code, false, err, "%s: %s", what, e.Reason)
		}
		return connectors.Retry(fault.CodeConnect, what+": "+e.Reason, 0, err)
	}
	return connectors.Retry(fault.CodeConnect, what+": "+err.Error(), 0, err)
}

// permanent returns the code of a refusal that another attempt does not change,
// or "".
func permanent(e *amqp091.Error) string {
	switch e.Code {
	case amqp091.NotFound, amqp091.NoRoute:
		return CodeMissing
	case amqp091.AccessRefused, amqp091.NotAllowed:
		return CodeAuth
	case amqp091.PreconditionFailed, amqp091.NotImplemented, amqp091.CommandInvalid, amqp091.SyntaxError:
		return CodeBadCall
	}
	return ""
}

// unconfirmed returns the failure of a message that was sent and not confirmed,
// because its channel was closed.
func unconfirmed(what string, e *amqp091.Error) *fault.Failure {
	switch {
	case e == nil:
		return connectors.Failf(fault.CodeAborted, true, nil, "%s: the connection was closed before the broker confirmed the message", what)
	case e.Server && permanent(e) != "":
		return connectors.Failf(permanent(e), false, e, "%s: %s", what, e.Reason)
	}
	return connectors.Failf(fault.CodeAborted, true, e, "%s: the connection was lost before the broker confirmed the message: %s", what, e.Reason)
}
