package clock

import (
	"context"
	"sync"
	"time"
)

// virtual is a time that only Sleep and Set change.
type virtual struct {
	mu  sync.Mutex
	now time.Time
}

// NewVirtual returns a virtual clock that begins at a time. Only one goroutine
// at a time may let it pass.
func NewVirtual(start time.Time) *Clock { return &Clock{virtual: &virtual{now: start.UTC()}} }

// Set sets a virtual clock, forward or backward.
func (c *Clock) Set(t time.Time) { c.virtual.set(t) }

func (v *virtual) read() time.Time {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.now
}

func (v *virtual) set(t time.Time) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.now = t.UTC()
}

// sleep moves the clock to the end of the pause or to the deadline of ctx,
// whichever is first.
func (v *virtual) sleep(ctx context.Context, d time.Duration) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	until := v.read().Add(max(d, 0))
	if at, ok := ctx.Deadline(); ok && !at.After(until) {
		until = at
	}
	v.set(until)
	return ctx.Err()
}

func (v *virtual) withDeadline(ctx context.Context, at time.Time, cause error) (context.Context, context.CancelFunc) {
	inner, cancel := context.WithCancel(ctx)
	return &ending{Context: inner, outer: ctx, clock: v, at: at, err: context.DeadlineExceeded, cause: cause}, cancel
}

func (v *virtual) withCancel(ctx context.Context) (context.Context, context.CancelCauseFunc) {
	e := &ending{Context: ctx, outer: ctx, clock: v, err: context.Canceled}
	return e, func(cause error) {
		v.mu.Lock()
		defer v.mu.Unlock()
		if e.at.IsZero() || v.now.Before(e.at) { // the first cancellation in virtual time counts
			e.at, e.cause = v.now, cause
		}
	}
}

// ending is a context that ends at a time of a virtual clock. Its Done never
// reports that, because nothing waits on a virtual clock.
type ending struct {
	context.Context // ends with outer when that is cancelled by a context of package context
	outer           context.Context
	clock           *virtual
	at              time.Time // zero: not known yet; guarded by the mutex of the clock
	err             error     // after that time
	cause           error     // nil: err
}

// end returns when the context itself ends, if that is known.
func (e *ending) end() (time.Time, bool) {
	e.clock.mu.Lock()
	defer e.clock.mu.Unlock()
	return e.at, !e.at.IsZero()
}

func (e *ending) Deadline() (time.Time, bool) {
	own, ends := e.end()
	outer, outerEnds := e.outer.Deadline()
	if outerEnds && (!ends || outer.Before(own)) {
		return outer, true
	}
	return own, ends
}

func (e *ending) Err() error {
	if err := e.Context.Err(); err != nil {
		return err
	}
	if err := e.outer.Err(); err != nil {
		return err
	}
	if at, ends := e.end(); ends && !e.clock.read().Before(at) {
		return e.err
	}
	return nil
}

// Cause returns why a context ended: context.Cause, or the cause of a context of
// a virtual clock.
func Cause(ctx context.Context) error {
	e, ok := ctx.(*ending)
	switch {
	case !ok, e.Context.Err() != nil, e.Err() == nil:
		return context.Cause(ctx)
	case e.outer.Err() != nil:
		return Cause(e.outer)
	case e.cause != nil:
		return e.cause
	}
	return e.err
}

// Lanes simulates paths that run at the same time on a virtual clock. They run
// one after the other, and each begins at the time at which a lane is free.
type Lanes struct {
	clock *virtual
	free  []time.Time // when each lane is free
}

// Lanes returns n lanes that are free now; nil on a clock of the machine, on
// which paths run at the same time.
func (c *Clock) Lanes(n int) *Lanes {
	if c.virtual == nil {
		return nil
	}
	l := &Lanes{clock: c.virtual, free: make([]time.Time, max(n, 1))}
	for i := range l.free {
		l.free[i] = c.virtual.read()
	}
	return l
}

// Next sets the clock to the time at which the first lane is free.
func (l *Lanes) Next() time.Time {
	at := l.free[l.first()]
	l.clock.set(at)
	return at
}

// Run runs a path on the first free lane, after Next.
func (l *Lanes) Run(path func()) {
	i := l.first()
	path()
	l.free[i] = l.clock.read()
}

func (l *Lanes) first() int {
	first := 0
	for i, at := range l.free {
		if at.Before(l.free[first]) {
			first = i
		}
	}
	return first
}

// Now returns the time of the clock.
func (l *Lanes) Now() time.Time { return l.clock.read() }

// Join sets the clock to the time at which all lanes are free.
func (l *Lanes) Join() {
	last := l.free[0]
	for _, at := range l.free {
		if at.After(last) {
			last = at
		}
	}
	l.clock.set(last)
}
