// Package connectors is the contract of a connector: what one must offer to
// be called from a process. Each connector is a package below this one.
package connectors

import (
	"context"
	"net/http"
	"sort"
	"time"

	"valence/internal/document"
	"valence/internal/fault"
	"valence/internal/spec"
)

// Connector is a kind of system that connections can be made to.
type Connector struct {
	Name       string
	Doc        string
	Settings   []spec.Field // of a `connection:`; bound to what NewSettings makes
	Operations []Operation
	// Subscription is what its connections can listen to; nil: nothing. Then
	// they are Listeners.
	Subscription *Subscription
	// NewSettings makes the value that Settings decode into.
	NewSettings func() any
	// Open makes a connection from decoded settings. It must not touch the
	// network: an atom starts while the other system is down.
	Open func(settings any) (Connection, error)
	// Check finds what single fields cannot: settings that exclude each other.
	// Values may still hold expressions. It may be nil.
	Check func(settings any) []string
}

// Operation is one thing that can be asked of a connection: `call: connection.operation`.
type Operation struct {
	Name string
	Doc  string
	With []spec.Field // the keys of `with:`; bound to what NewWith makes
	// NewWith makes the value that With decodes into, once per call.
	NewWith func() any
	// Check finds what single fields cannot. Values may still hold
	// expressions. It may be nil.
	Check func(with any) []string
	// SendsBody is true where the operation sends a document: the current one
	// unless the call has `body:`.
	SendsBody bool
	// Safe is true where calling changes nothing in the other system (RFC 9110, 9.2.1).
	Safe bool
	// Paged is true where `with:` may have `pages:`: then a call asks for one
	// page, and for_each goes through all of them.
	Paged bool
	// Sample is a call as an author would write it, for the reference.
	Sample string
}

// Operation finds an operation by name.
func (c *Connector) Operation(name string) (*Operation, bool) {
	for i := range c.Operations {
		if c.Operations[i].Name == name {
			return &c.Operations[i], true
		}
	}
	return nil, false
}

// Connection is a configured connector. Calls come from many goroutines at once.
type Connection interface {
	// Call performs one operation, once: retries are the runtime's. It must
	// respect ctx, and fails with a *fault.Failure that tells whether another
	// attempt may succeed and whether anything was sent.
	Call(ctx context.Context, c *Call) (*Result, error)
	// Close frees what the connection holds. Calls under way may fail.
	Close() error
}

// Call is one call of an operation.
type Call struct {
	Operation      string
	With           any                // what the operation's NewWith made, decoded; nil without With
	Body           *document.Document // nil where nothing is sent
	Accept         Accept             // the statuses that are no error
	IdempotencyKey string             // the same on every attempt; "" on safe operations
	CorrelationID  string
	Traceparent    string // W3C trace context of this call, "" if there is none
	Page           string // of a paged call: "" for the first page, then what Result.Next gave
}

// Result is the answer to a call.
type Result struct {
	Doc     *document.Document // never nil
	Status  int                // 0 where the protocol has none
	Headers http.Header
	// Next is where the next page of a paged call begins, "" after the last
	// one. Doc is then the list of this page's records.
	Next string
}

// Accept is a set of statuses: [2xx, 404].
type Accept []StatusRange

// StatusRange is a status, or a class of them.
type StatusRange struct{ From, To int }

// Has reports whether the set holds the status; the empty set holds 200 to 299.
func (a Accept) Has(status int) bool {
	if len(a) == 0 {
		return status >= 200 && status < 300
	}
	for _, r := range a {
		if status >= r.From && status <= r.To {
			return true
		}
	}
	return false
}

// Registry is the connectors that a program offers, by name.
type Registry map[string]*Connector

// Names gives the names in alphabetical order.
func (r Registry) Names() []string {
	names := make([]string, 0, len(r))
	for n := range r {
		names = append(names, n)
	}
	sort.Strings(names)
	return names
}

// Retry makes a failure that another attempt may mend, not before after.
func Retry(code, msg string, after time.Duration, cause error) *fault.Failure {
	return &fault.Failure{Code: code, Message: msg, Origin: fault.FromConnector, Retryable: true, RetryAfter: after, Cause: cause}
}
