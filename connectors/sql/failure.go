package sql

import (
	"context"
	"errors"
	"strings"

	"valence/connectors"
	"valence/internal/access"
	"valence/internal/fault"
)

// codeReadOnly is the SQLSTATE of a write that is not allowed.
const codeReadOnly = "25006"

// failed returns the failure of a call that has written nothing.
func (c *connection) failed(ctx context.Context, verb string, err error) *fault.Failure {
	what := "cannot " + verb + " " + c.where
	var f *fault.Failure
	var refusal *access.Refusal
	var connect *connectError
	if errors.As(err, &f) {
		return f
	}
	if errors.As(err, &refusal) {
		return connectors.Failf(CodeRefused, false, err, "%s: %v", what, refusal)
	}
	connecting := errors.As(err, &connect)
	if code, retryable, ok := c.dialect.state(err); ok && !(connecting && retryable) {
		if code == codeReadOnly && verb == "query" {
			what += ": a query cannot write; use the operation exec"
		}
		return connectors.Failf(code, retryable, err, "%s: %v", what, err)
	}
	if f := connectors.Interrupted(ctx, what); f != nil {
		return f
	}
	if connecting {
		return connectors.Failf(fault.CodeConnect, true, err, "%s: no connection: %v", what, connect.cause)
	}
	return connectors.Failf(fault.CodeAborted, true, err, "%s: %v", what, err)
}

// uncommitted returns the failure of a commit. Unless the database rejected it,
// its outcome is not known, and another attempt is safe only with `once`.
func (c *connection) uncommitted(err error, once bool) *fault.Failure {
	code, retryable, ok := c.dialect.state(err)
	for _, class := range []string{"08", "57", "58", "40003"} { // the connection, the server or its disk failed
		ok = ok && !strings.HasPrefix(code, class)
	}
	if ok {
		return connectors.Failf(code, retryable, err, "cannot commit to %s: %v", c.where, err)
	}
	hint := "; check whether the changes are there before you repeat the call, or use `once: true`"
	if once {
		hint = ""
	}
	return connectors.Failf(CodeUnknown, once, err, "the connection to %s was lost during the commit, so the outcome is not known%s: %v", c.where, hint, err)
}
