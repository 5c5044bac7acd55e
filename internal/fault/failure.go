package fault

import (
	"errors"
	"fmt"
	"time"
)

// Source is the part of the system that caused a failure. It determines the HTTP
// status for a waiting caller.
type Source string

// The sources of a failure.
const (
	FromProcess   Source = "process"   // a step, such as an expression or a validation
	FromConnector Source = "connector" // another system failed or did not respond
	FromAuthor    Source = "throw"     // a throw step, whose message is for the caller
	FromAtom      Source = "atom"      // the runtime: store, journal, shutdown
)

// Codes of failures of the runtime. Connectors and throw steps add their own.
// Codes are lower case with underscores.
const (
	CodeTimeout         = "timeout"          // no response in time; retryable
	CodeConnect         = "connect"          // no connection, so nothing was sent; retryable
	CodeAborted         = "connection_lost"  // the connection was lost before the response; retryable
	CodeStatus          = "status"           // the status of the response is not accepted
	CodeAnswer          = "bad_answer"       // the response cannot be parsed as its format
	CodeTooLarge        = "too_large"        // a document or a response exceeds its limit
	CodeRedirect        = "redirect"         // too many redirects, or a redirect that is not allowed
	CodeExpression      = "expression"       // an expression failed
	CodeLimit           = "expression_limit" // an expression exceeded its limit of steps, memory or time
	CodeInvalid         = "invalid_document" // a document does not match its profile
	CodeRefused         = "refused"          // a message does not pass the checks of its process
	CodeConvert         = "convert"          // a document cannot be converted
	CodeThrown          = "thrown"           // throw without a code
	CodeDeadline        = "deadline"         // the execution exceeded its deadline; never caught
	CodeCancelled       = "cancelled"        // the execution was cancelled; never caught
	CodeJournalMismatch = "journal_mismatch" // the journal does not fit the plan
	CodeExpired         = "expired"          // the execution did not start in time
	CodeWaitUnknown     = "wait_unknown"     // a resume without a matching wait
	CodeDocumentLost    = "document_lost"    // a document of the execution is missing or damaged
	CodeCrashed         = "crashed_atom"     // the atom crashed twice while running the execution
	CodeOwnKey          = "own_key"          // the wait would never end: its signal waits for the same sequence key
	CodeCircuit         = "circuit_open"     // the circuit of the connection is open
	CodeUnavailable     = "unavailable"      // the store is temporarily unavailable; retryable
	CodeInternal        = "internal"         // a bug in the runtime
)

// Failure is the error of a step or a call. Every error of an execution is
// converted to a Failure before it reaches a catch, a retry policy or an operator.
type Failure struct {
	Code       string
	Message    string        // for operators; sent to a caller only if Source is FromAuthor
	Source     Source        // empty means FromProcess
	Status     int           // HTTP status of the other system, or set by throw for the caller; 0 means none
	Body       []byte        // response of the other system, truncated to 64 KiB
	Detail     []byte        // JSON of the detail that the other system sent; nil if there is none
	Retryable  bool          // another attempt may succeed
	RetryAfter time.Duration // minimum wait requested by the other system
	Step       string        // name or path of the failed step
	Pos        Pos           // of the failed step or expression in its file
	Problems   []Violation   // of invalid documents
	OfInput    bool          // the invalid document is the one that the caller sent
	// Keys lists the journal keys of the failed steps. There are several if
	// elements of a loop or paths of a branch failed.
	Keys  []string
	Cause error
}

// Violation is one mismatch between a document and its profile.
type Violation struct {
	Pointer string `json:"pointer"` // RFC 6901 pointer into the document, "" for the whole
	Detail  string `json:"detail"`
}

// Error returns the code and the message, without the position.
func (f *Failure) Error() string {
	if f.Cause != nil && f.Message == "" {
		return fmt.Sprintf("%s: %v", f.Code, f.Cause)
	}
	return fmt.Sprintf("%s: %s", f.Code, f.Message)
}

// Unwrap returns the cause.
func (f *Failure) Unwrap() error { return f.Cause }

// Failf returns a Failure that is not retryable.
func Failf(code, format string, args ...any) *Failure {
	return &Failure{Code: code, Message: fmt.Sprintf(format, args...)}
}

// AsFailure returns the Failure in err's chain, or a new one with CodeInternal
// that wraps err. It returns nil if err is nil.
func AsFailure(err error) *Failure {
	if err == nil {
		return nil
	}
	var f *Failure
	if errors.As(err, &f) {
		return f
	}
	return &Failure{Code: CodeInternal, Source: FromAtom, Message: err.Error(), Cause: err}
}
