package dataplane

import (
	"context"
	"sync"
	"time"

	"valence/internal/budget"
)

// deadline is a context with a deadline. Unlike context.WithDeadline it starts
// its timer only when Done is first called, which processes without calls never
// do.
type deadline struct {
	parent context.Context
	at     time.Time
	memory *budget.Share // of the request

	mu       sync.Mutex
	inner    context.Context // nil until Done is called
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

// Value consults the started context first, so that contexts derived from this
// one find it without starting a goroutine.
func (d *deadline) Value(key any) any {
	if key == budget.ContextKey {
		return d.memory
	}
	if inner := d.started(); inner != nil {
		return inner.Value(key)
	}
	return d.parent.Value(key)
}

// release stops the timer.
func (d *deadline) release() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.released = true
	if d.cancel != nil {
		d.cancel()
	}
}
