package server

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"valence/atom"
	"valence/atom/store"
	"valence/internal/access"
	"valence/internal/clierror"
	"valence/internal/datafolder"
	"valence/internal/fault"
	"valence/processes"
	"valence/processes/loader"
)

// deployInitial deploys the project, retrying until the store accepts writes.
func (s *Server) deployInitial(project *Project) error {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	for {
		err := s.deploy(ctx, project)
		if !errors.Is(err, store.ErrUnavailable) {
			return err
		}
		select {
		case err := <-s.parts.Failed():
			return clierror.Failed(seeLog, "%v", err)
		case <-time.After(pollReady):
		case <-ctx.Done():
			return clierror.Failed(seeLog, "%v", err)
		}
	}
}

// deploy deploys a project with its values. An enrolled atom deploys the
// packages from its control plane instead.
func (s *Server) deploy(ctx context.Context, p *Project) error {
	if s.agent != nil {
		s.current = p
		return s.startAgent(ctx)
	}
	policy, err := access.Local(s.o.Data)
	if err != nil {
		return datafolder.NotOwner(s.o.Data)
	}
	v, err := resolveValues(p.Project, s.o.Environment, policy)
	if err != nil {
		return err
	}
	for _, need := range p.Project.Needs {
		s.secrets.note(need, v.environment, policy)
	}
	err = s.atom.Deploy(ctx, atom.Release{
		Project: p.Project, Files: p.Files, Env: v.env, Secrets: v.secrets, Environment: v.environment, Policy: policy,
	})
	if problems := (fault.Problems)(nil); errors.As(err, &problems) {
		return clierror.Failed("fix the reported problems", "cannot start the project:\n%v", problems)
	}
	if err == nil {
		s.current = p
	}
	return err
}

// reload deploys changed files. If they have errors or values are missing, the
// current version continues to run.
func (s *Server) reload(ctx context.Context, files []processes.File) {
	const kept = "cannot reload the project; the current version keeps running"
	project, problems := loader.Load(files, s.o.Catalog)
	errors := 0
	for _, p := range problems {
		level := slog.LevelWarn
		if p.Severity == fault.Error {
			level = slog.LevelError
			errors++
		}
		s.log.Log(ctx, level, p.Msg, "at", p.Pos.String(), "code", string(p.Code), "try", p.Hint)
	}
	if errors > 0 {
		s.log.Error(kept, "errors", errors)
		return
	}
	deploy := func() error { return s.deploy(ctx, &Project{project, files}) }
	if s.agent != nil {
		deploy = func() error {
			err := s.agent.Reload(ctx, files)
			if err == nil {
				s.current = &Project{project, files}
			}
			return err
		}
	}
	if err := deploy(); err != nil {
		s.log.Error(kept, "error", err)
		return
	}
	s.log.Info("reloaded the project", "processes", len(project.Processes), "files", len(files))
}
