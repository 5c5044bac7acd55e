// Package trigger starts processes from schedules and subscriptions. HTTP
// listeners are in package dataplane.
package trigger

import (
	"context"

	"valence/internal/document"
	"valence/processes"
)

// Process is a deployed process as its trigger sees it. Two values are equal
// if they stand for the same deployment of the process.
type Process interface {
	Definition() *processes.Process
	// Accept stores a message that starts the process and returns the id of
	// the execution; "" if the process' checks dropped the message. It fails
	// with a *fault.Failure that is not retryable if it would fail every time.
	Accept(ctx context.Context, m *Message) (execution string, err error)
}

// Message starts a process.
type Message struct {
	Doc           *document.Document
	Props         *document.Object // nil: none
	CorrelationID string
	// Origin identifies the message: of several with equal parts, one starts
	// the process. Nil if the source cannot identify it.
	Origin []string
}
