package connectors

import (
	"context"

	"valence/internal/egress"
)

// CallbackRules say where the callers of each process may be called back, and
// what callbacks are signed with. It is what the connector that delivers
// callbacks is opened with, in place of settings.
type CallbackRules map[string]CallbackRule

// CallbackRule is that of one process.
type CallbackRule struct {
	Allow   *egress.List
	Secrets []string // as Standard Webhooks writes them; each signs
}

// CallbackChecker is a connection of that connector.
type CallbackChecker interface {
	// CheckCallback reports whether the callers of a process may be called
	// back at a URL; an error that is egress.ErrRefused says why not.
	CheckCallback(ctx context.Context, process, url string) error
}
