package agent

import (
	"context"
	"time"

	"valence/atom"
	"valence/processes"
)

// fetchTime bounds the download of a package.
const fetchTime = 10 * time.Minute

// Start deploys what was deployed when the atom stopped, with the local
// project. If the packages cannot be run any more, the local project alone is
// deployed, Ready and the heartbeat say why, and it is tried again with the
// packages of the control plane. It fails if the local project cannot run.
func (a *Agent) Start(ctx context.Context) error {
	a.deploying.Lock()
	defer a.deploying.Unlock()
	a.mu.Lock()
	s := a.state
	a.mu.Unlock()
	v, err := a.compose(s.Desired, a.local, nil)
	if err == nil {
		if err = a.atom.Deploy(ctx, v.release); err == nil {
			s.Print = v.print
			a.running(s, v, true)
			return nil
		}
		err = deployError(err)
	}
	if atom.IsUnavailable(err) || s.Desired == nil || len(s.Desired.Deployments) == 0 {
		return err
	}
	a.log.Error("what was deployed cannot run any more", "packages", titles(s.Desired), "error", err)
	if v, alone := a.compose(nil, a.local, nil); alone != nil {
		return alone
	} else if err := a.atom.Deploy(ctx, v.release); err != nil {
		return err
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.broken = err.Error()
	a.desired = &desiredState{Desired: s.Desired} // it is tried again, with its packages fetched anew
	ring(a.wake)
	return nil
}

// Reload deploys other files of the local project, with what is deployed. If
// they have errors, the version before goes on.
func (a *Agent) Reload(ctx context.Context, local []processes.File) error {
	a.deploying.Lock()
	defer a.deploying.Unlock()
	a.mu.Lock()
	s := a.state
	a.mu.Unlock()
	v, err := a.compose(s.Desired, local, nil)
	if err != nil {
		return err
	}
	if err := a.atom.Deploy(ctx, v.release); err != nil {
		return deployError(err)
	}
	a.local = local
	a.mu.Lock()
	defer a.mu.Unlock()
	a.state.Print, a.names, a.broken = v.print, v.names, ""
	return nil
}
