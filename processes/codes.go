package processes

import (
	"valence/internal/fault"
)

// Codes of the problems of processes. Packages spec, expression and strictyaml
// define further codes.
const (
	CodeTooLarge         fault.Code = "too-large"
	CodeEmptyFile        fault.Code = "empty-file"
	CodeNotComponent     fault.Code = "not-a-component"
	CodeUnknownKind      fault.Code = "unknown-kind"
	CodeUnknownStep      fault.Code = "unknown-step-kind"
	CodeTwoSteps         fault.Code = "two-steps"
	CodeDuplicateName    fault.Code = "duplicate-name"
	CodeDuplicateListen  fault.Code = "duplicate-listener"
	CodeReservedPath     fault.Code = "reserved-path"
	CodeBadPath          fault.Code = "bad-path"
	CodeMissingAuth      fault.Code = "missing-auth"
	CodeNoEffect         fault.Code = "no-effect"
	CodeAtMostOnce       fault.Code = "at-most-once"
	CodeUnknownComponent fault.Code = "unknown-component"
	CodeUnknownConnector fault.Code = "unknown-connector"
	CodeUnknownOperation fault.Code = "unknown-operation"
	CodeUnknownVariable  fault.Code = "unknown-variable"
	CodeUnknownResult    fault.Code = "unknown-step"
	CodeUnknownRead      fault.Code = "unknown-field"
	CodeNameNotHere      fault.Code = "name-not-here"
	CodeSecretNotHere    fault.Code = "secret-not-here"
	CodeDynamicName      fault.Code = "dynamic-name"
	CodeLostVariable     fault.Code = "lost-variable"
	CodeMissingReply     fault.Code = "missing-reply"
	CodeReplyNowhere     fault.Code = "reply-without-output"
	CodeReplyPlace       fault.Code = "reply-placement"
	CodeSecondReply      fault.Code = "second-reply"
	CodeUnreachable      fault.Code = "unreachable"
	CodeBareThrow        fault.Code = "bare-throw"
	CodeCallCycle        fault.Code = "call-cycle"
	CodeHandoffCycle     fault.Code = "handoff-cycle"
	CodeBadSchema        fault.Code = "bad-schema"
	CodeUnknownCode      fault.Code = "unknown-code"
	CodeBadFile          fault.Code = "bad-file"
	CodeBadTable         fault.Code = "bad-table"
	CodeWrongSettings    fault.Code = "wrong-settings"
	CodePlainSecret      fault.Code = "plain-secret"
	CodeNoSteps          fault.Code = "no-steps"
	CodeImpatient        fault.Code = "impatient-caller"
	CodeTwoTriggers      fault.Code = "two-triggers"
	CodeBadCron          fault.Code = "bad-cron"
	CodeCannotListen     fault.Code = "cannot-listen"
	CodeNeverEnds        fault.Code = "wait-never-ends"
	CodeUnknownWait      fault.Code = "unknown-wait"
	CodeCallerWaits      fault.Code = "caller-waits"
	CodeHeldKey          fault.Code = "held-key"
	CodeOwnKey           fault.Code = "own-key"
	CodeRepeatableCall   fault.Code = "repeatable-call"
	CodeNoDedupe         fault.Code = "no-dedupe"
	CodeNoWatermark      fault.Code = "no-watermark"
	CodeHiddenErrors     fault.Code = "hidden-errors"
	CodeBadAccept        fault.Code = "bad-accept"
	CodeIdleWorkers      fault.Code = "idle-workers"
)

// Codes of the findings of crash tests, besides CodeRepeatableCall.
const (
	CodeLostCall      fault.Code = "lost-call"
	CodeChangedResult fault.Code = "changed-result"
)
