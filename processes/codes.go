package processes

import (
	"valence/internal/expression"
	"valence/internal/fault"
	"valence/internal/spec"
	"valence/internal/strictyaml"
)

// Codes of the problems that this package finds, beside those of packages
// spec, expression and strictyaml.
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
	CodeBadFile          fault.Code = "bad-file"
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
	CodeIdleWorkers      fault.Code = "idle-workers"
)

// Explained is a code with what it means, in one line.
type Explained struct {
	Code fault.Code
	Doc  string
}

// Codes gives every code that lint uses.
func Codes() []Explained {
	return []Explained{
		{CodeTooLarge, "A file is larger, or a project has more files, than is read."},
		{strictyaml.CodeNotText, "A file is not UTF-8, or holds characters that YAML does not take."},
		{CodeEmptyFile, "A file declares nothing (warning)."},
		{strictyaml.CodeSyntax, "A file is not YAML: indentation, quotes or brackets."},
		{strictyaml.CodeTab, "A tab stands where only spaces may."},
		{strictyaml.CodeTag, "A YAML tag such as `!!str` or `!x`."},
		{strictyaml.CodeAnchor, "A YAML anchor or alias."},
		{strictyaml.CodeMergeKey, "A YAML merge key."},
		{strictyaml.CodeDuplicateKey, "A mapping has the same key twice."},
		{strictyaml.CodeBadKey, "A key is empty or no text."},
		{strictyaml.CodeTooDeep, "A document is nested more than 64 levels deep."},
		{strictyaml.CodeUnquoted, "YAML would cut or misread an expression, or a text with brackets, that is not in quotes."},
		{CodeNotComponent, "A document is no mapping."},
		{CodeUnknownKind, "The first key of a document is no kind of component."},
		{CodeUnknownStep, "A step has no key that makes it a step."},
		{CodeTwoSteps, "A step has more than one key that makes it a step."},
		{spec.CodeUnknownKey, "A key that there is not here."},
		{spec.CodeMissingKey, "A key that is needed is missing."},
		{spec.CodeWrongType, "A value is of another type than the key takes."},
		{spec.CodeWrongValue, "A value is not one of those allowed, or out of range."},
		{spec.CodeNotFixed, "An expression stands where the value must be known when the project is loaded."},
		{spec.CodeBadName, "A name does not have the form that names must have."},
		{spec.CodeNotAvailable, "Something of the language that this version does not have yet."},
		{CodeDuplicateName, "A name is given twice."},
		{CodeDuplicateListen, "Two listeners take the same method and path."},
		{CodeReservedPath, "A listener takes a path that belongs to the atom."},
		{CodeBadPath, "A listener's path is not of the form `/name/{capture}`."},
		{CodeMissingAuth, "A listener does not say who may call it."},
		{CodeNoEffect, "A key has no effect beside the others."},
		{CodeNoSteps, "A process has no steps."},
		{CodeImpatient, "A call with its retries, or the calls before the reply together, can take longer than the caller waits (warning)."},
		{CodeTwoTriggers, "A process has more than one of `listen:`, `schedule:` and `subscribe:`."},
		{CodeBadCron, "A cron expression that cannot be read, or is never due."},
		{CodeCannotListen, "A subscription names a connection whose connector cannot listen."},
		{CodeUnknownComponent, "A process, connection, auth or profile is named that there is not."},
		{CodeUnknownConnector, "A connection names a connector that this program does not have."},
		{CodeUnknownOperation, "A call names an operation that its connector does not have."},
		{CodeWrongSettings, "Settings of a connection or an auth do not go together."},
		{CodePlainSecret, "A secret stands in the file (warning)."},
		{CodeUnknownVariable, "An expression reads a variable that no step before sets."},
		{CodeUnknownResult, "An expression reads the result of a step that is not above it."},
		{CodeUnknownRead, "An expression reads a part of `request`, `response`, `error` or `execution` that there is not."},
		{CodeNameNotHere, "An expression reads a name that means nothing where it stands."},
		{CodeSecretNotHere, "An expression reads a secret where it could leak into a document or a log."},
		{CodeDynamicName, "An expression computes which value of the environment it reads."},
		{CodeLostVariable, "A variable is set inside an element or a path and lost behind it (warning)."},
		{CodeMissingReply, "A path through a process with `output:` reaches no reply."},
		{CodeReplyNowhere, "A process whose listener has no `output:` has a reply."},
		{CodeReplyPlace, "A reply stands where none may."},
		{CodeSecondReply, "A reply stands on a path that has already replied."},
		{CodeUnreachable, "A step can never run."},
		{CodeBareThrow, "A `throw:` without a message stands outside of a catch."},
		{CodeCallCycle, "Processes call each other in a circle."},
		{CodeHandoffCycle, "Processes hand off to each other in a circle (warning)."},
		{CodeNeverEnds, "A `wait:` has neither a `key:` nor a `callback()` that could end it."},
		{CodeUnknownWait, "A `callback()` or `resume:` names a `wait:` that there is not, or one that it cannot tell which of several it ends (for `resume:` a warning)."},
		{CodeCallerWaits, "A caller waits, connection open, for a `wait:` or a `sleep:` (warning)."},
		{CodeHeldKey, "A process holds its sequence key for as long as nobody ends a `wait:` (warning)."},
		{CodeOwnKey, "A process waits for what begins only when its own sequence key is free."},
		{CodeIdleWorkers, "A process has more workers than its connections take calls at once (warning)."},
		{CodeBadSchema, "A profile's schema is no JSON Schema."},
		{CodeBadFile, "A file that a component names cannot be read."},
		{expression.CodeSyntax, "An expression cannot be read."},
		{expression.CodeName, "An expression reads or calls something that there is not."},
		{expression.CodeType, "An expression can only fail, or gives what does not fit where it stands."},
		{expression.CodeValue, "An expression fails whenever it is evaluated."},
		{expression.CodeTooLarge, "An expression is larger or deeper than is allowed."},
		{expression.CodeTemplate, "`$each`, `$as`, `$merge`, `$when` or `${omit}` is misused."},
	}
}
