package server

import (
	"os"
	"runtime"
	"runtime/debug"
	"runtime/metrics"

	"valence/internal/budget"
)

// The pace of the garbage collector. An atom's live heap is small, but every
// message leaves garbage: a few MiB save processor time. If documents make the
// heap large, the usual pace bounds the memory of the process.
const (
	smallHeapPercent = 300
	largeHeapPercent = 100
	garbageAllowed   = 192 << 20 // between the two
)

// TuneGC sets the garbage collector for servers, unless GOGC is set. It also
// makes it collect more often when the process uses three quarters of the memory
// it may use, unless GOMEMLIMIT is set.
func TuneGC() {
	if os.Getenv("GOMEMLIMIT") == "" {
		debug.SetMemoryLimit(budget.Machine() / 4 * 3)
	}
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(smallHeapPercent)
		afterEachCollection(smallHeapPercent)
	}
}

// gcPercent returns the pace for a live heap of some bytes.
func gcPercent(live uint64) int {
	if live == 0 {
		return smallHeapPercent
	}
	return int(min(smallHeapPercent, max(largeHeapPercent, 100*garbageAllowed/live)))
}

// afterEachCollection adjusts the pace to the live heap. Setting it stops the
// program for a moment, so small differences are ignored.
func afterEachCollection(percent int) {
	runtime.AddCleanup(new([16]byte), func(percent int) {
		sample := []metrics.Sample{{Name: "/gc/heap/live:bytes"}}
		metrics.Read(sample)
		if want := gcPercent(sample[0].Value.Uint64()); want*4 < percent*3 || want*3 > percent*4 || want != percent && (want == smallHeapPercent || want == largeHeapPercent) {
			debug.SetGCPercent(want)
			percent = want
		}
		afterEachCollection(percent)
	}, percent)
}
