package mqtt

import (
	"context"
	"errors"
	"fmt"
	"net"

	"github.com/eclipse/paho.golang/packets"
	"github.com/eclipse/paho.golang/paho"

	"valence/connectors"
	"valence/internal/fault"
	"valence/internal/spec"
)

// refusals is the first reason code of a refusal.
const refusals = 0x80

// reasons are the reason codes that people meet, in words.
var reasons = map[byte]string{
	packets.DisconnectNotAuthorized:                     "not authorized",
	packets.DisconnectServerBusy:                        "it is busy",
	packets.DisconnectServerShuttingDown:                "it shuts down",
	packets.DisconnectKeepAliveTimeout:                  "no sign of life arrived in time",
	packets.DisconnectSessionTakenOver:                  "another client uses the same client_id",
	packets.DisconnectTopicFilterInvalid:                "the topic is not valid",
	packets.DisconnectTopicNameInvalid:                  "the topic is not valid",
	packets.DisconnectReceiveMaximumExceeded:            "too many messages were sent at once",
	packets.DisconnectPacketTooLarge:                    "the message is larger than it accepts",
	packets.DisconnectMessageRateTooHigh:                "too many messages were sent",
	packets.DisconnectQuotaExceeded:                     "a quota is exceeded",
	packets.DisconnectAdministrativeAction:              "an operator has closed it",
	packets.DisconnectSharedSubscriptionNotSupported:    "it has no shared subscriptions",
	packets.DisconnectWildcardSubscriptionsNotSupported: "it has no wildcards in subscriptions",
	packets.DisconnectRetainNotSupported:                "it retains no messages",
	packets.DisconnectQoSNotSupported:                   "it does not support the quality of service",
	packets.ConnackBadUsernameOrPassword:                "bad user or password",
	packets.ConnackInvalidClientID:                      "the client_id is not valid",
	packets.ConnackUnsupportedProtocolVersion:           "it does not support MQTT 5; set `version: 3.1.1`",
	packets.ConnackServerUnavailable:                    "it is not available",
	packets.ConnackBanned:                               "the client is banned",
}

// reason describes a reason code of the broker and its text.
func reason(code byte, text string) string {
	known := reasons[code]
	switch {
	case text != "":
		return fmt.Sprintf("%s (0x%02x)", spec.Clip(text), code)
	case known != "":
		return fmt.Sprintf("%s (0x%02x)", known, code)
	}
	return fmt.Sprintf("reason code 0x%02x", code)
}

// codeOf returns the failure code of a refusal and whether another attempt may
// succeed.
func codeOf(code byte) (failure string, retryable bool) {
	switch code {
	case packets.DisconnectNotAuthorized, packets.ConnackBadUsernameOrPassword, packets.ConnackBanned:
		return codeAuth, false
	case packets.DisconnectPacketTooLarge:
		return fault.CodeTooLarge, false
	case packets.DisconnectTopicNameInvalid, packets.DisconnectTopicFilterInvalid, packets.PubackPayloadFormatInvalid, packets.ConnackInvalidClientID,
		packets.DisconnectSharedSubscriptionNotSupported, packets.DisconnectWildcardSubscriptionsNotSupported, packets.DisconnectRetainNotSupported, packets.DisconnectQoSNotSupported:
		return codeBadCall, false
	}
	return codeRejected, true
}

// loginFailure returns the failure of a login. Nothing was sent, so that a later
// attempt is worth while.
func loginFailure(ack *paho.Connack, err error) *fault.Failure {
	if ack == nil || ack.ReasonCode < refusals {
		return connectors.Retry(fault.CodeConnect, "cannot connect: no answer of a broker of MQTT 5; if it knows only MQTT 3.1.1, set `version: 3.1.1`: "+err.Error(), 0, err)
	}
	text := ""
	if ack.ReasonCode != packets.ConnackUnsupportedProtocolVersion && ack.Properties != nil {
		text = ack.Properties.ReasonString
	}
	if code, _ := codeOf(ack.ReasonCode); code == codeAuth {
		return connectors.Retry(codeAuth, "the broker refused the login, check user and password: "+reason(ack.ReasonCode, text), 0, err)
	}
	return connectors.Retry(fault.CodeConnect, "cannot connect: the broker refused: "+reason(ack.ReasonCode, text), 0, err)
}

// publishFailure returns the failure of a message that the broker refused.
func publishFailure(answer *paho.PublishResponse, what string) *fault.Failure {
	text := ""
	if answer.Properties != nil {
		text = answer.Properties.ReasonString
	}
	code, retryable := codeOf(answer.ReasonCode)
	return connectors.Failf(code, retryable, nil, "%s: the broker refused the message: %s", what, reason(answer.ReasonCode, text))
}

// unacknowledged returns the failure of something that was sent and not
// acknowledged.
func unacknowledged(ctx context.Context, what string, err error) *fault.Failure {
	if f := connectors.Interrupted(ctx, what+": not acknowledged by the broker"); f != nil {
		return f
	}
	var ended *disconnected
	switch {
	case errors.Is(err, paho.ErrInvalidArguments):
		return connectors.Failf(codeBadCall, false, err, "%s: %v", what, err)
	case errors.As(err, &ended):
		if code, retryable := codeOf(ended.code); !retryable {
			return connectors.Failf(code, false, err, "%s: %v", what, err)
		}
	}
	return connectors.Failf(fault.CodeAborted, true, err, "%s: the connection was lost: %s", what, networkText(err))
}

// networkText returns the text of an error without addresses of this machine.
func networkText(err error) string {
	var op *net.OpError
	if errors.As(err, &op) && op.Err != nil {
		return op.Err.Error()
	}
	return err.Error()
}
