package kafka

import (
	"context"
	"errors"
	"net"

	"github.com/twmb/franz-go/pkg/kerr"

	"valence/connectors"
	"valence/internal/access"
	"valence/internal/fault"
)

// connectFailure returns the failure of an attempt to connect. Nothing was sent,
// so that a later attempt is worth while.
func connectFailure(ctx context.Context, err error) *fault.Failure {
	var refusal *access.Refusal
	switch {
	case errors.As(err, &refusal):
		return connectors.Failf(codeBadCall, false, err, "cannot connect: %s", refusal.Msg)
	case errors.Is(err, kerr.SaslAuthenticationFailed):
		return connectors.Retry(codeAuth, "the cluster refused the login, check user and password: "+text(err), 0, err)
	case errors.Is(err, kerr.UnsupportedSaslMechanism), errors.Is(err, kerr.IllegalSaslState):
		return connectors.Retry(codeAuth, "the cluster does not accept this login: "+text(err), 0, err)
	case ctx.Err() != nil:
		return connectors.Retry(fault.CodeConnect, "cannot connect: the brokers do not answer", 0, ctx.Err())
	}
	return connectors.Retry(fault.CodeConnect, "cannot connect: "+text(err), 0, err)
}

// failed returns the failure of a request or a record.
func failed(what string, err error) *fault.Failure {
	var known *fault.Failure
	var answer *kerr.Error
	switch {
	case errors.As(err, &known):
		return known
	case !errors.As(err, &answer):
		return connectors.Failf(fault.CodeAborted, true, err, "%s: the connection was lost: %s", what, text(err))
	}
	code, retryable := codeRejected, answer.Retriable
	switch answer {
	case kerr.UnknownTopicOrPartition, kerr.UnknownTopicID:
		code, retryable = codeMissing, true // not every broker knows a new topic at once
	case kerr.TopicAuthorizationFailed, kerr.GroupAuthorizationFailed, kerr.ClusterAuthorizationFailed, kerr.TransactionalIDAuthorizationFailed:
		code = codeAuth
	case kerr.SaslAuthenticationFailed, kerr.UnsupportedSaslMechanism, kerr.IllegalSaslState:
		return connectFailure(context.Background(), err)
	case kerr.MessageTooLarge, kerr.RecordListTooLarge:
		code, retryable = fault.CodeTooLarge, false
	case kerr.InvalidTopicException, kerr.InvalidRecord, kerr.InvalidGroupID, kerr.InvalidSessionTimeout, kerr.InvalidRequiredAcks:
		code, retryable = codeBadCall, false
	}
	return connectors.Failf(code, retryable, err, "%s: %s", what, text(err))
}

// text returns the text of an error without addresses of this machine.
func text(err error) string {
	var answer *kerr.Error
	var op *net.OpError
	switch {
	case errors.As(err, &answer):
		return answer.Message + ": " + answer.Description
	case errors.As(err, &op) && op.Err != nil:
		return op.Op + " " + op.Addr.String() + ": " + op.Err.Error()
	}
	return err.Error()
}
