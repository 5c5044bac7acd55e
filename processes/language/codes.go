package language

import (
	"valence/internal/expression"
	"valence/internal/fault"
	"valence/internal/spec"
	"valence/internal/strictyaml"
	"valence/processes"
)

// CodeDoc is a code of lint with its meaning in one line.
type CodeDoc struct {
	Code fault.Code
	Doc  string
}

// Codes returns all codes that lint uses.
func Codes() []CodeDoc {
	return []CodeDoc{
		{processes.CodeTooLarge, "A file is too large, or a project has too many files, steps or problems."},
		{strictyaml.CodeNotText, "A file is not UTF-8 text, or has characters that YAML does not allow."},
		{processes.CodeEmptyFile, "A file declares no component (warning)."},
		{strictyaml.CodeSyntax, "A file is not valid YAML."},
		{strictyaml.CodeTab, "A line is indented with a tab."},
		{strictyaml.CodeTag, "A YAML tag such as `!!str` or `!x` is used."},
		{strictyaml.CodeAnchor, "A YAML anchor or alias is used."},
		{strictyaml.CodeMergeKey, "A YAML merge key is used."},
		{strictyaml.CodeDuplicateKey, "A map has the same key twice."},
		{strictyaml.CodeBadKey, "A key is empty or not a string."},
		{strictyaml.CodeTooDeep, "A document is nested more than 64 levels deep."},
		{strictyaml.CodeUnquoted, "An expression, or a string with brackets, must be quoted because YAML misreads it."},
		{processes.CodeNotComponent, "A document is not a map."},
		{processes.CodeUnknownKind, "The first key of a document is not a kind of component."},
		{processes.CodeUnknownStep, "A step has no key that selects its kind."},
		{processes.CodeTwoSteps, "A step has several keys that select its kind."},
		{spec.CodeUnknownKey, "A key is not known here."},
		{spec.CodeMissingKey, "A required key is missing."},
		{spec.CodeWrongType, "A value has the wrong type."},
		{spec.CodeWrongValue, "A value is not allowed or out of range."},
		{spec.CodeNotFixed, "A value that is needed when the project is loaded is an expression."},
		{spec.CodeBadName, "A name is not valid."},
		{spec.CodeNotAvailable, "A part of the language is not available in this version."},
		{processes.CodeDuplicateName, "A name is used twice."},
		{processes.CodeDuplicateListen, "Two listeners have the same method and path."},
		{processes.CodeReservedPath, "The path of a listener is reserved for the atom."},
		{processes.CodeBadPath, "The path of a listener is not valid."},
		{processes.CodeMissingAuth, "A listener has no `auth:`."},
		{processes.CodeNoEffect, "A key has no effect in combination with the other keys."},
		{processes.CodeAtMostOnce, "A subscription may lose messages (warning)."},
		{processes.CodeNoSteps, "A process has no steps."},
		{processes.CodeImpatient, "The calls before the reply can take longer than the caller waits (warning)."},
		{processes.CodeTwoTriggers, "A process has several triggers."},
		{processes.CodeBadCron, "A cron expression is not valid, or never due."},
		{processes.CodeCannotListen, "A subscription uses a connection whose connector has no subscriptions."},
		{processes.CodeUnknownComponent, "A process, connection, auth or profile does not exist."},
		{processes.CodeUnknownConnector, "A connector does not exist."},
		{processes.CodeUnknownOperation, "A connector has no such operation."},
		{processes.CodeWrongSettings, "Settings of a connection, auth or subscription contradict each other."},
		{processes.CodePlainSecret, "A secret is written in the file (warning)."},
		{processes.CodeUnknownVariable, "An expression reads a variable or state property that no step sets."},
		{processes.CodeUnknownResult, "An expression reads the result of a step that is not above it."},
		{processes.CodeUnknownRead, "An expression reads an unknown field of `request`, `response`, `error` or `execution`."},
		{processes.CodeNameNotHere, "An expression reads a name that is not available at its position."},
		{processes.CodeSecretNotHere, "An expression reads a secret that could reach a document or a log."},
		{processes.CodeDynamicName, "The name of an environment value or a wait is computed."},
		{processes.CodeLostVariable, "A variable is set inside an element or a path and lost after it (warning)."},
		{processes.CodeMissingReply, "A path through a process with `output:` has no reply."},
		{processes.CodeReplyNowhere, "A process without `output:` has a reply."},
		{processes.CodeReplyPlace, "A reply is not allowed at its position."},
		{processes.CodeSecondReply, "A path replies twice."},
		{processes.CodeUnreachable, "A step can never run."},
		{processes.CodeBareThrow, "A `throw:` outside of `catch` has no message."},
		{processes.CodeCallCycle, "Processes or functions call each other in a cycle."},
		{processes.CodeHandoffCycle, "Processes hand off to each other in a cycle (warning)."},
		{processes.CodeNeverEnds, "A `wait:` has neither a `key:` nor a `callback()` that ends it."},
		{processes.CodeUnknownWait, "The `wait:` of a `callback()` or `resume:` does not exist or is ambiguous (for `resume:` a warning)."},
		{processes.CodeCallerWaits, "A caller waits with an open connection for a `wait:`, a `sleep:` or a sequence key (warning)."},
		{processes.CodeHeldKey, "A process holds its sequence key during a `wait:` without a timeout (warning)."},
		{processes.CodeOwnKey, "A process waits for an execution that can start only after it has ended."},
		{processes.CodeIdleWorkers, "A process has more workers than its connections allow concurrent calls (warning)."},
		{processes.CodeRepeatableCall, "A call can repeat after a crash, and its connection declares no idempotency (warning)."},
		{processes.CodeNoDedupe, "A listener without `dedupe:` writes to a system that does not recognize repeats (warning)."},
		{processes.CodeNoWatermark, "A scheduled loop over pages reads all of them each time (warning)."},
		{processes.CodeHiddenErrors, "A `catch` hides every error (warning)."},
		{processes.CodeBadAccept, "A comment `# accept:` has no reason, or accepts a warning that does not occur (warning)."},
		{processes.CodeBadSchema, "The schema of a profile is not a valid JSON Schema."},
		{processes.CodeUnknownCode, "A `catch` or a `retry_on` names a code that no failure has."},
		{processes.CodeBodyMismatch, "The body of a call, or what a SOAP listener sends in a fault or a header, never matches the schema of its operation."},
		{processes.CodeBadTable, "The rows of a lookup table are not valid."},
		{processes.CodeBadFile, "A file that a component refers to cannot be read."},
		{expression.CodeSyntax, "An expression has a syntax error."},
		{expression.CodeName, "An expression reads an unknown name or calls an unknown function."},
		{expression.CodeType, "An expression always fails because of its types, or has the wrong type."},
		{expression.CodeValue, "An expression always fails."},
		{expression.CodeTooLarge, "An expression is too large or nested too deep."},
		{expression.CodeLiteral, "A text looks like an expression, but is not inside `${ }` (for a path alone a warning)."},
		{expression.CodeSQL, "An expression in an SQL statement is at a place where no value may be, such as a name or a quoted text."},
		{expression.CodeTemplate, "`$each`, `$as`, `$merge`, `$when` or `${omit}` is used incorrectly."},
	}
}
