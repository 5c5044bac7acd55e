// Package linear checks that the cost of parsers and converters grows in
// proportion to their input.
package linear

import (
	"context"
	"fmt"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"
)

// Parser is a function that is fed with inputs of growing size. Errors are
// results too.
type Parser struct {
	Name   string
	Inputs map[string]func(n int) string // texts of about n units
	N      int                           // units of the smallest input
	Parse  func(ctx context.Context, text string)
}

// Many repeats a text n times; %d is the number of the repetition.
func Many(n int, text string) string {
	if !strings.Contains(text, "%d") {
		return strings.Repeat(text, n)
	}
	var b strings.Builder
	for i := range n {
		b.WriteString(strings.ReplaceAll(text, "%d", fmt.Sprint(i)))
	}
	return b.String()
}

// The inputs grow by a factor. Quadratic cost grows by its square; the bound
// between them leaves room for caches, growing buffers and a busy machine.
const (
	factor  = 8
	maximum = 28
	tooFast = 4 * time.Millisecond // too little time to measure
	tooFew  = 1 << 20              // likewise allocated bytes
)

// Check feeds every parser inputs that grow by a factor, and fails if the bytes
// it allocates or the processor time it needs grow much more. An input that
// outgrows the processor's cache makes the time jump once, so a jump counts only
// if the next factor causes one again.
func Check(t *testing.T, parsers []Parser) {
	t.Helper()
	for _, p := range parsers {
		for name, input := range p.Inputs {
			t.Run(p.Name+"/"+name, func(t *testing.T) {
				small, large := input(p.N), input(p.N*factor)
				if len(small) < 100 || len(large) < len(small)*factor/2 {
					t.Skip("the input does not grow")
				}
				if jump(t, p, small, large) == "" {
					return
				}
				if why := jump(t, p, large, input(p.N*factor*factor)); why != "" {
					t.Errorf("%s, want cost in proportion to the size", why)
				}
			})
		}
	}
}

// jump returns how the cost grows from a text to a larger one if it grows much
// more than their size. A busy machine can disturb one measurement, so it makes
// up to three.
func jump(t *testing.T, p Parser, small, large string) (why string) {
	t.Helper()
	for range 3 {
		a, b := measure(t, p, small), measure(t, p, large)
		switch {
		case b.bytes > tooFew && b.bytes > maximum*max(a.bytes, tooFew/factor):
			why = fmt.Sprintf("got %d bytes for %d and %d bytes for %d", a.bytes, len(small), b.bytes, len(large))
		case b.time > tooFast && b.time > maximum*max(a.time, tooFast/factor):
			why = fmt.Sprintf("got %v for %d bytes and %v for %d", a.time, len(small), b.time, len(large))
		default:
			return ""
		}
	}
	return why
}

type cost struct {
	bytes uint64
	time  time.Duration // of the processor, so that other programs do not count
}

// measure returns the cost of parsing a text, the least of two runs.
func measure(t *testing.T, p Parser, text string) cost {
	t.Helper()
	least := cost{1 << 62, 1 << 62}
	for range 2 {
		runtime.GC()
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		begin := processorTime(t)
		p.Parse(t.Context(), text)
		took := processorTime(t) - begin
		runtime.ReadMemStats(&after)
		least = cost{min(least.bytes, after.TotalAlloc-before.TotalAlloc), min(least.time, took)}
	}
	return least
}

// processorTime returns the time that this process has used.
func processorTime(t *testing.T) time.Duration {
	t.Helper()
	var usage syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &usage); err != nil {
		t.Fatal(err)
	}
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
}
