package wire

// The statuses of executions in an ExecutionReport. StatusRejected without an
// execution means that a request did not become one, and with an execution that
// the process rejected its message. The others are the atom's own statuses.
const (
	StatusAccepted              = "accepted"
	StatusRunning               = "running"
	StatusWaiting               = "waiting"
	StatusHeld                  = "held"
	StatusCompleted             = "completed"
	StatusCompletedWithWarnings = "completed_with_warnings"
	StatusFailed                = "failed"
	StatusExpired               = "expired"
	StatusCancelled             = "cancelled"
	StatusSuperseded            = "superseded"
	StatusRejected              = "rejected"
)

// What started an execution, as ExecutionReport.Kind.
const (
	StartedManually       = "manual"
	StartedByListener     = "listener"
	StartedBySubscription = "subscribe"
	StartedBySchedule     = "schedule"
	StartedByHandoff      = "handoff"
	StartedByRetry        = "retry"
)

// The kinds of triggers.
const (
	TriggerListen    = "listen"
	TriggerSchedule  = "schedule"
	TriggerSubscribe = "subscribe"
)

// The states of triggers.
const (
	TriggerRunning = "running"
	TriggerPaused  = "paused"
)

// The states of a deployment on an atom.
const (
	DeploymentActive     = "active"
	DeploymentFailed     = "failed"
	DeploymentRolledBack = "rolled_back"
)

// The states of a replay. ReplayRequested is not reported by atoms.
const (
	ReplayRequested = "requested"
	ReplayQueued    = "queued" // another replay runs on the atom
	ReplayRunning   = "running"
	ReplayFinished  = "finished"
	ReplayFailed    = "failed"
)

// Limits of replays.
const (
	MaxReplays      = 10_000    // executions of each process
	MaxReplayResult = 256 << 10 // bytes of a result
)

// The codes of an ErrorResponse.
const (
	CodeUnknownToken   = "unknown_token"
	CodeUsedToken      = "used_token"
	CodeExpiredToken   = "expired_token"
	CodeUnsigned       = "unsigned"
	CodeUnknownAtom    = "unknown_atom"
	CodeBadSignature   = "bad_signature"
	CodeReplayed       = "replayed"
	CodeRevoked        = "revoked"
	CodeWrongEpoch     = "wrong_epoch" // ErrorResponse.Epoch is the one to sign with
	CodeOverloaded     = "overloaded"
	CodeFenced         = "fenced" // another instance with the same identity is alive
	CodeInvalid        = "invalid"
	CodeNotFound       = "not_found"
	CodeConflict       = "conflict"
	CodePackageAltered = "package_altered"
	CodeUnavailable    = "unavailable"
	CodeIncomplete     = "incomplete" // the body did not arrive completely
)
