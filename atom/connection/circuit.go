package connection

import (
	"context"
	"strings"
	"sync"
	"time"

	"github.com/failsafe-go/failsafe-go/circuitbreaker"

	"valence/internal/fault"
	"valence/processes"
)

// The states of a circuit.
const (
	Closed  = "closed"
	Open    = "open"
	Probing = "probing"
)

// probeGrace delays a probe beyond the time at which the breaker admits it, so
// that it is not refused.
const probeGrace = 5 * time.Millisecond

// releaseBatch is how many held executions one commit releases.
const releaseBatch = 256

// Circuit refuses calls of a system that is down. It opens after a number
// of consecutive failures that indicate an outage. While it is open, durable
// executions that need the connection are held, and callers are refused. From
// time to time one execution is released to probe the system. When its call
// succeeds, all are released in the order in which they were accepted.
type Circuit struct {
	host    *Host
	name    string
	delay   time.Duration
	breaker circuitbreaker.CircuitBreaker[any] // nil: it never opens

	recording sync.Mutex // of a failure, so that one of several opens the circuit

	mu      sync.Mutex
	since   time.Time // when it opened; zero: it is closed
	cause   string    // of the last failure
	probe   int64     // Seq of the last execution that was released to probe
	timer   *time.Timer
	retired bool
}

func newCircuit(host *Host, name string, limits processes.Circuit) *Circuit {
	c := &Circuit{host: host, name: name, delay: limits.Probe}
	if limits.Failures > 0 {
		// With a success threshold one call at a time probes, and one failure
		// opens the circuit again.
		c.breaker = circuitbreaker.NewBuilder[any]().WithFailureThreshold(uint(limits.Failures)).WithSuccessThreshold(1).WithDelay(limits.Probe).
			OnStateChanged(func(e circuitbreaker.StateChangedEvent) { c.changed(e.NewState) }).Build()
	}
	return c
}

const holdPrefix = "connection "

// HoldName returns the name under which executions are held for a connection.
func HoldName(connection string) string { return holdPrefix + connection }

// HeldConnection returns the connection of a HoldName.
func HeldConnection(hold string) string { return strings.TrimPrefix(hold, holdPrefix) }

// HoldName returns the name under which executions are held for the circuit.
func (c *Circuit) HoldName() string { return HoldName(c.name) }

// Refuses reports whether calls are refused now. It does not take the place of
// a probe.
func (c *Circuit) Refuses() bool {
	return c.breaker != nil && c.breaker.IsOpen() && c.breaker.RemainingDelay() > 0
}

// enter reports whether a call may be made, and whether it probes the system.
// A call that entered must leave.
func (c *Circuit) enter() (entered, probing bool) {
	if c.breaker == nil {
		return true, false
	}
	entered = c.breaker.TryAcquirePermit()
	return entered, entered && c.breaker.IsHalfOpen()
}

// leave records how a call ended. An interrupted call says nothing of the system.
// It reports whether the call counts as an attempt: one that met an outage the
// circuit knows of does not.
func (c *Circuit) leave(fail *fault.Failure, interrupted, probing bool) (counts bool) {
	switch {
	case c.breaker == nil:
	case fail == nil || !outage(fail) && !interrupted:
		c.breaker.RecordSuccess()
	case interrupted && !probing:
	default:
		c.mu.Lock()
		c.cause = fail.Code + ": " + fail.Message
		c.mu.Unlock()
		c.recording.Lock()
		defer c.recording.Unlock()
		counts = c.breaker.IsClosed() && !probing || !outage(fail)
		c.breaker.RecordFailure()
		return counts
	}
	return true
}

// outage reports whether a failure indicates that the system is down, rather
// than a problem with one message.
func outage(f *fault.Failure) bool {
	switch f.Code {
	case fault.CodeTimeout, fault.CodeConnect, fault.CodeAborted:
		return f.Retryable
	}
	return f.Retryable && (f.Status == 502 || f.Status == 503 || f.Status == 504)
}

// changed is called by the breaker, in the call that changed its state.
func (c *Circuit) changed(now circuitbreaker.State) {
	c.mu.Lock()
	opened := now == circuitbreaker.OpenState && c.since.IsZero()
	switch {
	case opened:
		c.since = time.Now().UTC()
	case now == circuitbreaker.ClosedState:
		c.since, c.probe = time.Time{}, 0
	}
	cause := c.cause
	c.mu.Unlock()
	stats := c.host.Metrics.Connection(c.name)
	switch now {
	case circuitbreaker.OpenState:
		stats.Circuit(1)
		if opened {
			c.host.Log.Warn("circuit opened; executions that need the connection are held", "connection", c.name, "cause", cause)
		}
		c.schedule(c.delay + probeGrace)
	case circuitbreaker.HalfOpenState:
		stats.Circuit(2)
		c.schedule(c.delay)
	default:
		stats.Circuit(0)
		c.host.Log.Info("circuit closed; held executions continue", "connection", c.name)
		c.schedule(0)
	}
}

// schedule sets when held executions are released next.
func (c *Circuit) schedule(after time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.retired {
		return
	}
	if c.timer != nil {
		c.timer.Stop()
	}
	c.timer = time.AfterFunc(after, c.release)
}

// release releases one held execution to probe, or all once the circuit is closed.
func (c *Circuit) release() {
	if !c.host.Running() {
		return
	}
	ctx := context.WithoutCancel(c.host.Work)
	var err error
	if c.breaker == nil || c.breaker.IsClosed() {
		err = c.releaseAll(ctx)
	} else {
		err = c.releaseOne(ctx)
		c.schedule(c.delay)
	}
	if err != nil {
		c.host.Log.Error("cannot release held executions; trying again", "connection", c.name, "error", err)
		c.schedule(max(c.delay, time.Second))
	}
}

func (c *Circuit) releaseAll(ctx context.Context) error {
	for after := int64(0); ; {
		last, n, err := c.host.Holds.Release(ctx, c.HoldName(), after, releaseBatch)
		if err != nil || n < releaseBatch {
			return err
		}
		after = last
	}
}

// releaseOne releases the next held execution after the last one, so that an
// execution which fails for its own reasons does not keep the circuit open.
func (c *Circuit) releaseOne(ctx context.Context) error {
	c.mu.Lock()
	after := c.probe
	c.mu.Unlock()
	last, n, err := c.host.Holds.Release(ctx, c.HoldName(), after, 1)
	if err == nil && n == 0 && after > 0 {
		last, _, err = c.host.Holds.Release(ctx, c.HoldName(), 0, 1)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.probe = last
	return err
}

// ProbeFirst makes the circuit probe before it admits other calls, because
// executions are held for it from before.
func (c *Circuit) ProbeFirst() {
	if c.breaker != nil && c.breaker.IsClosed() {
		c.mu.Lock()
		c.since, c.cause = time.Now().UTC(), "executions were held for it before"
		c.mu.Unlock()
		c.breaker.HalfOpen()
	}
	c.schedule(0)
}

// ReleaseLate releases an execution that was suspended for the circuit if the
// circuit closed before the suspension was committed.
func (c *Circuit) ReleaseLate() {
	if c.breaker == nil || c.breaker.IsClosed() {
		c.schedule(0)
	}
}

func (c *Circuit) retire() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.retired = true
	if c.timer != nil {
		c.timer.Stop()
	}
}

// View is a connection as operators see it.
type View struct {
	Connection string     `json:"connection"`
	Circuit    string     `json:"circuit"` // closed, open, probing
	Since      *time.Time `json:"since,omitempty"`
	Cause      string     `json:"cause,omitempty"`
	NextProbe  *time.Time `json:"next_probe,omitempty"`
	Held       int64      `json:"held"` // executions
}

// View returns the state of the circuit, without Held.
func (c *Circuit) View() *View {
	v := &View{Connection: c.name, Circuit: Closed}
	if c.breaker == nil || c.breaker.IsClosed() {
		return v
	}
	c.mu.Lock()
	since := c.since
	v.Cause = c.cause
	c.mu.Unlock()
	v.Since, v.Circuit = &since, Probing
	if c.breaker.IsOpen() {
		v.Circuit = Open
		next := time.Now().Add(c.breaker.RemainingDelay()).UTC().Truncate(time.Millisecond)
		v.NextProbe = &next
	}
	return v
}

// Failure returns the failure of a call that the circuit refused.
func (c *Circuit) Failure() *fault.Failure {
	c.mu.Lock()
	cause := c.cause
	c.mu.Unlock()
	f := &fault.Failure{Code: fault.CodeCircuit, Source: fault.FromConnector, Message: "the connection " + c.name + " is down and is not called for now"}
	if cause != "" {
		f.Message += " (" + cause + ")"
	}
	if c.breaker != nil {
		f.RetryAfter = max(c.breaker.RemainingDelay(), time.Second)
	}
	return f
}
