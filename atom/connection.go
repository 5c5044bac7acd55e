package atom

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/time/rate"

	"valence/connectors"
	"valence/internal/document"
	"valence/internal/expression"
	"valence/internal/fault"
	"valence/processes"
)

// defaultTimeout bounds one attempt of a call where neither the call nor the
// connection says.
const defaultTimeout = 30 * time.Second

// connection is an open connection with its bounds.
type connection struct {
	name    string // with that of its release
	open    connectors.Connection
	timeout time.Duration
	slots   chan struct{} // nil: any number of calls at once
	pace    *rate.Limiter // nil: any rate
	cache   answers
	circuit *circuit
	users   atomic.Int64
	retired atomic.Bool
	once    sync.Once
}

// qualified names a connection, or a scope of sequences, among those of all
// releases.
func qualified(release, name string) string {
	if release == "" {
		return name
	}
	return release + "/" + name
}

// ownRelease is the name of the release that the atom's own connections belong
// to; no project has it.
const ownRelease = "."

// connection finds an open connection of a release.
func (a *Atom) connection(release, name string) (*connection, bool) {
	if name == callbackProcess {
		release = ownRelease
	}
	a.mu.RLock()
	defer a.mu.RUnlock()
	r := a.current[release]
	if r == nil {
		return nil, false
	}
	c, ok := r.connections[name]
	return c, ok
}

// releases are what is deployed, by name.
type releases map[string]*release

// all gives every open connection.
func (rs releases) all() []*connection {
	var all []*connection
	for _, r := range rs {
		for _, c := range r.connections {
			all = append(all, c)
		}
	}
	return all
}

func (a *Atom) openConnection(name string, c *processes.Connection, env *expression.Env, override *expression.Template, fixed *document.Object) (*connection, error) {
	limits, settings, err := c.Resolve(env, override, fixed)
	if err != nil {
		return nil, err
	}
	open, err := c.Connector.Open(settings)
	if err != nil {
		return nil, err
	}
	x := &connection{name: name, open: open, timeout: limits.Timeout, circuit: a.newCircuit(name, limits.Circuit)}
	if x.timeout == 0 {
		x.timeout = defaultTimeout
	}
	if limits.Concurrency > 0 {
		x.slots = make(chan struct{}, limits.Concurrency)
	}
	if limits.Rate > 0 {
		x.pace = rate.NewLimiter(rate.Limit(limits.Rate), max(1, int(limits.Rate/10)))
	}
	return x, nil
}

// enter waits for a slot and for the rate, and gives the function that frees
// the slot. It fails only with the context.
func (c *connection) enter(ctx context.Context) (func(), error) {
	c.users.Add(1)
	leave := func() {
		if c.users.Add(-1) == 0 && c.retired.Load() {
			c.close()
		}
	}
	if c.slots != nil {
		select {
		case c.slots <- struct{}{}:
		case <-ctx.Done():
			leave()
			return nil, ctx.Err()
		}
		free := leave
		leave = func() { <-c.slots; free() }
	}
	if c.pace != nil {
		if err := c.pace.Wait(ctx); err != nil {
			leave()
			return nil, &fault.Failure{Code: fault.CodeTimeout, Origin: fault.FromConnector, Retryable: true,
				Message: "the connection's rate leaves no room for this call in time", Cause: err}
		}
	}
	return leave, nil
}

func (c *connection) close() { c.once.Do(func() { c.open.Close() }) }

// retire closes the connections of replaced releases once nothing uses them,
// at the latest after the grace.
func (rs releases) retire(grace time.Duration) {
	for _, c := range rs.all() {
		c.retired.Store(true)
		c.circuit.retire()
		if c.users.Load() == 0 {
			c.close()
			continue
		}
		time.AfterFunc(grace+c.timeout, c.close)
	}
}

func (rs releases) close() {
	for _, c := range rs.all() {
		c.circuit.retire()
		c.close()
	}
}

func (a *Atom) closeConnections() {
	a.mu.RLock()
	defer a.mu.RUnlock()
	a.current.close()
}

// answers keeps the answers of calls with `cache:`, at most cacheItems and
// cacheBytes of them.
type answers struct {
	mu    sync.Mutex
	byKey map[[16]byte]cached
	bytes int
}

type cached struct {
	result *connectors.Result
	until  time.Time
}

const (
	cacheItems = 4096
	cacheBytes = 16 << 20
)

func (s *answers) get(key [16]byte, now time.Time) (*connectors.Result, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	c, ok := s.byKey[key]
	return c.result, ok && now.Before(c.until)
}

func (s *answers) put(key [16]byte, r *connectors.Result, now time.Time, keep time.Duration) {
	size := len(r.Doc.Body())
	if size > cacheBytes/4 {
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
