package sqlite

import (
	"sync"
	"sync/atomic"
	"time"
)

// A step of the wall clock of more than maxStep is not believed: what was kept
// for a time might otherwise be purged at once. It is believed after a day.
const (
	maxStep    = 5 * time.Second
	believedAt = 24 * time.Hour
)

// clock tells the time by the wall clock, without its jumps.
type clock struct {
	wall  func() time.Time // with the monotonic reading
	jumps atomic.Int64

	mu     sync.Mutex
	start  time.Time     // wall clock with monotonic reading
	drift  time.Duration // of the wall clock since, as far as it is believed
	since  time.Time     // of a jump that is not believed; zero: none
	jumped time.Duration // where it jumped to
}

func newClock(wall func() time.Time) *clock {
	if wall == nil {
		wall = time.Now
	}
	return &clock{wall: wall, start: wall()}
}

// now is the time for deciding what is over.
func (c *clock) now() time.Time {
	t := c.wall()
	elapsed := time.Since(c.start)
	d := t.Round(0).Sub(c.start.Round(0)) - elapsed // of the wall clock from the monotonic one
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case (d - c.drift).Abs() <= maxStep:
		c.drift, c.since = d, time.Time{}
	case c.since.IsZero() || (d-c.jumped).Abs() > maxStep:
		c.since, c.jumped = time.Now(), d
		c.jumps.Add(1)
	case time.Since(c.since) > believedAt:
		c.drift, c.since = d, time.Time{}
	default:
		c.jumped = d
	}
	return c.start.Round(0).Add(elapsed + c.drift).UTC()
}

// steady reports whether the clock has not jumped lately.
func (c *clock) steady() bool {
	c.now()
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.since.IsZero()
}
