package run

import (
	"context"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"log/slog"
	"math/rand/v2"
	"slices"
	"strconv"
	"time"

	"valence/atom/connection"
	"valence/atom/steps"
	"valence/atom/store"
	"valence/connectors"
	"valence/internal/blob"
	"valence/internal/clock"
	"valence/internal/document"
	"valence/internal/fault"
	"valence/processes"
)

// holdTime is how long an execution whose connection is not deployed waits
// before it looks again.
const holdTime = time.Minute

// Call performs a call, unless an earlier run finished it. A failed attempt
// that may be repeated suspends a durable execution. In memory it waits, if the
// deadline leaves time for that.
func (e *execution) Call(f *steps.Frame, c *steps.Call) (*connectors.Result, error) {
	x := callRun{execution: e, f: f, c: c, key: f.Key()}
	if c.Mark != nil {
		return x.doMarked()
	}
	return x.do()
}

// callRun is one occurrence of a call in a run.
type callRun struct {
	*execution
	f   *steps.Frame
	c   *steps.Call
	key string // of the occurrence in the journal
}

// do performs the call.
func (x callRun) do() (*connectors.Result, error) {
	if entry, ok := x.journaled(KindCall, x.key); ok {
		r, err := x.replay(entry)
		if err == nil && x.isOwn(entry) {
			x.countWritten(x.key, x.c)
		}
		return r, err
	}
	if err := x.refuse(x.f, x.refusal()); err != nil {
		return nil, err
	}
	var before attempt
	if entry, ok := x.journaled(KindAttempt, x.key); ok {
		if err := json.Unmarshal(entry.Body, &before); err != nil {
			return nil, mismatch(x.key, err)
		}
		if left := before.Due.Sub(x.engine.Clock.Now()); left > 0 {
			if x.Cancelled() == nil {
				return nil, retryAt(before.Due, before.N+1)
			}
			if err := x.engine.Clock.Sleep(x.f.Context(), left); err != nil {
				return nil, err
			}
		}
	}
	conn, ok := x.engine.Deployments.Connection(x.plan.Release, x.c.Operation.Connection)
	if !ok {
		return nil, x.connectionGone()
	}
	var cacheKey [16]byte
	if x.c.Cache > 0 {
		cacheKey = Derive(x.c.Operation.Operation.Name, string(document.AppendJSON(nil, orNull(x.c.Settings))))
		if r, ok := conn.Cache.Get(cacheKey, x.engine.Clock.Now()); ok {
			return r, x.appendResult(r, nil)
		}
	}
	if x.durable && conn.Circuit.Refuses() && !x.c.Unheld {
		if err := x.held(conn.Circuit); err != nil {
			return nil, err
		}
	}
	if x.durable { // earlier work of this path is committed before the call starts
		if err := x.flush(); err != nil {
			return nil, err
		}
	}
	r, err := x.try(conn, before.N+1)
	if err != nil {
		return nil, err
	}
	x.countWritten(x.key, x.c)
	if x.c.Cache > 0 {
		conn.Cache.Put(cacheKey, r, x.engine.Clock.Now(), x.c.Cache)
	}
	if x.c.Paged {
		return r, nil
	}
	return r, x.appendResult(r, nil)
}

// try makes attempts, beginning with number n, until one succeeds, none may
// follow, or the execution is suspended until the next.
func (x callRun) try(conn *connection.Connection, n int) (*connectors.Result, error) {
	policy := x.retryPolicy()
	for ; ; n++ {
		r, fail, counts := x.attempt(conn, n)
		if fail == nil {
			return r, nil
		}
		if x.f.Context().Err() != nil {
			return nil, x.interrupted(fail)
		}
		if x.durable && !counts && !x.c.Unheld {
			if err := x.held(conn.Circuit); err != nil {
				return nil, err
			}
			n--
			continue
		}
		wait, again := policy.next(n, fail, x.engine.Clock.Jitter)
		again = again && (counts || !x.c.Unheld) // an open circuit that does not hold ends the call
		if !again {
			if err := x.appendResult(nil, fail); err != nil {
				return nil, err
			}
			return nil, fail
		}
		x.logFailure(slog.LevelWarn, "call failed; trying again", x.key, fail, "attempt", n, "wait", wait.Round(time.Millisecond))
		if x.durable {
			if err := x.suspend(n, x.engine.Clock.Now().Add(wait), fail); x.Cancelled() == nil || !isSuspended(err) {
				return nil, err
			}
		}
		if deadline, ok := x.f.Context().Deadline(); ok && x.engine.Clock.Until(deadline) < wait {
			return nil, fail
		}
		if x.engine.Clock.Sleep(x.f.Context(), wait) != nil {
			return nil, fail // the frame knows why its context ended
		}
	}
}

// refusal describes the call to those who read that its execution was cancelled.
func (x callRun) refusal() string {
	if x.repeats {
		return "this call could be made again; whether it was made before the atom stopped is not known"
	}
	return "this call"
}

// interrupted returns the failure of a call whose context ended. The journal
// records a call that a cancellation interrupted, so that no run makes it again.
func (x callRun) interrupted(fail *fault.Failure) error {
	var why *fault.Failure
	if !x.durable || !errors.As(clock.Cause(x.f.Context()), &why) || why.Code != fault.CodeCancelled {
		return fail // the frame knows why its context ended
	}
	unknown := *why
	unknown.Message, unknown.Cause = why.Message+" during this call, whose outcome is not known", fail
	if err := x.appendResult(nil, &unknown); err != nil {
		return err
	}
	return &unknown
}

// circuitPoll is how often the `finally` of a cancelled execution tries again
// while a circuit is open.
const circuitPoll = 250 * time.Millisecond

// held suspends the execution until the circuit releases it. The `finally` of a
// cancelled one, whose time is bounded, waits instead.
func (x callRun) held(c *connection.Circuit) error {
	if x.Cancelled() == nil {
		return heldBy(c)
	}
	for {
		if x.engine.Clock.Sleep(x.f.Context(), circuitPoll) != nil {
			return c.Failure()
		}
		if !c.Refuses() {
			return nil
		}
	}
}

func isSuspended(err error) bool {
	_, ok := err.(*steps.Suspended)
	return ok
}

func orNull(o *document.Object) any {
	if o == nil {
		return nil
	}
	return o
}

// replay returns the journaled result of a call.
func (x callRun) replay(entry store.Entry) (*connectors.Result, error) {
	r, fail, err := unpackCall(entry.Body)
	if err != nil {
		return nil, mismatch(entry.Path, err)
	}
	x.f.AdvanceClock(entry.At)
	if fail != nil {
		return nil, fail
	}
	return r, nil
}

func mismatch(key string, err error) error {
	return &fault.Failure{Code: fault.CodeJournalMismatch, Source: fault.FromAtom, Message: "the journal does not match the plan at " + key, Cause: err}
}

// appendResult appends the final result of a call to the journal.
func (x callRun) appendResult(r *connectors.Result, fail *fault.Failure) error {
	at := x.clock(x.f)
	x.f.AdvanceClock(at)
	if !x.durable && x.plan.Process.Pattern != processes.EarlyReply {
		return nil // nothing reads it: the trace shows it
	}
	if r != nil && len(x.redact) > 0 && x.durable {
		r.Doc = redacted(r.Doc, x.redact)
	}
	body, err := packCall(r, fail)
	if err != nil {
		return err
	}
	return x.appendEntry(store.Entry{Path: x.key, Kind: KindCall, At: at, Body: body}, nil)
}

// suspend commits that attempt n failed and when the next one is due.
func (x callRun) suspend(n int, due time.Time, fail *fault.Failure) error {
	body, err := json.Marshal(attempt{N: n, Due: due, Failure: storedFailure(fail)})
	if err != nil {
		return err
	}
	if err := x.flush(store.Entry{Path: x.key, Kind: KindAttempt, At: x.engine.Clock.Wall(), Body: body}); err != nil {
		return err
	}
	return retryAt(due, n+1)
}

func retryAt(due time.Time, attempt int) *steps.Suspended {
	return &steps.Suspended{Due: due, Reason: "attempt " + strconv.Itoa(attempt)}
}

// heldBy suspends the execution until the circuit releases it. That is not an
// attempt.
func heldBy(c *connection.Circuit) *steps.Suspended {
	return &steps.Suspended{Held: c.Failure().Message, For: []string{c.HoldName()}}
}

// attempt makes attempt n of a call; see connection.Call.
func (x callRun) attempt(conn *connection.Connection, n int) (_ *connectors.Result, fail *fault.Failure, counts bool) {
	op := x.c.Operation.Operation
	body, err := x.c.Body, error(nil)
	if body != nil && !op.Files {
		if body, err = blob.Inline(x.f.Context(), body); err != nil {
			return nil, fault.AsFailure(err), true
		}
	}
	with, err := x.c.Loaded(x.f.Context())
	if err != nil {
		return nil, fault.AsFailure(err), true
	}
	call := &connectors.Call{
		Body: body, Accept: x.c.Accept, Namespaces: x.f.Process().Namespaces,
		CorrelationID: x.meta.Correlation, Traceparent: newSpan(x.meta.Trace), Paged: x.c.Paged, Page: x.c.Page,
	}
	if !op.Safe {
		call.IdempotencyKey = x.idempotencyKey(x.key)
	}
	if x.engine.Calls != nil {
		replaced := *op
		replaced.Run = func(ctx context.Context, _ connectors.Connection, _ any, call *connectors.Call) (*connectors.Result, error) {
			return x.engine.Calls.Call(ctx, &Attempt{Execution: x.seq, Key: x.key, Number: n, Frame: x.f, Of: x.c, Call: call})
		}
		op = &replaced
	}
	if x.durable && x.epoch != 0 {
		op = x.leased(op)
	}
	return conn.Call(x.f.Context(), op, with, call, x.c.Timeout)
}

// leased returns an operation that checks the lease of the run right before it
// calls the other system, after the waits for a slot and for the rate. Without
// the lease it ends the run: another member may run the execution.
func (x callRun) leased(op *connectors.Operation) *connectors.Operation {
	checked := *op
	checked.Run = func(ctx context.Context, c connectors.Connection, with any, call *connectors.Call) (*connectors.Result, error) {
		if !x.engine.Store.Holds(x.epoch) {
			x.run.interrupt()
			return nil, context.Cause(x.f.Context())
		}
		return op.Run(ctx, c, with, call)
	}
	return &checked
}

// connectionGone suspends a durable execution whose connection is not deployed
// any more. In memory the call fails.
func (x callRun) connectionGone() error {
	name := Qualify(x.plan.Release, x.c.Operation.Connection)
	text := "the connection " + name + " is not deployed any more"
	if x.durable && x.Cancelled() == nil {
		return &steps.Suspended{Due: x.engine.Clock.Now().Add(holdTime), For: []string{connection.HoldName(name)}, Held: text}
	}
	return &fault.Failure{Code: fault.CodeUnavailable, Source: fault.FromConnector, Message: text}
}

// retryPolicy is the retry policy of a call.
type retryPolicy struct{ *processes.Retry }

func (x callRun) retryPolicy() retryPolicy {
	return retryPolicy{processes.RetryOf(x.c.Retry, x.f.Process(), &x.plan.Project.Defaults, x.durable)}
}

// next returns how long to wait after attempt n failed, and whether there is
// another attempt.
func (p retryPolicy) next(n int, f *fault.Failure, jitter func(time.Duration) time.Duration) (time.Duration, bool) {
	if n >= p.MaxAttempts || !f.Retryable || !p.covers(f) {
		return 0, false
	}
	wait := p.Backoff
	for i := 1; i < n && wait < p.MaxBackoff; i++ {
		wait *= 2
	}
	if p.MaxBackoff > 0 {
		wait = min(wait, p.MaxBackoff)
	}
	if p.Jitter && wait > 0 {
		wait = wait/2 + jitter(wait/2)
	}
	return max(wait, f.RetryAfter), true
}

// covers reports whether `retry_on` includes a failure.
func (p retryPolicy) covers(f *fault.Failure) bool {
	if p.RetryOn == nil {
		return true
	}
	return slices.ContainsFunc(p.RetryOn, f.Matches)
}

// newSpan returns the trace context of a new span in the trace of parent (W3C
// Trace Context: version-trace-span-flags).
func newSpan(parent string) string {
	if len(parent) != 55 {
		return ""
	}
	var b [8]byte
	binary.BigEndian.PutUint64(b[:], rand.Uint64()|1)
	return parent[:36] + hex.EncodeToString(b[:]) + parent[52:]
}
