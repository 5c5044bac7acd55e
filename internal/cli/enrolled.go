package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"valence/atom"
	"valence/internal/agent"
	"valence/internal/metrics"
	"valence/processes"
)

// enrol gives a station its agent, if its data folder has joined a control
// plane. It must be called before start.
func (st *station) enrol(local *loaded) error {
	id, err := agent.Load(st.o.places.Data)
	if errors.Is(err, agent.ErrNotEnrolled) {
		return nil
	}
	if err != nil {
		return failed("valence join URL --again", "%v", err)
	}
	host, err := os.Hostname()
	if err != nil {
		host = ""
	}
	o := agent.Options{
		Identity: id, Data: st.o.places.Data, Atom: st.atom, Catalog: catalog(), Environment: st.o.places.Environment,
		Value: here, Version: version, Host: host, Log: st.log,
		Logs: st.recent.Last,
	}
	if local != nil {
		o.Local = local.files
	}
	if st.agent, err = agent.Open(o); err != nil {
		return failed("move "+filepath.Join(st.o.places.Data, agent.Folder, "agent.db")+" and what is beside it of that name away, which loses reports that were not sent: what is deployed is fetched again; or valence join URL --again", "%v", err)
	}
	st.identity = id
	st.metrics.OnAgent(func() metrics.Agent {
		s := st.agent.Status()
		return metrics.Agent{Connected: s.Connected, LastPoll: s.LastPoll, Generation: s.Generation, Waiting: s.Waiting, Dropped: s.Dropped}
	})
	return nil
}

// here finds a value in an environment: component, and then on the machine.
func here(need processes.Need, e *processes.Environment) (value, why string) {
	if e != nil {
		if value, why = fromEnvironment(e, need); why == "" {
			return value, ""
		}
	}
	return fromMachine(need)
}

// ready is nil once the atom takes work and has something to run.
func (st *station) ready() error {
	if err := st.atom.Ready(); err != nil || st.agent == nil {
		return err
	}
	return st.agent.Ready()
}

// startAgent deploys what the control plane had deployed, with the local project.
func (st *station) startAgent(ctx context.Context) error {
	err := st.agent.Start(ctx)
	if err == nil || atom.IsUnavailable(err) || errors.Is(err, context.Canceled) {
		return err
	}
	return failedAs(err, "correct what it names")
}

// agentBanner tells a person what an atom does that has joined.
func (st *station) agentBanner(w io.Writer) {
	if st.agent == nil {
		return
	}
	s := st.agent.Status()
	what := "nothing yet"
	switch {
	case s.Retired:
		what = "nothing: this atom was retired; valence join again to use it"
	case len(s.Deployed) > 0:
		what = strings.Join(s.Deployed, ", ")
	}
	fmt.Fprintf(w, "  control plane %s, as %s\n", st.identity.URL, st.identity.Name)
	fmt.Fprintf(w, "  deployed      %s\n", what)
}
