// Package connectortest contains the conformance suite for connectors, and a
// runtime in memory for their tests.
package connectortest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"

	"valence/connectors"
	"valence/internal/fault"
)

// Runtime accepts the messages of a subscription as an atom does, in memory. It
// outlives the runs of the subscription. Its methods are safe for concurrent
// use.
type Runtime struct {
	// Answer decides about a message; nil accepts it. It is called with the
	// lock held.
	Answer func(m *connectors.Message) error
	// Lose decides whether the listener receives an error for a message that
	// was accepted, as if the atom had stopped before it answered. nil is never.
	Lose func(m *connectors.Message) bool

	mu       sync.Mutex
	changed  chan struct{} // closed by the next change
	accepted []*connectors.Message
	refused  []*connectors.Message
	dead     []*connectors.Message
	seen     map[string]bool // origins
	cursors  map[string][]byte
	up       bool
	ups      int
	down     error
	warning  string
	lag      int64
}

// NewRuntime returns a runtime that has accepted nothing.
func NewRuntime() *Runtime {
	return &Runtime{changed: make(chan struct{}), seen: map[string]bool{}, cursors: map[string][]byte{}, lag: -1}
}

// Host returns a host for one run of Listen.
func (r *Runtime) Host() *connectors.Host {
	return &connectors.Host{Log: slog.New(slog.DiscardHandler), Status: r, Inbox: &inbox{Runtime: r, known: map[string][]byte{}}}
}

// Up implements connectors.Status.
func (r *Runtime) Up() { r.change(func() { r.up, r.down = true, nil; r.ups++ }) }

// Down implements connectors.Status.
func (r *Runtime) Down(err error) { r.change(func() { r.up, r.down = false, err }) }

// Warn implements connectors.Status.
func (r *Runtime) Warn(text string) { r.change(func() { r.warning = text }) }

// Lag implements connectors.Status.
func (r *Runtime) Lag(n int64) { r.change(func() { r.lag = n }) }

func (r *Runtime) change(f func()) {
	r.mu.Lock()
	defer r.mu.Unlock()
	f()
	close(r.changed)
	r.changed = make(chan struct{})
}

// State is the state of a Runtime.
type State struct {
	Accepted []*connectors.Message // once each, in order
	Refused  []*connectors.Message // and kept
	// DeadLettered are the messages that were refused and left to the source.
	DeadLettered []*connectors.Message
	Up           bool
	Ups          int    // calls of Up
	Down         error  // of the last call of Down, unless Up was called since
	Warning      string // the last one
	Lag          int64  // -1: not reported
}

// State returns the state of the runtime.
func (r *Runtime) State() State {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.state()
}

func (r *Runtime) state() State {
	return State{slices.Clone(r.accepted), slices.Clone(r.refused), slices.Clone(r.dead), r.up, r.ups, r.down, r.warning, r.lag}
}

// Await returns when the state is as wanted. It fails when ctx ends.
func (r *Runtime) Await(ctx context.Context, wanted func(s State) bool) (State, error) {
	for {
		r.mu.Lock()
		s, changed := r.state(), r.changed
		r.mu.Unlock()
		if wanted(s) {
			return s, nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return s, ctx.Err()
		}
	}
}

var errLost = errors.New("the atom has stopped")

// inbox is the connectors.Inbox of one run.
type inbox struct {
	*Runtime
	known map[string][]byte // positions that the run continues from; guarded by Runtime.mu
}

var _ connectors.Inbox = (*inbox)(nil)

// Cursor implements connectors.Inbox.
func (b *inbox) Cursor(_ context.Context, stream string) ([]byte, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.known[stream] = b.cursors[stream]
	return b.cursors[stream], nil
}

// Deliver implements connectors.Inbox.
func (b *inbox) Deliver(ctx context.Context, m *connectors.Message) error {
	return b.DeliverBatch(ctx, []*connectors.Message{m})[0]
}

// DeliverBatch implements connectors.Inbox.
func (b *inbox) DeliverBatch(_ context.Context, ms []*connectors.Message) []error {
	errs := make([]error, len(ms))
	stopped := map[string]error{}
	b.change(func() {
		for i, m := range ms {
			if errs[i] = stopped[m.Stream]; errs[i] == nil {
				errs[i] = b.accept(m)
			}
			if errs[i] != nil && !connectors.Refused(errs[i]) {
				stopped[m.Stream] = errs[i]
				delete(b.known, m.Stream)
			}
		}
	})
	return errs
}

func (b *inbox) accept(m *connectors.Message) error {
	from, known := b.known[m.Stream]
	switch {
	case m.Origin != "" && m.Remember <= 0 && m.Cursor == nil:
		return errors.New("the connector sets Origin without Remember or Cursor")
	case m.Cursor != nil && m.DeadLetter != "":
		return errors.New("the connector sets Cursor and DeadLetter")
	case m.Cursor != nil && len(m.Cursor) == 0:
		return errors.New("the connector sets an empty Cursor")
	case m.Cursor != nil && !known:
		return fmt.Errorf("the connector has not read the cursor of the stream %q since the last failure", m.Stream)
	case m.Cursor != nil && !bytes.Equal(from, b.cursors[m.Stream]):
		return errors.New("another run has moved the cursor")
	}
	var err error
	if b.Answer != nil {
		err = b.Answer(m)
	}
	if m.Invalid != nil {
		f := *fault.AsFailure(m.Invalid)
		f.Retryable = false
		err = &f
	}
	switch {
	case err == nil && (m.Remember <= 0 || !b.seen[m.Origin]):
		b.accepted = append(b.accepted, m)
	case err == nil: // accepted before
	case connectors.Refused(err) && m.DeadLetter == "":
		b.refused = append(b.refused, m)
	case connectors.Refused(err):
		b.dead = append(b.dead, m)
		return err
	default:
		return err
	}
	if m.Remember > 0 {
		b.seen[m.Origin] = true
	}
	if m.Cursor != nil {
		b.cursors[m.Stream], b.known[m.Stream] = m.Cursor, m.Cursor
	}
	if b.Lose != nil && b.Lose(m) {
		return errLost
	}
	return nil
}
