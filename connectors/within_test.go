package connectors

import (
	"context"
	"errors"
	"testing"
)

func TestWithin(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	if got, err := Within(ctx, func() (int, error) { return 1, nil }, func(int) { t.Error("the result was late") }); got != 1 || err != nil {
		t.Errorf("got %d, %v, want 1", got, err)
	}
	release, late := make(chan struct{}), make(chan int)
	cancel()
	_, err := Within(ctx, func() (int, error) { <-release; return 2, nil }, func(n int) { late <- n })
	if !errors.Is(err, context.Canceled) {
		t.Errorf("got %v, want the error of the context", err)
	}
	close(release)
	if got := <-late; got != 2 {
		t.Errorf("late: got %d, want 2", got)
	}
}
