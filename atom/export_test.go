package atom

import "time"

// SetClock puts the clock on the wall ahead of the one that runs, or behind
// it, as somebody who sets it does. It must be called before Run; what it
// gives may change at any time.
func (a *Atom) SetClock(ahead func() time.Duration) {
	clock := a.clockwork.clock
	a.clockwork.clock = func() instant {
		i := clock()
		i.wall = i.wall.Add(ahead())
		return i
	}
}
