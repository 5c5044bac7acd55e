// Package connection guards the calls on deployed connections: it bounds their
// concurrency, rate and time, caches answers, and holds executions while a
// system is down.
package connection

import (
	"context"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/time/rate"

	"valence/connectors"
	"valence/internal/blob"
	"valence/internal/clock"
	"valence/internal/fault"
	"valence/internal/mask"
	"valence/internal/metrics"
	"valence/internal/share"
	"valence/processes"
)

// DefaultTimeout bounds one attempt of a call if neither the call nor the
// connection sets a timeout.
const DefaultTimeout = 30 * time.Second

// Holds releases the executions that are held for something.
type Holds interface {
	// Release is store.Holds'.
	Release(ctx context.Context, hold string, after int64, limit int) (last int64, n int, err error)
}

// Host holds the services that connections share.
type Host struct {
	Clock   *clock.Clock
	Holds   Holds
	Log     *slog.Logger
	Metrics *metrics.Metrics
	Masks   *mask.Set       // masks the failures of calls
	Work    context.Context // of releases: ends when the atom has stopped
	Running func() bool     // whether executions may be released
	Members func() int      // of the group, which share the limits; nil: 1
}

// members returns the number of members that share the limits.
func (h *Host) members() int {
	if h.Members == nil {
		return 1
	}
	return h.Members()
}

// Connection is an open connection with its bounds.
type Connection struct {
	Name    string // with its project
	Client  connectors.Connection
	Timeout time.Duration
	Circuit *Circuit
	Cache   Cache

	host    *Host
	limits  processes.ConnectionLimits
	slots   *slots        // nil: calls are not bounded
	pace    *rate.Limiter // nil: the rate is not bounded
	users   atomic.Int64
	retired atomic.Bool
	once    sync.Once // of close
}

// New returns a connection over an open client. Circuits with a zero limit
// never open.
func New(host *Host, name string, client connectors.Connection, limits processes.ConnectionLimits) *Connection {
	c := &Connection{Name: name, Client: client, Timeout: limits.Timeout, Circuit: newCircuit(host, name, limits.Circuit), host: host, limits: limits}
	if c.Timeout == 0 {
		c.Timeout = DefaultTimeout
	}
	if limits.Concurrency > 0 {
		c.slots = &slots{limit: func() int { return share.Of(limits.Concurrency, host.members()) }}
	}
	if limits.Rate > 0 {
		c.pace = rate.NewLimiter(0, 1)
	}
	c.Resized()
	return c
}

// Resized makes the limits follow the number of members that share them.
func (c *Connection) Resized() {
	if c.slots != nil {
		c.slots.resized()
	}
	if c.pace != nil {
		part := c.limits.Rate / float64(c.host.members())
		c.pace.SetLimit(rate.Limit(part))
		c.pace.SetBurst(max(1, int(part/10)))
	}
}

// Acquire prevents the connection from closing until Release.
func (c *Connection) Acquire() { c.users.Add(1) }

// Release ends a use. The last one closes a retired connection.
func (c *Connection) Release() {
	if c.users.Add(-1) == 0 && c.retired.Load() {
		c.close()
	}
}

// Call makes one attempt of an operation, for at most timeout (0: the connection's).
// It waits for a slot and for the rate first. The attempt does not count if the
// circuit refused it, or if it met an outage that the circuit knows of.
func (c *Connection) Call(ctx context.Context, op *connectors.Operation, with any, call *connectors.Call, timeout time.Duration) (_ *connectors.Result, fail *fault.Failure, counts bool) {
	leave, err := c.enter(ctx)
	if err != nil {
		return nil, fault.AsFailure(err), true
	}
	defer leave()
	entered, probing := c.Circuit.enter()
	if !entered {
		return nil, c.Circuit.Failure(), false
	}
	caller := ctx
	defer func() { counts = c.Circuit.leave(fail, caller.Err() != nil, probing) }()
	if timeout <= 0 {
		timeout = c.Timeout
	}
	if deadline, ok := ctx.Deadline(); !ok || c.host.Clock.Until(deadline) > timeout {
		var cancel context.CancelFunc
		ctx, cancel = c.host.Clock.WithTimeout(ctx, timeout)
		defer cancel()
	}
	stats := c.host.Metrics.Connection(c.Name)
	stats.Start()
	start := time.Now()
	r, err := op.Run(ctx, c.Client, with, call)
	if err == nil {
		stats.Done(op.Name, "ok", true, time.Since(start))
		return r, nil, true
	}
	fail = fault.AsFailure(err)
	if fail.Source == "" {
		fail.Source = fault.FromConnector
	}
	stats.Done(op.Name, fail.Code, fail.Status != 0, time.Since(start))
	fail = masked(fail, c.host.Masks)
	fail.Message = c.Name + "." + op.Name + ": " + fail.Message
	return nil, fail, true
}

// masked returns a copy of a failure without the secrets that the other system
// or the settings put into its texts.
func masked(f *fault.Failure, masks *mask.Set) *fault.Failure {
	out := *f
	out.Message, out.Body, out.Detail = masks.String(f.Message), masks.Body(f.Body), masks.Body(f.Detail)
	if cause, ok := f.Cause.(*fault.Failure); ok {
		out.Cause = masked(cause, masks)
	}
	for i, p := range f.Problems {
		if detail := masks.String(p.Detail); detail != p.Detail {
			out.Problems = append([]fault.Violation(nil), out.Problems...)
			out.Problems[i].Detail = detail
		}
	}
	return &out
}

// enter waits for a slot and for the rate, and returns the function that frees
// the slot. It fails only when ctx ends first, or would.
func (c *Connection) enter(ctx context.Context) (func(), error) {
	c.Acquire()
	leave := c.Release
	if c.slots != nil {
		if err := c.slots.enter(ctx); err != nil {
			leave()
			return nil, err
		}
		leave = func() { c.slots.leave(); c.Release() }
	}
	if c.pace != nil {
		if err := c.pace.Wait(ctx); err != nil {
			leave()
			return nil, &fault.Failure{Code: fault.CodeTimeout, Source: fault.FromConnector, Retryable: true,
				Message: "the rate limit of the connection does not admit this call in time", Cause: err}
		}
	}
	return leave, nil
}

func (c *Connection) close() { c.once.Do(func() { c.Client.Close() }) }

// Set is the connections of a deployment.
type Set []*Connection

// Retire closes connections once nothing uses them, at the latest after the
// grace period and the connection's timeout.
func (s Set) Retire(grace time.Duration) {
	for _, c := range s {
		c.retired.Store(true)
		c.Circuit.retire()
		if c.users.Load() == 0 {
			c.close()
			continue
		}
		time.AfterFunc(grace+c.Timeout, c.close)
	}
}

// Close closes all connections.
func (s Set) Close() {
	for _, c := range s {
		c.Circuit.retire()
		c.close()
	}
}

// Cache stores the answers of calls with `cache:`. The zero value is empty.
type Cache struct {
	mu    sync.Mutex
	byKey map[[16]byte]cached
	bytes int
}

type cached struct {
	result *connectors.Result
	until  time.Time
}

// Bounds of a Cache.
const (
	cacheItems = 4096
	cacheBytes = 16 << 20
)

// Get returns the answer with a key, unless it has expired.
func (s *Cache) Get(key [16]byte, now time.Time) (*connectors.Result, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	c, ok := s.byKey[key]
	return c.result, ok && now.Before(c.until)
}

// Put stores an answer for a time. Large answers are not stored.
func (s *Cache) Put(key [16]byte, r *connectors.Result, now time.Time, keep time.Duration) {
	size := len(r.Doc.Body())
	if size > cacheBytes/4 || blob.Has(r.Doc) { // stored content ends with its execution
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.byKey == nil {
		s.byKey = map[[16]byte]cached{}
	}
	for k, c := range s.byKey { // expired ones first, then any
		if len(s.byKey) < cacheItems && s.bytes+size <= cacheBytes && now.Before(c.until) {
			break
		}
		delete(s.byKey, k)
		s.bytes -= len(c.result.Doc.Body())
	}
	if old, ok := s.byKey[key]; ok {
		s.bytes -= len(old.result.Doc.Body())
	}
	s.byKey[key] = cached{result: r, until: now.Add(keep)}
	s.bytes += size
}
