package cloud

import (
	"errors"
	"fmt"
)

// Errors that callers branch on. What wraps them says what to do.
var (
	ErrUnauthenticated = errors.New("the credentials are not known here")
	ErrForbidden       = errors.New("the token's role does not allow this")
	ErrNotFound        = errors.New("there is no such object")
	ErrConflict        = errors.New("it conflicts with what is there")
	ErrBusy            = errors.New("too much is asked at once")
	ErrUnavailable     = errors.New("the store cannot take this now")
)

// Error is one of the errors above with a text for people.
type Error struct {
	Kind error
	Text string
}

func (e *Error) Error() string { return e.Text }

// Unwrap gives the kind.
func (e *Error) Unwrap() error { return e.Kind }

func missing(what, id string) error {
	return &Error{ErrNotFound, fmt.Sprintf("there is no %s %q", what, id)}
}

func conflict(format string, args ...any) error {
	return &Error{ErrConflict, fmt.Sprintf(format, args...)}
}

// InvalidError is something in what was sent that cannot be.
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

// unavailable makes an error of the store one that is ErrUnavailable.
func unavailable(err error) error {
	if errors.Is(err, ErrUnavailable) {
		return err
	}
	return fmt.Errorf("%w: %w", ErrUnavailable, err)
}
