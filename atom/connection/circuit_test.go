package connection

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"testing"
	"time"

	"valence/connectors"
	"valence/internal/clock"
	"valence/internal/fault"
	"valence/internal/mask"
	"valence/internal/metrics"
	"valence/processes"
)

// TestCallsThatMeetAKnownOutageDoNotCount starts calls while a circuit is closed
// and lets them fail one after the other: those that fail until the circuit
// opens are attempts, and later ones are not.
func TestCallsThatMeetAKnownOutageDoNotCount(t *testing.T) {
	const failures, calls = 3, 8
	host := &Host{Clock: clock.New(time.Now), Log: slog.New(slog.NewTextHandler(io.Discard, nil)), Metrics: metrics.New(), Masks: &mask.Set{},
		Work: context.Background(), Running: func() bool { return false }}
	c := New(host, "orders", nil, processes.ConnectionLimits{Circuit: processes.Circuit{Failures: failures, Probe: time.Hour}})
	started, end := make(chan bool), make(chan error)
	op := &connectors.Operation{Name: "get", Run: func(context.Context, connectors.Connection, any, *connectors.Call) (*connectors.Result, error) {
		started <- true
		return nil, <-end
	}}
	counts := make(chan bool)
	for range calls {
		go func() {
			_, _, counted := c.Call(t.Context(), op, nil, &connectors.Call{}, time.Minute)
			counts <- counted
		}()
	}
	for range calls {
		<-started
	}
	down := &fault.Failure{Code: fault.CodeConnect, Message: "refused", Retryable: true}
	for n := 1; n < calls; n++ {
		end <- down
		if got, want := <-counts, n <= failures; got != want {
			t.Errorf("failure %d counts as an attempt: %t, want %t", n, got, want)
		}
	}
	end <- errors.New("the message is refused") // for its own reasons
	if !<-counts {
		t.Error("a failure that says nothing of the system does not count as an attempt")
	}
}
