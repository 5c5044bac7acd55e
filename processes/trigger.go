package processes

import (
	"slices"
	"time"

	"valence/connectors"
	"valence/internal/cron"
	"valence/internal/expression"
	"valence/internal/fault"
	"valence/internal/soap"
)

// Listen is the trigger of an HTTP endpoint.
type Listen struct {
	Pos            fault.Pos
	Path           string // with {name} captures
	Methods        []string
	Input          string        // none, json, xml, text, binary, form, multipart or soap
	Service        *soap.Service // of the input soap; nil for other inputs
	Charset        string        // of input that declares none; "" for UTF-8
	Output         string        // json, xml, text, binary or soap; empty means fire-and-forget
	Auth           string        // name of an auth component, or "none"
	Ack            *Ack          // nil means 200 and a receipt
	Timeout        time.Duration
	TimeoutWritten bool   // the file sets the timeout
	TimeoutAction  string // cancel or continue
	ReplyModes     []string
	Callbacks      *Callbacks // nil if the listener offers no callbacks
	Limits         Limits
}

// The modes of replying that a listener may offer.
const (
	ModeSync     = "sync"     // on the same connection
	ModeDeferred = "deferred" // collected later at a Location
	ModeCallback = "callback" // posted to a URL that the caller names
)

// Continue is the timeout action that turns a slow synchronous call into a
// deferred one.
const Continue = "continue"

// Offers reports whether a caller may ask for a mode.
func (l *Listen) Offers(mode string) bool { return slices.Contains(l.ReplyModes, mode) }

// Sync reports whether a caller may get its reply on the same connection.
func (l *Listen) Sync() bool {
	return l.Output != "" && (len(l.ReplyModes) == 0 || l.Offers(ModeSync))
}

// Later reports whether a caller may get its reply after the call.
func (l *Listen) Later() bool {
	return l.Output != "" && (l.Offers(ModeDeferred) || l.Offers(ModeCallback) || l.TimeoutAction == Continue)
}

// OneWay reports whether an operation of the service has no output, so that its
// messages are accepted as those of a fire-and-forget listener.
func (l *Listen) OneWay(operation string) bool {
	if l.Service == nil {
		return false
	}
	op := l.Service.Operation(operation)
	return op != nil && op.OneWay
}

// HasOneWay reports whether OneWay is true for an operation. l may be nil.
func (l *Listen) HasOneWay() bool { return l != nil && l.Service != nil && l.Service.HasOneWay() }

// Callbacks configures the URLs to which replies may be posted.
type Callbacks struct {
	Pos      fault.Pos
	Settings *expression.Template // allow and secret, over env and secret
}

// Ack is the response of a fire-and-forget listener.
type Ack struct {
	Status  int
	Body    *expression.Template // nil means the receipt
	Headers *expression.Template // an object; nil means none
}

// Limits bound the requests of a listener. Zero means unlimited, except for Body.
type Limits struct {
	Body        int64 // bytes
	Concurrency int
	Rate        float64 // requests per second
}

// Schedule is the trigger of a cron expression.
type Schedule struct {
	Pos     fault.Pos
	Cron    *cron.Schedule
	Overlap string // skip, queue or allow
	Misfire string // once, skip or all
}

// Subscribe is the trigger of a connection's stream of messages. Its settings
// may hold expressions over env and secret; Resolve evaluates them.
type Subscribe struct {
	Pos        fault.Pos
	Connection string
	Connector  *connectors.Connector
	Settings   *expression.Template
	AtMostOnce bool // messages may be lost
}

// CannotReply reports whether the messages of the subscription have no address
// for replies. It returns false if the connector is not known.
func (s *Subscribe) CannotReply() bool {
	return s.Connector != nil && s.Connector.Subscription != nil && !s.Connector.Subscription.Replies
}
