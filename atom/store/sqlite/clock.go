package sqlite

import (
	"sync"
	"sync/atomic"
	"time"
)

// The clock ignores jumps of the wall clock larger than maxJump until they have
// lasted for trustAfter. Otherwise a wrong date would purge everything at once.
const (
	maxJump    = 5 * time.Second
	trustAfter = 24 * time.Hour
)

// clock follows the wall clock, but ignores its jumps.
type clock struct {
	virtual func() time.Time // replaces all of this; nil: none
	wall    func() time.Time
	start   time.Time // by wall
	began   time.Time // includes the monotonic reading
	jumps   atomic.Int64

	mu     sync.Mutex
	drift  time.Duration // accepted difference between the wall clock and the monotonic clock since start
	since  time.Time     // when an ignored jump was seen; zero: none
	jumped time.Duration // drift after that jump
}

func newClock(wall func() time.Time) *clock {
	began := time.Now()
	if wall == nil {
		// A pause between two readings would make the clock late.
		return &clock{wall: time.Now, start: began.Round(0), began: began}
	}
	return &clock{wall: wall, start: wall().Round(0), began: began}
}

// now returns the time by which ages are computed, for purging.
func (c *clock) now() time.Time {
	if c.virtual != nil {
		return c.virtual()
	}
	t := c.wall()
	elapsed := time.Since(c.began)
	d := t.Round(0).Sub(c.start) - elapsed // drift of the wall clock
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case (d - c.drift).Abs() <= maxJump:
		c.drift, c.since = d, time.Time{}
	case c.since.IsZero() || (d-c.jumped).Abs() > maxJump:
		c.since, c.jumped = time.Now(), d
		c.jumps.Add(1)
	case time.Since(c.since) > trustAfter:
		c.drift, c.since = d, time.Time{}
	default:
		c.jumped = d
	}
	return c.start.Add(elapsed + c.drift).UTC()
}

// monotonic returns the time that deadlines are compared with. It begins at the
// time of the machine when the store is opened, and then follows no change of
// the machine's clock, like the clock by which the atom sets deadlines.
func (c *clock) monotonic() time.Time {
	if c.virtual != nil {
		return c.virtual()
	}
	return c.start.Add(time.Since(c.began)).UTC()
}

// steady reports whether there is no ignored jump.
func (c *clock) steady() bool {
	c.now()
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.since.IsZero()
}
