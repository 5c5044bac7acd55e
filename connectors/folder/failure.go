package folder

import (
	"errors"
	"fmt"
	"io/fs"

	"valence/internal/fault"
	"valence/internal/spec"
)

// Failure codes besides those of package fault.
const (
	CodeMissing = "not_found"
	CodeExists  = "exists"
	CodeBadCall = "bad_call"
)

// failed returns the failure for an error of an FS.
func failed(verb, path string, err error) *fault.Failure {
	var known *fault.Failure
	if errors.As(err, &known) {
		return known
	}
	f := &fault.Failure{Code: fault.CodeAborted, Source: fault.FromConnector, Message: fmt.Sprintf("cannot %s \"%s\": %v", verb, spec.Clip(path), cause(err)), Cause: err, Retryable: true}
	switch {
	case errors.Is(err, fs.ErrNotExist):
		f.Code, f.Retryable = CodeMissing, false
	case errors.Is(err, fs.ErrExist):
		f.Code, f.Retryable = CodeExists, false
	case errors.Is(err, fs.ErrPermission), errors.Is(err, fs.ErrInvalid):
		f.Code, f.Retryable = CodeBadCall, false
	}
	return f
}

// cause returns the error that a path error wraps.
func cause(err error) error {
	if inner := errors.Unwrap(err); inner != nil {
		return inner
	}
	return err
}

func badCall(format string, args ...any) *fault.Failure {
	return &fault.Failure{Code: CodeBadCall, Source: fault.FromConnector, Message: fmt.Sprintf(format, args...)}
}
