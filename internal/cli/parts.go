package cli

import (
	"context"
	"errors"
	"fmt"
)

// parts are what lives long in a program, started one after the other and
// stopped in the opposite order, each only once the one before it has ended:
// what was started later may rely on what was started earlier.
type parts struct {
	running []*part
	failed  chan error // the first part that ended by itself
}

type part struct {
	name string
	stop context.CancelFunc
	done chan error
}

func newParts() *parts { return &parts{failed: make(chan error, 1)} }

// start runs a part until stop. A part that ends before is a failure of the
// whole, told by failed.
func (p *parts) start(name string, run func(context.Context) error) {
	ctx, cancel := context.WithCancel(context.Background())
	x := &part{name: name, stop: cancel, done: make(chan error, 1)}
	p.running = append(p.running, x)
	go func() {
		err := run(ctx)
		if ctx.Err() == nil {
			if err == nil {
				err = errors.New("ended by itself")
			}
			select {
			case p.failed <- fmt.Errorf("%s: %w", name, err):
			default: // one failure is enough to stop
			}
		}
		x.done <- err
	}()
}

// stop ends all parts and gives what went wrong on the way.
func (p *parts) stop() error {
	var errs []error
	for i := len(p.running) - 1; i >= 0; i-- {
		x := p.running[i]
		x.stop()
		if err := <-x.done; err != nil && !errors.Is(err, context.Canceled) {
			errs = append(errs, fmt.Errorf("%s: %w", x.name, err))
		}
	}
	p.running = nil
	return errors.Join(errs...)
}
