package server

import (
	"context"
	"errors"
	"os"
	"os/signal"
	"runtime/debug"
	"syscall"

	"valence/atom/agent"
	"valence/internal/clierror"
	"valence/processes"
)

// Source is a project on disk that Run deploys and reloads.
type Source struct {
	Project *Project                         // nil: only the control plane deploys projects
	Read    func() ([]processes.File, error) // reads the files again
	Watch   bool                             // reload when the files change
}

// manyProcesses is the number of processes from which the memory used for
// loading them is worth returning.
const manyProcesses = 200

// Run runs an atom until SIGINT or SIGTERM, or until a part fails. SIGHUP
// reloads the project; a second SIGTERM exits at once. Run calls started after
// each start: the control plane can ask for a restart.
func Run(o Options, source Source, started func(s *Server)) error {
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	defer signal.Stop(signals)
	for {
		err := runOnce(o, source, signals, started)
		if !errors.Is(err, agent.ErrRestart) {
			return err
		}
		o.Log.Info("restarting")
	}
}

// runOnce runs an atom from its start to its stop.
func runOnce(o Options, source Source, signals <-chan os.Signal, started func(*Server)) error {
	s, err := Open(o)
	if err != nil {
		return err
	}
	if err := s.Start(source.Project); err != nil {
		return s.StopAfter(err)
	}
	if len(s.atom.Processes()) > manyProcesses {
		debug.FreeOSMemory()
	}
	started(s)
	return s.StopAfter(s.serve(source, signals))
}

// serve handles signals and changed files until the atom must stop.
func (s *Server) serve(source Source, signals <-chan os.Signal) error {
	ctx, cancel := context.WithCancel(context.Background())
	changes, watching := s.watch(ctx, source)
	secrets, watchingSecrets := s.watchSecrets(ctx)
	defer func() { cancel(); <-watching; <-watchingSecrets }()
	for {
		select {
		case files := <-changes:
			s.reload(ctx, files)
		case paths := <-secrets:
			s.reloadSecrets(ctx, paths)
		case err := <-s.parts.Failed():
			if errors.Is(err, agent.ErrRestart) {
				return err
			}
			return clierror.Failed("read the log; accepted messages continue at the next start", "%v", err)
		case sig := <-signals:
			if sig == syscall.SIGHUP {
				s.reloadFrom(ctx, source)
				continue
			}
			s.log.Info("stopping", "signal", sig.String(), "grace", s.o.Grace.String())
			go exitOnSecond(signals)
			return nil
		}
	}
}

// reloadFrom reads the project again and deploys it. An atom without a local
// project has nothing to reload.
func (s *Server) reloadFrom(ctx context.Context, source Source) {
	if source.Project == nil {
		return
	}
	files, err := source.Read()
	if err != nil {
		s.log.Error("cannot read the project; the current version keeps running", "error", err)
		return
	}
	s.reload(ctx, files)
}

// exitOnSecond ends the program at the next signal to stop. Nothing is lost.
func exitOnSecond(signals <-chan os.Signal) {
	for sig := range signals {
		if sig != syscall.SIGHUP {
			os.Exit(clierror.ExitFailed)
		}
	}
}
