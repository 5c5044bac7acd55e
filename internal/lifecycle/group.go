// Package lifecycle starts and stops the long-running parts of a program.
package lifecycle

import (
	"context"
	"errors"
	"fmt"
)

// Group runs components. Stop ends them in reverse order, each after the one
// started later has returned, so a component may rely on those started before
// it. A Group belongs to one goroutine.
type Group struct {
	running []*component
	failed  chan error
}

type component struct {
	name string
	stop context.CancelFunc
	done chan error
}

// NewGroup returns an empty group.
func NewGroup() *Group { return &Group{failed: make(chan error, 1)} }

// Failed receives the first error of a component that returned before Stop.
func (g *Group) Failed() <-chan error { return g.failed }

// Start runs a component in a goroutine of its own until Stop cancels ctx.
// Returning earlier, even with nil, counts as a failure.
func (g *Group) Start(name string, run func(ctx context.Context) error) {
	ctx, cancel := context.WithCancel(context.Background())
	c := &component{name: name, stop: cancel, done: make(chan error, 1)}
	g.running = append(g.running, c)
	go func() {
		err := run(ctx)
		if ctx.Err() == nil {
			if err == nil {
				err = errors.New("stopped unexpectedly")
			}
			select {
			case g.failed <- fmt.Errorf("%s: %w", name, err):
			default: // the first failure is enough
			}
		}
		c.done <- err
	}()
}

// Stop stops all components and returns their errors.
func (g *Group) Stop() error {
	var errs []error
	for i := len(g.running) - 1; i >= 0; i-- {
		c := g.running[i]
		c.stop()
		if err := <-c.done; err != nil && !errors.Is(err, context.Canceled) {
			errs = append(errs, fmt.Errorf("%s: %w", c.name, err))
		}
	}
	g.running = nil
	return errors.Join(errs...)
}
