package atom

import (
	"runtime"
	"time"
)

// When senders crowd, processor time is what they wait for, and an execution
// that runs now makes them wait for what could run a moment later. So a worker
// gives way to them before it takes the next one: for up to seven times what
// the one before took, so that executions keep an eighth of their speed at
// least, and never for longer than longestWay, so that those that wait for
// other systems lose nothing that counts. What is deferred is on disk already,
// and `backlog` bounds it.
const (
	wayShare   = 7
	longestWay = 60 * time.Millisecond
)

// crowd is how many senders wait for their acknowledgement at once when they
// crowd.
var crowd = int64(8 * runtime.GOMAXPROCS(0))

// giveWay lets senders go first, after an execution that took so long.
func (a *Atom) giveWay(took time.Duration) {
	if a.taking.Load() < crowd || a.stopping.Load() {
		return
	}
	time.Sleep(min(wayShare*took, longestWay))
}
