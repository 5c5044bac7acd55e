package atom

import (
	"context"
	"sort"
	"strings"
	"sync"
	"time"

	"github.com/failsafe-go/failsafe-go/circuitbreaker"

	"valence/internal/fault"
	"valence/processes"
)

// How a circuit stands.
const (
	CircuitClosed  = "closed"
	CircuitOpen    = "open"
	CircuitProbing = "probing"
)

// probeGrace is how much later than the breaker allows it a probe is let go,
// so that it is not refused.
const probeGrace = 5 * time.Millisecond

// releaseBatch is how many held executions one commit releases.
const releaseBatch = 256

// circuit keeps calls from a system that is known to be down. It opens after
// several failures in a row that say so. While it is open, durable executions
// that need the connection are held, and callers are refused. From time to
// time one execution is let go to probe; when its call succeeds, all are, in
// the order in which they were accepted.
type circuit struct {
	atom    *Atom
	name    string
	delay   time.Duration
	breaker circuitbreaker.CircuitBreaker[any] // nil: it never opens

	mu      sync.Mutex
	since   time.Time // when it opened; zero: it is closed
	cause   string    // of the last failure
	probe   int64     // Seq of the last execution that was let go to probe
	timer   *time.Timer
	retired bool
}

func (a *Atom) newCircuit(name string, limits processes.Circuit) *circuit {
	c := &circuit{atom: a, name: name, delay: limits.Probe}
	if limits.Failures > 0 {
		// With a success threshold one call at a time probes, and one failure
		// opens the circuit again.
		c.breaker = circuitbreaker.NewBuilder[any]().WithFailureThreshold(uint(limits.Failures)).WithSuccessThreshold(1).WithDelay(limits.Probe).
			OnStateChanged(func(e circuitbreaker.StateChangedEvent) { c.changed(e.NewState) }).Build()
	}
	return c
}

// holdName is what executions are held for.
func (c *circuit) holdName() string { return "connection " + c.name }

// refuses tells whether calls are kept away now, without taking the place of a probe.
func (c *circuit) refuses() bool {
	return c.breaker != nil && c.breaker.IsOpen() && c.breaker.RemainingDelay() > 0
}

// enter asks for a call. Who got in must tell how it went with left. probing
// says that the call finds out whether the system is back.
func (c *circuit) enter() (in, probing bool) {
	if c.breaker == nil {
		return true, false
	}
	in = c.breaker.TryAcquirePermit()
	return in, in && c.breaker.IsHalfOpen()
}

// left tells how a call went; interrupted ones tell nothing of the system.
func (c *circuit) left(fail *fault.Failure, interrupted, probing bool) {
	switch {
	case c.breaker == nil:
	case fail == nil || !outage(fail) && !interrupted:
		c.breaker.RecordSuccess()
	case interrupted && !probing:
	default:
		c.mu.Lock()
		c.cause = fail.Code + ": " + fail.Message
		c.mu.Unlock()
		c.breaker.RecordFailure()
	}
}

// outage tells failures of a system that is down from those of one message.
func outage(f *fault.Failure) bool {
	switch f.Code {
	case fault.CodeTimeout, fault.CodeConnect, fault.CodeAborted:
		return f.Retryable
	}
	return f.Retryable && (f.Status == 502 || f.Status == 503 || f.Status == 504)
}

// changed is told by the breaker, in the call that changed it.
func (c *circuit) changed(now circuitbreaker.State) {
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
	counted := c.atom.metrics.Connection(c.name)
	switch now {
	case circuitbreaker.OpenState:
		counted.Circuit(1)
		if opened {
			c.atom.log.Warn("a connection's circuit opened; what needs it is held", "connection", c.name, "cause", cause)
		}
		c.arm(c.delay + probeGrace)
	case circuitbreaker.HalfOpenState:
		counted.Circuit(2)
		c.arm(c.delay)
	default:
		counted.Circuit(0)
		c.atom.log.Info("a connection's circuit closed; what it held goes on", "connection", c.name)
		c.arm(0)
	}
}

// arm sets when the circuit is looked after next.
func (c *circuit) arm(after time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.retired {
		return
	}
	if c.timer != nil {
		c.timer.Stop()
	}
	c.timer = time.AfterFunc(after, c.look)
}

// look lets one execution go to probe, or all once the circuit is closed.
func (c *circuit) look() {
	if !c.atom.started.Load() || c.atom.stopping.Load() {
		return
	}
	ctx := context.WithoutCancel(c.atom.work)
	var err error
	if c.breaker == nil || c.breaker.IsClosed() {
		err = c.releaseAll(ctx)
	} else {
		err = c.letOneGo(ctx)
		c.arm(c.delay)
	}
	if err != nil {
		c.atom.log.Error("what a connection holds cannot be released; it is tried again", "connection", c.name, "error", err)
		c.arm(max(c.delay, time.Second))
	}
}

func (c *circuit) releaseAll(ctx context.Context) error {
	for after := int64(0); ; {
		last, n, err := c.atom.store.Release(ctx, c.holdName(), after, releaseBatch)
		if err != nil || n < releaseBatch {
			return err
		}
		after = last
	}
}

// letOneGo releases the next held execution, the first after the last: one
// that fails for itself does not keep the circuit open for ever.
func (c *circuit) letOneGo(ctx context.Context) error {
	c.mu.Lock()
	after := c.probe
	c.mu.Unlock()
	last, n, err := c.atom.store.Release(ctx, c.holdName(), after, 1)
	if err == nil && n == 0 && after > 0 {
		last, _, err = c.atom.store.Release(ctx, c.holdName(), 0, 1)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.probe = last
	return err
}

// suspect makes the circuit probe before anything else: an earlier one with
// its name held executions.
func (c *circuit) suspect() {
	if c.breaker != nil {
		c.mu.Lock()
		c.since, c.cause = time.Now().UTC(), "executions were held for it before"
		c.mu.Unlock()
		c.breaker.HalfOpen()
	}
	c.arm(0)
}

// heldMeanwhile is told that an execution was parked for the circuit, which
// may have closed before that was committed.
func (c *circuit) heldMeanwhile() {
	if c.breaker == nil || c.breaker.IsClosed() {
		c.arm(0)
	}
}

// heldMeanwhile is told of what an execution was parked for.
func (a *Atom) heldMeanwhile(what []string) {
	for _, w := range what {
		name := strings.TrimPrefix(w, "connection ")
		release := ""
		if at := strings.LastIndexByte(name, '/'); at >= 0 {
			release, name = name[:at], name[at+1:]
		}
		if c, ok := a.connection(release, name); ok {
			c.circuit.heldMeanwhile()
		}
	}
}

func (c *circuit) retire() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.retired = true
	if c.timer != nil {
		c.timer.Stop()
	}
}

// resumeHeld makes connections probe that executions are held for.
func (a *Atom) resumeHeld(ctx context.Context) error {
	held, err := a.store.HeldFor(ctx)
	if err != nil {
		return err
	}
	a.mu.RLock()
	defer a.mu.RUnlock()
	for _, c := range a.current.all() {
		if held[c.circuit.holdName()] > 0 {
			c.circuit.suspect()
		}
	}
	return nil
}

// ConnectionView is a connection as operators see it.
type ConnectionView struct {
	Connection string     `json:"connection"`
	Circuit    string     `json:"circuit"` // closed, open, probing
	Since      *time.Time `json:"since,omitempty"`
	Cause      string     `json:"cause,omitempty"`
	NextProbe  *time.Time `json:"next_probe,omitempty"`
	Held       int64      `json:"held"` // executions
}

// Connections tells how the deployed connections fare, by name; and those that
// are not deployed any more, but executions are held for.
func (a *Atom) Connections(ctx context.Context) ([]*ConnectionView, error) {
	held, err := a.store.HeldFor(ctx)
	if err != nil {
		return nil, err
	}
	views := []*ConnectionView{}
	a.mu.RLock()
	for _, c := range a.current.all() {
		v := c.circuit.view()
		v.Held = held[c.circuit.holdName()]
		delete(held, c.circuit.holdName())
		views = append(views, v)
	}
	a.mu.RUnlock()
	for what, n := range held {
		views = append(views, &ConnectionView{Connection: what[len("connection "):], Circuit: CircuitOpen, Cause: "it is not deployed any more", Held: n})
	}
	sort.Slice(views, func(i, j int) bool { return views[i].Connection < views[j].Connection })
	return views, nil
}

func (c *circuit) view() *ConnectionView {
	v := &ConnectionView{Connection: c.name, Circuit: CircuitClosed}
	if c.breaker == nil || c.breaker.IsClosed() {
		return v
	}
	c.mu.Lock()
	since := c.since
	v.Cause = c.cause
	c.mu.Unlock()
	v.Since, v.Circuit = &since, CircuitProbing
	if c.breaker.IsOpen() {
		v.Circuit = CircuitOpen
		next := time.Now().Add(c.breaker.RemainingDelay()).UTC().Truncate(time.Millisecond)
		v.NextProbe = &next
	}
	return v
}

// failure is why a call was not made.
func (c *circuit) failure() *fault.Failure {
	c.mu.Lock()
	cause := c.cause
	c.mu.Unlock()
	f := &fault.Failure{Code: fault.CodeCircuit, Origin: fault.FromConnector, Message: "the connection " + c.name + " is down and is not called for now"}
	if cause != "" {
		f.Message += " (" + cause + ")"
	}
	if c.breaker != nil {
		f.RetryAfter = max(c.breaker.RemainingDelay(), time.Second)
	}
	return f
}
