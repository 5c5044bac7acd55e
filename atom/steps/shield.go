package steps

import (
	"context"
	"sync"
	"time"

	"valence/internal/fault"
)

// FinallyGrace is how long the `finally` blocks of an execution may take
// together after it was cancelled or its deadline passed.
const FinallyGrace = 30 * time.Second

// Cancellation says whether an operator or the sender cancelled the execution.
type Cancellation interface {
	// Cancelled returns the failure of a cancelled execution; nil if it was not
	// cancelled. From then on effects that are not in the journal fail with it,
	// except in `finally`.
	Cancelled() *fault.Failure
	// Begun returns the indices of the elements of the running loop that have
	// entries in the journal of earlier runs.
	Begun(f *Frame) map[int]bool
}

// shield protects `finally` from the cancellation of its execution. Only the
// stop of the atom and the end of the grace period interrupt it.
type shield struct {
	life   context.Context // of the execution; its end interrupts every path
	grace  *grace          // shared by all paths
	raised bool
}

// UseLife sets the context that interrupts `finally`, too. Without it nothing
// but the grace period does.
func (f *Frame) UseLife(ctx context.Context) { f.life = ctx }

// Shielded reports whether the path is in a `finally`, which a cancellation does
// not interrupt.
func (f *Frame) Shielded() bool { return f.raised }

// raise shields the path, and returns the function that ends that.
func (f *Frame) raise() func() {
	if f.raised {
		return func() {}
	}
	outer := f.ctx
	ctx, cancel := context.WithCancelCause(f.life)
	release := func() {}
	if end, ok := outer.Deadline(); ok {
		ctx, release = f.rt.Clock().WithDeadlineCause(ctx, end.Add(FinallyGrace), graceOver)
	}
	begin := func() { f.grace.begin(cancel) }
	stop := context.AfterFunc(outer, func() {
		if context.Cause(outer) == abandoned { // the execution continues, so its own grace period does not begin
			(&grace{}).begin(cancel)
			return
		}
		begin()
	})
	if f.rt.Cancelled() != nil {
		begin()
	}
	f.ctx, f.env.Ctx, f.raised = ctx, ctx, true
	return func() {
		stop()
		f.ctx, f.env.Ctx, f.raised = outer, outer, false
		release()
		cancel(context.Canceled)
	}
}

// graceOver interrupts a `finally` after the grace period.
var graceOver error = &fault.Failure{Code: fault.CodeCancelled, Source: fault.FromAtom,
	Message: "the " + FinallyGrace.String() + " that `finally` has after a cancellation are over"}

// grace is the grace period of an execution. It begins with the first `finally`
// that a cancellation reaches.
type grace struct {
	mu    sync.Mutex
	until time.Time // zero: it has not begun
}

// begin begins the grace period unless it has begun, and cancels at its end.
func (g *grace) begin(cancel context.CancelCauseFunc) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.until.IsZero() {
		g.until = time.Now().Add(FinallyGrace)
	}
	time.AfterFunc(time.Until(g.until), func() { cancel(graceOver) })
}
