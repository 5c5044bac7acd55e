package compose

import (
	"errors"
	"fmt"
)

// PermanentError is an error that the same generation would cause again.
type PermanentError struct{ Err error }

func (p *PermanentError) Error() string { return p.Err.Error() }
func (p *PermanentError) Unwrap() error { return p.Err }

// IsPermanent reports whether err contains a PermanentError.
func IsPermanent(err error) bool {
	p := (*PermanentError)(nil)
	return errors.As(err, &p)
}

// Permanentf returns a PermanentError with a formatted message.
func Permanentf(format string, args ...any) error {
	return &PermanentError{Err: fmt.Errorf(format, args...)}
}
