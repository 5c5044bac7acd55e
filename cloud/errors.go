package cloud

import (
	"errors"
	"fmt"
)

// Errors that callers branch on. Wrapping errors say what to do.
var (
	ErrUnauthenticated = errors.New("invalid credentials")
	ErrForbidden       = errors.New("not permitted")
	ErrNotFound        = errors.New("not found")
	ErrConflict        = errors.New("conflict")
	ErrBusy            = errors.New("too many requests")
	ErrQuota           = errors.New("quota reached")
	ErrUnavailable     = errors.New("the store is unavailable")
)

// Error is one of the errors above with a message for people.
type Error struct {
	Kind error
	Text string
}

func (e *Error) Error() string { return e.Text }

// Unwrap returns the kind.
func (e *Error) Unwrap() error { return e.Kind }

func notFound(what, id string) error {
	return &Error{ErrNotFound, fmt.Sprintf("there is no %s %q", what, id)}
}

func conflict(format string, args ...any) error {
	return &Error{ErrConflict, fmt.Sprintf(format, args...)}
}

// InvalidError reports an invalid value in a request.
type InvalidError struct {
	Field   string
	Message string
}

func (e *InvalidError) Error() string {
	if e.Field == "" {
		return e.Message
	}
	return e.Field + ": " + e.Message
}

func invalid(field, format string, args ...any) error {
	return &InvalidError{field, fmt.Sprintf(format, args...)}
}

// unavailable wraps an error of the store in ErrUnavailable.
func unavailable(err error) error {
	if errors.Is(err, ErrUnavailable) {
		return err
	}
	return fmt.Errorf("%w: %w", ErrUnavailable, err)
}
