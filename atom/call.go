package atom

import (
	"context"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"math/rand/v2"
	"strconv"
	"strings"
	"time"

	"valence/atom/steps"
	"valence/connectors"
	"valence/internal/document"
	"valence/internal/fault"
	"valence/processes"
)

// heldFor is how long an execution whose connection is gone waits before it
// looks again.
const heldFor = time.Minute

// Call performs a call, unless an earlier run finished it. A failed attempt
// that may be made again parks a durable execution; in memory it waits, if the
// deadline leaves the time.
func (e *execution) Call(f *steps.Frame, c *steps.Call) (*connectors.Result, error) {
	key := f.Key()
	if x, ok := e.journaled(kindCall, key); ok {
		r, err := e.recall(f, x)
		if err == nil && e.own(x) {
			e.wrote(key, c)
		}
		return r, err
	}
	var before attempt
	if x, ok := e.journaled(kindAttempt, key); ok {
		if err := json.Unmarshal(x.Body, &before); err != nil {
			return nil, mismatch(key, err)
		}
		if time.Now().Before(before.Due) {
			return nil, &steps.Parked{Due: before.Due, Why: "attempt " + strconv.Itoa(before.N+1)}
		}
	}
	conn, ok := e.atom.connection(e.plan.release, c.Operation.Connection)
	if !ok {
		return nil, e.gone(c)
	}
	var cacheKey [16]byte
	if c.Cache > 0 {
		cacheKey = derive(c.Operation.Operation.Name, string(document.AppendJSON(nil, orNull(c.Settings))))
		if r, ok := conn.cache.get(cacheKey, time.Now()); ok {
			return r, e.finished(f, key, r, nil)
		}
	}
	if e.durable && conn.circuit.refuses() {
		return nil, e.heldBy(conn.circuit)
	}
	if e.durable { // what this path did so far is committed before the call starts
		if err := e.flush(); err != nil {
			return nil, err
		}
	}
	policy := e.policy(f, c)
	for n := before.N + 1; ; n++ {
		r, fail, spent := e.attempt(f, conn, c, key)
		if fail == nil {
			e.wrote(key, c)
			if c.Cache > 0 {
				conn.cache.put(cacheKey, r, time.Now(), c.Cache)
			}
			if c.Paged {
				return r, nil
			}
			return r, e.finished(f, key, r, nil)
		}
		if err := f.Context().Err(); err != nil {
			return nil, fail // the frame knows why its context ended
		}
		if e.durable && !spent {
			return nil, e.heldBy(conn.circuit)
		}
		wait, again := policy.next(n, fail)
		if !again {
			if err := e.finished(f, key, nil, fail); err != nil {
				return nil, err
			}
			return nil, fail
		}
		due := time.Now().Add(wait)
		if e.durable {
			return nil, e.park(key, n, due, fail)
		}
		if deadline, ok := f.Context().Deadline(); ok && due.After(deadline) {
			return nil, fail
		}
		timer := time.NewTimer(wait)
		select {
		case <-timer.C:
		case <-f.Context().Done():
			timer.Stop()
			return nil, fail
		}
	}
}

func orNull(o *document.Object) any {
	if o == nil {
		return nil
	}
	return o
}

// recall gives what an earlier run was answered.
func (e *execution) recall(f *steps.Frame, x Entry) (*connectors.Result, error) {
	r, fail, err := unpackCall(x.Body)
	if err != nil {
		return nil, mismatch(x.Path, err)
	}
	f.Happened(x.At)
	if fail != nil {
		return nil, fail
	}
	return r, nil
}

func mismatch(key string, err error) error {
	return &fault.Failure{Code: fault.CodeJournalMismatch, Origin: fault.FromAtom, Message: "the journal does not fit the plan at " + key, Cause: err}
}

// finished notes the final outcome of a call.
func (e *execution) finished(f *steps.Frame, key string, r *connectors.Result, fail *fault.Failure) error {
	at := e.clock(f)
	f.Happened(at)
	if !e.durable && e.plan.process.Pattern != processes.EarlyReply {
		return nil // nothing will read it: the trace shows it
	}
	if r != nil && len(e.redact) > 0 && e.durable {
		r.Doc = redacted(r.Doc, e.redact)
	}
	body, err := packCall(r, fail)
	if err != nil {
		return err
	}
	return e.note(Entry{Path: key, Kind: kindCall, At: at, Body: body}, nil)
}

// park commits that an attempt failed and when the next one is due.
func (e *execution) park(key string, n int, due time.Time, fail *fault.Failure) error {
	body, err := json.Marshal(attempt{N: n, Due: due, Failure: storedFailure(fail)})
	if err != nil {
		return err
	}
	if err := e.flush(Entry{Path: key, Kind: kindAttempt, At: time.Now().UTC(), Body: body}); err != nil {
		return err
	}
	return &steps.Parked{Due: due, Why: "attempt " + strconv.Itoa(n+1)}
}

// heldBy parks the execution until the circuit lets it go. It is no attempt.
func (e *execution) heldBy(c *circuit) error {
	return &steps.Parked{Held: c.failure().Message, For: []string{c.holdName()}}
}

// attempt makes a call once. It counts as one unless the circuit keeps it
// away, or it only found out that the system is still down.
func (e *execution) attempt(f *steps.Frame, conn *connection, c *steps.Call, key string) (_ *connectors.Result, fail *fault.Failure, spent bool) {
	ctx := f.Context()
	leave, err := conn.enter(ctx)
	if err != nil {
		return nil, fault.AsFailure(err), true
	}
	defer leave()
	in, probing := conn.circuit.enter()
	if !in {
		return nil, conn.circuit.failure(), false
	}
	defer func() { conn.circuit.left(fail, f.Context().Err() != nil, probing) }()
	timeout := conn.timeout
	if c.Timeout > 0 {
		timeout = c.Timeout
	}
	if deadline, ok := ctx.Deadline(); !ok || time.Until(deadline) > timeout {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, timeout)
		defer cancel()
	}
	call := &connectors.Call{
		Operation: c.Operation.Operation.Name, With: c.With, Body: c.Body, Accept: c.Accept,
		CorrelationID: e.meta.Correlation, Traceparent: spanOf(e.meta.Trace), Page: c.Page,
	}
	if !c.Operation.Operation.Safe {
		call.IdempotencyKey = e.idempotencyKey(key)
	}
	counted := e.atom.metrics.Connection(conn.name)
	counted.Start()
	start := time.Now()
	r, err := conn.open.Call(ctx, call)
	if err == nil {
		counted.Done(call.Operation, "ok", true, time.Since(start))
		return r, nil, true
	}
	fail = fault.AsFailure(err)
	if fail.Origin == "" {
		fail.Origin = fault.FromConnector
	}
	counted.Done(call.Operation, fail.Code, fail.Status != 0, time.Since(start))
	return nil, fail, !probing || !outage(fail)
}

// gone is what becomes of a call whose connection is not deployed any more:
// durable executions wait for it, callers do not.
func (e *execution) gone(c *steps.Call) error {
	name := qualified(e.plan.release, c.Operation.Connection)
	if e.durable {
		return &steps.Parked{Due: time.Now().Add(heldFor), For: []string{"connection " + name}, Held: "the connection " + name + " is not deployed any more"}
	}
	return &fault.Failure{Code: fault.CodeUnavailable, Origin: fault.FromConnector, Message: "the connection " + name + " is not deployed any more"}
}

type policy struct{ *processes.Retry }

// policy is the retry policy of a call.
func (e *execution) policy(f *steps.Frame, c *steps.Call) policy {
	return policy{processes.RetryOf(c.Retry, f.Process(), &e.plan.project.Defaults, e.durable)}
}

// next tells how long to wait before the attempt after the n-th, if there is to be one.
func (p policy) next(n int, f *fault.Failure) (time.Duration, bool) {
	if n >= p.MaxAttempts || !f.Retryable || !p.takes(f) {
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
		wait = wait/2 + rand.N(wait/2+1)
	}
	return max(wait, f.RetryAfter), true
}

func (p policy) takes(f *fault.Failure) bool {
	if p.RetryOn == nil {
		return true
	}
	status := strconv.Itoa(f.Status)
	for _, on := range p.RetryOn {
		if on == f.Code || f.Status != 0 && (on == status || len(on) == 3 && strings.HasSuffix(on, "xx") && on[0] == status[0]) {
			return true
		}
	}
	return false
}

// spanOf gives the trace context of a new span in the trace of parent (W3C
// Trace Context: version-trace-span-flags).
func spanOf(parent string) string {
	if len(parent) != 55 {
		return ""
	}
	var b [8]byte
	binary.BigEndian.PutUint64(b[:], rand.Uint64()|1)
	return parent[:36] + hex.EncodeToString(b[:]) + parent[52:]
}
