// Package session holds one long-lived session with another system for the
// calls and subscriptions of a connection: it connects on first use, backs off
// after failures, subscribes again after a loss, and drains before it closes.
package session

import (
	"context"
	"errors"
	"math/rand/v2"
	"sync"
	"time"

	"valence/connectors"
	"valence/internal/fault"
)

// Back-off between attempts to connect.
const (
	minDelay = 500 * time.Millisecond
	maxDelay = 30 * time.Second
)

// dialTimeout bounds one attempt to connect, and drainTimeout the time that
// Close waits for calls.
const (
	dialTimeout  = 30 * time.Second
	drainTimeout = 5 * time.Second
)

// errClosed answers uses of a closed connection.
var errClosed = errors.New("the connection is closed")

// Options describe how to open a session of type S.
type Options[S comparable] struct {
	// Dial opens a session. It returns when ctx ends. Its error is a
	// *fault.Failure or counts as a failure to connect.
	Dial func(ctx context.Context) (S, error)
	// Alive reports whether a session still works. It must not block.
	Alive func(S) bool
	// Close closes a session.
	Close func(S)
}

// Session is a session that is opened again when it is lost. Its methods are
// safe for concurrent use.
type Session[S comparable] struct {
	o    Options[S]
	life context.Context // ends with Close
	end  context.CancelFunc

	mu      sync.Mutex
	current S // the zero value: none
	dialing *attempt
	failure error     // of the last attempt; nil: it succeeded
	retryAt time.Time // not before this time after a failure
	delay   time.Duration
	users   int
	idle    chan struct{} // closed when the last user of a closing session leaves
}

// attempt is an attempt to connect that several callers wait for.
type attempt struct{ done chan struct{} }

// New returns a session that is not open yet.
func New[S comparable](o Options[S]) *Session[S] {
	life, end := context.WithCancel(context.Background())
	return &Session[S]{o: o, life: life, end: end}
}

// Do calls f with an open session. It connects first if there is none. Shortly
// after a failed attempt to connect it returns the failure at once.
func (s *Session[S]) Do(ctx context.Context, f func(S) error) error {
	current, err := s.enter(ctx)
	if err != nil {
		return err
	}
	defer s.leave()
	return f(current)
}

// Listen calls receive with an open session until ctx ends. When receive
// returns an error, Listen reports that the subscription is down, waits and
// calls it again, with a new session if the old one is lost. receive reports Up
// when it has subscribed, and returns after the last delivery. When ctx ends the
// session stays open until receive has returned.
func (s *Session[S]) Listen(ctx context.Context, host *connectors.Host, receive func(ctx context.Context, session S) error) error {
	for delay := minDelay; ctx.Err() == nil; delay = min(2*delay, maxDelay) {
		began := time.Now()
		err := s.Do(ctx, func(current S) error { return receive(ctx, current) })
		if ctx.Err() != nil {
			return nil
		}
		if errors.Is(err, errClosed) {
			return err
		}
		if err == nil {
			err = errors.New("the subscription ended")
		}
		host.Down(err)
		if time.Since(began) > maxDelay {
			delay = minDelay
		}
		select {
		case <-time.After(jitter(delay)):
		case <-ctx.Done():
		}
	}
	return nil
}

// jitter returns a duration near d, so that many atoms do not connect at once.
func jitter(d time.Duration) time.Duration { return d*3/4 + rand.N(d/2) }

// enter returns an open session and counts its user.
func (s *Session[S]) enter(ctx context.Context) (S, error) {
	var none S
	for {
		s.mu.Lock()
		if s.life.Err() != nil {
			s.mu.Unlock()
			return none, connectors.Retry(fault.CodeConnect, errClosed.Error(), 0, errClosed)
		}
		if s.current != none && !s.o.Alive(s.current) {
			lost := s.current
			s.current = none
			go s.o.Close(lost)
		}
		if s.current != none {
			s.users++
			defer s.mu.Unlock()
			return s.current, nil
		}
		if s.dialing == nil {
			if s.failure != nil && time.Now().Before(s.retryAt) {
				defer s.mu.Unlock()
				return none, s.failure
			}
			s.dialing = &attempt{make(chan struct{})}
			go s.dial(s.dialing)
		}
		dialing := s.dialing
		s.mu.Unlock()
		select {
		case <-dialing.done:
		case <-ctx.Done():
			return none, connectors.Interrupted(ctx, "connect")
		}
		s.mu.Lock()
		err := s.failure
		s.mu.Unlock()
		if err != nil {
			return none, err
		}
	}
}

// dial makes one attempt to connect.
func (s *Session[S]) dial(a *attempt) {
	ctx, cancel := context.WithTimeout(s.life, dialTimeout)
	defer cancel()
	opened, err := s.o.Dial(ctx)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.dialing = nil
	defer close(a.done)
	if err != nil {
		var f *fault.Failure
		if !errors.As(err, &f) {
			err = connectors.Retry(fault.CodeConnect, "cannot connect: "+err.Error(), 0, err)
		}
		s.delay = min(max(2*s.delay, minDelay), maxDelay)
		s.failure, s.retryAt = err, time.Now().Add(jitter(s.delay))
		return
	}
	s.failure, s.delay = nil, 0
	if s.life.Err() != nil {
		go s.o.Close(opened)
		return
	}
	s.current = opened
}

func (s *Session[S]) leave() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.users--; s.users == 0 && s.idle != nil {
		close(s.idle)
	}
}

// Close closes the session after the running calls and subscriptions have
// ended, at the latest after five seconds. Later uses fail.
func (s *Session[S]) Close() error {
	s.mu.Lock()
	if s.life.Err() != nil {
		s.mu.Unlock()
		return nil
	}
	s.end()
	var idle chan struct{}
	if s.users > 0 {
		s.idle = make(chan struct{})
		idle = s.idle
	}
	s.mu.Unlock()
	if idle != nil {
		select {
		case <-idle:
		case <-time.After(drainTimeout):
		}
	}
	s.mu.Lock()
	current := s.current
	var none S
	s.current = none
	s.mu.Unlock()
	if current != none {
		s.o.Close(current)
	}
	return nil
}
