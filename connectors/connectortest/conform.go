package connectortest

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"valence/connectors"
	"valence/internal/document"
	"valence/internal/fault"
	"valence/internal/spec"
)

// Grace is how long a connector may take to stop a call or a subscription.
const Grace = 5 * time.Second

// patience bounds the wait for a result that must come.
const patience = 30 * time.Second

// Subject is a connector under test.
type Subject struct {
	Connector *connectors.Connector
	Settings  Settings // of a connection to a running system
	Away      Settings // of a connection to a system that cannot be reached
	// Silent are the settings of a connection to a system that accepts
	// connections and never answers; nil if there is no such thing.
	Silent  Settings
	Secrets []string // values in the settings that no error may contain
	Calls   []Call   // succeed with Settings, in this order
	Source  *Source  // nil without a subscription
}

// Settings are the settings of a connection, an operation or a subscription, as
// they are after expressions have been evaluated.
type Settings map[string]any

// Call is one call of an operation.
type Call struct {
	Operation string
	With      Settings
	Body      string // the JSON document to send; "" if the operation sends none
	Local     bool   // the operation sends nothing to the other system
}

// Source is the source of a subscription.
type Source struct {
	With Settings
	// Send makes the source deliver a message with the JSON document doc.
	Send func(t *testing.T, doc string)
	// Doc returns the document that Send was given for a message. It is nil if
	// that is the message's document itself.
	Doc func(m *connectors.Message) string
	// Anonymous says that the messages have no identity, so that those in flight
	// are accepted again after a kill.
	Anonymous bool
	// Ordered says that the messages arrive in the order in which they were sent.
	Ordered bool
}

// Conform runs the conformance suite.
func Conform(t *testing.T, s Subject) {
	t.Run("opens without network", s.opens)
	t.Run("calls", s.calls)
	t.Run("classifies errors and leaks no secrets", s.fails)
	t.Run("respects the context", s.stops)
	if s.Source == nil {
		return
	}
	source := sourceTests{&s, NewRuntime()}
	source.drains(t)
	t.Run("delivers each message once", source.delivers)
	t.Run("redelivers", source.redelivers)
	t.Run("recognizes a message after a kill", source.recognizes)
	t.Run("refuses visibly", source.refuses)
	t.Run("reports that the source is down", source.reportsDown)
}

func (s *Subject) open(t *testing.T, settings Settings) connectors.Connection {
	t.Helper()
	into := s.Connector.NewSettings()
	bind(t, s.Connector.Settings, into, settings)
	c, err := s.Connector.Open(into, nil)
	if err != nil {
		t.Fatalf("Open: got %v, want nil", err)
	}
	t.Cleanup(func() {
		if err := c.Close(); err != nil {
			t.Errorf("Close: got %v, want nil", err)
		}
	})
	return c
}

func bind(t *testing.T, fields []spec.Field, into any, values Settings) {
	t.Helper()
	o, _ := document.FromPlain(map[string]any(values)).(*document.Object)
	if err := spec.Bind(fields, into, o); err != nil {
		t.Fatal(err)
	}
}

func (s *Subject) opens(t *testing.T) {
	began := time.Now()
	s.open(t, s.Away)
	if took := time.Since(began); took > time.Second {
		t.Errorf("Open took %v, want less than a second", took)
	}
}

// call makes one attempt of a call.
func (s *Subject) call(ctx context.Context, t *testing.T, c connectors.Connection, x Call) (*connectors.Result, error) {
	t.Helper()
	op, ok := s.Connector.Operation(x.Operation)
	if !ok {
		t.Fatalf("there is no operation %s", x.Operation)
	}
	var with any
	if op.NewWith != nil {
		with = op.NewWith()
		bind(t, op.With, with, x.With)
	}
	in := &connectors.Call{IdempotencyKey: "key-1", CorrelationID: "correlation-1"}
	if x.Body != "" {
		in.Body = document.FromJSON([]byte(x.Body))
	}
	return op.Run(ctx, c, with, in)
}

func (s *Subject) calls(t *testing.T) {
	c := s.open(t, s.Settings)
	called := map[string]bool{}
	for _, x := range s.Calls {
		called[x.Operation] = true
		r, err := s.call(t.Context(), t, c, x)
		if err != nil {
			t.Errorf("%s: got %v, want nil", x.Operation, err)
			continue
		}
		op, _ := s.Connector.Operation(x.Operation)
		if r.Doc == nil {
			t.Errorf("%s: got no document, want one", x.Operation)
		}
		if (r.Status != 0) != op.HasStatus {
			t.Errorf("%s: got status %d, want one exactly if HasStatus (%v)", x.Operation, r.Status, op.HasStatus)
		}
	}
	for _, op := range s.Connector.Operations {
		if !called[op.Name] {
			t.Errorf("%s: the subject has no call of it", op.Name)
		}
	}
}

// failure checks that an error is a failure of the other system without secrets.
func (s *Subject) failure(t *testing.T, what string, err error) *fault.Failure {
	t.Helper()
	var f *fault.Failure
	if !errors.As(err, &f) {
		t.Errorf("%s: got %v, want a *fault.Failure", what, err)
		return nil
	}
	if fault.Retryable(f.Code) && !f.Retryable {
		t.Errorf("%s: got %v, which is not retryable, want another code: failures with this one are retried", what, f)
	}
	for _, secret := range s.Secrets {
		if strings.Contains(f.Error(), secret) || strings.Contains(string(f.Body), secret) {
			t.Errorf("%s: the failure contains a secret", what)
		}
	}
	return f
}

// remote returns the calls that need the other system.
func (s *Subject) remote() []Call {
	return slices.DeleteFunc(slices.Clone(s.Calls), func(c Call) bool { return c.Local })
}

func (s *Subject) fails(t *testing.T) {
	c := s.open(t, s.Away)
	for _, x := range s.remote() {
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		_, err := s.call(ctx, t, c, x)
		cancel()
		if f := s.failure(t, x.Operation, err); f != nil && (!f.Retryable || !f.Unavailable()) {
			t.Errorf("%s: got %v (retryable: %v), want a retryable failure of a system that is not available", x.Operation, f, f.Retryable)
		}
	}
}

func (s *Subject) stops(t *testing.T) {
	if s.Silent == nil {
		t.Skip("the system cannot be silent")
	}
	c := s.open(t, s.Silent)
	for _, x := range s.remote() {
		ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
		began := time.Now()
		_, err := s.call(ctx, t, c, x)
		if f := s.failure(t, x.Operation, err); f != nil && (f.Code != fault.CodeTimeout || !f.Retryable) {
			t.Errorf("%s: got %v, want a retryable timeout", x.Operation, f)
		}
		if took := time.Since(began); took > Grace {
			t.Errorf("%s: took %v after its deadline, want at most %v", x.Operation, took, Grace)
		}
		cancel()
	}
}
