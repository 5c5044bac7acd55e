package nats

import (
	"context"
	"errors"
	"fmt"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"valence/connectors"
	"valence/internal/fault"
)

// badCall returns the failure of a call that NATS does not allow.
func badCall(format string, args ...any) *fault.Failure {
	return connectors.Failf(codeBadCall, false, nil, format, args...)
}

// unauthorized reports whether the server rejected the credentials.
func unauthorized(err error) bool {
	for _, known := range []error{nats.ErrAuthorization, nats.ErrAuthExpired, nats.ErrAuthRevoked, nats.ErrAccountAuthExpired} {
		if errors.Is(err, known) {
			return true
		}
	}
	return false
}

// connectFailure returns the failure of an attempt to connect.
func connectFailure(ctx context.Context, err error) *fault.Failure {
	switch {
	case unauthorized(err):
		return connectors.Failf(codeAuth, false, err, "cannot connect: the server rejects the credentials: %v", err)
	case errors.Is(err, nats.ErrSecureConnWanted):
		return connectors.Failf(fault.CodeConnect, true, err, "cannot connect: the server does not offer TLS")
	case ctx.Err() != nil:
		return connectors.Failf(fault.CodeConnect, true, ctx.Err(), "cannot connect: the server does not answer")
	}
	return connectors.Failf(fault.CodeConnect, true, err, "cannot connect: %v", err)
}

// failed returns the failure of a call, described by call. waiting is the
// context of link.wait or ctx.
func failed(ctx, waiting context.Context, call string, err error) *fault.Failure {
	if f := connectors.Interrupted(ctx, call); f != nil {
		return f
	}
	if cause := context.Cause(waiting); cause != nil {
		err = cause
	}
	var known *fault.Failure
	var refused jetstream.JetStreamError
	switch {
	case errors.As(err, &known):
		return known
	case errors.Is(err, nats.ErrPermissionViolation), unauthorized(err):
		return connectors.Failf(codeAuth, false, err, "%s: %v", call, err)
	case errors.Is(err, nats.ErrMaxPayload), errors.Is(err, jetstream.ErrStreamMessageExceedsMaximum):
		return connectors.Failf(fault.CodeTooLarge, false, err, "%s: the message is larger than the server accepts", call)
	case errors.Is(err, nats.ErrNoResponders):
		return connectors.Failf(fault.CodeUnavailable, true, err, "%s: nobody listens on the subject", call)
	case errors.Is(err, jetstream.ErrNoStreamResponse):
		return connectors.Failf(fault.CodeUnavailable, true, err, "%s: no stream stores the subject, or its server is down", call)
	case errors.Is(err, jetstream.ErrStreamNotFound):
		return connectors.Failf(codeMissing, true, err, "%s: the stream does not exist", call)
	case errors.Is(err, jetstream.ErrJetStreamNotEnabled), errors.Is(err, jetstream.ErrJetStreamNotEnabledForAccount):
		return connectors.Failf(fault.CodeUnavailable, true, err, "%s: the server has no JetStream; enable it, or set core: true", call)
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, nats.ErrTimeout):
		return connectors.Failf(fault.CodeTimeout, true, err, "%s: no answer from the server", call)
	case errors.As(err, &refused) && refused.APIError() != nil:
		api := refused.APIError()
		return connectors.Failf(fault.CodeStatus, connectors.RetryableStatus(api.Code), err, "%s: the server answers %d: %s", call, api.Code, api.Description)
	}
	return connectors.Failf(fault.CodeAborted, true, err, "%s: the connection was lost: %v", call, err)
}

func quoted(verb, subject string) string { return fmt.Sprintf("%s %q", verb, subject) }
