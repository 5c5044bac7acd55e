// Package clierror holds the errors that end a command: a message, a hint, and
// an exit code. They are printed as "error: …" and "try: …".
package clierror

import (
	"errors"
	"fmt"
	"io"
)

// Exit codes of the program. They are part of its contract.
const (
	ExitOK      = 0
	ExitInvalid = 1 // the subject of the command has errors: a project, an execution, a request
	ExitUsage   = 2 // the command line is wrong
	ExitFailed  = 3 // something could not be reached, opened or started
)

// Error is an error as users see it.
type Error struct {
	Code    int
	Message string // the cause, with position or value
	Hint    string // the remedy; may be empty
}

// Error returns the message without the hint.
func (e *Error) Error() string { return e.Message }

// Usage returns an error for a wrong command line.
func Usage(hint, format string, args ...any) error {
	return &Error{ExitUsage, fmt.Sprintf(format, args...), hint}
}

// Failed returns an error for something that could not be reached, opened or
// started.
func Failed(hint, format string, args ...any) error {
	return &Error{ExitFailed, fmt.Sprintf(format, args...), hint}
}

// Invalid returns an error for a subject of a command that has errors.
func Invalid(hint, format string, args ...any) error {
	return &Error{ExitInvalid, fmt.Sprintf(format, args...), hint}
}

// AsFailed returns err itself if it has a hint, otherwise a Failed with hint.
func AsFailed(err error, hint string) error {
	if e := (*Error)(nil); errors.As(err, &e) {
		return err
	}
	return Failed(hint, "%v", err)
}

// Reported is an exit code whose cause has been printed already.
type Reported struct{ Code int }

// Error returns the exit code as text.
func (r Reported) Error() string { return fmt.Sprintf("exit code %d", r.Code) }

// Report prints an error with its hint and returns the exit code.
func Report(w io.Writer, err error) int {
	if err == nil {
		return ExitOK
	}
	if r := (Reported{}); errors.As(err, &r) {
		return r.Code
	}
	e := &Error{Code: ExitFailed, Message: err.Error()}
	errors.As(err, &e)
	fmt.Fprintf(w, "error: %s\n", e.Message)
	if e.Hint != "" {
		fmt.Fprintf(w, "try: %s\n", e.Hint)
	}
	return e.Code
}
