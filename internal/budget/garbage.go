package budget

import (
	"runtime"
	"runtime/metrics"
	"sync"
	"sync/atomic"
)

// minCollect is the smallest reservation that may have to wait for the garbage
// collector. Smaller ones leave that to its own pace.
const minCollect = 64 << 10

// garbage counts the bytes that shares have returned since the last collection.
type garbage struct {
	bytes atomic.Int64

	mu     sync.Mutex
	cycles uint64 // of the collector when bytes was reset
}

// collect runs the garbage collector if limit bytes were returned since it last
// ran. Reservations wait until it has finished.
func (g *garbage) collect(limit int64) {
	if limit == 0 || g.bytes.Load() < limit {
		return
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.bytes.Load() < limit { // another reservation has waited for it
		return
	}
	g.bytes.Store(0)
	// A cycle that began before the bytes were returned may have kept them: only the second one
	// since the last reset has certainly freed them.
	if n := cycles(); n < g.cycles+2 {
		runtime.GC()
	}
	g.cycles = cycles()
}

// cycles returns how many collections the program has completed.
func cycles() uint64 {
	sample := []metrics.Sample{{Name: "/gc/cycles/total:gc-cycles"}}
	metrics.Read(sample)
	return sample[0].Value.Uint64()
}
