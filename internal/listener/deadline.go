package listener

import (
	"context"
	"sync"
	"time"
)

// deadline is a context that ends at a time. Unlike context.WithDeadline it
// starts a timer only once somebody waits for it, which a process without
// calls never does.
type deadline struct {
	parent context.Context
	at     time.Time

	mu       sync.Mutex
	inner    context.Context // nil until somebody waits
	cancel   context.CancelFunc
	released bool
}

var _ context.Context = (*deadline)(nil)

func (d *deadline) Deadline() (time.Time, bool) {
	if at, ok := d.parent.Deadline(); ok && at.Before(d.at) {
		return at, true
	}
	return d.at, true
}

func (d *deadline) Done() <-chan struct{} { return d.start().Done() }

func (d *deadline) start() context.Context {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.inner == nil {
		d.inner, d.cancel = context.WithDeadline(d.parent, d.at)
		if d.released {
			d.cancel()
		}
	}
	return d.inner
}

func (d *deadline) started() context.Context {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.inner
}

func (d *deadline) Err() error {
	if inner := d.started(); inner != nil {
		return inner.Err()
	}
	if err := d.parent.Err(); err != nil {
		return err
	}
	if time.Now().Before(d.at) {
		return nil
	}
	return d.start().Err()
}

// Value asks the started context first, so that contexts made from this one
// find it without a goroutine of their own.
func (d *deadline) Value(key any) any {
	if inner := d.started(); inner != nil {
		return inner.Value(key)
	}
	return d.parent.Value(key)
}

// release frees the timer.
func (d *deadline) release() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.released = true
	if d.cancel != nil {
		d.cancel()
	}
}
