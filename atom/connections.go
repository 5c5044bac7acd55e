package atom

import (
	"context"
	"sort"

	"valence/atom/connection"
	"valence/atom/run"
	"valence/atom/store"
	"valence/connectors"
	"valence/internal/access"
	"valence/internal/document"
	"valence/internal/expression"
	"valence/processes"
)

// builtinRelease is the release of the atom's own connections. No project has
// this name.
const builtinRelease = "."

// Connection returns an open connection of a release.
func (s *deployments) Connection(release, name string) (*connection.Connection, bool) {
	if name == run.CallbackProcess {
		release = builtinRelease
	}
	s.mu.RLock()
	defer s.mu.RUnlock()
	r := s.current[release]
	if r == nil {
		return nil, false
	}
	c, ok := r.connections[name]
	return c, ok
}

// allConnections returns the open connections of the current releases.
func (s *deployments) allConnections() connection.Set {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.current.connections()
}

func (s *deployments) openConnection(name string, c *processes.Connection, env *expression.Env, override *expression.Template, fixed *document.Object, policy *access.Policy) (*connection.Connection, error) {
	if err := policy.Connector(c.Connector.Name); err != nil {
		return nil, err
	}
	limits, settings, err := c.Resolve(env, override, fixed)
	if err != nil {
		return nil, err
	}
	client, err := c.Connector.Open(settings, policy)
	if err != nil {
		return nil, err
	}
	if i, ok := client.(connectors.Inspector); ok {
		if o := i.Inspect(); o != nil {
			s.host.Log.Warn("connection cannot be used now", "connection", name, "position", c.Pos.String(), "problem", o.Problem, "try", o.Hint)
		}
	}
	return connection.New(s.host, name, client, limits), nil
}

// close closes all connections.
func (s *deployments) close() { s.allConnections().Close() }

// probeHeld makes the connections that executions are held for probe first. It
// must be called before runs can use the connections, so that their first calls
// do not spend attempts on a system that is known to be down, and again after
// it, which releases the first execution.
func probeHeld(ctx context.Context, holds store.Holds, connections connection.Set) error {
	held, err := holds.HeldFor(ctx)
	if err != nil {
		return err
	}
	for _, c := range connections {
		if held[c.Circuit.HoldName()] > 0 {
			c.Circuit.ProbeFirst()
		}
	}
	return nil
}

// Connections returns the deployed connections by name, and those that are not
// deployed any more but that executions are held for.
func (a *Atom) Connections(ctx context.Context) ([]*ConnectionView, error) {
	held, err := a.store.HeldFor(ctx)
	if err != nil {
		return nil, err
	}
	views := []*ConnectionView{}
	for _, c := range a.deployments.allConnections() {
		v := c.Circuit.View()
		v.Held = held[c.Circuit.HoldName()]
		delete(held, c.Circuit.HoldName())
		views = append(views, v)
	}
	for hold, n := range held {
		views = append(views, &ConnectionView{Connection: connection.HeldConnection(hold), Circuit: CircuitOpen, Cause: "it is not deployed any more", Held: n})
	}
	sort.Slice(views, func(i, j int) bool { return views[i].Connection < views[j].Connection })
	return views, nil
}
