package agent

import (
	"context"
	"time"

	"valence/internal/wire"
	"valence/processes"
)

// fetchTime bounds the download of a package.
const fetchTime = 10 * time.Minute

// Start deploys what was deployed when the atom stopped, with the local
// project. A package that cannot be run any more is left out, the heartbeat
// says why, and it is tried again with the packages of the control plane; so
// is what could not run before. It fails if the local project cannot run.
func (a *Agent) Start(ctx context.Context) error {
	a.deploying.Lock()
	defer a.deploying.Unlock()
	a.mu.Lock()
	s := a.state
	a.mu.Unlock()
	d, left := s.deployments(), map[string]error{}
	for _, x := range d.Deployments {
		if _, err := a.archive(x.Package); err != nil {
			left[x.Project] = err
		}
	}
	now, err := a.adopt(ctx, d, a.runs, &wire.Desired{}, nil, left)
	if err != nil {
		return err
	}
	again := s.Wanted
	if len(left) > 0 {
		now.broken = outages(left, now.desired)
		a.log.Error("what was deployed cannot run any more", "reason", now.broken)
		if again == nil {
			again = d
		}
	}
	a.running(s, now, nil, true)
	if again != nil {
		a.mu.Lock()
		a.desired = &desiredState{Desired: again}
		a.mu.Unlock()
		ring(a.wake)
	}
	return nil
}

// Reload deploys other files of the local project, with what is deployed. If
// they have errors, the version before goes on.
func (a *Agent) Reload(ctx context.Context, local []processes.File) error {
	a.deploying.Lock()
	defer a.deploying.Unlock()
	a.mu.Lock()
	before := a.runs
	a.mu.Unlock()
	v, err := a.compose(before.desired, local, nil)
	if err != nil {
		return err
	}
	if err := a.enact(ctx, v); err != nil {
		return err
	}
	v.broken = before.broken
	a.local = local
	a.mu.Lock()
	a.runs = v
	a.mu.Unlock()
	return nil
}
