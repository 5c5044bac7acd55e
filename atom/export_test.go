package atom

import (
	"time"

	"valence/atom/trigger"
)

// SetClock sets the wall clock ahead of the elapsed time. It must be called
// before Run; the result of ahead may change at any time.
func (a *Atom) SetClock(ahead func() time.Duration) {
	clock := a.scheduler.Clock
	a.scheduler.Clock = func() trigger.Instant {
		i := clock()
		i.Wall = i.Wall.Add(ahead())
		return i
	}
}
