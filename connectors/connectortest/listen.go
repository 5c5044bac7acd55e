package connectortest

import (
	"context"
	"sync"
	"testing"
	"time"

	"valence/connectors"
)

// Listen runs a subscription until the test ends or stop is called, which waits
// for its end and fails the test if Listen returns an error.
func Listen(t *testing.T, c connectors.Listener, with any, r *Runtime) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- c.Listen(ctx, with, r.Host()) }()
	stop = sync.OnceFunc(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("Listen: got %v, want nil", err)
		}
	})
	t.Cleanup(stop)
	return stop
}

// Await returns the state of a runtime when it is as wanted. It fails the test
// after a minute.
func Await(t *testing.T, r *Runtime, what string, wanted func(State) bool) State {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	s, err := r.Await(ctx, wanted)
	if err != nil {
		t.Fatalf("%s: got %d accepted, %d refused, lag %d, up %v, down %v", what, len(s.Accepted), len(s.Refused), s.Lag, s.Up, s.Down)
	}
	return s
}
