package sandbox

import (
	"context"
	"fmt"

	"valence/atom/connection"
	"valence/atom/run"
	"valence/internal/document"
	"valence/internal/mask"
	"valence/processes"
)

// envHash identifies the environment values of a run.
const envHash = "test"

// deployed is the project of a run with the values that the test sets and
// placeholders for the others.
type deployed struct {
	w           *world
	env         *document.Object
	secrets     *document.Object
	host        *connection.Host
	connections map[string]*connection.Connection
}

var _ run.Deployments = (*deployed)(nil)

func newDeployed(w *world) *deployed {
	d := &deployed{w: w, env: &document.Object{}, secrets: &document.Object{}, connections: map[string]*connection.Connection{}}
	for _, n := range w.project.Needs {
		if n.Kind == "secret" {
			d.secrets.Set(n.Name, "secret."+n.Name)
		} else {
			d.env.Set(n.Name, "env."+n.Name)
		}
	}
	for name, v := range w.scenario.Env {
		d.env.Set(name, v)
	}
	for name, v := range w.scenario.Secrets {
		d.secrets.Set(name, v)
	}
	d.host = &connection.Host{Clock: w.clock, Masks: &mask.Set{}, Running: func() bool { return false }}
	return d
}

// Deployed implements run.Deployments.
func (d *deployed) Deployed(process string) (run.Deployed, bool) {
	p, ok := d.w.plans[process]
	return run.Deployed{Plan: p, Env: d.env, EnvHash: envHash}, ok
}

// Plan implements run.Deployments.
func (d *deployed) Plan(_ context.Context, process, _ string) (*run.Plan, error) {
	if p, ok := d.w.plans[process]; ok {
		return p, nil
	}
	return nil, fmt.Errorf("the project has no process %s", process)
}

// Env implements run.Deployments.
func (d *deployed) Env(context.Context, string) (*document.Object, error) { return d.env, nil }

// Secrets implements run.Deployments.
func (d *deployed) Secrets(string) *document.Object { return d.secrets }

// Workers implements run.Deployments.
func (d *deployed) Workers(string) int { return 1 }

// Connection returns a connection that only bounds the time of its calls.
func (d *deployed) Connection(_, name string) (*connection.Connection, bool) {
	if c := d.connections[name]; c != nil {
		return c, true
	}
	declared := d.w.project.Connections[name]
	if declared == nil {
		return nil, false
	}
	c := connection.New(d.host, name, closed{}, processes.ConnectionLimits{Timeout: d.w.timeouts[name]})
	d.connections[name] = c
	return c, true
}

// closed is a connection to nothing.
type closed struct{}

// Close does nothing.
func (closed) Close() error { return nil }
