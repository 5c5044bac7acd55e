package fault

import (
	"errors"
	"fmt"
	"time"
)

// Origin tells who is to blame for a failure; it decides the status a waiting
// caller gets.
type Origin string

// The origins of a failure.
const (
	FromProcess   Origin = "process"   // a step: expression, mapping, validation of a document on its way
	FromConnector Origin = "connector" // the other system answered with an error or not at all
	FromAuthor    Origin = "throw"     // a throw step: its message is meant for the caller
	FromAtom      Origin = "atom"      // the runtime: store, journal, shutdown
)

// Failure codes that the runtime itself gives. Connectors and throw steps add
// their own; a code is lower case with underscores.
const (
	CodeTimeout         = "timeout"          // no answer in time; retryable
	CodeConnect         = "connect"          // no connection was made: nothing was sent; retryable
	CodeAborted         = "connection_lost"  // the connection broke while waiting for the answer; retryable
	CodeStatus          = "status"           // the answer's status is not accepted
	CodeAnswer          = "bad_answer"       // the answer cannot be read as what it says it is
	CodeTooLarge        = "too_large"        // a document or an answer is over its limit
	CodeRedirect        = "redirect"         // too many redirects, or one that is not followed
	CodeExpression      = "expression"       // an expression failed
	CodeLimit           = "expression_limit" // an expression went over its steps, memory or time
	CodeInvalid         = "invalid_document" // a document does not match its profile
	CodeConvert         = "convert"          // a document cannot be converted
	CodeThrown          = "thrown"           // throw without a code of its own
	CodeDeadline        = "deadline"         // the execution's own time is over; never caught
	CodeCancelled       = "cancelled"        // the execution was cancelled; never caught
	CodeJournalMismatch = "journal_mismatch" // the journal does not fit the plan
	CodeExpired         = "expired"          // it was not begun in time
	CodeWaitUnknown     = "wait_unknown"     // a resume for which nobody waits
	CodeCrashed         = "crashed_atom"     // running it was followed by two unclean stops
	CodeOwnKey          = "own_key"          // it would wait for an execution that waits for it to end
	CodeCircuit         = "circuit_open"     // the connection is down and was not called
	CodeUnavailable     = "unavailable"      // the store cannot take it now; retryable
	CodeInternal        = "internal"         // a defect of the runtime
)

// Failure is why a step or a call failed. Everything that fails while running
// becomes one before it reaches a catch, a retry policy or an operator.
type Failure struct {
	Code       string
	Message    string        // for operators; reaches a caller only when Origin is FromAuthor
	Origin     Origin        // FromProcess when empty
	Status     int           // the other system's HTTP status, or what throw chose for the caller; 0: none
	Body       []byte        // what the other system said, cut at 64 KiB
	Retryable  bool          // another attempt may succeed
	RetryAfter time.Duration // the least wait that the other system asked for
	Step       string        // name or path of the failed step
	Pos        Pos           // of the failed step or expression in the author's file
	Problems   []Violation   // for invalid documents: what is wrong where
	// Keys names the occurrences of the steps that failed, as the journal does:
	// several where elements of a loop or paths of a branch did.
	Keys  []string
	Cause error
}

// Violation is one way in which a document does not match its profile.
type Violation struct {
	Pointer string `json:"pointer"` // RFC 6901 pointer into the document, "" for the whole
	Detail  string `json:"detail"`
}

// Error prints the message with its code; the position is printed where the
// failure is shown, not here.
func (f *Failure) Error() string {
	if f.Cause != nil && f.Message == "" {
		return fmt.Sprintf("%s: %v", f.Code, f.Cause)
	}
	return fmt.Sprintf("%s: %s", f.Code, f.Message)
}

// Unwrap gives the cause.
func (f *Failure) Unwrap() error { return f.Cause }

// Failf makes a failure that retrying does not mend.
func Failf(code, format string, args ...any) *Failure {
	return &Failure{Code: code, Message: fmt.Sprintf(format, args...)}
}

// AsFailure gives err as a Failure: itself if it is one, otherwise a new
// internal one around it. It gives nil for nil.
func AsFailure(err error) *Failure {
	if err == nil {
		return nil
	}
	var f *Failure
	if errors.As(err, &f) {
		return f
	}
	return &Failure{Code: CodeInternal, Origin: FromAtom, Message: err.Error(), Cause: err}
}
