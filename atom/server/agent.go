package server

import (
	"context"
	"errors"
	"path/filepath"

	"valence/atom"
	"valence/atom/agent"
	"valence/atom/agent/cloudclient"
	"valence/internal/access"
	"valence/internal/clierror"
	"valence/internal/metrics"
	"valence/processes"
)

// openAgent opens the agent if the data folder is enrolled with a control
// plane. A local project runs alongside the deployed ones.
func (s *Server) openAgent(local *Project) error {
	id, err := cloudclient.LoadIdentity(s.o.Data)
	if errors.Is(err, cloudclient.ErrNotJoined) {
		return nil
	}
	if err != nil {
		return clierror.Failed("valence join URL --again", "%v", err)
	}
	policy, err := access.Deployed(s.o.Data, s.o.Catalog.ConnectorNames()...)
	if err != nil {
		return clierror.Failed("correct the policy, or remove the file to allow the network and nothing of this machine", "%v", err)
	}
	s.log.Info("policy for deployed packages", policy.Describe()...)
	o := agent.Options{
		Identity: id, Data: s.o.Data, Atom: s.atom, Catalog: s.o.Catalog, Environment: s.o.Environment,
		Value: s.localValue, Version: s.o.Version, Host: hostname(), Log: s.log, Logs: s.recent.Last, Masks: s.masks,
	}
	if local != nil {
		o.Local = local.Files
	}
	if s.agent, err = agent.Open(o); err != nil {
		return clierror.Failed("move "+filepath.Join(s.o.Data, cloudclient.Folder, "agent.db*")+" away: unsent reports are lost, deployments are fetched again; or valence join URL --again", "%v", err)
	}
	s.identity = id
	s.metrics.OnAgent(func() metrics.Agent {
		st := s.agent.Status()
		return metrics.Agent{Connected: st.Connected, LastPoll: st.LastPoll, Generation: st.Generation, Waiting: st.Waiting, Dropped: st.Dropped}
	})
	return nil
}

// localValue is localValue that notes the files of secrets.
func (s *Server) localValue(need processes.Need, e *processes.Environment, policy *access.Policy) (value, why string) {
	s.secrets.note(need, e, policy)
	return localValue(need, e, policy)
}

// startAgent deploys the assigned packages that are on disk, and the local project.
func (s *Server) startAgent(ctx context.Context) error {
	err := s.agent.Start(ctx)
	if err == nil || atom.IsUnavailable(err) || errors.Is(err, context.Canceled) {
		return err
	}
	return clierror.AsFailed(err, "fix the reported problems")
}

// ready returns nil when the atom accepts work and has something to run.
func (s *Server) ready() error {
	if err := s.atom.Ready(); err != nil || s.agent == nil {
		return err
	}
	return s.agent.Ready()
}
