package connectors

import (
	"context"
	"net/http"

	"valence/internal/convert"
	"valence/internal/document"
	"valence/internal/expression"
	"valence/internal/fault"
	"valence/internal/spec"
)

// Operation is one thing a connection can be asked to do:
// `call: connection.operation`. Define fills in NewWith and Run.
type Operation struct {
	Name string
	Doc  string
	With []spec.Field // the keys of `with:`, bound to the value of NewWith
	// NewWith returns a pointer to the value that With decodes into. It is nil
	// if the operation has no settings.
	NewWith func() any
	// Run performs one call on an open connection; with is a value of NewWith
	// or nil. Run makes one attempt, because retries belong to the runtime. It
	// returns when ctx ends. Its error is a *fault.Failure, which says whether
	// another attempt may succeed and whether anything was sent.
	Run func(ctx context.Context, conn Connection, with any, call *Call) (*Result, error)
	// Preview returns the request that Run would send, without credentials and
	// without touching the network. It may be nil.
	Preview func(ctx context.Context, conn Connection, with any, call *Call) (*Preview, error)
	// Check returns the problems that no single field can find. Values may
	// still be expressions. Check may be nil.
	Check func(with any) []string
	// CheckBody returns the problems of a document that every evaluation of a
	// body has, with the positions of its parts. They need no code. CheckBody may
	// be nil.
	CheckBody func(body *expression.Shape) fault.Problems
	// Codes are the codes of failures that the other system chooses, such as those
	// of faults. One that ends with a dot stands for all codes that begin with it.
	Codes []string
	// Body returns the keys of the object at a path of keys in the body, without
	// the indexes of lists. It is nil if nothing is known about the body.
	Body func(path []string) []BodyKey
	// SendsBody says that the operation sends a document: the current one
	// unless the call has `body:`.
	SendsBody bool
	// Files says that Run streams the content of files that are stored outside
	// the document; see package blob. For other operations Call.Body contains
	// them, up to a limit.
	Files bool
	// HasStatus says that results have a Status, which `accept:` may name.
	HasStatus bool
	// Safe says that calls change nothing in the other system (RFC 9110, 9.2.1).
	Safe bool
	// ByKey reports whether a repeated call with the same IdempotencyKey and
	// these settings changes nothing more. Values may still be expressions. It
	// is nil if that depends on the other system.
	ByKey func(with any) bool
	// Paged says that `with:` may contain `pages:`. Such a call requests one
	// page, and for_each iterates over all of them.
	Paged bool
	// Streams says that for_each iterates over the pages of a call without
	// `pages:`. It is nil for other operations.
	Streams *Streaming
	// Page replaces the response to a paged call by the records of its page, and
	// sets Next, as Run does. position is Call.Page. It is nil unless Paged is set.
	Page func(with any, r *Result, position string) *fault.Failure
	// Sample is a typical call in YAML, for the reference.
	Sample string
}

// BodyKey is a key of an object in a body.
type BodyKey struct {
	Name     string
	Type     string // for people
	Required bool
}

// Streaming lists the keys of `with:` whose meaning depends on a loop.
type Streaming struct {
	Only []string // allowed only in a loop over the call
	Not  []string // not allowed there
}

// Define returns op with settings of type W and the behavior run. Run expects
// connections of type C.
func Define[C Connection, W any](op Operation, run func(ctx context.Context, conn C, with *W, call *Call) (*Result, error)) Operation {
	if len(op.With) > 0 {
		op.NewWith = func() any { return new(W) }
	}
	op.Run = func(ctx context.Context, conn Connection, with any, call *Call) (*Result, error) {
		c, ok := conn.(C)
		if !ok { // the connection was redeployed with another connector
			return nil, fault.Failf(fault.CodeUnavailable, "the connection no longer has the operation %s", op.Name)
		}
		w, _ := with.(*W)
		if w == nil {
			w = new(W)
		}
		return run(ctx, c, w, call)
	}
	return op
}

// Call is one call of an operation, besides its settings.
type Call struct {
	Body           *document.Document // nil if nothing is sent
	Accept         Accept             // the statuses that are not errors
	IdempotencyKey string             // equal on every attempt; empty for safe operations
	Namespaces     convert.Namespaces // by prefix, for XML that is written
	CorrelationID  string
	Traceparent    string // W3C trace context of the call; may be empty
	Paged          bool   // a loop iterates over the pages of the call
	Page           string // of a paged call: empty for the first page, then the previous Result.Next
}

// Preview is a request that a call would send.
type Preview struct {
	Method  string
	URL     string
	Headers http.Header
	Body    []byte
}

// Result is the response to a call.
type Result struct {
	Doc     *document.Document // never nil
	Status  int                // 0 if the protocol has no statuses
	Headers http.Header
	// Next identifies the next page of a paged call and is empty after the
	// last one. Doc is then the list of records on this page.
	Next string
}

// PageLimit is implemented by the settings of paged operations.
type PageLimit interface {
	// MaxPages returns the maximum number of pages; 0 is DefaultMaxPages.
	MaxPages() int
}

// DefaultMaxPages is the maximum number of pages of a paged call unless its
// settings say otherwise.
const DefaultMaxPages = 10_000

// Accept is a set of statuses: [2xx, 404].
type Accept []StatusRange

// StatusRange is a range of statuses, both ends included.
type StatusRange struct{ From, To int }

// Has reports whether the set contains status. The empty set contains 200 to 299.
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
