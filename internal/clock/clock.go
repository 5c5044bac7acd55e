// Package clock is the time of an atom: that of the machine, or a virtual time
// in which a pause of two days ends at once.
package clock

import (
	"context"
	"math/rand/v2"
	"time"
)

// Clock is the clock of an atom. A clock of the machine begins at the time of
// the machine and then follows its monotonic clock, so a timer lasts as long as
// it should when the clock of the machine is set. Times stored by an earlier run
// of the atom are compared with the time of the machine at the start.
//
// A virtual clock stands still except in Sleep, which returns at once. It
// simulates parallel paths one after the other; see Lanes.
type Clock struct {
	wall    func() time.Time
	start   time.Time // by wall
	began   time.Time // includes the monotonic reading
	virtual *virtual  // nil: the clock of the machine
}

// New returns a clock of the machine. wall replaces its time in tests; nil is
// time.Now.
func New(wall func() time.Time) *Clock {
	if wall == nil {
		wall = time.Now
	}
	began := time.Now() // before wall: a pause after wall would make the clock late
	return &Clock{wall: wall, start: wall().Round(0), began: began}
}

// Now returns the time that timers are set and compared by.
func (c *Clock) Now() time.Time {
	if c.virtual != nil {
		return c.virtual.read()
	}
	return c.start.Add(time.Since(c.began)).UTC()
}

// Wall returns the time of the machine, for people and expressions.
func (c *Clock) Wall() time.Time {
	if c.virtual != nil {
		return c.virtual.read()
	}
	return c.wall().UTC()
}

// Until returns how long it is until the deadline of a context.
func (c *Clock) Until(deadline time.Time) time.Duration {
	if c.virtual != nil {
		return deadline.Sub(c.virtual.read())
	}
	return time.Until(deadline)
}

// Sleep blocks for a time, or until ctx ends. It then returns the error of ctx.
func (c *Clock) Sleep(ctx context.Context, d time.Duration) error {
	if c.virtual != nil {
		return c.virtual.sleep(ctx, d)
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// WithTimeout is context.WithTimeout on this clock.
func (c *Clock) WithTimeout(ctx context.Context, d time.Duration) (context.Context, context.CancelFunc) {
	if c.virtual != nil {
		return c.virtual.withDeadline(ctx, c.Now().Add(d), nil)
	}
	return context.WithTimeout(ctx, d)
}

// WithDeadlineCause is context.WithDeadlineCause on this clock.
func (c *Clock) WithDeadlineCause(ctx context.Context, at time.Time, cause error) (context.Context, context.CancelFunc) {
	if c.virtual != nil {
		return c.virtual.withDeadline(ctx, at, cause)
	}
	return context.WithDeadlineCause(ctx, at, cause)
}

// WithCancelCause is context.WithCancelCause on this clock. On a virtual clock the
// context ends at the time of the cancellation.
func (c *Clock) WithCancelCause(ctx context.Context) (context.Context, context.CancelCauseFunc) {
	if c.virtual != nil {
		return c.virtual.withCancel(ctx)
	}
	return context.WithCancelCause(ctx)
}

// Jitter returns a random duration of at most d. On a virtual clock it is d, so
// that times are the same in every run.
func (c *Clock) Jitter(d time.Duration) time.Duration {
	if c.virtual != nil {
		return d
	}
	return rand.N(d + 1)
}
