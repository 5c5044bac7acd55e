package connectors

import (
	"context"

	"valence/internal/access"
	"valence/internal/egress"
)

// CallbackRules maps each process to its rules for reply callbacks. The
// connector for reply callbacks is opened with it instead of settings.
type CallbackRules map[string]CallbackRule

// CallbackRule restricts and signs the reply callbacks of one process.
type CallbackRule struct {
	Allow   *egress.List
	Policy  *access.Policy // of the project, in addition to Allow
	Secrets []string       // in the format of Standard Webhooks; each adds a signature
}

// CallbackChecker is implemented by connections that deliver reply callbacks.
type CallbackChecker interface {
	// CheckCallback reports whether the process may send reply callbacks to
	// url. The error wraps egress.ErrRefused if the rules forbid it.
	CheckCallback(ctx context.Context, process, url string) error
}
